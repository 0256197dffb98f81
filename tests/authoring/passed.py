"""Which notebooks have passed here, and what each of them depended on.

A notebook depends on its own file, the modules of this repository that its kernel had imported at the end
with the TOML files beside them, the other data files of the package and of `data/`, the pins, the
interpreter, and the texts at hand. All of that is hashed. The notes are in pytest's cache, which git ignores.
"""

import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = (
    "requirements.txt",
    "tests/authoring/*.py",
    "tinylm/**/*.toml",
    "tinylm/**/*.txt",
    "tinylm/**/*.css",
)
ALWAYS += ("tinylm/**/*.mplstyle", "tinylm/**/*.md", "data/runs/*", "data/checkpoints/*/*", "data/*.json")
PASSED_ON = ("TINYLM_DATA", "TINYLM_CACHE", "TINYLM_SCALE")
# Run in the kernel: the files of this repository that it has imported.
MODULES = f"""
import sys as _sys
_root = {str(ROOT)!r}
_files = [getattr(module, "__file__", None) or "" for module in [*_sys.modules.values()]]
_own = [file for file in _files if file.startswith(_root) and "/.venv/" not in file]
print("\\n".join(sorted(file[len(_root) + 1 :] for file in _own)))
"""


@functools.cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@functools.cache
def _surroundings() -> str:
    """Return one hash of what every notebook depends on."""
    files = {path for pattern in ALWAYS for path in ROOT.glob(pattern)}
    files = sorted(path for path in files if path.suffix != ".toml" or not path.with_suffix(".py").is_file())
    pack = os.environ.get("TINYLM_DATA")
    packed = sorted((ROOT / pack).rglob("*")) if pack else []
    said = [f"{path.relative_to(ROOT)} {_sha256(path)}" for path in files]
    said += [f"{path.name} {path.stat().st_size}" for path in packed if path.is_file()]
    said += [sys.version, *(f"{name} {os.environ.get(name)}" for name in PASSED_ON)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _state(notebook: Path, modules: Iterable[str]) -> dict[str, str]:
    """Return the hash of everything that a notebook depends on, by name."""
    own = {name: _sha256(ROOT / name) for name in sorted(modules)}
    beside = {name: (ROOT / name).with_suffix(".toml") for name in own}
    own |= {name: f"{own[name]} {_sha256(toml)}" for name, toml in beside.items() if toml.is_file()}
    return {"notebook": _sha256(notebook), "surroundings": _surroundings(), **own}


def _notes(config: pytest.Config) -> Path | None:
    """Return the folder of the notes, one for each set of texts. Without pytest's cache there is none."""
    if getattr(config, "cache", None) is None:
        return None
    texts = hashlib.sha256(repr([os.environ.get(name) for name in PASSED_ON]).encode()).hexdigest()[:8]
    return config.cache.mkdir(f"notebooks-{texts}")


def note(config: pytest.Config, notebook: Path, modules: Sequence[str]) -> None:
    """Note that a notebook has passed, with what it depended on."""
    if (notes := _notes(config)) is None:
        return
    draft = notes / f"{notebook.stem}.{os.getpid()}"
    draft.write_text(json.dumps(_state(notebook, modules), indent=1), encoding="utf-8")
    draft.replace(draft.with_name(f"{notebook.stem}.json"))


def is_unchanged(config: pytest.Config, notebook: Path) -> bool:
    """Return whether the notebook has passed here and nothing that it depends on has changed since."""
    notes = _notes(config)
    known = notes and notes / f"{notebook.stem}.json"
    if not known or not known.is_file():
        return False
    before = json.loads(known.read_text(encoding="utf-8"))
    return before == _state(notebook, before.keys() - {"notebook", "surroundings"})
