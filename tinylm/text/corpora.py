"""Corpora: which texts there are, where each is found, and how it is split.

A file is looked for in the pack (`TINYLM_DATA`), then in the cache (`TINYLM_CACHE`), then on the network
unless `TINYLM_OFFLINE=1`. A pack's `pack.json` may declare that it holds a part of a corpus or a stand-in.
The registry is corpora.toml; data/README.md tells about each text. Taught in notebook 01_characters."""

import hashlib
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tinylm.errors import CorpusMissing, DataError, DownloadError, short
from tinylm.text import addition
from tinylm.text.download import RemoteFile, atomic_file, download, write_json

ROOT = Path(__file__).resolve().parents[2]  # relative folders in the environment count from here
END_OF_TEXT = "<|endoftext|>"
VALIDATION_SHARE = 0.1  # of the characters, taken from the end
GENERATED_CHARACTERS = 1_000_000  # training and validation text together
LIBRARY_CHARACTERS = 40_000_000  # of more stories, with a space before each line: see toyworld's `spaced`
LARGE = 200_000_000  # bytes: a larger corpus is not read at once, and only fetched or packed by its name
ASIDE = 10  # about one document in so many is for validation, where no file is
PACK = "pack.json"


class Corpus(NamedTuple):
    """An entry of the registry. Without files its text is generated: by addition, or by toyworld."""

    files: tuple[RemoteFile, ...] = ()
    separator: str | None = None  # ends each document; None for one running text
    endings: Sequence[str] = (".txt",)  # of the names of files with text; other files lie beside them
    validation: Sequence[str] = ("valid",)  # one of these words is in the names of the files for validation
    piece: int | None = None  # bytes of text in a shard; None for documents.PIECE
    licence: str = ""  # of the text, in words
    hub: str | None = None  # the dataset's name on the Hugging Face Hub
    holds: str = "whole"  # or "part" or "stand-in", where the pack declares that
    what: str = ""  # what the part or the stand-in is, in words

    @property
    def contents(self) -> dict:
        """Return which files stand for the corpus here, as plain JSON."""
        files = [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in self.files]
        return {"holds": self.holds, "what": self.what, "files": files}

    @property
    def parts(self) -> dict[str, list[str]]:
        """Return the names of the files of text, for "train" and for "validation".

        Where no file is for validation, documents are split one by one (`by_document`), and both parts have
        all the files. A running text is one part, ""."""
        names = [file.name for file in self.files if file.name.lower().endswith(tuple(self.endings))]
        validation = [name for name in names if any(word in name.lower() for word in self.validation)]
        train = [name for name in names if name not in validation]
        if train and validation:
            return {"train": train, "validation": validation}
        return {"train": names, "validation": names} if names and self.separator else {"": names}

    @property
    def by_document(self) -> bool:
        """Return whether `is_aside` decides for each document, and no file does."""
        parts = self.parts
        return "" not in parts and parts["train"] == parts["validation"]


def _registry() -> dict[str, Corpus]:
    """Read corpora.toml. Its keys are a Corpus's fields, and the address of its files."""
    entries = tomllib.loads(Path(__file__).with_name("corpora.toml").read_text(encoding="utf-8"))
    for name, entry in entries.items():
        address, rows = entry.pop("address", None), entry.pop("files", [])
        files = []
        for row in rows:
            url = f"{address}/{row['name']}" if address else ""
            files.append(RemoteFile(row["name"], url, row["size"], row.get("sha256", "")))
        entries[name] = Corpus(tuple(files), **entry)
    return entries


CORPORA = _registry()


@dataclass(frozen=True)
class Text:
    """A corpus in memory. `source` is "pack", "cache", "network", "generated" or "file"."""

    train: str = field(repr=False)
    validation: str = field(repr=False)
    name: str
    source: str
    holds: str = "whole"  # or "part" or "stand-in"
    what: str = ""  # what these are, in words


def split(row: Any, name: str) -> tuple[Any, Any]:
    """Split a text or a row of ids into (training, validation); validation is the last tenth.

    Raises DataError for fewer than 20 characters or ids."""
    if len(row) < 20:
        unit = "characters" if isinstance(row, str) else "tokens"
        raise DataError(f"{short(name)} has {len(row)} {unit}, a tenth to validate: give at least 20")
    cut = int(len(row) * (1 - VALIDATION_SHARE))
    return row[:cut], row[cut:]


def corpus_named(name: str) -> Corpus:
    """Return the entry of that name. Raises DataError, with the names there are."""
    if name not in CORPORA:
        use = f"use {', '.join(CORPORA)}, or give a text file by path, like ./my.txt"
        raise DataError(f"there is no corpus {short(name)}: {use}")
    return CORPORA[name]


