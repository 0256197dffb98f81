"""Install: makes the .venv in which `make lab` and `make test` run, and says how far it is.

Make runs it as `python -m tinylm.course.install`, with any Python: it needs the standard library alone.
.venv/ready holds the place of the clone and the requirements that are installed, so that a clone that was
moved or copied is noticed: its .venv would import another clone's code, or none. It is corrected in place,
without a network. An installation that was interrupted has no .venv/ready and begins again.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
READY = VENV / "ready"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")


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
                print("The set-up did not succeed; the same command begins it again")
                return code
    except KeyboardInterrupt:
        print("\nStopped; the same command begins the set-up again")
        return 130
    READY.write_text(json.dumps(wanted), encoding="utf-8", newline="\n")
    return 0


def _site_packages() -> Path:
    return next(iter(VENV.glob("lib/python*/site-packages")), VENV / "Lib" / "site-packages")


def relocate(old: str) -> None:
    """Write this clone's place wherever .venv holds the old one: in the editable tinylm and in scripts."""
    whole = re.compile(re.escape(old.encode()) + rb"(?![\w.-])")  # course2 is not course
    for path in (VENV / "pyvenv.cfg", *BIN.iterdir(), *_site_packages().glob("__editable__*tinylm*")):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(whole.sub(lambda _: str(ROOT).encode(), path.read_bytes()))


def imports_this_clone() -> bool:
    """Whether .venv's Python, wherever it is started, finds this clone's tinylm."""
    ask = "import tinylm; print(tinylm.__file__)"
    done = subprocess.run([BIN / "python", "-I", "-c", ask], cwd=VENV, capture_output=True, text=True)
    return done.returncode == 0 and Path(done.stdout.strip()) == ROOT / "tinylm" / "__init__.py"


def pip_install() -> int:
    """Install requirements.txt with pip, and say every few seconds how far it is. Returns pip's exit code."""
    downloads = VENV / "downloads"  # not in the system's folder for temporary files, which is often small
    downloads.mkdir(exist_ok=True)
    command = [BIN / "python", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", "-r", "requirements.txt"]
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(downloads))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "errors": "replace"}
    seen, ended = {"found": 0, "to install": 0}, threading.Event()
    pip = subprocess.Popen(command, cwd=ROOT, env=os.environ | places, encoding="utf-8", **pipes)
    threading.Thread(target=_report, args=(seen, downloads, ended), daemon=True).start()
    try:
        for line in pip.stdout or ():
            word, _, rest = line.strip().partition(" ")
            if word in ("Collecting", "Requirement"):
                seen["found"] += 1
            elif word == "Installing" and rest.startswith("collected packages:"):
                seen["to install"] = rest.count(",") + 1
            elif word in ("ERROR:", "error:") or "Retrying" in rest:
                print(line, end="", flush=True)
        return pip.wait()
    finally:
        ended.set()
        pip.terminate()
        pip.wait()
        shutil.rmtree(downloads, ignore_errors=True)


def _report(seen: dict[str, int], downloads: Path, ended: threading.Event) -> None:
    began, before = time.monotonic(), len([*_site_packages().glob("*.dist-info")])
    while not ended.wait(5.0):
        if seen["to install"]:
            installed = len([*_site_packages().glob("*.dist-info")]) - before
            text = f"installed {installed} of {seen['to install']} packages"
        else:
            text = f"found {seen['found']} packages"
            with contextlib.suppress(OSError):  # pip takes a file away when it likes
                size = sum(path.stat().st_size for path in downloads.glob("**/*.whl")) / 1e6
                text += f", downloaded {size:,.0f} MB"
        print(f"  {time.monotonic() - began:3.0f} s: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
