import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.shards import write_shards
from tests.text.packs import END, declare, llmc, put_files, register, remote, written
from tinylm.errors import ConfigError, CorpusMissing, DataError
from tinylm.text import corpora, dataset
from tinylm.text.dataset import load_dataset
from tinylm.text.prepare import prepare
from tinylm.text.tokenizers import BPETokenizer, CharTokenizer

TEXT = "Ein Reiter, naïve – ß 🎭 und zurück.\nQ\n" * 29 + "XYZ"  # the last characters are in no training text
BYTES = TEXT.encode()
IDS = np.random.default_rng(3).integers(0, 11, 1009)
TOKENIZER = CharTokenizer("abcdefghijß")


@pytest.fixture(autouse=True)
def empty_folder(nothing_at_hand):
    """Short texts of toyworld, and an empty working folder."""


def decoded(data):
    return [data.tokenizer.decode(np.asarray(part)) for part in (data.train, data.validation)]


STORIES = [f"Story {i}: a naïve ß 🎭 said {END} and went.\n\nThe end of {i}." for i in range(40)]


def documents_of(data):
    """The documents of the validation part, without what ends them."""
    ids, end = np.asarray(data.validation), data.tokenizer.end_of_text
    pieces = np.split(ids, data.documents[1:])
    assert data.documents[0] == 0 and all(piece[-1] == end for piece in pieces)
    return [data.tokenizer.decode(piece[:-1]) for piece in pieces]


def put_stories(monkeypatch, tmp_path, holds="whole"):
    """A corpus of stories: the first 31 to train on, the others to validate; in the cache, or as a part."""
    files = {"train.txt": written(STORIES[:31]), "valid.txt": written(STORIES[31:])}
    register(monkeypatch, "stories", files, separator=END)
    if holds == "whole":
        put_files(tmp_path / "cache" / "stories", files)
    else:
        declare(tmp_path / "pack", "stories", files, holds=holds, what="40 stories")


def assert_same(a, b):
    for part in ("train", "validation", "documents"):
        assert np.array_equal(np.asarray(getattr(a, part)), np.asarray(getattr(b, part)))
    for name in ("tokenizer", "bytes_per_token", "fingerprint", "unit", "holds", "what"):
        assert getattr(a, name) == getattr(b, name)


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("holds", ["whole", "part", "stand-in"])
def test_documents_are_the_same_in_memory_and_prepared_and_say_what_they_hold(
    monkeypatch, tmp_path, holds, share
):
    put_stories(monkeypatch, tmp_path, holds)
    monkeypatch.setattr("tinylm.text.tokens.READ_AT_ONCE", 13)
    data = load_dataset("stories", tokenizer="bpe-300", train_share=share)
    assert documents_of(data) == STORIES[31:]
    assert data.tokenizer == BPETokenizer.train(STORIES[:31], 300) and data.unit == "token"
    assert data.bytes_per_token == sum(len(text.encode()) for text in STORIES[31:]) / len(data.validation)
    said = {"whole": "stories (cache)"}.get(holds, f"stories (a {holds}: 40 stories, pack)")
    assert data.described == said
    folder = prepare("stories", "bpe-300")
    ready = load_dataset("stories", tokenizer="bpe-300", train_share=share)
    assert_same(data, ready)
    assert ready.source == "prepared" and ready.described == said.replace("cache", "prepared").replace(
        "pack", "prepared"
    )
    by_path = load_dataset(str(folder), train_share=share)
    assert np.array_equal(by_path.validation, data.validation) and by_path.holds == holds
    everything = load_dataset("stories", tokenizer="bpe-300").train
    assert np.array_equal(data.train, everything[: round(share * len(everything))])


def put_published(monkeypatch, tmp_path, parts):
    """Shards in llm.c's layout in the cache, as a corpus of which no sha256 is known: {file name: ids}."""
    files = {name: llmc(ids) for name, ids in parts.items()}
    put_files(tmp_path / "cache" / "published", files)
    entries = tuple(replace(file, sha256="") for file in remote(files))
    entry = corpora.Corpus(entries, endings=(".bin",), validation=("_val_",))
    monkeypatch.setitem(corpora.CORPORA, "published", entry)