def corpus_here(name: str) -> Corpus:
    """Return the entry of that name, with the pack's files where its pack.json declares a part or a stand-in.

    Raises DataError for an unknown name, and for a pack.json that is damaged."""
    corpus, folder = corpus_named(name), _folder("TINYLM_DATA")
    if not (corpus.files and folder and os.path.isfile(folder / PACK)):
        return corpus
    entry = _read_pack(folder).get(name, {"holds": "whole"})
    try:
        if entry["holds"] == "whole":
            return corpus
        holds, what = "part" if entry["holds"] == "part" else "stand-in", " ".join(entry["what"].split())
        files = tuple(RemoteFile(file["name"], "", file["size"], file["sha256"]) for file in entry["files"])
        for file in files:  # a pack may come from anywhere: its files must not lead out of its folder
            is_plain = re.fullmatch(r"\w[\w .-]{0,99}", file.name)
            if not is_plain or type(file.size) is not int or type(file.sha256) is not str:
                raise ValueError("an odd name, size or sha256")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _bad_pack(f"what its {PACK} says of {name} cannot be, {short(str(error))}") from error
    if not files:
        raise _bad_pack(f"its {PACK} names no files of {name}")
    return corpus._replace(files=files, holds=holds, what=what)


def _read_pack(folder: Path) -> dict[str, Any]:
    """Return what a pack's pack.json says of each corpus. Raises DataError for one that is damaged."""
    with suppress(OSError, ValueError, RecursionError):
        said = json.loads((folder / PACK).read_bytes())
        if isinstance(said, dict):
            return said
    raise _bad_pack(f"its {PACK} is no JSON object")


def _bad_pack(why: str) -> DataError:
    return DataError(f"the pack is damaged ({why}): make it again, or unset TINYLM_DATA")


def is_aside(document: str) -> bool:
    """Return whether a document is for validation, where no file is. Its words decide, and nothing else.

    So a document stays on its side whatever is added, removed or shuffled, and so do its copies."""
    words = " ".join(document.split()).encode("utf-8", "replace")
    return int.from_bytes(hashlib.sha256(words).digest()) % ASIDE == 0


def size(corpus: Corpus) -> int:
    """Return the bytes of all its files."""
    return sum(file.size for file in corpus.files)


def load(name: str, *, fallback: str | None = None, tokenizer: str = "gpt2") -> Text:
    """Return the text of a corpus, split into training and validation; download it first where needed.

    With `fallback`, a generated corpus stands in for one that no source has or that is too large to read at
    once, and one printed line says so; `tokenizer` is the one that this line's command names. Raises
    CorpusMissing, and DataError for a damaged pack, with or without a fallback: its maker must hear of it."""
    corpus = corpus_here(name)
    if not corpus.files:
        return Text(*_generated(name), name=name, source="generated")
    if not any(corpus.parts.values()):
        raise DataError(f"{name} is no text to train on: use tinystories, say")
    try:
        way_out = f"`python -m tinylm prepare {name} --tokenizer {tokenizer}` makes it ready"
        if size(corpus) > LARGE:
            large = f"its {size(corpus) / 1e9:.1f} GB are too much to read at once"
            raise CorpusMissing(name, large, way_out)
        found = {file.name: _obtain(name, file) for file in corpus.files}
        if ".txt" not in corpus.endings:
            raise CorpusMissing(name, "its documents are read as tokens alone", way_out)
    except CorpusMissing as error:
        if fallback is None:
            raise
        print(f"{name} is not here ({error.reason}): using {fallback} instead; {error.way_out}")
        return load(fallback)
    files = [corpus.parts["train"]] if corpus.by_document else corpus.parts.values()
    parts = ["".join(found[file][1].read_bytes().decode("utf-8") for file in names) for names in files]
    if len(parts) == 1 or not all(parts):
        parts = split("".join(parts), name)  # line ends stay as they are
    source = found[corpus.files[-1].name][0]
    return Text(*parts, name=name, source=source, holds=corpus.holds, what=corpus.what)


def locate(name: str) -> str | None:
    """Return where `load` would look first: "pack", "cache", "generated", or None for the network.

    A pack that holds less than the corpus says so: "pack (a part)". Opens no file of the corpus."""
    corpus = corpus_here(name)
    sources = [_look_up(name, file)[0] for file in corpus.files] or ["generated"]
    said = "" if corpus.holds == "whole" else f" (a {corpus.holds})"
    return None if None in sources else f"{sources[-1]}{said}"


