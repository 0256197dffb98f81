"""Shards: rows of ids on disk, as `.bin` files with a manifest that tells whether they are complete.

The tokenizer comes in as JSON and is kept with the ids, because ids without their tokenizer mean nothing.
Reads nanoGPT's and llm.c's files as well. Taught in notebook 12_gpt2."""

import hashlib
import json
import os
import shutil
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from tinylm.errors import DataError, require_count, short
from tinylm.text.tokenizers import fingerprint, tokenizer_from_json

MANIFEST = "manifest.json"
DTYPES = {"uint16": "<u2", "uint32": "<u4"}  # of the ids in a file: nothing else is ever read as ids
READ_AT_ONCE = 1 << 22  # ids
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

    dtype: str  # one of DTYPES, little-endian
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
        return self._ends[-1]

    def __getitem__(self, index: slice) -> "np.ndarray | Tokens":
        begin, end, stride = index.indices(self._ends[-1])
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
    if not _is_plain(f"{folder.name}_000.bin"):
        raise DataError(f"{short(folder.name)} cannot be the name of files everywhere: choose another one")
    require_count("shard_tokens", shard_tokens)
    vocab_size = tokenizer_from_json(tokenizer).vocab_size
    dtype = "uint16" if vocab_size <= 2**16 else "uint32"
    draft = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    try:
        draft.mkdir(parents=True)
        rows = (_checked(row, vocab_size).astype(DTYPES[dtype]) for row in token_arrays)
        shards = []
        for number, group in groupby(_cut(rows, shard_tokens), key=itemgetter(0)):
            file = f"{folder.name}_{number:03d}.bin"
            size, digest = _write(draft / file, (piece for _, piece in group))
            shards.append(Shard(file, size // np.dtype(dtype).itemsize, digest))
        if not shards:
            raise DataError("there are 0 ids to write: give at least 1")
        count = sum(shard.count for shard in shards)
        manifest = Manifest(dtype, count, source, tokenizer, fingerprint(tokenizer), tuple(shards))
        _write(draft / MANIFEST, [json.dumps(asdict(manifest), indent=1).encode()])
        os.rename(draft, folder)
    except OSError as error:
        raise DataError(f"the disk refused to write {folder.name}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a folder of shards. Raises DataError where there is none, or none that can be right."""
    path = Path(folder) / MANIFEST
    try:
        data = json.loads(path.read_bytes())
        shards = data["shards"] if isinstance(data, dict) and isinstance(data.get("shards"), list) else ()
        manifest = _made(Manifest, data | {"shards": tuple(_made(Shard, shard) for shard in shards)})
        for fault in _faults(manifest):
            raise DataError(fault)
        tokenizer_from_json(manifest.tokenizer)
    except OSError as error:
        raise DataError(f"{path.parent.name} has no {MANIFEST} that can be read: {error.strerror}") from error
    except (ValueError, TypeError, RecursionError) as error:
        why = error if isinstance(error, DataError) else f"no JSON of shards, {type(error).__name__}"
        raise DataError(f"the {MANIFEST} of {path.parent.name} is damaged: {why}; write it again") from error
    return manifest


def _made(kind: type, data: Any) -> Any:
    wanted = [field.name for field in fields(kind)]
    if sorted(data) != sorted(wanted):
        raise DataError(f"fields {short(sorted(data))} are not {', '.join(wanted)}")
    return kind(**data)


def _faults(manifest: Manifest) -> Iterator[str]:
    """What cannot be right in a manifest, whoever wrote it: it decides which bytes are read, and as what."""
    if manifest.dtype not in DTYPES:
        yield f"dtype is {short(manifest.dtype)}: it must be {' or '.join(DTYPES)}"
    if not isinstance(manifest.source, str):
        yield f"source is {short(manifest.source)}: it must be a text"
    if not manifest.shards:
        yield "it names 0 shards"
    for shard in manifest.shards:
        if not _is_plain(shard.file):
            yield f"file is {short(shard.file)}: it must be the plain name of a .bin file"
        if type(shard.count) is not int or shard.count < 1:
            yield f"count is {short(shard.count)}: it must be a whole number of at least 1"
        if not isinstance(shard.sha256, str):
            yield f"sha256 is {short(shard.sha256)}: it must be a text"
    if len({shard.file for shard in manifest.shards}) < len(manifest.shards):
        yield "it names a file twice"
    found = sum(shard.count for shard in manifest.shards)
    if manifest.count != found or type(manifest.count) is not int:
        yield f"expected ids {short(manifest.count)}, found {short(found)}"
    if (found := fingerprint(manifest.tokenizer)) != manifest.tokenizer_sha256:
        yield f"expected tokenizer sha256 {short(manifest.tokenizer_sha256)}, found {found[:16]}"


def _is_plain(name: Any) -> bool:
    """Whether this is the name of a .bin file and leads nowhere else, on any system."""
    is_name = isinstance(name, str) and name.isprintable() and name.endswith(".bin") and len(name) < 256
    return is_name and "/" not in name and PureWindowsPath(name).name == name


def open_tokens(path: str | Path, *, verify: bool = True) -> np.ndarray | Tokens:
    """The ids of a folder of our shards, or of one foreign `.bin` file; not read into memory.

    Foreign are llm.c's shards (a header of 256 int32, then uint16) and nanoGPT's (uint16 and nothing else);
    put several together with Tokens. Sizes are always checked; with `verify` our own files are read once, to
    check their sha256 and that every id is in the vocabulary. Raises DataError, which names the file with
    what was expected and what was found.
    """
    path = Path(path)
    if not os.path.isdir(path):
        if os.path.isfile(path.parent / MANIFEST):
            raise DataError(f"{short(path.name)} lies beside a {MANIFEST}: open the folder of both")
        return _open_foreign(path)
    manifest = read_manifest(path)
    dtype, vocab_size = np.dtype(DTYPES[manifest.dtype]), tokenizer_from_json(manifest.tokenizer).vocab_size
    parts = []
    for shard in manifest.shards:
        file = path / shard.file
        _expect(file, "bytes", shard.count * dtype.itemsize, _size(file))
        ids = np.memmap(file, dtype=dtype, mode="r")  # (count,)
        if verify:
            digest, highest = hashlib.sha256(), 0
            for begin in range(0, len(ids), READ_AT_ONCE):
                piece = ids[begin : begin + READ_AT_ONCE]
                digest.update(piece.data)
                highest = max(highest, int(piece.max()))
            _expect(file, "sha256", shard.sha256, digest.hexdigest())
            _checked([highest], vocab_size)
        parts.append(ids)
    return parts[0] if len(parts) == 1 else Tokens(parts)


def _open_foreign(path: Path) -> np.ndarray:
    size = _size(path)
    header = np.fromfile(path, dtype="<i4", count=min(3, size // 4))
    if len(header) == 3 and header[0] in (LLMC_MAGIC, LLMC_MAGIC_LLAMA):
        _expect(path, "magic number", LLMC_MAGIC, int(header[0]))
        _expect(path, "version", LLMC_VERSION, int(header[1]))
        _expect(path, "bytes", 4 * LLMC_HEADER + 2 * int(header[2]), size)
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
        raise DataError(f"id {wrong} is outside the tokenizer's {vocab_size}: use 0 to {vocab_size - 1}")
    return row


def _expect(path: Path, what: str, expected: int | str, found: int | str) -> None:
    if expected != found:
        shown = [f"{v:,}" if what == "bytes" else str(v)[:16] for v in (expected, found)]
        raise DataError(f"{path.name}: expected {what} {shown[0]}, found {shown[1]}: write or fetch it again")


def _size(path: Path) -> int:
    if not os.path.isfile(path):
        folder = short(path.parent.name) if path.parent.name else "this folder"
        raise DataError(f"there is no file {short(path.name)} in {folder}: write the shards first")
    return path.stat().st_size
