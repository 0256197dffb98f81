import errno
import hashlib
import json

import numpy as np
import pytest
import torch

from tinylm.errors import DataError
from tinylm.text import shards
from tinylm.text.batches import Batches, evaluation_windows
from tinylm.text.shards import Tokens, open_tokens, read_manifest, write_shards
from tinylm.text.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer("".join(map(chr, range(300, 1003))))  # 703 ids
GENERATOR = np.random.default_rng(1)
ROWS = [GENERATOR.integers(703, size=n) for n in (101, 1, 53, 211, 0, 37)]
IDS = np.concatenate(ROWS)


def write(folder, rows=ROWS, tokenizer=TOKENIZER, **changes):
    return write_shards(folder, rows, **({"tokenizer": tokenizer.to_json(), "source": "a test"} | changes))


@pytest.mark.parametrize("shard_tokens", [10**8, 403, 402, 101, 67, 29])
def test_what_was_written_is_read_back_in_order(tmp_path, shard_tokens):
    manifest = write(tmp_path / "train", shard_tokens=shard_tokens)
    tokens = open_tokens(tmp_path / "train")
    assert len(tokens) == manifest.count == len(IDS) == 403
    assert tokens.dtype == np.uint16
    np.array_equal(np.asarray(tokens), IDS)
    assert all(shard.count == shard_tokens for shard in manifest.shards[:-1])
    assert sum(shard.count for shard in manifest.shards) == 403
    assert manifest.shards[0].file == "train_000.bin"


def test_the_manifest_tells_tokenizer_type_count_hash_and_source(tmp_path):
    manifest = write(tmp_path / "train", shard_tokens=202)
    assert manifest == read_manifest(tmp_path / "train")
    assert manifest.tokenizer == TOKENIZER.to_json()
    assert manifest.tokenizer_sha256 == TOKENIZER.fingerprint
    assert (manifest.dtype, manifest.count, manifest.source) == ("uint16", 403, "a test")
    for shard in manifest.shards:
        assert hashlib.sha256((tmp_path / "train" / shard.file).read_bytes()).hexdigest() == shard.sha256


def test_the_files_are_little_endian_numbers_and_nothing_else(tmp_path):
    write(tmp_path / "train")
    assert (tmp_path / "train" / "train_000.bin").read_bytes() == IDS.astype("<u2").tobytes()


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_a_vocabulary_too_large_for_sixteen_bits_is_kept_in_thirty_two(tmp_path, vocab_size, dtype):
    tokenizer = CharTokenizer("".join(map(chr, range(100_000, 100_000 + vocab_size))))
    ids = np.array([0, vocab_size - 1, 7])
    assert write(tmp_path / "train", [ids], tokenizer).dtype == dtype
    assert np.array_equal(open_tokens(tmp_path / "train"), ids)


def test_reading_does_not_load_the_file(tmp_path):
    write(tmp_path / "train")
    tokens = open_tokens(tmp_path / "train")
    assert isinstance(tokens, np.memmap) and not tokens.flags.writeable


@pytest.mark.parametrize("shard_tokens", [10**8, 67])
def test_batches_read_shards_as_they_read_the_array(tmp_path, shard_tokens):
    write(tmp_path / "train", shard_tokens=shard_tokens)
    settings = dict(context_length=13, batch_size=5, seed=3)
    tokens = open_tokens(tmp_path / "train")
    for step in range(17):
        for a, b in zip(
            Batches(tokens, **settings).batch(step), Batches(IDS, **settings).batch(step), strict=True
        ):
            assert torch.equal(a, b)
    for one, other in zip(evaluation_windows(tokens, 13, 5), evaluation_windows(IDS, 13, 5), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_several_files_are_read_as_one_row(tmp_path):
    write(tmp_path / "one")
    np.arange(53, dtype="<u2").tofile(tmp_path / "two.bin")
    tokens = open_tokens([tmp_path / "one", tmp_path / "two.bin"])
    whole = np.concatenate([IDS, np.arange(53)])
    assert np.array_equal(np.asarray(tokens), whole)
    for begin, end in ((0, 454), (0, 403), (403, 456), (402, 404), (7, 7), (450, 999), (-5, None), (9, 3)):
        assert np.array_equal(np.asarray(tokens[begin:end]), whole[begin:end])


def test_an_empty_part_between_two_others_changes_nothing():
    tokens = Tokens([np.arange(3), np.arange(0), np.arange(3, 8)])
    assert np.asarray(tokens).tolist() == list(range(8))


def test_one_of_our_files_is_checked_against_the_manifest_beside_it(tmp_path):
    write(tmp_path / "train", shard_tokens=202)
    path = tmp_path / "train" / "train_001.bin"
    assert np.array_equal(open_tokens(path), IDS[202:])
    spoil(path)
    with pytest.raises(DataError, match=r"train_001.bin: expected sha256"):
        open_tokens(path)


def spoil(path):
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)


