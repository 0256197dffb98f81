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
    assert len(tokens) == manifest.count == len(IDS) == 403
    assert tokens.dtype == np.uint16
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
    for shard in manifest.shards:
        assert hashlib.sha256((tmp_path / "train" / shard.file).read_bytes()).hexdigest() == shard.sha256


def test_files_are_little_endian_numbers_and_nothing_else(tmp_path):
    write(tmp_path / "train")
    assert (tmp_path / "train" / "train_000.bin").read_bytes() == IDS.astype("<u2").tobytes()


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_vocabulary_too_large_for_sixteen_bits_is_kept_in_thirty_two(tmp_path, vocab_size, dtype):
    tokenizer = CharTokenizer("".join(map(chr, range(100_000, 100_000 + vocab_size))))
    ids = np.array([0, vocab_size - 1, 7])
    assert write(tmp_path / "train", [ids], tokenizer).dtype == dtype
    assert np.array_equal(open_tokens(tmp_path / "train"), ids)


def test_file_is_not_loaded_to_be_read(tmp_path):
    write(tmp_path / "train")
    tokens = open_tokens(tmp_path / "train")
    assert isinstance(tokens, np.memmap) and not tokens.flags.writeable


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
    expected = write(tmp_path / "train", shard_tokens=202).shards[1].sha256[:16]
    path = tmp_path / "train" / "train_001.bin"
    path.write_bytes(path.read_bytes()[::-1])
    found = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
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


@pytest.mark.parametrize("name", ["nowhere.bin", "x" * 5000, "x/" * 3000, "\ud800", "a\0b", "."])
def test_missing_file_is_refused_by_name(tmp_path, name):
    write(tmp_path / "train", shard_tokens=202)
    (tmp_path / "train" / "train_001.bin").unlink()
    with pytest.raises(DataError, match=r"no file 'train_001.bin' in 'train'"):
        open_tokens(tmp_path / "train")
    with pytest.raises(DataError) as caught:
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
ODD = [None, True, 5, 1.5, float("nan"), "", "x", [], {}, {"x": 1}, DEEP, 10**4000]
TYPES = "object O float64 int64 uint64 uint8 bool V8 S2 U1 u2 <u2 >u2 u2,u2 datetime64 garbage int16"
PLACES = "../x.bin /etc/passwd /etc/x.bin a/b.bin .. a\\b.bin c:x.bin \\\\host\\x.bin a\0.bin \ud800.bin x"
ALTERED = {
    **{(field,): [ABSENT, *ODD] for field in ("count", "tokenizer", "tokenizer_sha256", "shards")},
    **{("shards", 0, field): [ABSENT, *ODD] for field in ("count", "file")},
    **{(field,): [1] for field in ("extra", "\ud800", "x" * 5000)},
    ("shards", 0): ODD,
    ("shards", 0, "extra"): [1],
    ("shards", 0, "sha256"): [ABSENT, *(odd for odd in ODD if not isinstance(odd, str))],
    ("dtype",): [ABSENT, *TYPES.split(), *ODD],
    ("source",): [ABSENT, *(odd for odd in ODD if not isinstance(odd, str))],
    ("tokenizer", "characters"): [ABSENT, TOKENIZER.characters[::-1], *ODD],
}
ALTERED = [
    *((place, value) for place, values in ALTERED.items() for value in values),
    *((("shards", 0, "file"), file) for file in (*PLACES.split(), "x" * 5000 + ".bin", "a\n.bin")),
    *(
        (place, count)
        for place in (("count",), ("shards", 0, "count"))
        for count in (404, 0, -403, "403", 403.0)
    ),
    *((place, "0" * 64) for place in (("tokenizer_sha256",), ("shards", 0, "sha256"))),
    *((("shards",), odd) for odd in ([{}], [[]], [5], ["file"])),
]


@pytest.mark.parametrize(("place", "value"), ALTERED, ids=range(len(ALTERED)))
def test_altered_manifest_is_refused_in_one_sentence(tmp_path, place, value):
    write(tmp_path / "train")
    alter(tmp_path / "train", place, value)
    with pytest.raises(DataError) as caught:  # at the door, but for a hash that only the file can tell
        open_tokens(tmp_path / "train", verify=value == "0" * 64)
    message = str(caught.value)
    assert len(message.encode()) < 600 and "\n" not in message and str(tmp_path) not in message


@pytest.mark.parametrize("kind", ["syllables", 5, None, DEEP, {}])
def test_manifest_with_a_tokenizer_that_is_not_known_is_refused_even_where_its_hash_fits(tmp_path, kind):
    write(tmp_path / "train")
    other = TOKENIZER.to_json() | {"kind": kind}
    alter(tmp_path / "train", ("tokenizer",), other)
    alter(tmp_path / "train", ("tokenizer_sha256",), shards.fingerprint(other))
    with pytest.raises(DataError, match=r"a tokenizer of kind .* is not known here"):
        open_tokens(tmp_path / "train")


def test_manifest_that_names_a_file_twice_is_refused(tmp_path):
    write(tmp_path / "train")
    shard = json.loads((tmp_path / "train" / "manifest.json").read_text())["shards"][0]
    alter(tmp_path / "train", ("shards",), [shard, shard])
    alter(tmp_path / "train", ("count",), 806)
    with pytest.raises(DataError, match="names a file twice"):
        open_tokens(tmp_path / "train")


@pytest.mark.parametrize(
    "text", ["", "5", "[]", "null", '{"shards"', "[" * 100_000, '{"a":' * 100_000, "\x00", "{}", "1" * 5000]
)
def test_manifest_that_is_none_is_refused_in_one_sentence(tmp_path, text):
    write(tmp_path / "train")
    path = tmp_path / "train" / "manifest.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"the manifest.json of train is damaged: .*; write it again"):
        open_tokens(tmp_path / "train")
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="is damaged"):
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
        ({"count": 4}, "expected bytes 1,032, found 1,030"),
        ({"version": 2}, "expected version 1, found 2"),
        ({"magic": 20240801, "version": 7}, "expected magic number 20240520, found 20240801"),
    ],
)
def test_headed_file_that_is_not_as_its_header_says_is_refused(tmp_path, change, message):
    path = tmp_path / "fineweb.bin"
    headed(path, [50_256, 7, 11], **change)
    with pytest.raises(DataError, match=f"fineweb.bin: {message}"):
        open_tokens(path)
    headed(path, [7])
    path.write_bytes(path.read_bytes()[:100])  # cut inside its header
    with pytest.raises(DataError, match="expected bytes 1,026, found 100"):
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
    with pytest.raises(DataError, match="write train: No space left") as caught:
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
    for name in ("c:x", "a\\b", "a\nb", "x" * 250):  # what a reader would refuse is not written
        with pytest.raises(DataError, match="choose another"):
            write(tmp_path / name)
