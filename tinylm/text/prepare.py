"""Preparing: a corpus becomes shards of tokens, once, and an interruption costs one shard at most.

A shard under its final name is complete. After an interruption, `prepare` reads past the finished shards,
which is quick, and encodes the rest. Where a finished shard is not what was written, all of them are made
again. One process does the work: all of TinyStories takes it about two minutes. Taught in notebook
08_tinystories."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm.auto import tqdm

from tinylm.errors import DataError, short
from tinylm.terminal import shows_bars
from tinylm.text import corpora, documents
from tinylm.text.corpora import END_OF_TEXT, Corpus, is_aside
from tinylm.text.download import RemoteFile, sha256, write_json
from tinylm.text.shards import open_tokens, write_manifest, write_shard
from tinylm.text.tokenizers import BPETokenizer, fingerprint, tokenizer_named

TOKENIZER = "tokenizer.json"  # beside the shards: a preparation that resumes uses the one it began with
FINISHED = "finished.json"  # beside it: {file: its sha256} of the tokenizer and the finished shards
TRAINED_ON = 10**8  # characters: more text hardly changes the merges


def prepare(corpus: str, tokenizer: str = "gpt2") -> Path:
    """Return the folder with the shards of a corpus. Make it first where it is missing or damaged.

    It holds `train` and `validation`, or the shards of a text that is not split. `corpus` is a name of the
    registry with documents, or the path of a file or folder of texts as documents.py reads them; `tokenizer`
    as for tokenizer_named. Shards that are there are checked by their sha256. After a kill, a full disk or
    too little memory, `prepare` again makes the shards that are missing. Processes that prepare the same text
    wait for one another, and only one of them works. Raises DataError and CorpusMissing."""
    text, source, home = _planned(corpus, tokenizer)
    if corpus in corpora.CORPORA and ("" in text.parts or ".bin" in text.endings):
        raise DataError(f"{corpus} needs no shards: give its name and the tokenizer's to a run")
    if _is_ready(home, text, verify=True):  # needs no right to write: a cache may be read-only
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(home.with_name(f"{home.name}.lock")):
            if not _is_ready(home, text, verify=True):  # made while this process waited
                _make(home, corpus, tokenizer, text, source)
    except (MemoryError, OSError) as error:
        why = "there was too little memory"
        if isinstance(error, OSError):
            why = f"the disk refused: {error.strerror or error}"
        again = "prepare it again, what is finished stays"
        raise DataError(f"{home.name} is not ready, {why}: {again}") from error
    return home


def prepared(corpus: str, tokenizer: str) -> Path | None:
    """Return the folder of a corpus of the registry that was prepared with that tokenizer.

    None where there is no such folder, or a shard is missing or has another size. A small corpus without a
    file for validation is prepared first: only then are its documents split."""
    text, _, home = _planned(corpus, tokenizer)
    if _is_ready(home, text, verify=False):
        return home
    is_small = corpora.size(text) <= corpora.LARGE
    return prepare(corpus, tokenizer) if text.by_document and is_small and corpora.locate(corpus) else None


def tokenizer_of(name: str, texts: Iterable[str]) -> BPETokenizer:
    """Return the tokenizer of that name, trained on these texts where it is read from no file.

    Raises DataError for one without an end of text: documents would run into each other."""
    tokenizer = tokenizer_named(name, documents.beginning(texts, TRAINED_ON))
    if tokenizer.end_of_text is None:
        raise DataError(f"the tokenizer {short(name)} has no {END_OF_TEXT}: use one that ends documents")
    return tokenizer


def _planned(corpus: str, tokenizer: str) -> tuple[Corpus, dict[str, Any], Path]:
    """Return the text, what determines its shards as plain JSON, and the folder of the shards.

    The folder's name has a hash of all that determines them, so its shards can't be another text's. Opens no
    file of the registry."""
    if tokenizer == "characters":
        raise DataError("shards are for tokens, not for characters: use gpt2, bpe-4096 or a tokenizer.json")
    if not re.fullmatch(r"gpt2|bpe-[0-9]{1,7}", tokenizer):
        tokenizer = tokenizer_named(tokenizer).fingerprint[:12]
    if corpus in corpora.CORPORA:
        text = corpora.corpus_here(corpus)
    else:
        files = tuple(RemoteFile(p.name, "", p.stat().st_size, sha256(p)) for p in _own_files(corpus))
        text = Corpus(files, endings=tuple(documents.READERS))
    aside = {"aside": f"1 of {corpora.ASIDE} by sha256"} if text.by_document else {}
    source = {"corpus": Path(corpus).name, "tokenizer": tokenizer} | text.contents | aside
    plan = fingerprint(source | {"piece": text.piece or documents.PIECE})[:12]
    return text, source, corpora.cache() / "prepared" / f"{Path(corpus).stem}-{tokenizer}-{plan}"


def _own_files(corpus: str) -> list[Path]:
    path = Path(corpus).expanduser()
    kept = (file for file in path.glob("*") if file.suffix.lower() in documents.READERS)
    found = [path] if path.is_file() else sorted(kept)
    if not found:
        known = "a corpus by name, or the path of a file or folder of .txt, .jsonl or .parquet files"
        raise DataError(f"there is no text {short(corpus)}: give {known}")
    return found


def _is_ready(home: Path, text: Corpus, *, verify: bool) -> bool:
    """Return whether all shards are there and undamaged: by their sizes, or with `verify` by their sha256,
    which reads them all."""
    with suppress(OSError, DataError):
        for part in text.parts:
            open_tokens(home / part, verify=verify)
        return True
    return False


def _make(home: Path, corpus: str, tokenizer: str, text: Corpus, source: dict) -> None:
    """Fill `home` shard by shard; its manifests come last, and without them it is not ready."""
    paths = corpora.fetch(corpus) if corpus in corpora.CORPORA else {p.name: p for p in _own_files(corpus)}
    parts = {part: [paths[name] for name in names] for part, names in text.parts.items()}
    aside = {"train": False, "validation": True} if text.by_document else {}  # which documents a part has
    made, finished = _begun(home)
    if made is None:
        shutil.rmtree(home, ignore_errors=True)
        train = next(iter(parts))
        found = (document for _, document in _documents(parts[train], text.piece, aside.get(train)))
        made = tokenizer_of(tokenizer, found)
        for part in parts:
            (home / part).mkdir(parents=True)
        write_json(home / TOKENIZER, made.to_json())
        finished = {TOKENIZER: sha256(home / TOKENIZER)}
    for part, files in parts.items():
        found = _documents(files, text.piece, aside.get(part))
        shown = tqdm(found, desc=f"documents {part}", delay=2, leave=False, disable=not shows_bars())
        shards = []
        for number, (_, piece) in enumerate(groupby(shown, key=itemgetter(0))):
            shards.append(home / part / f"{part or 'tokens'}_{number:03d}.bin")
            name, fresh = shards[-1].relative_to(home).as_posix(), shards[-1].with_suffix(".new")
            if name not in finished or not shards[-1].exists():
                ids = made.encode_documents(document for _, document in piece)
                write_shard(fresh, ids, made.vocab_size)
                finished[name] = sha256(fresh)
                write_json(home / FINISHED, finished)  # before the shard has its name: none is without one
                fresh.replace(shards[-1])
        write_manifest(home / part, shards, made.to_json(), source)


def _begun(home: Path) -> tuple[BPETokenizer | None, dict[str, str]]:
    """Return the tokenizer of the finished shards and the sha256 of each, or (None, {}) where one of them is
    not what was written: then all are made again."""
    with suppress(AttributeError, OSError, RecursionError, ValueError):
        finished = json.loads((home / FINISHED).read_bytes())
        there = {name: digest for name, digest in finished.items() if (home / name).exists()}
        if TOKENIZER in there and all(sha256(home / name) == it for name, it in there.items()):
            return tokenizer_named(str(home / TOKENIZER)), finished
    return None, {}


def _documents(files: list[Path], size: int | None, aside: bool | None) -> Iterator[tuple[tuple, str]]:
    """Yield (piece, document) of each document that is set aside, that is not, or (None) of all.

    A piece is a file and a number in it."""
    for file in files:
        for number, text in documents.stream(file, size):
            if aside is None or is_aside(text) == aside:
                yield (file, number), text
