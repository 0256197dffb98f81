import hashlib
import json

import numpy as np
import pytest

from tests.support.shards import write_shards
from tests.text.packs import llmc
from tinylm.errors import DataError
from tinylm.text.shards import open_tokens, read_manifest, write_manifest, write_shard
from tinylm.text.tokenizers import CharTokenizer
from tinylm.text.tokens import Tokens

TOKENIZER = CharTokenizer("".join(map(chr, range(300, 1003))))  # 703 ids
GENERATOR = np.random.default_rng(1)
ROWS = [GENERATOR.integers(703, size=n) for n in (101, 1, 53, 211, 0, 37)]
IDS = np.concatenate(ROWS)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "train"


def write(folder, rows=ROWS, tokenizer=TOKENIZER, **changes):
    return write_shards(folder, rows, **({"tokenizer": tokenizer.to_json(), "source": "a test"} | changes))


def refused(path, match, **options):
    """That the ids are refused in one sentence of some length, without a folder above them in it."""
    with pytest.raises(DataError, match=match) as caught:
        open_tokens(path, **options)
    message = str(caught.value)
    assert len(message.encode()) < 600 and "\n" not in message and str(path.parent) not in message


@pytest.mark.parametrize("shard_tokens", [10**8, 402, 67])
def test_ids_are_read_back_in_order_and_stay_on_disk(folder, shard_tokens):
    write(folder, shard_tokens=shard_tokens)
    tokens = open_tokens(folder)
    assert isinstance(tokens, Tokens if shard_tokens < 403 else np.memmap)  # not read into memory
    assert all(not part.flags.writeable for part in getattr(tokens, "_parts", [tokens]))
    assert tokens.dtype == np.uint16 and np.array_equal(np.asarray(tokens), IDS)


def test_manifest_tells_tokenizer_type_count_hash_and_source(folder):
    manifest = write(folder, shard_tokens=202)
    assert manifest == read_manifest(folder)
    files = [(folder / f"train_00{i}.bin").read_bytes() for i in range(2)]
    assert b"".join(files) == IDS.astype("<u2").tobytes()  # little-endian numbers and nothing else
    assert manifest == {
        "dtype": "uint16",
        "count": 403,
        "source": "a test",
        "tokenizer": TOKENIZER.to_json(),
        "tokenizer_sha256": TOKENIZER.fingerprint,
        "shards": [
            {"file": f"train_00{i}.bin", "count": n, "sha256": hashlib.sha256(files[i]).hexdigest()}
            for i, n in enumerate((202, 201))
        ],
    }


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_vocabulary_too_large_for_sixteen_bits_is_kept_in_thirty_two(folder, vocab_size, dtype):
    tokenizer = CharTokenizer("".join(map(chr, range(100_000, 100_000 + vocab_size))))
    ids = np.array([0, vocab_size - 1, 7])
    assert write(folder, [ids], tokenizer)["dtype"] == dtype
    assert np.array_equal(open_tokens(folder), ids)


@pytest.mark.parametrize("lengths", [[5], [3, 5], [3, 0, 5], [0, 7], [7, 0], [2, 3, 5, 7], [0], [1, 1, 1]])
def test_tokens_are_sliced_like_one_array_and_copy_nothing(lengths):
    numbers = np.arange(sum(lengths), dtype=np.uint16)
    tokens = Tokens(np.split(numbers, np.cumsum(lengths)[:-1]))
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


def test_altered_shard_is_refused_by_name_with_both_hashes(folder):
    expected = write(folder, shard_tokens=202)["shards"][1]["sha256"]
    path = folder / "train_001.bin"
    path.write_bytes(path.read_bytes()[::-1])
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    refused(folder, f"_001.bin: expected sha256 '{expected}', found '{found}'")
    assert len(open_tokens(folder, verify=False)) == 403
    # which of a file's bytes are ids only the manifest tells
    refused(path, r"'train_001.bin' lies beside a manifest.json: open the folder")
    path.write_bytes(path.read_bytes()[:-2])
    for verify in (True, False):
        refused(folder, r"train_001.bin: expected bytes 402, found 400", verify=verify)


ABSENT = object()
DAMAGED = r"the manifest.json of train is damaged \(.*\): prepare or fetch it again"


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


