import errno
import hashlib
import json

import numpy as np
import pytest

from tinylm.errors import ConfigError, DataError
from tinylm.text import shards
from tinylm.text.shards import Tokens, open_tokens, read_manifest, write_shards
from tinylm.text.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer("".join(map(chr, range(300, 1003))))  # 703 ids
GENERATOR = np.random.default_rng(1)
ROWS = [GENERATOR.integers(703, size=n) for n in (101, 1, 53, 211, 0, 37)]
IDS = np.concatenate(ROWS)


def write(folder, rows=ROWS, tokenizer=TOKENIZER, **changes):
    return write_shards(folder, rows, **({"tokenizer": tokenizer.to_json(), "source": "a test"} | changes))


@pytest.mark.parametrize("shard_tokens", [10**8, 403, 402, 101, 67, 29])
def test_ids_are_read_back_in_order(tmp_path, shard_tokens):
    manifest = write(tmp_path / "train", shard_tokens=shard_tokens)
    tokens = open_tokens(tmp_path / "train")
    assert isinstance(tokens, Tokens if shard_tokens < 403 else np.memmap)  # not read into memory
    assert len(tokens) == manifest.count == len(IDS) == 403
    assert tokens.dtype == np.uint16
    assert all(not part.flags.writeable for part in getattr(tokens, "_parts", [tokens]))
    assert np.array_equal(np.asarray(tokens), IDS)
    assert all(shard.count == shard_tokens for shard in manifest.shards[:-1])
    assert sum(shard.count for shard in manifest.shards) == 403
    assert manifest.shards[0].file == "train_000.bin"


def test_manifest_tells_tokenizer_type_count_hash_and_source(tmp_path):
    manifest = write(tmp_path / "train", shard_tokens=202)
    assert manifest == read_manifest(tmp_path / "train")
    assert manifest.tokenizer == TOKENIZER.to_json()
    assert manifest.tokenizer_sha256 == TOKENIZER.fingerprint
    assert (manifest.dtype, manifest.count, manifest.source) == ("uint16", 403, "a test")
    files = [(tmp_path / "train" / shard.file).read_bytes() for shard in manifest.shards]
    assert [hashlib.sha256(file).hexdigest() for file in files] == [s.sha256 for s in manifest.shards]
    assert b"".join(files) == IDS.astype("<u2").tobytes()  # little-endian numbers and nothing else


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_vocabulary_too_large_for_sixteen_bits_is_kept_in_thirty_two(tmp_path, vocab_size, dtype):
    tokenizer = CharTokenizer("".join(map(chr, range(100_000, 100_000 + vocab_size))))
    ids = np.array([0, vocab_size - 1, 7])
    assert write(tmp_path / "train", [ids], tokenizer).dtype == dtype
    assert np.array_equal(open_tokens(tmp_path / "train"), ids)


@pytest.mark.parametrize("lengths", [[5], [3, 5], [3, 0, 5], [0, 7], [7, 0], [2, 3, 5, 7], [0], [1, 1, 1]])
def test_tokens_are_sliced_like_one_array_and_copy_nothing(lengths):
    numbers = np.arange(sum(lengths), dtype=np.uint16)
    parts = np.split(numbers, np.cumsum(lengths)[:-1])
    tokens = Tokens(parts)
    bounds = [None, *range(-len(numbers) - 2, len(numbers) + 3)]
    for begin in bounds:
        for end in bounds:
            piece, expected = tokens[begin:end], numbers[begin:end]
            assert len(piece) == len(expected) and piece.shape == expected.shape
            assert np.array_equal(np.asarray(piece), expected)
            assert np.array_equal(np.asarray(piece[1:]), expected[1:])  # a slice of a slice
            views = piece._parts if isinstance(piece, Tokens) else [piece]
            assert all(np.shares_memory(view, numbers) for view in views if len(view))
    with pytest.raises(IndexError, match="by steps of 2"):
        tokens[::2]


def test_altered_shard_is_refused_by_name_with_both_hashes(tmp_path):
    expected = write(tmp_path / "train", shard_tokens=202).shards[1].sha256
    path = tmp_path / "train" / "train_001.bin"
    path.write_bytes(path.read_bytes()[::-1])
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"_001.bin: expected sha256 {expected}, found {found}") as caught:
        open_tokens(tmp_path / "train")
    assert str(tmp_path) not in str(caught.value)
    assert len(open_tokens(tmp_path / "train", verify=False)) == 403
    with pytest.raises(DataError, match=r"'train_001.bin' lies beside a manifest.json: open the folder"):
        open_tokens(path)  # which of its bytes are ids only the manifest tells


