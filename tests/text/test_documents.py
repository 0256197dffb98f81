import json
import random
import re
from collections import Counter

import pyarrow
import pyarrow.parquet
import pytest

from tinylm.errors import DataError
from tinylm.text.documents import beginning, read, split, stream

END = "<|endoftext|>"
WORDS = ["\n", "\n", "\r\n", "a", "ß 🎭", " ", "<|endo", "ftext|>", "Once\n"]
WORDS += [END, f"{END}\n", f"\n \t{END}", f" {END}"]


def put(folder, name, data):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def texts(path):
    return [*read(path)]


def line_by_line(text):
    """The plain way: collect lines until one says the end."""
    found, lines = [], []
    for line in [*text.split("\n"), END]:
        if line.removesuffix("\r").strip(" \t") == END:
            found.append("\n".join(lines).replace("\r\n", "\n").strip("\r\n"))
            lines = []
        else:
            lines.append(line)
    return [document for document in found if document.strip()]


def drawn(seed):
    draw = random.Random(seed)
    return "".join(draw.choices(WORDS, k=draw.randrange(300)))


@pytest.mark.parametrize("seed", range(30))
def test_documents_stand_between_lines_that_are_the_separator(tmp_path, seed):
    text = drawn(seed)
    expected = line_by_line(text)
    path = put(tmp_path, "my.txt", text)
    assert texts(path) == split(text, END) == expected
    for size in (1, 7, 101, 10**6):
        assert [text for _, text in stream(path, size)] == expected


def test_pieces_are_about_as_large_as_asked_and_a_long_document_stays_whole(tmp_path):
    long = "word " * 5_000
    path = put(tmp_path, "my.txt", f"{long}\n{END}\n" + f"short\n{END}\n" * 900)
    assert texts(path) == [long, *["short"] * 900]
    numbers = [number for number, _ in stream(path, 1_000)]
    first, *others, _ = Counter(numbers).values()  # how many documents each piece has
    assert numbers == sorted(numbers) and {*numbers} == {*range(len(others) + 2)}
    assert first == 1
    assert all(1_000 <= n * len(f"short\n{END}\n") < 1_100 for n in others)


@pytest.mark.parametrize("end", ["", f"\n{END}\n\n{END}\n", f"\r\n{END}\r\n"])
@pytest.mark.parametrize("begin", ["", f"{END}\r\n\r\n", "\ufeff"])
def test_separators_and_windows_line_ends_at_the_ends_make_no_documents(tmp_path, begin, end):
    path = put(tmp_path, "my.txt", f"{begin}one\r\ntwo{end}")
    assert texts(path) == ["one\ntwo"]


def test_end_of_a_files_name_says_how_it_is_read_also_in_capitals(tmp_path):
    files = [put(tmp_path, "A.TXT", f"one\n{END}\ntwo"), put(tmp_path, "B.Jsonl", '{"text": "one"}')]
    kinds = [texts(path) for path in [*files, parquet(tmp_path, name="C.PARQUET")]]
    assert kinds == [["one", "two"], ["one"], ROWS[1:]]
    with pytest.raises(DataError, match=re.escape("'my.zip' is not read as documents: use a file in .txt")):
        texts(put(tmp_path, "my.zip", "x"))


def test_lines_of_json_are_documents_as_they_are(tmp_path):
    kept = ["one\r\ntwo\n", END, f"a\n{END}\nb", "ß\u2028🎭", " x ", "y" * 999]
    odd = ["", " \n", None]
    lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate([*kept, *odd])]
    for ends in ("\n", "\r\n", "\n\n"):
        path = put(tmp_path, "my.jsonl", ends.join(lines))
        assert texts(path) == kept
    line = '\ufeff{"text": "a\\ud800\\ud83d\\ude00"}'  # as Windows' editor begins a file
    assert texts(put(tmp_path, "my.jsonl", line)) == ["a\ufffd😀"]