def fetch(name: str) -> dict[str, Path]:
    """Return the files of a corpus by name, downloaded where needed; {} where it is generated. Raises as
    `load`."""
    return {file.name: _obtain(name, file)[1] for file in corpus_here(name).files}


def unnamed() -> Iterator[str]:
    """Yield the corpora that are fetched or packed without being named: all that are not LARGE and can be
    had. Print a line for each of the others."""
    for name in CORPORA:
        corpus = corpus_here(name)
        if size(corpus) > LARGE or not (locate(name) or all(file.url for file in corpus.files)):
            print(f"{name} ({size(corpus) / 1e6:,.0f} MB) is left out: name it to get it too")
        elif corpus.files:
            yield name


def pack(folder: str | Path, *names: str) -> list[Path]:
    """Write the files of these corpora to `folder`, laid out as NAME/FILE, for a class without a network.

    Without names, write all that are not LARGE. Files that are there already and right are left alone. Return
    the pack's files; the last one is the pack.json that says what they are. Raises as `load`, and OSError
    where the disk refuses."""
    folder = Path(folder)
    written, said = [], _read_pack(folder) if (folder / PACK).is_file() else {}
    for name in names or unnamed():
        corpus = corpus_here(name)
        for file in corpus.files:
            target = folder / name / file.name
            if file.difference(target):
                _, here = _obtain(name, file)
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(here, "rb") as source, atomic_file(target) as copy:
                    shutil.copyfileobj(source, copy)
            written.append(target)
        said[name] = corpus.contents
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / PACK, said)
    return [*written, folder / PACK]


def cache() -> Path:
    """Return the folder of what was downloaded or prepared."""
    return _folder("TINYLM_CACHE") or ROOT / "data" / "cache"


def _folder(variable: str) -> Path | None:
    """Return the folder that the environment names; a relative one counts from the root."""
    named = os.path.expanduser(os.environ.get(variable, ""))
    return ROOT / named if named else None


def _look_up(name: str, file: RemoteFile) -> tuple[str | None, Path]:
    """Return the first source that has a file of that name, and its path; or None and its place in the cache.

    A file that the system refuses to look at (no right, too long a name) counts as missing."""
    for source, folder in (("pack", _folder("TINYLM_DATA")), ("cache", cache())):
        if folder and os.path.isfile(path := folder / name / file.name):
            return source, path
    return None, path


def _obtain(name: str, file: RemoteFile) -> tuple[str, Path]:
    """Return (source, path) of a file that is right; a damaged copy in the cache is downloaded again."""
    source, path = _look_up(name, file)
    reason = "no pack or cache has it"
    if source:
        wrong = file.difference(path)
        if not wrong:
            return source, path
        reason = f"the {source}'s {file.name} is damaged, {wrong}"
    if source == "pack" or file not in CORPORA[name].files:  # the pack alone declares it
        raise _bad_pack(f"{name}: {reason}")
    try:
        if not file.url:
            raise DownloadError("it comes with a pack alone")
        if os.environ.get("TINYLM_OFFLINE", "") not in ("", "0"):
            raise DownloadError("TINYLM_OFFLINE forbids the network")
        download(file, path)
        return "network", path
    except (DownloadError, OSError) as error:
        why = f"the disk refused to write: {error.strerror}" if isinstance(error, OSError) else error
        if not os.path.isdir(_folder("TINYLM_DATA") or ROOT):
            reason += ", TINYLM_DATA names no folder"
        way_out = f"set TINYLM_DATA to a pack that has {name}"
        if file.url:
            way_out = f"`python -m tinylm fetch {name}` gets it with a network, or {way_out}"
        raise CorpusMissing(name, f"{reason}, and {why}", way_out) from error


@lru_cache
def _generated(name: str) -> tuple[str, str]:
    """Return (training, validation) text of a generated corpus; a toyworld's come from two seeds."""
    if name.startswith("addition"):
        style = name.partition("-")[2] or "padded"
        return addition.texts(GENERATED_CHARACTERS // addition.LINE, style, held_out=VALIDATION_SHARE)
    from tinylm.text.toyworld import world as toyworld  # its grammar is only read when it is wanted

    world = toyworld.PLAYS if name == "toyworld-plays" else toyworld.STORIES
    n = LIBRARY_CHARACTERS if name == "toyworld-library" else GENERATED_CHARACTERS
    n_validation = round(GENERATED_CHARACTERS * VALIDATION_SHARE)
    texts = world.joined(n - n_validation, seed=1), world.joined(n_validation, seed=2)
    return tuple(map(toyworld.spaced, texts)) if name == "toyworld-library" else texts
