import os
from pathlib import Path

import numpy as np
import pytest

from tinylm.errors import ConfigError, DataError
from tinylm.text import corpora, dataset
from tinylm.text.dataset import load_dataset
from tinylm.text.shards import Tokens, write_shards
from tinylm.text.tokenizers import CharTokenizer

TEXT = "Ein Reiter, naïve – ß 🎭 und zurück.\nQ\n" * 29 + "XYZ"  # the last characters are in no training text
BYTES = TEXT.encode()


@pytest.fixture(autouse=True)
def short_corpora(monkeypatch, tmp_path):
    monkeypatch.setattr(corpora, "GENERATED_CHARACTERS", 20_000)
    corpora._generated.cache_clear()
    monkeypatch.chdir(tmp_path)
    yield
    corpora._generated.cache_clear()


def decoded(data):
    return [data.tokenizer.decode(np.asarray(part)) for part in (data.train, data.validation)]


def own(data=BYTES, name="my.txt", **options):
    Path(name).write_bytes(data)
    return load_dataset(name, **options)


def test_corpus_is_its_text_as_ids():
    text, data = corpora.load("toyworld-plays"), load_dataset("toyworld-plays")
    assert decoded(data) == [text.train, text.validation]
    assert (data.name, data.source, data.unit) == ("toyworld-plays", "generated", "character")
    assert data.bytes_per_token == 1.0  # ASCII
    assert len(repr(data)) < 700


@pytest.mark.parametrize("name", ["toyworld-plays", "toyworld-stories"])
def test_documents_of_a_corpus_are_those_of_its_separator(name):
    text, data = corpora.load(name), load_dataset(name, lowercase=True)
    pieces = [text.validation[a:b] for a, b in zip(data.documents, [*data.documents[1:], None], strict=True)]
    assert "".join(pieces) == text.validation and len(pieces) > 2
    separator = corpora.CORPORA[name].separator
    assert all(piece.endswith(separator) and piece.count(separator) == 1 for piece in pieces)
    assert data.documents[0] == 0


def test_alphabet_is_that_of_all_of_the_text_whatever_share_is_read():
    everything, tenth = own(), own(train_share=0.1)
    assert set("XYZ") & set(decoded(everything)[0]) == set()
    assert everything.tokenizer == tenth.tokenizer == CharTokenizer.train(TEXT)
    whole, first = decoded(everything)[0], decoded(tenth)[0]
    assert first == whole[: round(0.1 * len(whole))]
    assert decoded(tenth)[1] == decoded(everything)[1]


def test_lowercase_folds_text_and_alphabet():
    data = own(lowercase=True)
    assert "".join(decoded(data)) == TEXT.lower()
    assert data.tokenizer == CharTokenizer.train(TEXT, lowercase=True)


def test_own_text_keeps_its_last_tenth_for_validation():
    data = own()
    assert "".join(decoded(data)) == TEXT  # no line end was translated
    assert len(data.train) == int(0.9 * len(TEXT))
    assert (data.name, data.source, data.unit, data.documents) == ("my.txt", "file", "character", None)
    n_bytes = len(decoded(data)[1].encode())
    assert data.bytes_per_token == n_bytes / len(data.validation) > 1
    assert decoded(own(b"\xef\xbb\xbf" + TEXT.encode())) == decoded(data)  # as Windows' editor begins a file


def test_own_text_is_found_by_any_path(tmp_path, monkeypatch):
    expected = own()
    os.makedirs("folder")
    own(name="folder/text")
    own(name="my")
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = ["./my.txt", str(tmp_path / "my.txt"), "folder/text", "folder/../my", "my", "~/my.txt"]
    for path in paths:
        data = load_dataset(path)
        assert np.array_equal(data.train, expected.train) and data.name == path
        assert data.fingerprint == expected.fingerprint
    own(name="toyworld-plays")
    assert load_dataset("toyworld-plays").source == "generated"  # a name of the registry comes first
    assert load_dataset("./toyworld-plays").source == "file"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "'my.txt' has 0 characters, .* at least 20"),
        (b"x" * 19, "'my.txt' has 19 characters, .* at least 20"),
        (TEXT.encode("latin-1", "replace"), "no text in UTF-8 .byte 14 is 0xef.: save it as UTF-8"),
        (TEXT.encode("utf-16"), "no text in UTF-8 .byte 0 is 0xff.: save it as UTF-8"),
        (b"abc" * 9 + b"\xed\xa0\x80", "no text in UTF-8"),  # half a character
    ],
)
def test_own_text_that_cannot_be_read_as_one_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        own(data)
    own(b"x" * 20)


@pytest.mark.parametrize("name", ["./my", "my.txt", "x" * 5000 + ".txt", "/\0", "a/\ud800", "/dev/zero"])
def test_file_that_is_not_there_is_refused_with_the_way_out(name):
    with pytest.raises(
        DataError, match=r"there is no file .* give the path of a text file, or a corpus"
    ) as caught:
        load_dataset(name)
    assert len(str(caught.value).encode()) < 300


def test_name_that_is_none_is_refused_with_the_nearest_and_the_way_to_own_text():
    with pytest.raises(DataError, match=r"did you mean toyworld-plays, or give a text file by path"):
        load_dataset("toyworld-play")


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan"), True, "all", 1e-9, 1e-4])
def test_settings_that_cannot_work_are_refused_with_ones_that_do(share):
    with pytest.raises(ConfigError, match="train_share"):
        own(train_share=share)
    with pytest.raises(ConfigError, match="tokenizer is 'gpt2': use 'characters'"):
        own(tokenizer="gpt2")
    data = own(b"abc" * 1000, train_share=2 / 2700)
    assert len(data.train) == 2
    with pytest.raises(ConfigError, match=r"leaves 0 of 2,700: use 0.0007 or more"):
        own(b"abc" * 1000, train_share=1e-9)


