"""Documents: the texts in a file, one after the other, however large the file is.

A .txt file has `<|endoftext|>` on a line of its own between them (spaces beside it are no text), a .jsonl
file has one in the field "text" of each line, a .parquet file one in each row of its column "text". Inside a
document that word is text like any other. Taught in notebook 08_tinystories."""

import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from tinylm.errors import DataError, short
from tinylm.text.bpe import as_unicode
from tinylm.text.corpora import END_OF_TEXT

PIECE = 1 << 26  # bytes of a piece, about


def read(path: Path) -> Iterator[str]:
    """Yield the documents of a file, one after the other. Raises as `stream`."""
    return (text for _, text in stream(path))


def stream(path: Path, size: int | None = None) -> Iterator[tuple[int, str]]:
    """Yield (piece, document) of each document with more than white space in it.

    A piece is a run of whole documents of about `size` bytes of the file (PIECE by default); of a .parquet
    file, a run of whole row groups. Pieces are counted from 0. The file is read on the way: one document is
    in memory at a time, or some rows. Raises DataError for a file of an unknown kind and for what cannot be
    read as a document, and OSError where the disk fails."""
    size, suffix = size or PIECE, path.suffix.lower()
    if suffix not in READERS:
        raise DataError(f"{short(path.name)} is not read as documents: use a file in {', '.join(READERS)}")
    piece, begin = 0, 0
    with open(path, "rb") as file:
        for text, last_line, end in READERS[suffix](file, path.name):
            if is_kept(text):
                yield piece, text
            if last_line > begin + size:
                piece, begin = piece + 1, end


def split(text: str, separator: str) -> list[str]:
    """Split a text in memory into documents. The separator is END_OF_TEXT, as in a .txt file, or line
    ends."""
    if separator == END_OF_TEXT:
        parts = (part for part, _, _ in _between_separators(BytesIO(text.encode("utf-8")), "the text"))
    else:
        parts = (part.strip("\n") for part in text.split(separator))
    return [part for part in parts if is_kept(part)]


def is_kept(text: str) -> bool:
    """Return whether a document has more than white space in it."""
    return bool(text) and not text.isspace()


def beginning(texts: Iterable[str], characters: int) -> Iterator[str]:
    """Yield the first texts, until they have at least so many characters together."""
    for text in texts:
        yield text
        characters -= len(text)
        if characters <= 0:
            return


def decoded(data: bytes, name: str, begin: int = 0) -> str:
    """Return the text of a file of that name, or of its bytes from `begin` on.

    Raises DataError for what is not UTF-8, with the place in the file."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = f"byte {begin + error.start:,} after {short(data[max(0, error.start - 20) : error.start])}"
        what = f"{name} is no text in UTF-8 ({wrong} is {data[error.start]:#x})"
        raise DataError(f"{what}: save it as UTF-8 first") from error


def _between_separators(file: Iterable[bytes], name: str) -> Iterator[tuple[str, int, int]]:
    """Yield (document, where its last line begins, where it ends), the separator's line included."""
    lines, begin, end = [], 0, 0
    for line in file:
        last_line, end = end, end + len(line)
        if line.removesuffix(b"\n").removesuffix(b"\r").strip(b" \t") == END_OF_TEXT.encode():
            yield _between(lines, name, begin), last_line, end
            lines, begin = [], end
        else:
            lines.append(line)
    if lines:
        yield _between(lines, name, begin), begin, end


def _between(lines: list[bytes], name: str, begin: int) -> str:
    text = decoded(b"".join(lines), name, begin).replace("\r\n", "\n").strip("\r\n")
    return text.removeprefix("\ufeff")  # Windows' editor begins a file with it


def _lines(file: Iterable[bytes], name: str) -> Iterator[tuple[str, int, int]]:
    """Yield (document, where the file goes on after its line, the same), one document a line."""
    end = 0
    for number, line in enumerate(file, start=1):
        text = decoded(line, name, end).removeprefix("\ufeff")
        end += len(line)
        try:
            row = json.loads(text) if text.strip() else {"text": ""}
            _require_text(row, name)
            document = as_unicode(row["text"] or "")
        except DataError:
            raise
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            wrong = f"line {number:,} of {name} is no object with a text, {short(text.rstrip())}"
            raise DataError(f"{wrong}: write it again") from error
        yield document, end, end


def _require_text(columns: Iterable[str], name: str) -> None:
    if "text" not in columns:
        there = short(", ".join(columns))
        raise DataError(f"{name} has no column 'text', it has {there}: call the one with the texts so")


def _rows(file: BinaryIO, name: str) -> Iterator[tuple[str, int, int]]:
    """Yield (document, bytes of the row groups before it, the same) of each row of a .parquet file, and an
    empty document after each row group, where a piece may end."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile  # a tenth of a second, which only these files cost

    end = 0
    try:
        with ParquetFile(file, pre_buffer=False) as table:  # pre_buffer would hold all of a row group
            _require_text(table.schema_arrow.names, name)
            if table.schema_arrow.names.count("text") > 1:
                raise DataError(f"{name} has two columns 'text': rename the one without the texts")
            for group in range(table.metadata.num_row_groups):
                for batch in table.iter_batches(1000, row_groups=[group], columns=["text"]):
                    for text in batch.column(0).to_pylist():
                        yield as_unicode(text or ""), end, end
                end += table.metadata.row_group(group).total_byte_size
                yield "", end, end
    except (ArrowException, AttributeError, UnicodeDecodeError, OSError) as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None):
            raise  # too little memory (pyarrow's error is both) or a fault of the disk, not of the file
        why = short(str(error).partition("\n")[0])
        raise DataError(f"{name} cannot be read as parquet ({why}): write it again") from error


READERS = {".txt": _between_separators, ".jsonl": _lines, ".parquet": _rows}