def test_published_shards_are_read_as_they_are_with_the_end_of_text_before_each_document(
    monkeypatch, tmp_path
):
    tokenizer = BPETokenizer.train(STORIES, 300)
    rows = [[tokenizer.end_of_text, *tokenizer.encode(text)] for text in STORIES]
    train, validation = np.concatenate(rows[:31]), np.concatenate(rows[31:])
    parts = {"x_val_0.bin": validation, "x_train_1.bin": train[:101], "x_train_2.bin": train[101:]}
    put_published(monkeypatch, tmp_path, parts)
    monkeypatch.setattr(dataset, "tokenizer_named", {"gpt2": tokenizer}.__getitem__)
    data = load_dataset("published", tokenizer="gpt2")
    assert np.array_equal(np.asarray(data.train), train) and data.source == "cache"
    assert np.array_equal(np.asarray(data.validation), validation)
    pieces = np.split(np.asarray(data.validation), data.documents[1:])
    assert [tokenizer.decode(piece[1:]) for piece in pieces] == STORIES[31:]
    assert data.bytes_per_token == sum(len(text.encode()) for text in STORIES[31:]) / len(validation)
    for wrong in ("characters", "bpe-300"):
        with pytest.raises(ConfigError, match="gpt2"):
            load_dataset("published", tokenizer=wrong)
    put_published(monkeypatch, tmp_path, parts | {"x_train_2.bin": train[101:-1]})
    assert load_dataset("published", tokenizer="gpt2").fingerprint != data.fingerprint
    (tmp_path / "cache" / "published" / "x_train_2.bin").unlink()
    with pytest.raises(CorpusMissing, match="`python -m tinylm fetch published` gets it"):
        load_dataset("published", tokenizer="gpt2")
    assert load_dataset("published", tokenizer="bpe-300", fallback="toyworld-stories").source == "generated"


def test_running_text_is_no_document_and_ends_with_the_end_of_text():
    running = own(tokenizer="bpe-300")
    assert running.documents is None and running.validation[-1] == running.tokenizer.end_of_text
    assert running.tokenizer.decode(running.validation[:-1]) == TEXT[int(0.9 * len(TEXT)) :]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_line_with_the_end_of_text_separates_the_books_of_ones_own_text(line_end):
    books = f"\n \t{END} \n".join(STORIES)
    file = books.replace("\n", line_end).encode()
    assert documents_of(own(file, tokenizer="bpe-300"))[-3:] == STORIES[-3:]
    data = own(file, lowercase=True)
    text = data.tokenizer.decode(data.validation)
    assert text == books[-len(text) :].lower()  # a character model reads the line as text
    read = [text[a:b] for a, b in zip(data.documents, [*data.documents[1:], None], strict=True)]
    books_read = [book.rstrip().removesuffix(END).strip() for book in read]
    assert books_read[-3:] == [story.lower() for story in STORIES[-3:]]


def test_tokenizer_that_did_not_make_the_shards_is_refused(monkeypatch, tmp_path):
    put_stories(monkeypatch, tmp_path)
    folder = str(prepare("stories", "bpe-300"))
    assert load_dataset(folder, tokenizer="bpe-300").tokenizer == load_dataset(folder).tokenizer
    Path("same.json").write_text(json.dumps(load_dataset(folder).tokenizer.to_json()))
    Path("other.json").write_text(json.dumps(BPETokenizer.train(STORIES, 290).to_json()))
    assert load_dataset(folder, tokenizer="same.json").tokenizer == load_dataset(folder).tokenizer
    for name in ("other.json", "bpe-290"):
        with pytest.raises(
            DataError, match=rf"was made by another tokenizer than {name}: use --data.tokenizer bpe-300, or"
        ):
            load_dataset(folder, tokenizer=name)
    for made in (BPETokenizer("", special=()), TOKENIZER):  # documents would run into each other
        Path("endless.json").write_text(json.dumps(made.to_json()))
        with pytest.raises(DataError, match=r"'endless.json' has no <\|endoftext\|>: use one that ends doc"):
            load_dataset("stories", tokenizer="endless.json")


def test_text_too_large_or_not_plain_is_refused_with_the_command_that_prepares_it(monkeypatch, tmp_path):
    put_stories(monkeypatch, tmp_path)
    monkeypatch.setattr(corpora, "LARGE", 1_000)
    Path("my.txt").write_bytes(BYTES)
    Path("my.JSONL").write_bytes(b"x")
    for name in ("stories", "./my.txt", "my.JSONL"):
        with pytest.raises(DataError, match=rf"`python -m tinylm prepare {name} --tokenizer bpe-300`"):
            load_dataset(name, tokenizer="bpe-300")


def own(data=BYTES, name="my.txt", **options):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(data)
    return load_dataset(name, **options)


def shards(folder, ids=IDS, tokenizer=TOKENIZER, shard_tokens=97):
    write_shards(
        Path(folder), [ids], tokenizer=tokenizer.to_json(), source="a test", shard_tokens=shard_tokens
    )