def test_fingerprint_tells_data_apart_and_nothing_else():
    os.makedirs("folder")
    assert own().fingerprint == own().fingerprint == own(name="folder/other.txt").fingerprint
    changed = [
        own(),
        own(TEXT.encode() + b"Q"),
        own(TEXT.replace("Q", "q", 1).encode()),
        own(lowercase=True),
        own(train_share=0.5),
        load_dataset("toyworld-plays"),
    ]
    assert len({data.fingerprint for data in changed}) == len(changed)


IDS = np.random.default_rng(3).integers(0, 11, 1009)
TOKENIZER = CharTokenizer("abcdefghijß")


def shards(folder, ids=IDS, tokenizer=TOKENIZER, shard_tokens=97):
    write_shards(folder, [ids], tokenizer=tokenizer.to_json(), source="a test", shard_tokens=shard_tokens)


@pytest.mark.parametrize("shard_tokens", [10**6, 97])
def test_shards_keep_their_last_tenth_for_validation_and_stay_on_disk(shard_tokens):
    shards("ids", shard_tokens=shard_tokens)
    data = load_dataset("ids", lowercase=True)  # the tokenizer is the manifest's all the same
    assert np.array_equal(np.asarray(data.train), IDS[:908]) and np.array_equal(data.validation, IDS[908:])
    assert (data.name, data.source, data.unit, data.documents) == ("ids", "shards", "character", None)
    assert data.tokenizer == TOKENIZER
    assert data.bytes_per_token == len(TOKENIZER.decode(IDS[908:]).encode()) / 101 > 1
    for part in (data.train, data.validation):
        for array in part._parts if isinstance(part, Tokens) else [part]:
            while array.base is not None and not isinstance(array, np.memmap):
                array = array.base
            assert not isinstance(array, np.ndarray) or isinstance(array, np.memmap)  # mapped, not read
    assert np.array_equal(np.asarray(load_dataset("ids", train_share=0.5).train), IDS[:454])


def test_shards_of_two_folders_are_training_and_validation():
    os.makedirs("both")
    shards("both/train")
    shards("both/validation", IDS[:211])
    data = load_dataset("both")
    assert np.array_equal(np.asarray(data.train), IDS)
    assert np.array_equal(np.asarray(data.validation), IDS[:211])
    os.makedirs("mixed")
    shards("mixed/train")
    shards("mixed/validation", tokenizer=CharTokenizer("abcdefghijk"))
    with pytest.raises(DataError, match="'mixed' was made by two tokenizers"):
        load_dataset("mixed")


def test_shards_are_known_by_their_manifest_whatever_they_are_called(monkeypatch):
    shards("ids")
    shards("other/ids")
    shards("changed", IDS[::-1])
    monkeypatch.setattr(dataset, "VERIFIED_IDS", 0)
    prints = [load_dataset(name).fingerprint for name in ("ids", "other/ids", "changed")]
    assert prints[0] == prints[1] != prints[2]
    assert load_dataset("ids", train_share=0.5).fingerprint != prints[0]


def test_shards_are_read_through_before_the_first_step_only_where_they_are_few(monkeypatch):
    shards("ids")
    path = Path("ids/ids_000.bin")
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(DataError, match="expected sha256"):
        load_dataset("ids")
    monkeypatch.setattr(dataset, "VERIFIED_IDS", len(IDS) - 1)
    assert len(load_dataset("ids").train) == 908


def test_documents_of_shards_end_with_the_end_of_text(monkeypatch):
    monkeypatch.setattr(CharTokenizer, "end_of_text", 3)
    monkeypatch.setattr(dataset, "DECODED_AT_ONCE", 13)
    for last in (5, 3):  # the last document is cut short, or it is complete
        ids = np.append(IDS[:-1], last)
        shards(f"ids{last}", ids)
        data = load_dataset(f"ids{last}")
        pieces = np.split(np.asarray(data.validation), data.documents[1:])
        assert data.documents[0] == 0 and len(pieces) > 3
        assert all(piece[-1] == 3 and (piece[:-1] != 3).all() for piece in pieces[:-1])
        assert len(pieces[-1]) > 0 and (pieces[-1][:-1] != 3).all()
    monkeypatch.setattr(dataset, "DECODED_AT_ONCE", 2**20)
    assert np.array_equal(load_dataset("ids3").documents, data.documents)


def test_folder_without_a_manifest_is_refused_with_what_is_missing():
    os.makedirs("openwebtext")
    IDS.astype("<u2").tofile("openwebtext/train.bin")  # nanoGPT's own
    IDS.astype("<u2").tofile("openwebtext/val.bin")
    os.makedirs("half/train")
    for name in ("openwebtext", "openwebtext/train.bin", "half"):
        with pytest.raises(DataError, match=r"has no manifest.json to say by which tokenizer .*write_shards"):
            load_dataset(name)


def test_shards_with_too_few_ids_are_refused():
    for n in (1, 2, 10):
        shards(f"ids{n}", IDS[:n])
        with pytest.raises(DataError, match=rf"'ids{n}' holds \d \+ 1 ids: give at least 20"):
            load_dataset(f"ids{n}")
    shards("ids20", IDS[:20])
    assert len(load_dataset("ids20").validation) == 2


def test_own_text_with_the_line_ends_of_windows_is_the_same_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_bytes(b"one line\r\nand another\r\n" * 7)
    tokenizer = load_dataset("my.txt").tokenizer
    assert "\n" in tokenizer.characters and "\r" not in tokenizer.characters
