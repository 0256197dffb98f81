"""Install: make the .venv in which `make lab` and `make test` run.

Any Python can run this file: it imports the standard library alone. .venv/ready is written last, so an
interrupted installation begins again. It holds the place of the clone and the pins that are installed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
READY = VENV / "ready"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PIP = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r", "requirements.txt"]


def main() -> int:
    """Make .venv if it is not ready, or if the pins have changed. Returns an exit code."""
    wanted = f"{ROOT}\n{(ROOT / 'requirements.txt').read_text(encoding='utf-8')}"
    ready = READY.read_text(encoding="utf-8") if READY.exists() else ""
    if ready == wanted:
        return 0
    if ready and ready.splitlines()[0] != str(ROOT):
        # its scripts and its editable tinylm name the old place: another clone's code might be imported
        old = ready.splitlines()[0]
        print(f"This clone was moved or copied from {old}: delete .venv and set up again (make clean lab)")
        return 1
    print("Setting up .venv: some minutes, 2 GB of disk (4 on Linux with CUDA)", flush=True)
    READY.unlink(missing_ok=True)
    is_inside = Path(sys.prefix).resolve() == VENV.resolve()  # only the pins have changed
    make = [] if is_inside else [[sys.executable, "-m", "venv", "--clear", VENV]]
    # pip unpacks gigabytes, and the system's folder for temporary files is often small
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(VENV))
    for command in (*make, [PYTHON, *PIP]):
        pipe = {"stdout": subprocess.PIPE, "text": True, "errors": "replace"}
        with subprocess.Popen(command, cwd=ROOT, env=environment, **pipe) as running:
            for line in running.stdout:
                if sys.stdout.isatty():  # one line, written over and over
                    print(f"\r  {line.strip()[:70]:70}", end="", flush=True)
        if running.returncode:
            print("\nThe set-up did not succeed: see the error above. The same command begins it again")
            return running.returncode
    print("\n.venv is ready")
    READY.write_text(wanted, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command begins the set-up again")
