"""Preparing: a corpus becomes shards of tokens, once, on every core, whatever interrupts it.

One process reads the documents and writes the shards, and workers encode chunks of documents for it. The
order stays, so the shards are the same for any number of workers. A shard under its final name is complete:
after an interruption, `prepare` reads past it, which is quick, and encodes the rest. Where finished shards
are damaged, it makes all of them again. Taught in notebook 08_tinystories."""

import json
import os
import re
import shutil
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import groupby, islice
from multiprocessing import get_context, parent_process
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from tinylm.errors import DataError, require_count, short
from tinylm.terminal import shows_bars
from tinylm.text import corpora, documents
from tinylm.text.corpora import END_OF_TEXT, Corpus, is_aside
from tinylm.text.documents import Document
from tinylm.text.download import RemoteFile, sha256, write_json
from tinylm.text.shards import MANIFEST, open_tokens, read_manifest, write_manifest, write_shard
from tinylm.text.tokenizers import BPETokenizer, fingerprint, tokenizer_from_json, tokenizer_named

PLAN = "preparation.json"  # beside the shards: what they are made of, and by which tokenizer
TRAINED_ON = 10**8  # characters: more text hardly changes the merges
ALONE = 2 * documents.PIECE  # bytes: for less than that, starting workers is not worth while
TOGETHER = 64  # documents that a worker encodes at once
Chunk = tuple[Path, list[str]]  # a shard, and documents that belong in it
AHEAD = 2  # chunks for each worker that wait for it, so that it never waits for the reader


def prepare(
    corpus: str, tokenizer: str = "gpt2", *, processes: int | None = None, folder: str | Path | None = None
) -> Path:
    """Return the folder with the shards of a corpus. Make it first where it is missing or damaged, or belongs
    to another text. It holds `train` and `validation`, or the shards of a text that is not split.

    `corpus` is a name of the registry with documents, or the path of a file or folder of texts as
    documents.py reads them; `tokenizer` as for tokenizer_named. `processes` is the number of cores, if not
    given. Shards that are there are checked by their sha256. After a kill, a full disk or too little memory,
    `prepare` again makes the shards that are missing. Processes that prepare the same text wait for one
    another, and only one of them works. Raises ConfigError, DataError, and CorpusMissing."""
    require_count("processes", 1 if processes is None else processes)
    text, source = _source(corpus, tokenizer)
    if corpus in corpora.CORPORA and ("" in text.parts or ".bin" in text.endings):
        raise DataError(f"{corpus} needs no shards: give its name and the tokenizer's to a run")
    home = Path(folder) if folder else _home(source)
    if _is_ready(home, text, source, verify=True):  # needs no right to write: a cache may be read-only
        return home
    if folder and home.exists() and not _begun(home, text, source):
        raise DataError(f"the folder {home.name} exists already: remove it, or name another")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(home.with_name(f"{home.name}.lock")):
            if not _is_ready(home, text, source, verify=True):  # made while this process waited
                _make(home, corpus, tokenizer, text, source, processes)
    except (BrokenProcessPool, MemoryError, OSError) as error:
        why = "there was too little memory, use fewer processes"
        if isinstance(error, OSError):
            why = f"the disk refused: {error.strerror or error}"
        raise DataError(
            f"{home.name} is not ready, {why}: prepare it again, what is finished stays"
        ) from error
    return home


def prepared(corpus: str, tokenizer: str) -> Path | None:
    """Return the folder of a corpus of the registry that was prepared with that tokenizer.

    None where there is no such folder, or it was made from other files than those that stand for the corpus
    here, or a shard is missing or has another size.
    A small corpus without a file for validation is prepared first: only there its documents are split."""
    text, source = _source(corpus, tokenizer)
    home = _home(source)
    if _is_ready(home, text, source, verify=False):
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


def _source(corpus: str, tokenizer: str) -> tuple[Corpus, dict[str, Any]]:
    """Return the text, and what determines its shards, as plain JSON. Opens no file of the registry."""
    if tokenizer == "characters":
        raise DataError("shards are for tokens, not for characters: use gpt2, bpe-4096 or a tokenizer.json")
    if not re.fullmatch(r"gpt2|bpe-[0-9]{1,7}", tokenizer):
        tokenizer = tokenizer_named(tokenizer).fingerprint[:12]
    if corpus in corpora.CORPORA:
        text = corpora.corpus_here(corpus)
    else:
        files = tuple(RemoteFile(p.name, "", p.stat().st_size, sha256(p)) for p in _own_files(corpus))
        text = Corpus(files, endings=documents.SUFFIXES)
    aside = {"aside": f"1 of {corpora.ASIDE} by sha256"} if text.by_document else {}
    return text, {"corpus": Path(corpus).name, "tokenizer": tokenizer} | text.contents | aside


def _own_files(corpus: str) -> list[Path]:
    path = Path(corpus).expanduser()
    kept = (file for file in path.glob("*") if file.suffix.lower() in documents.SUFFIXES)
    found = [path] if path.is_file() else sorted(kept)
    if not found:
        known = "a corpus by name, or the path of a file or folder of .txt, .jsonl or .parquet files"
        raise DataError(f"there is no text {short(corpus)}: give {known}")
    return found


def _home(source: dict) -> Path:
    name = f"{Path(source['corpus']).stem}-{source['tokenizer']}"
    if source["corpus"] not in corpora.CORPORA:  # two texts of one's own may have one name
        name += f"-{fingerprint(source)[:8]}"
    return corpora.cache() / "prepared" / name