@pytest.mark.parametrize("verify", [True, False])
def test_truncated_shard_is_refused_by_name_with_both_sizes(tmp_path, verify):
    write(tmp_path / "train")
    path = tmp_path / "train" / "train_000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"train_000.bin: expected bytes 806, found 804"):
        open_tokens(tmp_path / "train", verify=verify)


@pytest.mark.parametrize("name", ["nowhere.bin", "x" * 5000, "\ud800", "a\0b"])
def test_missing_file_is_refused_by_name(tmp_path, name):
    write(tmp_path / "train", shard_tokens=202)
    (tmp_path / "train" / "train_001.bin").unlink()
    with pytest.raises(DataError, match=r"there is no file 'train_001.bin': write the shards first"):
        open_tokens(tmp_path / "train")
    with pytest.raises(DataError, match="there is no file") as caught:
        open_tokens(tmp_path / name)
    assert len(str(caught.value).encode()) < 300  # and it can be printed


def test_id_outside_the_vocabulary_is_refused_even_where_all_hashes_fit(tmp_path):
    write(tmp_path / "train")
    path = tmp_path / "train" / "train_000.bin"
    ids = IDS.astype("<u2")
    ids[401] = 703
    path.write_bytes(ids.tobytes())
    alter(tmp_path / "train", ("shards", 0, "sha256"), hashlib.sha256(ids.tobytes()).hexdigest())
    with pytest.raises(DataError, match="id 703 is outside the tokenizer's 703"):
        open_tokens(tmp_path / "train")


ABSENT = object()


def alter(folder, place, value):
    """Set one field of the manifest, or take it away."""
    path = folder / "manifest.json"
    data = inner = json.loads(path.read_text())
    for key in place[:-1]:
        inner = inner[key]
    if value is ABSENT:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    path.write_text(json.dumps(data))


DEEP = [[]]
for _ in range(500):
    DEEP = [DEEP]
ODD = [ABSENT, None, True, float("nan"), "x" * 5000, {"x": 1}, DEEP]
LEADS_AWAY = ("../x.bin", "/etc/x.bin", "a\\b.bin", "c:x.bin", "a\0b.bin", "\ud800.bin", "a\n.bin", "x")
ALTERED = [
    *(((field,), odd) for field in ("count", "tokenizer", "tokenizer_sha256", "shards") for odd in ODD),
    *((("shards", 0, field), odd) for field in ("count", "file") for odd in ODD),
    *((("shards", 0, "file"), file) for file in LEADS_AWAY),
    *((("shards", 0, "count"), count) for count in (404, 0, -403, "403", 403.0, 10**4000)),
    *((("dtype",), odd) for odd in (ABSENT, "object", ">u2", "uint32", [])),
    *((place, "0" * 64) for place in (("tokenizer_sha256",), ("shards", 0, "sha256"))),
    *((("shards",), odd) for odd in ([], [{}], [5], ["file"])),
    (("source",), ABSENT),
    (("extra",), 1),
    (("tokenizer", "characters"), TOKENIZER.characters[::-1]),
    (("tokenizer", "kind"), "syllables"),
]


@pytest.mark.parametrize(("place", "value"), ALTERED, ids=range(len(ALTERED)))
def test_altered_manifest_is_refused_in_one_sentence(tmp_path, place, value):
    write(tmp_path / "train")
    alter(tmp_path / "train", place, value)
    with pytest.raises(DataError, match=r"is damaged|expected (sha256|bytes)") as caught:
        open_tokens(tmp_path / "train")
    message = str(caught.value)
    assert len(message.encode()) < 600 and "\n" not in message and str(tmp_path) not in message


