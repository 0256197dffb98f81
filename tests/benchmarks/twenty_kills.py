"""Kill a training again and again, and resume it: python tests/benchmarks/twenty_kills.py --record NAME

A small training with dropout, accumulation and Muon runs in a process of its own. It gets SIGKILL twenty
times at seeded random moments, every second time while it writes a checkpoint, and is resumed. A line for
each kill says what was found. The last line says whether the final tensors and record are bit for bit those
of a training that was never killed.
"""

import shlex
import sys
import tempfile
from pathlib import Path

from benchmark import open_record, options

from tests.support import crash


def main():
    chosen = options(__doc__, kills=(20, "how many"))
    words = crash.typed(420, "muon")
    record = open_record(chosen, what="robustness", threads=1, training=shlex.join(words))
    with tempfile.TemporaryDirectory() as folder:
        trouble = Path(folder, "trouble")
        expected = crash.finish(Path(folder, "peace"), words)
        for kill in crash.killed(trouble, words, kills=chosen.kills, seed=20):
            print(", ".join(f"{name} {value}" for name, value in kill.items()), flush=True)
            record.write("measurement", name="kill", **kill)
        equal = crash.finish(trouble, crash.RESUME) == expected
    print(f"the final tensors and record are {'equal' if equal else 'NOT EQUAL'}")
    record.write("end", kills=chosen.kills, equal=equal)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