@pytest.mark.parametrize("name", ["toyworld-plays", "toyworld-stories"])
def test_corpus_is_its_text_as_ids_with_its_documents(name):
    text, data = corpora.load(name), load_dataset(name)
    assert decoded(data) == [text.train, text.validation]
    assert (data.name, data.source, data.unit) == (name, "generated", "character")
    assert data.bytes_per_token == 1.0  # ASCII
    assert len(repr(data)) < 700
    pieces = [text.validation[a:b] for a, b in zip(data.documents, [*data.documents[1:], None], strict=True)]
    assert "".join(pieces) == text.validation and len(pieces) > 2
    separator = corpora.CORPORA[name].separator
    assert all(piece.endswith(separator) and piece.count(separator) == 1 for piece in pieces)


def test_alphabet_is_that_of_all_of_the_text_whatever_share_is_read():
    everything, tenth = own(), own(train_share=0.1)
    assert set("XYZ") & set(decoded(everything)[0]) == set()
    assert everything.tokenizer == tenth.tokenizer == CharTokenizer.train(TEXT)
    whole, first = decoded(everything)[0], decoded(tenth)[0]
    assert first == whole[: round(0.1 * len(whole))]
    assert decoded(tenth)[1] == decoded(everything)[1]
    folded = own(lowercase=True)
    assert "".join(decoded(folded)) == TEXT.lower()
    assert folded.described == "my.txt (file, folded to lower case)"
    assert folded.tokenizer == CharTokenizer.train(TEXT, lowercase=True)


def test_own_text_keeps_its_last_tenth_for_validation_whatever_system_wrote_it():
    data = own()
    assert "".join(decoded(data)) == TEXT
    assert len(data.train) == int(0.9 * len(TEXT))
    assert (data.name, data.source, data.unit, data.documents) == ("my.txt", "file", "character", None)
    assert data.bytes_per_token == len(decoded(data)[1].encode()) / len(data.validation) > 1
    windows = own(b"\xef\xbb\xbf" + BYTES.replace(b"\n", b"\r\n"))  # as Windows' editor begins a file
    assert decoded(windows) == decoded(data)


def test_own_text_is_found_by_any_path(tmp_path, monkeypatch):
    expected = own()
    own(name="folder/text")
    own(name="my")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("./my.txt", str(tmp_path / "my.txt"), "folder/text", "folder/../my", "my", "~/my.txt"):
        data = load_dataset(path)
        assert np.array_equal(data.train, expected.train) and data.name == path
        assert data.fingerprint == expected.fingerprint
    own(name="toyworld-plays")
    assert load_dataset("toyworld-plays").source == "generated"  # a name of the registry comes first
    assert load_dataset("./toyworld-plays").source == "file"


ODD_PLACES = ["my.txt", "x" * 5000 + ".txt", "/\0", "a/\ud800", "/dev/zero"]


def test_what_cannot_be_read_is_refused_with_what_to_type():
    for name in ODD_PLACES:
        with pytest.raises(DataError, match=r"no file .* give the path of a text file, or a corpus") as said:
            load_dataset(name)
        assert len(str(said.value).encode()) < 300
    with pytest.raises(DataError, match=r"'my.txt' has 0 characters, a tenth to validate: give at least 20"):
        own(b"")
    with pytest.raises(DataError, match=r"no text in UTF-8 .byte 0 after b'' is 0xff.: save it as UTF-8"):
        own(TEXT.encode("utf-16"))
    for options in ({"lowercase": True}, {"rows": "lines"}):
        with pytest.raises(ConfigError, match=r"'bpe-300': use --data.no-lowercase --data.rows windows"):
            own(tokenizer="bpe-300", **options)
    with pytest.raises(ConfigError, match="rows is 'row': use 'windows' or 'lines'"):
        own(rows="row")
    for share in (1.5, 0.0, math.nan):
        with pytest.raises(ConfigError, match=f"train_share is {share}: it must be above 0 and at most 1"):
            own(train_share=share)