def test_id_outside_the_vocabulary_is_refused_even_where_all_hashes_fit(folder):
    write(folder)
    ids = IDS.astype("<u2")
    ids[401] = 703
    (folder / "train_000.bin").write_bytes(ids.tobytes())
    alter(folder, ("shards", 0, "sha256"), hashlib.sha256(ids.tobytes()).hexdigest())
    refused(folder, "id 703 is outside the tokenizer's 703")


FIELDS = ("count", "tokenizer", "tokenizer_sha256", "shards", "dtype")
ALTERED = [
    *(((field,), ABSENT) for field in FIELDS),
    *(((field,), {"x": 1}) for field in FIELDS),
    *((("shards", 0, "file"), file) for file in (None, "../x.bin", "a\\b.bin", "c:x.bin", "x" * 5000)),
    *((("shards", 0, "count"), count) for count in (True, 404, 0)),
    (("extra",), 1),
    (("shards", 0, "sha256"), "0" * 64),
    (("tokenizer", "characters"), TOKENIZER.characters[::-1]),
]


@pytest.mark.parametrize(("place", "value"), ALTERED, ids=range(len(ALTERED)))
def test_altered_manifest_is_refused_in_one_sentence(folder, place, value):
    write(folder)
    alter(folder, place, value)
    refused(folder, rf"{DAMAGED}$|expected (sha256|bytes)")


def test_manifest_that_is_none_or_lists_a_shard_twice_is_refused_in_one_sentence(folder):
    shard = write(folder)["shards"][0]
    alter(folder, ("shards",), [shard, shard])
    refused(folder, "2 shards have 1 names: list each once")
    for text in (b"[]", b'{"a":' * 100_000, b"\xff\xfe{"):
        (folder / "manifest.json").write_bytes(text)
        refused(folder, DAMAGED)


def test_files_of_llm_c_and_nanogpt_are_read_and_a_manifest_makes_shards_of_nanogpts(folder):
    folder.mkdir()
    (folder / "fineweb.bin").write_bytes(llmc(IDS))
    paths = [folder / "train.bin", folder / "val.bin"]
    for path, ids in zip(paths, np.split(IDS.astype(np.uint16), [211]), strict=True):
        ids.tofile(path)  # as nanoGPT's data/openwebtext/prepare.py writes it
    assert np.array_equal(open_tokens(folder / "fineweb.bin"), IDS)
    assert np.array_equal(open_tokens(folder / "val.bin"), IDS[211:])
    write_manifest(folder, paths, TOKENIZER.to_json(), "nanoGPT")
    assert np.array_equal(np.asarray(open_tokens(folder)), IDS)


def test_foreign_file_that_is_no_row_of_ids_is_refused(tmp_path):
    path = tmp_path / "fineweb.bin"
    for data, message in (
        (llmc(count=4), "expected bytes 1032, found 1030"),
        (llmc(version=2), r"expected magic number and version \(20240520, 1\), found \(20240520, 2\)"),
        (llmc(magic=20240801, version=7), r"expected .* \(20240520, 1\), found \(20240801, 7\)"),
        (llmc([]), " has 0 bytes of 2-byte ids"),
        (llmc([7])[:100], "expected bytes 1026, found 100"),  # cut inside its header
        (b"abc", "fineweb.bin has 3 bytes of 2-byte ids"),
    ):
        path.write_bytes(data)
        refused(path, message)


def test_shard_and_manifest_appear_whole_or_not_at_all(folder):
    folder.mkdir()
    path = folder / "a.bin"
    with pytest.raises(DataError, match="id 703 is outside the tokenizer's 703"):
        write_shard(path, [*ROWS * 99, [703]], 703)  # when much is written already
    assert list(folder.iterdir()) == []
    write_shard(path, iter(ROWS), 703)
    for name in ("a\nb.bin", "a.txt"):  # what a reader would refuse is not written
        (odd := folder / name).write_bytes(b"ab")
        with pytest.raises(DataError, match="choose a plain name"):
            write_manifest(folder, [path, odd], TOKENIZER.to_json(), "a test")
        odd.unlink()
    with pytest.raises(DataError, match="0 ids"):
        write_manifest(folder, [], TOKENIZER.to_json(), "a test")
    write_manifest(folder, [path], TOKENIZER.to_json(), "a test")
    assert {file.name for file in folder.iterdir()} == {"a.bin", "manifest.json"}
    assert np.array_equal(open_tokens(folder), IDS)
