"""Does a training survive being killed? Run by hand: python tests/benchmarks/twenty_kills.py --record NAME

A small training with dropout, accumulation and Muon, a real process, is given SIGKILL twenty times at seeded
random moments, every second time while it saves, and resumed. A line for each kill says what was found; the
last ones say whether the tensors and the record of the end are those of a training that was left in peace,
to the bit.
"""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

from tests.support import crash as kills
from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import new_folder


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=420)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--optimizer", default="muon")
    parser.add_argument("--record", metavar="NAME", help="keep what was found in data/mine/NAME")
    chosen = parser.parse_args()
    where = new_folder("twenty_kills", chosen.record) / "record.jsonl" if chosen.record else None
    header = record_header(
        "robustness",
        name="twenty_kills",
        command=shlex.join(["python", "tests/benchmarks/twenty_kills.py", *sys.argv[1:]]),
        device="cpu",
        dtype="float32",
        threads=1,
        load=round(os.getloadavg()[0], 2),
        kills=chosen.kills,
        seed=chosen.seed,
        training=shlex.join(kills.typed("NAME", chosen.steps, chosen.optimizer)),
    )
    with tempfile.TemporaryDirectory() as folder, RunRecord(where, header) as record:
        peace, trouble = Path(folder) / "peace", Path(folder) / "trouble"
        expected = kills.whole(peace, "whole", kills.typed("whole", chosen.steps, chosen.optimizer))
        trouble.mkdir()
        words = kills.typed("killed", chosen.steps, chosen.optimizer)
        for kill in kills.killed(trouble, "killed", words, kills=chosen.kills, seed=chosen.seed):
            print(", ".join(f"{name} {value}" for name, value in kill.items()), flush=True)
            record.write("measurement", name="kill", **kill)
        found, everything = kills.file_digests(trouble / "killed"), True
        for name, sha256 in expected.items():
            equal = found[name] == sha256
            everything = everything and equal
            print(f"{name}: {'equal' if equal else 'NOT EQUAL'}")
            record.write("measurement", name=name, equal=equal, left_in_peace=sha256, killed=found[name])
        record.close(kills=chosen.kills, equal=everything)
    return 0 if everything else 1


if __name__ == "__main__":
    sys.exit(main())
