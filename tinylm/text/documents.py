"""Documents: the texts in a file, one after the other, however large the file is.

A .txt file has `<|endoftext|>` on a line of its own between them (spaces beside it are no text), a .jsonl
file one in the field "text" of each line, a .parquet file one in each row of its column "text". Inside a
document that word is text like any other. Taught in notebook 08_tinystories."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tinylm.errors import DataError, short
from tinylm.text.bpe import as_unicode
from tinylm.text.corpora import END_OF_TEXT, is_aside

SUFFIXES = (".txt", ".jsonl", ".parquet")
PIECE = 1 << 26  # bytes, about; a process holds one at a time
SEPARATOR = re.compile(rb"\n[ \t]*<\|endoftext\|>[ \t]*\r?(?=\n|\Z)")  # END_OF_TEXT alone in a line


class Piece(NamedTuple):
    """Whole documents of a file: its bytes from `begin` to `end`, or its row groups if it is a .parquet."""

    path: Path
    begin: int
    end: int
    size: int  # bytes
    aside: bool | None = None  # only the documents for validation, or only the others; None for all


def pieces(path: Path, size: int | None = None) -> list[Piece]:
    """The file in pieces of about `size` bytes, which end where a document ends. Raises DataError for one
    that is of no kind known here, or not whole."""
    size = size or PIECE
    if (suffix := path.suffix.lower()) not in SUFFIXES:
        raise DataError(f"{short(path.name)} is not read as documents: use a file in {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        return [*_row_groups(path, size)]
    cuts, total = [0], path.stat().st_size
    with open(path, "rb") as file:
        while cuts[-1] < total:
            file.seek(min(cuts[-1] + size, total))
            line = file.readline()  # the rest of it
            while suffix == ".txt" and (line := file.readline()) and not SEPARATOR.match(b"\n" + line):
                pass
            cuts.append(file.tell())
    return [Piece(path, begin, end, end - begin) for begin, end in pairwise(cuts)]


def read(piece: Piece) -> Iterator[str]:
    """The documents of a piece; without those that are empty. Raises DataError for what is no such file."""
    if (suffix := piece.path.suffix.lower()) == ".parquet":
        texts = _in_rows(piece)
    else:
        with open(piece.path, "rb") as file:
            file.seek(piece.begin)
            data = file.read(piece.size)
        texts = (_in_lines if suffix == ".jsonl" else _between_separators)(data, piece.path.name)
    return (text for text in _kept(texts) if piece.aside is None or piece.aside == is_aside(text))


def split(text: str, separator: str) -> list[str]:
    """The documents of a text in memory; the separator is END_OF_TEXT, as in a .txt file, or line ends."""
    if separator == END_OF_TEXT:
        return [*_kept(_between_separators(text.encode("utf-8"), "the text"))]
    return [*_kept(part.strip("\n") for part in text.split(separator))]


def _kept(texts: Iterable[str]) -> Iterator[str]:
    return (text for text in texts if text and not text.isspace())


def beginning(texts: Iterable[str], characters: int) -> Iterator[str]:
    """The first texts, which together have at least so many characters."""
    for text in texts:
        yield text
        if (characters := characters - len(text)) <= 0:
            return


def decoded(data: bytes, name: str) -> str:
    """The text of a file of that name. Raises DataError for what is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start:,} after {short(data[max(0, error.start - 20) : error.start])}"
        what = f"{name} is no text in UTF-8 ({wrong} is {data[error.start]:#x})"
        raise DataError(f"{what}: save it as UTF-8 first") from error


def _between_separators(data: bytes, name: str) -> Iterator[str]:
    lines, begin = b"\n" + data, 0  # a separator may stand on the first line
    for end, following in chain((found.span() for found in SEPARATOR.finditer(lines)), [(len(lines), 0)]):
        text = decoded(lines[max(begin, 1) : end], name).replace("\r\n", "\n").strip("\r\n")
        yield text.removeprefix("\ufeff")  # as Windows' editor begins a file
        begin = following


def _in_lines(data: bytes, name: str) -> Iterator[str]:
    for line in data.splitlines():
        text = decoded(line, name).removeprefix("\ufeff")
        try:
            row = json.loads(text) if text.strip() else {"text": ""}
            yield as_unicode(row["text"] or "")
        except KeyError:
            raise _without_text(name, row) from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            wrong = f"{name} has a line that is no object with a text, {short(text)}"
            raise DataError(f"{wrong}: write it again") from error


def _without_text(name: str, columns: Iterable[str]) -> DataError:
    there = short(", ".join(columns))
    return DataError(f"{name} has no column 'text', it has {there}: call the one with the texts so")


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """A .parquet file with a column of texts. Raises DataError for what cannot be read as one."""
    import pyarrow
    from pyarrow.parquet import ParquetFile  # a tenth of a second, which only these files cost

    try:
        with ParquetFile(path, pre_buffer=False) as file:  # a tenth of a gigabyte instead of the piece's size
            schema = file.schema_arrow
            if "text" not in schema.names:
                raise _without_text(path.name, schema.names)
            if (kind := str(schema.field("text").type)) not in ("string", "large_string"):
                raise pyarrow.ArrowInvalid(f"its column text is {kind}")
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        why = short(str(error).partition("\n")[0].replace(str(path), path.name))
        raise DataError(f"{path.name} cannot be read as parquet ({why}): fetch or write it again") from error


def _row_groups(path: Path, size: int) -> Iterator[Piece]:
    with _parquet(path) as file:
        begin, total, n = 0, 0, file.metadata.num_row_groups
        for end in range(1, n + 1):
            total += file.metadata.row_group(end - 1).total_byte_size
            if total >= size or end == n:
                yield Piece(path, begin, end, total)
                begin, total = end, 0


def _in_rows(piece: Piece) -> Iterator[str]:
    with _parquet(piece.path) as file:
        for batch in file.iter_batches(1000, row_groups=range(piece.begin, piece.end), columns=["text"]):
            yield from batch.column(0).to_pylist()
