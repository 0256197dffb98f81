"""Shards: rows of ids on disk, as `.bin` files with a manifest that tells whether they are whole.

Knows only arrays, files and hashes. The tokenizer comes in as JSON and is kept with the ids, because ids
without their tokenizer mean nothing. Refuses to know texts and batches. Reads nanoGPT's and llm.c's
files as well. Taught in notebook 12_gpt2."""

import hashlib
import json
import os
import shutil
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from tinylm.errors import DataError
from tinylm.text.tokenizers import fingerprint, tokenizer_from_json

MANIFEST = "manifest.json"
LLMC_HEADER = 256  # int32 numbers in front of the ids: magic, version, count, zeros
LLMC_MAGIC, LLMC_VERSION = 20240520, 1  # llm.c, dev/data/data_common.py: GPT-2's ids in uint16
LLMC_MAGIC_LLAMA = 20240801  # the same for Llama 3, in uint32: refused, not read as something else


@dataclass(frozen=True)
class Shard:
    """One `.bin` file: its name, the number of ids in it, and its sha256."""

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What lies in a folder of shards. `count` is the number of ids in all of them together."""

    dtype: str  # "uint16" or "uint32", little-endian
    count: int
    source: str
    tokenizer: dict
    tokenizer_sha256: str
    shards: tuple[Shard, ...]


class Tokens:
    """Several arrays read as one row of ids, without joining them in memory.

    A slice is a view: the array itself where it lies in one part, as nearly every row of a batch does,
    otherwise Tokens again. np.asarray joins them in memory.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        # Plain views of memmaps: the same bytes on disk without the subclass's cost per slice.
        self._parts = [np.asarray(part) for part in parts if len(part)] or [np.asarray(parts[0])]
        self._ends = list(accumulate(len(part) for part in self._parts))
        self.dtype = np.result_type(*self._parts)
        self.shape = (self._ends[-1],)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice) -> "np.ndarray | Tokens":
        begin, end, stride = index.indices(len(self))
        if stride != 1:
            raise IndexError(f"Tokens are read from left to right, one by one: not by steps of {stride}")
        first = bisect_right(self._ends, begin, hi=len(self._ends) - 1)
        offset = self._ends[first] - len(self._parts[first])
        if end <= self._ends[first]:
            return self._parts[first][begin - offset : max(end, begin) - offset]
        last = bisect_left(self._ends, end)
        parts = self._parts[first : last + 1]
        parts[-1] = parts[-1][: end - self._ends[last - 1]]
        parts[0] = parts[0][begin - offset :]
        return Tokens(parts)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(self._parts, dtype=dtype or self.dtype)  # (N,), all of it in memory


