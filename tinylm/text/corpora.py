"""Corpora: which texts there are, where each is found, and how it is split.

A file is looked for in the pack (`TINYLM_DATA`), then in the cache (`TINYLM_CACHE`), then on the network
unless `TINYLM_OFFLINE=1`. Whose a text is and its licence stand in data/README.md. Taught in notebook
01_characters."""

import difflib
import os
import shutil
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tinylm.errors import CorpusMissing, DataError, DownloadError, short
from tinylm.text import addition
from tinylm.text.download import RemoteFile, download

ROOT = Path(__file__).resolve().parents[2]  # relative folders in the environment count from here
VALIDATION_SHARE = 0.1  # of the characters, taken from the end
GENERATED_CHARACTERS = 1_000_000  # training and validation text together
GETS_IT = "`python -m tinylm fetch {}` gets it"


class Corpus(NamedTuple):
    """An entry of the registry. Without files its text is generated: by addition, or by toyworld."""

    files: tuple[RemoteFile, ...] = ()
    separator: str | None = None  # ends each document; None for one running text


TINYSHAKESPEARE = RemoteFile(
    name="input.txt",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    size=1_115_394,
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
CORPORA = {
    "tinyshakespeare": Corpus(files=(TINYSHAKESPEARE,)),
    "toyworld-plays": Corpus(separator="\n\n\n"),
    "toyworld-stories": Corpus(separator="\n\n"),
    "addition": Corpus(),
    "addition-reversed": Corpus(),
    "addition-unpadded": Corpus(),
}


@dataclass(frozen=True)
class Text:
    """A corpus in memory. `source` is "pack", "cache", "network", "generated" or "file"."""

    train: str = field(repr=False)
    validation: str = field(repr=False)
    name: str
    source: str


def split(row: Any, name: str) -> tuple[Any, Any]:
    """(training, validation) part of a text or of a row of ids: the validation part is its last tenth.

    Raises DataError for fewer than 20."""
    if len(row) < 20:
        unit = "characters" if isinstance(row, str) else "tokens"
        raise DataError(f"{short(name)} has {len(row)} {unit}, a tenth to validate: give at least 20")
    cut = int(len(row) * (1 - VALIDATION_SHARE))
    return row[:cut], row[cut:]


def corpus_named(name: str) -> Corpus:
    """The entry of that name. Raises DataError, with the names there are."""
    if name not in CORPORA:
        near = difflib.get_close_matches(name, CORPORA, n=1)
        hint = f"did you mean {near[0]}" if near else f"use {', '.join(CORPORA)}"
        own = "or give a text file by path, like ./my.txt"
        raise DataError(f"there is no corpus {short(name)}: {hint}, {own}")
    return CORPORA[name]


def load(name: str, *, fallback: str | None = None) -> Text:
    """The text of a corpus, split into training and validation; fetched first where that is needed.

    With `fallback`, a generated corpus stands in for one that no source has, and one printed line says
    so. Raises CorpusMissing, and DataError for a damaged pack: its maker must hear of it."""
    if not (files := corpus_named(name).files):
        return Text(*_generated(name), name=name, source="generated")
    try:
        found = [_obtain(name, file) for file in files]
    except CorpusMissing as error:
        if fallback is None:
            raise
        print(f"{name} is not here ({error.reason}): using {fallback} instead; {GETS_IT.format(name)}")
        return load(fallback)
    text = "".join(path.read_bytes().decode("utf-8") for _, path in found)  # line ends stay as they are
    return Text(*split(text, name), name=name, source=found[-1][0])


def locate(name: str) -> str | None:
    """Where `load` would look first: "pack", "cache", "generated", or None for the network. Opens nothing."""
    sources = [_look_up(name, file)[0] for file in corpus_named(name).files] or ["generated"]
    return None if None in sources else sources[-1]


def fetch(name: str) -> dict[str, Path]:
    """The files of a corpus by name; {} for a generated one. Raises as `load`."""
    return {file.name: _obtain(name, file)[1] for file in corpus_named(name).files}


def pack(folder: str | Path) -> list[Path]:
    """Write the files of all corpora to `folder`, laid out as NAME/FILE, for a class without a network.

    Files that are there already and right are left alone. Returns the pack's files. Raises as `load`."""
    written = []
    for name, corpus in CORPORA.items():
        for file in corpus.files:
            target = Path(folder) / name / file.name
            if file.difference(target):
                here = _obtain(name, file)[1]
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(shutil.copyfile(here, f"{target}.part"), target)
                except OSError as error:
                    raise DataError(f"{folder} cannot be written: {error.strerror}") from error
            written.append(target)
    return written


def as_variable(folder: str | Path) -> str:
    """How TINYLM_DATA must name a folder: from the repository's root where it lies inside, else absolute."""
    path = Path(folder).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _look_up(name: str, file: RemoteFile) -> tuple[str | None, Path]:
    """The first source that has a file of that name, and its path; or None and its place in the cache.

    What the system refuses to look at (no right, too long a name) is not there."""
    for source, variable, default in (("pack", "TINYLM_DATA", ""), ("cache", "TINYLM_CACHE", "data/cache")):
        folder = os.path.expanduser(os.environ.get(variable) or default)
        path = ROOT / folder / name / file.name  # an absolute folder stays as it is
        if folder and os.path.isfile(path):
            return source, path
    return None, path


def _obtain(name: str, file: RemoteFile) -> tuple[str, Path]:
    """(source, path) of a file that is right; a damaged copy in the cache is replaced from the network."""
    source, path = _look_up(name, file)
    reason = "no pack or cache has it"
    if source:
        if not (wrong := file.difference(path)):
            return source, path
        reason = f"the {source}'s {file.name} is damaged, {wrong}"
    if source == "pack":
        raise DataError(f"{name} is not here ({reason}): make the pack again, or unset TINYLM_DATA")
    try:
        if os.environ.get("TINYLM_OFFLINE", "") not in ("", "0"):
            raise DownloadError("TINYLM_OFFLINE forbids the network")
        download(file, path)
        return "network", path
    except (DownloadError, OSError) as error:
        why = f"the disk refused to write: {error.strerror}" if isinstance(error, OSError) else error
        folder = ROOT / os.path.expanduser(os.environ.get("TINYLM_DATA", ""))
        if not (os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)):
            reason += ", TINYLM_DATA names no folder that can be read"
        reason += f", and {why}"
        raise CorpusMissing(
            f"{name} is not here ({reason}): {GETS_IT.format(name)}", reason=reason
        ) from error


@lru_cache
def _generated(name: str) -> tuple[str, str]:
    """(training, validation) text of a generated corpus: of a toyworld from two seeds."""
    if name.startswith("addition"):
        style = name.partition("-")[2] or "padded"
        return addition.texts(GENERATED_CHARACTERS // addition.LINE, style, held_out=VALIDATION_SHARE)
    from tinylm.text.toyworld import world as toyworld  # its grammar is only read when it is wanted

    world = {"toyworld-plays": toyworld.PLAYS, "toyworld-stories": toyworld.STORIES}[name]
    n_validation = round(GENERATED_CHARACTERS * VALIDATION_SHARE)
    return world.joined(GENERATED_CHARACTERS - n_validation, seed=1), world.joined(n_validation, seed=2)
