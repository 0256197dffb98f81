"""Install: makes the .venv in which `make lab` and `make test` run, and says how far it is.

Any Python runs it: it needs the standard library alone. .venv/ready holds the place of the clone and what is
installed. The .venv of a clone that was moved or copied would import another clone's code, or none: it is
corrected in place, without a network. An interrupted installation has no .venv/ready: it begins again."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
READY = VENV / "ready"
DOWNLOADS = VENV / "downloads"  # not in the system's folder for temporary files, which is often small
BIN, PACKAGES = (Path(sysconfig.get_path(p, "venv", {"base": str(VENV)})) for p in ("scripts", "purelib"))


def main() -> int:
    """Make .venv ready, if it is not. Returns an exit code."""
    wanted = {
        "root": str(ROOT),
        "requirements": (ROOT / "requirements.txt").read_text(encoding="utf-8"),
        "project": tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"],
    }
    ready = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        ready = dict(json.loads(READY.read_text(encoding="utf-8")))
    inside = Path(sys.prefix).resolve() == VENV.resolve()  # run by .venv's own Python
    if inside and ready == wanted:
        return 0
    try:
        old = ready.get("root", wanted["root"])
        if inside and old != wanted["root"]:
            print(f"This clone was moved or copied from {old}: .venv is set to its new place")
            relocate(old)
        if not (inside and ready | {"root": wanted["root"]} == wanted and imports_this_clone()):
            READY.unlink(missing_ok=True)
            print("Setting up .venv (2 GB of disk; 4 on Linux with CUDA)", flush=True)
            make = [sys.executable, "-m", "venv", "--clear", str(VENV)]
            if code := (0 if inside else subprocess.run(make).returncode) or pip_install():
                print("The set-up did not succeed, .venv/pip.log says why; the same command begins it again")
                return code
    except KeyboardInterrupt:
        print("\nStopped; the same command begins the set-up again")
        return 130
    READY.write_text(json.dumps(wanted), encoding="utf-8", newline="\n")
    return 0


def relocate(old: str) -> None:
    """Write this clone's place wherever .venv holds the old one: in the editable tinylm and in scripts."""
    whole = re.compile(re.escape(old.encode()) + rb"(?![\w.-])")  # course2 is not course
    for path in (VENV / "pyvenv.cfg", *BIN.iterdir(), *PACKAGES.glob("__editable__*tinylm*")):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(whole.sub(lambda _: str(ROOT).encode(), path.read_bytes()))


def imports_this_clone() -> bool:
    """Whether .venv's Python, wherever it is started, finds this clone's tinylm."""
    ask = "import tinylm; print(tinylm.__file__)"
    done = subprocess.run([BIN / "python", "-I", "-c", ask], cwd=VENV, capture_output=True, text=True)
    return done.returncode == 0 and Path(done.stdout.strip()) == ROOT / "tinylm" / "__init__.py"


def pip_install() -> int:
    """Install requirements.txt with pip, and say every few seconds how far it is. Returns pip's exit code."""
    DOWNLOADS.mkdir(exist_ok=True)
    command = [BIN / "python", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", "-r", "requirements.txt"]
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(DOWNLOADS))
    log, began, before = VENV / "pip.log", time.monotonic(), [*PACKAGES.glob("*.dist-info")]
    with log.open("wb") as out:
        pip = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    said = ""
    try:
        while pip.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                pip.wait(5.0)
            said = log.read_text(encoding="utf-8", errors="replace")
            print(f"  {time.monotonic() - began:3.0f} s: {progress(said, len(before))}", flush=True)
        print(*re.findall("^ERROR.*\n", said, re.MULTILINE | re.IGNORECASE), sep="", end="", flush=True)
        return pip.returncode
    finally:
        pip.terminate()
        pip.wait()
        shutil.rmtree(DOWNLOADS, ignore_errors=True)


def progress(said: str, before: int) -> str:
    """How far pip is, from what it said, what it has downloaded, and how many packages there were before."""
    if collected := re.search("^Installing collected packages: (.*)", said, re.MULTILINE):
        installed = len([*PACKAGES.glob("*.dist-info")]) - before
        return f"installed {installed} of {collected[1].count(',') + 1} packages"
    found, size = len(re.findall("^ *(?:Collecting|Requirement) ", said, re.MULTILINE)), 0
    with contextlib.suppress(OSError):  # pip takes a file away when it likes
        size = sum(path.stat().st_size for path in DOWNLOADS.glob("**/*.whl"))
    return f"found {found} packages, downloaded {size / 1e6:,.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