def test_fingerprint_tells_data_apart_and_nothing_else_in_every_version(monkeypatch, tmp_path):
    put_stories(monkeypatch, tmp_path)
    with_name = BPETokenizer.train(STORIES[:31], 300).with_special("<|pad|>")
    Path("padded.json").write_text(json.dumps(with_name.to_json()))
    shards("ids")
    shards("other/ids")
    shards("changed", IDS[::-1])
    assert own().fingerprint == own().fingerprint == own(name="folder/other.txt").fingerprint
    assert load_dataset("ids").fingerprint == load_dataset("other/ids").fingerprint
    changed = [
        own(),
        own(TEXT.encode() + b"Q"),
        own(TEXT.replace("Q", "q", 1).encode()),
        own(lowercase=True),
        *map(load_dataset, ("toyworld-plays", "ids", "changed", "stories")),
        *(load_dataset("stories", tokenizer=name) for name in ("bpe-300", "bpe-290", "padded.json")),
        load_dataset("stories", tokenizer="bpe-300", train_share=0.5),
        load_dataset("toyworld-stories", tokenizer="bpe-300"),
        own(tokenizer="bpe-300"),
        own(BYTES + b"Q", tokenizer="bpe-300"),
    ]
    assert len({data.fingerprint for data in changed}) == len(changed)
    prints = [data.fingerprint[:16] for data in (own(), load_dataset("ids"))]
    assert prints == ["5e727af7d07548fa", "c8901bbf89450565"]  # otherwise no update could resume a run


@pytest.mark.parametrize("shard_tokens", [10**6, 97])
def test_shards_keep_their_last_tenth_for_validation(shard_tokens):
    shards("ids", shard_tokens=shard_tokens)
    data = load_dataset("ids", lowercase=True)  # the tokenizer is the manifest's all the same
    assert np.array_equal(np.asarray(data.train), IDS[:908]) and np.array_equal(data.validation, IDS[908:])
    assert (data.name, data.source, data.unit, data.documents) == ("ids", "shards", "character", None)
    assert data.tokenizer == TOKENIZER
    assert data.bytes_per_token == len(TOKENIZER.decode(IDS[908:]).encode()) / 101 > 1
    assert np.array_equal(np.asarray(load_dataset("ids", train_share=0.5).train), IDS[:454])


def test_shards_of_two_folders_are_training_and_validation():
    shards("both/train")
    shards("both/validation", IDS[:211])
    assert np.array_equal(np.asarray(load_dataset("both").train), IDS)
    assert np.array_equal(np.asarray(load_dataset("both").validation), IDS[:211])
    shards("mixed/train")
    shards("mixed/validation", tokenizer=CharTokenizer("abcdefghijk"))
    with pytest.raises(DataError, match="'mixed' was made by two tokenizers"):
        load_dataset("mixed")


def test_shards_are_read_through_before_the_first_step_only_where_they_are_few(monkeypatch):
    shards("ids")
    path = Path("ids/ids_000.bin")
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(DataError, match="expected sha256"):
        load_dataset("ids")
    monkeypatch.setattr(dataset, "VERIFIED_IDS", len(IDS) - 1)
    assert len(load_dataset("ids").train) == 908


def test_shards_that_cannot_be_a_dataset_are_refused_with_what_is_missing():
    os.makedirs("half/train")
    os.makedirs("openwebtext")
    IDS.astype("<u2").tofile("openwebtext/train.bin")  # nanoGPT's own
    for name in ("openwebtext", "openwebtext/train.bin", "half"):
        with pytest.raises(DataError, match=r"has no manifest.json to say which tokenizer .* writes one"):
            load_dataset(name)
    own(name="my books/one.TXT")
    for options, asked in (({}, " --tokenizer bpe-4096"), ({"tokenizer": "bpe-300"}, " --tokenizer bpe-300")):
        words = rf"no manifest.json .*: `python -m tinylm prepare 'my books'{asked}`"
        with pytest.raises(DataError, match=words):
            load_dataset("my books", **options)
    shards("few", IDS[:19])
    with pytest.raises(DataError, match=r"'few' has 19 tokens, .* at least 20"):
        load_dataset("few")


@pytest.mark.parametrize("end", ["", "\n"])
def test_rows_of_lines_are_known_by_their_length_and_the_text_is_cut_between_them(end):
    lines = [f"{number:05d}" for number in range(37)]
    data = own("\n".join(lines).encode() + end.encode(), rows="lines")
    assert data.line == 6 and len(data.train) == 33 * 6  # 0.9 of 37 lines ends inside the 34th
    assert "".join(decoded(data)) == "\n".join(lines) + end
    assert own("\n".join(lines).encode()).line == 1


def test_rows_of_lines_are_refused_where_lines_differ_once_folded_or_there_are_none():
    text = "\u0130a\nabc\n" * 20  # a dotted capital I becomes two characters
    assert own(text.encode(), rows="lines", lowercase=True).line == 4
    with pytest.raises(DataError, match=r"lines of 3 to 4 characters, .* pad them with spaces"):
        own(text.encode(), rows="lines")
    shards("ids")
    with pytest.raises(ConfigError, match="rows of shards is 'lines': use 'windows'"):
        load_dataset("ids", rows="lines")
    with pytest.raises(DataError, match="has 1 lines of 41"):
        own(b"x" * 40 + b"\n", rows="lines")
