"""What the tests of the command line type, and how they run it as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHARACTERS = 20_000  # of toyworld, so that its text comes at once
TRAIN = [
    *("train", "shakespeare_char", "--data.corpus", "toyworld-plays", "--train.steps", "11"),
    *("--model.n-layer", "1", "--model.n-head", "2", "--model.n-embd", "22", "--model.context-length", "31"),
    *("--train.micro-batch-size", "3", "--train.tokens-per-step", "93", "--train.eval-every", "5"),
]


def environment(folder: Path) -> dict[str, str]:
    """No pack, no cache, no network; a terminal wide enough not to break sentences."""
    found = {"TINYLM_DATA": str(folder / "pack"), "TINYLM_CACHE": str(folder / "cache")}
    return found | {"TINYLM_OFFLINE": "1", "COLUMNS": "200"}


def process(folder: Path, words: list[str], output=subprocess.PIPE, **variables: str) -> subprocess.Popen:
    """`python -m tinylm` with these words in a process of its own: its runs are kept in `folder`, toyworld is
    short."""
    code = "import sys; from pathlib import Path; from tinylm.runs import paths; "
    code += f"from tinylm.text import corpora; corpora.GENERATED_CHARACTERS = {CHARACTERS}; "
    code += f"from tinylm.__main__ import main; paths.MINE = Path({str(folder)!r}); sys.exit(main({words!r}))"
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdout=output,
        stderr=output,
        encoding=variables.get("PYTHONIOENCODING", "utf-8"),
        cwd=ROOT,
        env=os.environ | environment(folder) | {"OMP_NUM_THREADS": "1"} | variables,
    )


def assert_one_sentence(captured: str, words: str) -> None:
    """What was said is the one sentence for the person who typed, and it holds these words."""
    assert captured.startswith("tinylm: ") and words in captured
    assert captured.count("\n") == 1 and "Traceback" not in captured