def test_an_altered_shard_is_refused_by_name_with_both_hashes(tmp_path):
    expected = write(tmp_path / "train", shard_tokens=202).shards[1].sha256[:16]
    path = tmp_path / "train" / "train_001.bin"
    spoil(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    with pytest.raises(
        DataError, match=f"train_001.bin: expected sha256 {expected}, found {found}"
    ) as caught:
        open_tokens(tmp_path / "train")
    assert str(tmp_path) not in str(caught.value)
    assert len(open_tokens(tmp_path / "train", verify=False)) == 403


@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_shard_is_refused_by_name_with_both_sizes(tmp_path, verify):
    write(tmp_path / "train")
    path = tmp_path / "train" / "train_000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"train_000.bin: expected bytes 806, found 804"):
        open_tokens(tmp_path / "train", verify=verify)


def test_a_missing_shard_is_refused_by_name(tmp_path):
    write(tmp_path / "train", shard_tokens=202)
    (tmp_path / "train" / "train_001.bin").unlink()
    with pytest.raises(DataError, match=r"no file train_001.bin in train"):
        open_tokens(tmp_path / "train")
    with pytest.raises(DataError, match=r"no file nowhere.bin"):
        open_tokens(tmp_path / "nowhere.bin")


def test_ids_of_another_tokenizer_are_refused_with_both_hashes(tmp_path):
    write(tmp_path / "train")
    assert len(open_tokens(tmp_path / "train", tokenizer=TOKENIZER.to_json())) == 403
    other = CharTokenizer(TOKENIZER.characters[::-1])
    both = f"expected tokenizer sha256 {other.fingerprint[:16]}, found {TOKENIZER.fingerprint[:16]}"
    with pytest.raises(DataError, match=both):
        open_tokens(tmp_path / "train", tokenizer=other.to_json())


def test_a_manifest_that_was_altered_is_refused(tmp_path):
    write(tmp_path / "train")
    path = tmp_path / "train" / "manifest.json"
    whole = json.loads(path.read_text())
    swapped = whole["tokenizer"] | {"characters": TOKENIZER.characters[::-1]}
    for change, message in (
        ({"tokenizer": swapped}, "expected tokenizer sha256"),
        ({"count": 404}, "expected ids 404, found 403"),
        ({"extra": 1}, "damaged"),
        ({"shards": [{"file": "train_000.bin"}]}, "damaged"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(DataError, match=message):
            open_tokens(tmp_path / "train")
    path.write_text(json.dumps(whole)[:-9])
    with pytest.raises(DataError, match="damaged"):
        open_tokens(tmp_path / "train")
    path.unlink()
    with pytest.raises(DataError, match=r"train has no manifest.json"):
        open_tokens(tmp_path / "train")


def test_nanogpts_raw_file_is_read(tmp_path):
    ids = np.array([50_256, 0, 65_535, 11], dtype=np.uint16)
    ids.tofile(tmp_path / "train.bin")  # as nanoGPT's data/openwebtext/prepare.py writes it
    assert np.array_equal(open_tokens(tmp_path / "train.bin"), ids)


@pytest.mark.parametrize("data", [b"", b"abc"])
def test_a_raw_file_that_is_no_row_of_ids_is_refused(tmp_path, data):
    (tmp_path / "train.bin").write_bytes(data)
    with pytest.raises(DataError, match=f"train.bin: expected .* found {len(data)} bytes"):
        open_tokens(tmp_path / "train.bin")


def headed(path, ids, magic=20240520, version=1, count=None):
    """As llm.c's dev/data/data_common.py writes it: 256 int32, then the ids."""
    header = np.zeros(256, dtype="<i4")
    header[:3] = magic, version, len(ids) if count is None else count
    path.write_bytes(header.tobytes() + np.asarray(ids, dtype="<u2").tobytes())


def test_llm_cs_headed_file_is_read_without_its_header(tmp_path):
    headed(tmp_path / "fineweb.bin", [50_256, 7, 11])
    assert open_tokens(tmp_path / "fineweb.bin").tolist() == [50_256, 7, 11]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 4}, "expected bytes 1,032, found 1,030"),
        ({"version": 2}, "expected version 1, found 2"),
        ({"magic": 20240801, "version": 7}, "expected magic number 20240520, found 20240801"),
    ],
)
def test_a_headed_file_that_is_not_as_its_header_says_is_refused(tmp_path, change, message):
    headed(tmp_path / "fineweb.bin", [50_256, 7, 11], **change)
    with pytest.raises(DataError, match=f"fineweb.bin: {message}"):
        open_tokens(tmp_path / "fineweb.bin")


def test_a_headed_file_cut_inside_its_header_is_refused(tmp_path):
    headed(tmp_path / "fineweb.bin", [7])
    (tmp_path / "fineweb.bin").write_bytes((tmp_path / "fineweb.bin").read_bytes()[:100])
    with pytest.raises(DataError, match="expected bytes 1,026, found 100"):
        open_tokens(tmp_path / "fineweb.bin")


def test_a_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
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
    with pytest.raises(DataError, match="shard_tokens is 0"):
        write(tmp_path / "other", shard_tokens=0)
