"""Kill a training again and again, and resume it: python tests/benchmarks/twenty_kills.py --record NAME

A small training with dropout, accumulation and Muon runs in a process of its own. It gets SIGKILL twenty
times at seeded random moments, every second time while it writes a checkpoint, and is resumed. A line for
each kill says what was found. The last lines say whether the final tensors and record are bit for bit those
of a training that was never killed.
"""

import shlex
import sys
import tempfile
from pathlib import Path

from benchmark import open_record, options

from tests.support import crash


def main():
    chosen = options(
        __doc__,
        kills=(20, "how many"),
        steps=(420, "of the training"),
        seed=(20, "of the moments"),
        optimizer=("muon", "of the training"),
    )
    words = crash.typed("killed", chosen.steps, chosen.optimizer)
    header = {"threads": 1, "training": shlex.join(words)}
    record = open_record(chosen, what="robustness", **header)
    with tempfile.TemporaryDirectory() as folder:
        trouble = Path(folder) / "trouble"
        expected = crash.whole(Path(folder) / "peace", "killed", words)
        for kill in crash.killed(trouble, "killed", words, kills=chosen.kills, seed=chosen.seed):
            print(", ".join(f"{name} {value}" for name, value in kill.items()), flush=True)
            record.write("measurement", name="kill", **kill)
        found = crash.file_digests(trouble / "killed")
        for name, sha256 in expected.items():
            equal = found[name] == sha256
            print(f"{name}: {'equal' if equal else 'NOT EQUAL'}")
            record.write("measurement", name=name, equal=equal, left_in_peace=sha256, killed=found[name])
        record.write("end", kills=chosen.kills, equal=found == expected)
    return 0 if found == expected else 1


if __name__ == "__main__":
    sys.exit(main())
