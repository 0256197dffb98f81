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
    return {
        "TINYLM_DATA": str(folder / "pack"),
        "TINYLM_CACHE": str(folder / "cache"),
        "TINYLM_OFFLINE": "1",
        "COLUMNS": "200",
    }


def python(code: str, **variables: str) -> subprocess.Popen:
    """A fresh Python in which main, paths, Path and sys are at hand, and toyworld is short."""
    imports = "import sys; from pathlib import Path; from tinylm.runs import paths; "
    imports += f"from tinylm.text import corpora; corpora.GENERATED_CHARACTERS = {CHARACTERS}; "
    return subprocess.Popen(
        [sys.executable, "-u", "-c", imports + f"from tinylm.__main__ import main; {code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding=variables.get("PYTHONIOENCODING", "utf-8"),
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **variables},
    )


def command(*arguments: str, folder: Path, **options) -> subprocess.CompletedProcess:
    """python -m tinylm, as a person types it."""
    return subprocess.run(
        [sys.executable, "-m", "tinylm", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **environment(folder)},
        **options,
    )


def assert_one_sentence(captured: str, words: str) -> None:
    """What was said is the one sentence for the person who typed, and it holds these words."""
    assert captured.startswith("tinylm: ")
    assert words in captured
    assert captured.count("\n") == 1
    assert "Traceback" not in captured