@pytest.mark.parametrize("line", ["{", "3", '{"text": 3}', "[" * 10**5])
def test_line_that_holds_no_text_is_refused_in_a_sentence(tmp_path, line):
    path = put(tmp_path, "my.jsonl", f'{{"text": "good"}}\n{line}\n')
    with pytest.raises(DataError, match=r"^line 2 of my.jsonl is no object with a text, .*: write") as caught:
        texts(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_texts_in_another_column_are_refused_with_the_one_asked_for_and_those_there_are(tmp_path):
    line = put(tmp_path, "my.jsonl", '{"text": "good"}\n{"id": 3, "story": "x"}\n')
    for path in (line, parquet(tmp_path, "story")):
        sentence = f"{path.name} has no column 'text', it has 'id, story': call the one with the texts so"
        with pytest.raises(DataError, match=f"^{sentence}$"):
            texts(path)
    two = pyarrow.Table.from_arrays([pyarrow.array(ROWS)] * 2, ["text", "text"])
    pyarrow.parquet.write_table(two, tmp_path / "two.parquet")
    with pytest.raises(DataError, match=r"^two.parquet has two columns 'text': rename"):
        texts(tmp_path / "two.parquet")


@pytest.mark.parametrize("name", ["my.txt", "my.jsonl"])
def test_text_that_is_not_utf_8_is_refused_with_the_place(tmp_path, name):
    first = f'{{"text": "Öl"}}\n{END}\n'.replace(END, END * name.endswith("txt")).encode()
    path = put(tmp_path, name, first + "naïve".encode("latin-1"))
    place = rf"byte {len(first) + 2} after b'na' is 0xef"  # in the file, not in the document
    with pytest.raises(DataError, match=rf"is no text in UTF-8 \({place}\): save it as UTF-8"):
        texts(path)


ROWS = [f"story {i} {END}" * i for i in range(40)]


def parquet(folder, column="text", rows=ROWS, kind=None, name="my.parquet"):
    table = pyarrow.table({"id": list(range(len(rows))), column: pyarrow.array(rows, kind)})
    pyarrow.parquet.write_table(table, folder / name, row_group_size=7)
    return folder / name


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string()])
def test_rows_of_parquet_are_documents(tmp_path, kind):
    path = parquet(tmp_path, kind=kind, rows=[*ROWS, None, "  "])
    assert texts(path) == ROWS[1:]
    assert [len({number for number, _ in stream(path, size)}) for size in (1, 10**9)] == [6, 1]


def test_parquet_that_is_cut_off_damaged_or_without_texts_is_refused_in_a_sentence(tmp_path):
    path = parquet(tmp_path, rows=[random.Random(i).randbytes(50).hex() for i in range(50)])
    data, half = path.read_bytes(), path.stat().st_size // 2
    damaged = {f"cut at {cut}": data[:cut] for cut in (0, 3, 100, half, len(data) - 1)}
    damaged["zeros"] = data[:4] + b"\0" * half + data[4 + half :]
    damaged["numbers"] = parquet(tmp_path, rows=[1, 2]).read_bytes()
    latin = pyarrow.array([*[b"good"] * 10, "naïve".encode("latin-1")]).cast(pyarrow.string(), safe=False)
    damaged["latin"] = parquet(tmp_path, rows=latin).read_bytes()
    for content in damaged.values():
        path.write_bytes(content)
        sentence = r"^my.parquet cannot be read as parquet \(.*\): write it again$"
        with pytest.raises(DataError, match=sentence) as caught:
            texts(path)
        assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)


def test_beginning_reads_no_further_than_it_must():
    def endless():
        yield from ["abc", "de", "f"]
        raise AssertionError("read too far")

    assert [*beginning(endless(), 4)] == [*beginning(endless(), 5)] == ["abc", "de"]
    assert [*beginning(["a"], 10)] == ["a"]


def test_empty_lines_separate_where_they_are_the_separator():
    assert split(f"{END}\n\nQ {END}\n\nR\n\n", "\n\n") == [END, f"Q {END}", "R"]
