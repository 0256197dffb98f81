"""Corpora: where a text is found, and how it is split.

A file is looked for in the pack (`TINYLM_DATA`), then in the cache (`TINYLM_CACHE`), then on the network
unless `TINYLM_OFFLINE=1`. What is said about it names the kind of source, never a path. Refuses to know
tokens and models; what there is stands in registry, and how a file arrives in downloads.
Taught in notebook 01_characters."""

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tinylm.errors import CorpusMissing, DownloadError
from tinylm.text.download import WrongFile, copy, difference, download
from tinylm.text.registry import CORPORA, Corpus, CorpusFile, corpus_named

ROOT = Path(__file__).resolve().parents[2]  # relative folders in the environment count from here
ALWAYS_CHECKED = 16 * 2**20  # bytes; larger files are hashed once per process
GENERATED_CHARACTERS = 1_000_000  # training and validation text of a toyworld together
TRAIN_SEED, VALIDATION_SEED = 1, 2


@dataclass(frozen=True)
class Text:
    """A corpus in memory. `source` is "pack", "cache", "network" or "generated"."""

    train: str = field(repr=False)
    validation: str = field(repr=False)
    name: str
    source: str


def load(name: str, *, fallback: str | None = None) -> Text:
    """The text of a corpus, split into training and validation; fetched first where that is needed.

    With `fallback`, a generated corpus stands in for one that no source has, and one printed line says
    so. A damaged pack is refused all the same: its maker must hear of it.
    Raises CorpusMissing, or CorpusMissing for a file with another size or sha256 than the registry's.
    """
    corpus = corpus_named(name)
    if not corpus.files:
        return Text(*_generated(corpus), name=name, source="generated")
    try:
        found = [_obtain(corpus, file, progress=True) for file in corpus.files]
    except CorpusMissing as error:
        if fallback is None or error.source == "pack":
            raise
        text = load(fallback)
        print(
            f"{name} is not here ({error.reason}): using {fallback} instead; "
            f"`python -m tinylm fetch {name}` gets it"
        )
        return text
    text = "".join(path.read_bytes().decode("utf-8") for _, path in found)  # line ends stay as they are
    cut = int(len(text) * (1 - corpus.validation_fraction))
    return Text(text[:cut], text[cut:], name=name, source=found[-1][0])


def locate(name: str) -> str | None:
    """Where `load` would look first: "pack", "cache", "generated", or None for the network. Opens nothing."""
    corpus = corpus_named(name)
    if not corpus.files:
        return "generated"
    sources = [_look_up(corpus, file)[0] for file in corpus.files]
    return None if None in sources else sources[-1]


def fetch(name: str, *, progress: bool = True) -> dict[str, Path]:
    """The whole files of a corpus by name, from the first source that has them; {} for a generated one.

    Raises CorpusMissing or CorpusMissing, as `load`.
    """
    corpus = corpus_named(name)
    return {file.name: _obtain(corpus, file, progress)[1] for file in corpus.files}


def pack(folder: str | Path, names: list[str] | None = None, *, progress: bool = True) -> list[Path]:
    """Write a pack, NAME/FILE, for machines without a network: set `TINYLM_DATA` to the folder there.

    By default of every corpus in the registry; generated ones have no files. Whole files that are there
    already are left alone. Returns the files of the pack. Raises CorpusMissing or CorpusMissing, and
    DownloadError when the folder cannot be written.
    """
    wanted = [corpus_named(name) for name in (CORPORA if names is None else names)]
    written = []
    for corpus in wanted:
        for file in corpus.files:
            target = Path(folder) / corpus.name / file.name
            expected = {"size": file.size, "sha256": file.sha256}
            if not target.is_file() or difference(target, **expected):
                source = _obtain(corpus, file, progress)[1]
                try:
                    copy(source, target, **expected)
                except DownloadError as error:
                    raise DownloadError(f"{corpus.name}/{file.name} is not in the pack: {error}") from error
            written.append(target)
    return written