def write_shards(
    folder: str | Path,
    token_arrays: Iterable[np.ndarray],
    *,
    tokenizer: dict,
    source: str,
    shard_tokens: int = 10**8,
) -> Manifest:
    """Write rows of ids, one after the other, into a new folder: NAME_000.bin, ..., manifest.json.

    A file holds `shard_tokens` ids (the last one fewer); a row may go on in the next file. The folder
    appears when everything in it is written, or not at all. `tokenizer` is a tokenizer's `to_json()`.
    Raises DataError for a folder that exists, for no ids, and for ids outside the vocabulary.
    """
    folder = Path(folder)
    if folder.exists():
        raise DataError(f"the folder {folder.name} exists already: remove it, or choose another name")
    if shard_tokens < 1:
        raise DataError(f"shard_tokens is {shard_tokens}: give at least 1")
    vocab_size = tokenizer_from_json(tokenizer).vocab_size
    dtype = np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
    draft = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    try:
        draft.mkdir(parents=True)
        rows = (_checked(row, vocab_size).astype(dtype) for row in token_arrays)
        shards = []
        for number, group in groupby(_cut(rows, shard_tokens), key=itemgetter(0)):
            file = f"{folder.name}_{number:03d}.bin"
            size, digest = _write(draft / file, (piece for _, piece in group))
            shards.append(Shard(file, size // dtype.itemsize, digest))
        if not shards:
            raise DataError("there are 0 ids to write: give at least 1")
        count = sum(shard.count for shard in shards)
        manifest = Manifest(dtype.name, count, source, tokenizer, fingerprint(tokenizer), tuple(shards))
        _write(draft / MANIFEST, [json.dumps(asdict(manifest), indent=1).encode()])
        os.rename(draft, folder)
    except OSError as error:
        raise DataError(f"the disk refused to write {folder.name}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a folder of shards. Raises DataError where there is none that can be understood."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise DataError(f"the folder {path.parent.name} has no {MANIFEST}: give the .bin files themselves")
    try:
        data = json.loads(path.read_bytes())
        manifest = Manifest(**data | {"shards": tuple(Shard(**shard) for shard in data["shards"])})
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"the {MANIFEST} of {path.parent.name} is damaged: write the shards again") from error
    found = fingerprint(manifest.tokenizer)
    _expect(path.parent.name, "tokenizer sha256", manifest.tokenizer_sha256, found)
    _expect(path.parent.name, "ids", manifest.count, sum(shard.count for shard in manifest.shards))
    return manifest


def open_tokens(
    path: str | Path | Sequence[str | Path], *, verify: bool = True, tokenizer: dict | None = None
) -> np.ndarray | Tokens:
    """The ids of a folder of shards, of one `.bin` file, or of several read as one row; not read into memory.

    Takes our own folders and files, llm.c's shards (header of 256 int32, then uint16) and nanoGPT's (uint16
    and nothing else). Sizes are always checked; with `verify` the sha256 of our own files too, which reads
    them once. With `tokenizer`, its `to_json()`, our own shards of any other tokenizer are refused.
    Raises DataError, which names the file with what was expected and what was found.
    """
    if not isinstance(path, str | Path):
        return Tokens([open_tokens(one, verify=verify, tokenizer=tokenizer) for one in path])
    path = Path(path)
    ours = (path if path.is_dir() else path.parent) / MANIFEST
    manifest = read_manifest(ours.parent) if path.is_dir() or ours.is_file() else None
    if not path.is_dir():
        mine = [shard for shard in manifest.shards if shard.file == path.name] if manifest else []
        if not mine:
            return _open_foreign(path)
        return _open_own(path, mine[0], manifest, verify, tokenizer)
    parts = [_open_own(path / s.file, s, manifest, verify, tokenizer) for s in manifest.shards]
    return parts[0] if len(parts) == 1 else Tokens(parts)


def _open_own(
    path: Path, shard: Shard, manifest: Manifest, verify: bool, tokenizer: dict | None
) -> np.ndarray:
    if tokenizer is not None:
        _expect(path.name, "tokenizer sha256", fingerprint(tokenizer), manifest.tokenizer_sha256)
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    _expect(path.name, "bytes", shard.count * dtype.itemsize, _size(path))
    if verify:
        with open(path, "rb") as file:
            _expect(path.name, "sha256", shard.sha256, hashlib.file_digest(file, "sha256").hexdigest())
    return np.memmap(path, dtype=dtype, mode="r")  # (count,)


def _open_foreign(path: Path) -> np.ndarray:
    size = _size(path)
    header = np.fromfile(path, dtype="<i4", count=min(3, size // 4))
    if len(header) == 3 and header[0] in (LLMC_MAGIC, LLMC_MAGIC_LLAMA):
        _expect(path.name, "magic number", LLMC_MAGIC, int(header[0]))
        _expect(path.name, "version", LLMC_VERSION, int(header[1]))
        _expect(path.name, "bytes", 4 * LLMC_HEADER + 2 * int(header[2]), size)
        return np.memmap(path, dtype="<u2", mode="r", offset=4 * LLMC_HEADER)  # (count,)
    if size == 0 or size % 2:
        raise DataError(f"{path.name}: expected a whole number of 2-byte ids, found {size:,} bytes")
    return np.memmap(path, dtype="<u2", mode="r")  # (count,)


def _cut(rows: Iterable[np.ndarray], shard_tokens: int) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the shard, what goes into it next), in order."""
    total = 0
    for row in rows:
        while len(row):
            number, used = divmod(total, shard_tokens)
            piece, row = row[: shard_tokens - used], row[shard_tokens - used :]
            yield number, piece
            total += len(piece)


def _write(path: Path, pieces: Iterable[np.ndarray | bytes]) -> tuple[int, str]:
    """(bytes written, their sha256)."""
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        for piece in pieces:
            data = bytes(piece)
            file.write(data)
            digest.update(data)
        file.flush()
        os.fsync(file.fileno())
        return file.tell(), digest.hexdigest()


def _checked(row: np.ndarray, vocab_size: int) -> np.ndarray:
    row = np.asarray(row)
    if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
        raise DataError(f"ids of shape {row.shape} and type {row.dtype} are not one row of whole numbers")
    if row.size and (row.min() < 0 or row.max() >= vocab_size):
        wrong = row.min() if row.min() < 0 else row.max()
        raise DataError(
            f"id {wrong} is outside the tokenizer's {vocab_size}: ids run from 0 to {vocab_size - 1}"
        )
    return row


def _expect(name: str, what: str, expected: int | str, found: int | str) -> None:
    if expected != found:
        shown = [f"{v:,}" if what in ("bytes", "ids") else str(v)[:16] for v in (expected, found)]
        raise DataError(f"{name}: expected {what} {shown[0]}, found {shown[1]}: write or fetch it again")


def _size(path: Path) -> int:
    if not path.is_file():
        raise DataError(
            f"there is no file {path.name} in {path.parent.name or 'this folder'}: write the shards first"
        )
    return path.stat().st_size