def test_altered_manifest_is_refused_with_the_name_of_the_field(tmp_path):
    for number, place in enumerate([("count",), ("dtype",), ("tokenizer_sha256",)]):
        write(tmp_path / f"train{number}")
        alter(tmp_path / f"train{number}", place, 5)
        with pytest.raises(DataError, match=rf"the manifest.json of train. is damaged .*{place[0]}.* again$"):
            open_tokens(tmp_path / f"train{number}")


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"shards"', b'{"a":' * 100_000, b"{}", b"\xff\xfe{"])
def test_manifest_that_is_none_is_refused_in_one_sentence(tmp_path, text):
    write(tmp_path / "train")
    path = tmp_path / "train" / "manifest.json"
    path.write_bytes(text)
    with pytest.raises(DataError, match=r"the manifest.json of train is damaged \(.*\): write it again"):
        open_tokens(tmp_path / "train")
    path.unlink()
    with pytest.raises(DataError, match=r"train has no manifest.json that can be read: No such file"):
        open_tokens(tmp_path / "train")


def headed(path, ids, magic=20240520, version=1, count=None):
    """As llm.c's dev/data/data_common.py writes it: 256 int32, then the ids."""
    header = np.zeros(256, dtype="<i4")
    header[:3] = magic, version, len(ids) if count is None else count
    path.write_bytes(header.tobytes() + np.asarray(ids, dtype="<u2").tobytes())


def test_files_of_nanogpt_and_llm_c_are_read(tmp_path):
    ids = np.array([50_256, 0, 65_535, 11], dtype=np.uint16)
    ids.tofile(tmp_path / "train.bin")  # as nanoGPT's data/openwebtext/prepare.py writes it
    headed(tmp_path / "fineweb.bin", ids)
    for name in ("train.bin", "fineweb.bin"):
        assert np.array_equal(open_tokens(tmp_path / name), ids)


@pytest.mark.parametrize("data", [b"", b"abc"])
def test_raw_file_that_is_no_row_of_ids_is_refused(tmp_path, data):
    (tmp_path / "train.bin").write_bytes(data)
    with pytest.raises(DataError, match=f"train.bin: expected .* found {len(data)} bytes"):
        open_tokens(tmp_path / "train.bin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 4}, "expected bytes 1032, found 1030"),
        ({"version": 2}, r"expected magic number and version \(20240520, 1\), found \(20240520, 2\)"),
        ({"magic": 20240801, "version": 7}, r"expected .* \(20240520, 1\), found \(20240801, 7\)"),
    ],
)
def test_headed_file_that_is_not_as_its_header_says_is_refused(tmp_path, change, message):
    path = tmp_path / "fineweb.bin"
    headed(path, [50_256, 7, 11], **change)
    with pytest.raises(DataError, match=f"fineweb.bin: {message}"):
        open_tokens(path)
    headed(path, [7])
    path.write_bytes(path.read_bytes()[:100])  # cut inside its header
    with pytest.raises(DataError, match="expected bytes 1026, found 100"):
        open_tokens(path)


def test_folder_appears_complete_or_not_at_all(tmp_path, monkeypatch):
    def breaks():
        yield ROWS[0]
        raise RuntimeError("the tokenizer gave up")

    with pytest.raises(RuntimeError):
        write(tmp_path / "train", breaks())
    assert list(tmp_path.iterdir()) == []

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(shards.os, "fsync", full)
    with pytest.raises(DataError, match="write 'train': No space left") as caught:
        write(tmp_path / "train")
    assert str(tmp_path) not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[3, 703]], "id 703 is outside the tokenizer's 703"),
        ([[3, -1]], "id -1 is outside"),
        ([[0.5]], "float64"),
        ([[[1, 2]]], r"shape \(1, 2\)"),
        ([], "0 ids"),
        ([[]], "0 ids"),
    ],
)
def test_ids_that_cannot_be_right_are_refused_and_nothing_is_written(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        write(tmp_path / "train", rows)
    assert list(tmp_path.iterdir()) == []


def test_shards_are_never_written_over(tmp_path):
    write(tmp_path / "train")
    with pytest.raises(DataError, match="the folder train exists already"):
        write(tmp_path / "train", ROWS[:1])
    assert len(open_tokens(tmp_path / "train")) == 403
    with pytest.raises(ConfigError, match="shard_tokens is 0"):
        write(tmp_path / "other", shard_tokens=0)
    for name in ("c:x", "a\\b", "a\nb"):  # what a reader would refuse is not written
        with pytest.raises(DataError, match="choose a plain name"):
            write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