def _folder(variable: str, default: str | None) -> Path | None:
    value = os.environ.get(variable) or default
    if not value:
        return None
    try:
        return ROOT / Path(value).expanduser()  # an absolute value stays as it is
    except RuntimeError:  # the home of a user there is not
        return ROOT / value


def _is_there(file: Path) -> bool:
    """Whether the file can be seen; what the system refuses to look at (no right, too long) is not here."""
    try:
        return file.is_file()
    except OSError:
        return False


def _can_be_read(folder: Path) -> bool:
    try:
        with os.scandir(folder):
            return True
    except OSError:
        return False


def _look_up(corpus: Corpus, file: CorpusFile) -> tuple[str | None, Path]:
    """The first source that has a file of that name, and its path; or None and its place in the cache."""
    pack_folder, cache = _folder("TINYLM_DATA", None), _folder("TINYLM_CACHE", "data/cache")
    if pack_folder and _is_there(pack_folder / corpus.name / file.name):
        return "pack", pack_folder / corpus.name / file.name
    path = cache / corpus.name / file.name
    return ("cache" if _is_there(path) else None), path


def _obtain(corpus: Corpus, file: CorpusFile, progress: bool) -> tuple[str, Path]:
    """(source, path) of a whole file; a damaged copy in the cache is replaced from the network."""
    source, path = _look_up(corpus, file)
    wrong = _difference(path, file) if source else None
    if source and not wrong:
        return source, path
    if source == "pack":
        raise CorpusMissing(
            f"{corpus.name}/{file.name} in the pack is not the right file ({wrong}): "
            f"make the pack again, or unset TINYLM_DATA",
            reason=f"the pack's {file.name} is damaged",
            source="pack",
        )
    try:
        if os.environ.get("TINYLM_OFFLINE", "") not in ("", "0"):
            raise DownloadError("TINYLM_OFFLINE forbids the network")
        download(file.url, path, size=file.size, sha256=file.sha256, progress=progress)
    except WrongFile as error:
        raise CorpusMissing(
            f"{corpus.name}/{file.name} from the network is not the right file ({error}) and was removed: "
            f"try again, from another network if this one asks for a login",
            reason=f"the network gave another file, {error}",
            source="network",
        ) from error
    except DownloadError as error:
        absent = f"the cache's {file.name} is damaged, {wrong}" if wrong else "no pack or cache has it"
        if os.environ.get("TINYLM_DATA") and not _can_be_read(_folder("TINYLM_DATA", None)):
            absent += ", TINYLM_DATA names no folder that can be read"
        reason = f"{absent}, and {error}"
        raise (CorpusMissing)(
            f"{corpus.name} is not here ({reason}): `python -m tinylm fetch {corpus.name}` gets it",
            reason=reason,
            source="cache" if wrong else "network",
        ) from error
    return "network", path


_whole: set[tuple] = set()  # large files that were hashed in this process


def _difference(path: Path, file: CorpusFile) -> str | None:
    state = path.stat()
    key = (path, state.st_size, state.st_mtime_ns, state.st_ino, file.sha256)
    if key in _whole:
        return None
    wrong = difference(path, size=file.size, sha256=file.sha256)
    if not wrong and file.size > ALWAYS_CHECKED:
        _whole.add(key)
    return wrong


@lru_cache
def _generated(corpus: Corpus) -> tuple[str, str]:
    """(training, validation) text of a toyworld, from two seeds: neither holds a piece of the other."""
    from tinylm.text.toyworld import world as toyworld  # its grammar is only read when it is wanted

    world = {"toyworld-plays": toyworld.PLAYS, "toyworld-stories": toyworld.STORIES}[corpus.name]
    n_validation = round(GENERATED_CHARACTERS * corpus.validation_fraction)
    train = world.joined(GENERATED_CHARACTERS - n_validation, TRAIN_SEED)
    return train, world.joined(n_validation, VALIDATION_SEED)