def _is_ready(home: Path, text: Corpus, source: dict, *, verify: bool) -> bool:
    """Return whether the shards are there, of that text and tokenizer, and undamaged: by their sizes, or with
    `verify` by their sha256, which reads them all."""
    with suppress(OSError, DataError):
        for part in text.parts:
            if read_manifest(home / part)["source"] != source:
                return False
            open_tokens(home / part, verify=verify)
        return True
    return False


def _make(home: Path, corpus: str, tokenizer: str, text: Corpus, source: dict, processes: int | None) -> None:
    """Fill `home` shard by shard; its manifests come last, and without them it is not ready."""
    paths = corpora.fetch(corpus) if corpus in corpora.CORPORA else {p.name: p for p in _own_files(corpus)}
    total = sum(paths[name].stat().st_size for names in text.parts.values() for name in names)
    if processes is None:
        processes = (os.cpu_count() or 1) if total > ALONE else 1
    made = _begin(home, tokenizer, text, source, paths)
    vocab_size, is_short = tokenizer_from_json(made).vocab_size, total <= documents.PIECE
    hide = is_short or not shows_bars()
    with (
        tqdm(desc="tokens", total=total, unit="B", unit_scale=True, leave=False, disable=hide) as bar,
        _pool(processes, made) as pool,
    ):
        for part in text.parts:
            chunks = _chunks(home / part, text, part, paths, bar)
            encoded = _in_order(pool, chunks, AHEAD * processes)
            for shard, some in groupby(encoded, key=itemgetter(0)):
                write_shard(shard, (ids for _, ids in some), vocab_size)
            shards = sorted((home / part).glob("*.bin"), key=lambda path: (len(path.name), path.name))
            write_manifest(home / part, shards, made, source)


def _begin(home: Path, name: str, text: Corpus, source: dict, paths: dict[str, Path]) -> dict[str, Any]:
    """Return the tokenizer as JSON. What is finished of the same text stays in `home`, and nothing else.

    Where all manifests are there, a shard or a manifest is damaged: all shards are made again. That costs the
    hours of the first time, and spares us to say which of them can be trusted."""
    made = _begun(home, text, source)
    if made and not all((home / part / MANIFEST).exists() for part in text.parts):
        return made
    shutil.rmtree(home, ignore_errors=True)
    train = next(iter(text.parts.values()))
    found = (document.text for file in train for document in documents.stream(paths[file]))
    aside = False if text.by_document else None
    made = tokenizer_of(name, (text for text in found if _belongs(text, aside))).to_json()
    for part in text.parts:
        (home / part).mkdir(parents=True)
    write_json(home / PLAN, {"plan": _plan(text, source), "tokenizer": made})
    return made


def _plan(text: Corpus, source: dict) -> dict[str, Any]:
    return source | {"piece": text.piece or documents.PIECE}


def _begun(home: Path, text: Corpus, source: dict) -> dict[str, Any] | None:
    """Return the tokenizer of a folder that was begun for the same text, or None."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        begun = json.loads((home / PLAN).read_bytes())
        return begun["tokenizer"] if begun["plan"] == _plan(text, source) else None
    return None


def _chunks(folder: Path, text: Corpus, part: str, paths: dict[str, Path], bar: tqdm) -> Iterator[Chunk]:
    """Yield (shard, some of its documents), and read past the shards that are there already."""
    aside = part == "validation" if text.by_document else None
    number = 0
    for name in text.parts[part]:
        stream = documents.stream(paths[name], text.piece)
        for _, piece in groupby(_shown(stream, bar), key=attrgetter("piece")):
            shard = folder / f"{part or 'tokens'}_{number:03d}.bin"
            number += 1
            if not shard.exists():
                texts = (document.text for document in piece if _belongs(document.text, aside))
                while some := [*islice(texts, TOGETHER)]:
                    yield shard, some


def _shown(stream: Iterator[Document], bar: tqdm) -> Iterator[Document]:
    """Yield the documents of a file, and show how much of it was read."""
    done = 0
    for document in stream:
        bar.update(document.end - done)
        done = document.end
        yield document


def _belongs(text: str, aside: bool | None) -> bool:
    """Return whether a document is of the validation part, of the training part, or (None) of any."""
    return documents.is_kept(text) and (aside is None or is_aside(text) == aside)


def _in_order(pool: Executor, chunks: Iterator[Chunk], ahead: int) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield (shard, ids) of each chunk, in order. At most `ahead` chunks are in memory."""
    waiting = deque()
    for shard, texts in chunks:
        waiting.append((shard, pool.submit(_encode, texts)))
        if len(waiting) == ahead:
            first, ids = waiting.popleft()
            yield first, ids.result()
    for shard, ids in waiting:
        yield shard, ids.result()


def _pool(processes: int, tokenizer: dict) -> Executor:
    """Return as many workers; a single one is a thread."""
    if processes == 1:
        return ThreadPoolExecutor(1, initializer=_begin_worker, initargs=(tokenizer,))
    return ProcessPoolExecutor(processes, get_context("spawn"), _begin_worker, (tokenizer,))


_worker = threading.local()  # its encoder is too large to come with every chunk


def _begin_worker(tokenizer: dict) -> None:
    """Prepare a worker. A process leaves Ctrl-C to its parent and ends with it, even where that is killed."""
    _worker.encoder = tokenizer_from_json(tokenizer)
    if parent := parent_process():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _encode(texts: list[str]) -> np.ndarray:
    """Return the ids of some documents, one after the other, (T,)."""
    return np.concatenate([*_worker.encoder.encode_documents(texts)]).astype(
        np.uint32
    )  # half of int64 to send
