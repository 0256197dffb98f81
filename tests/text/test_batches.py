import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tinylm.batch import IGNORE_INDEX
from tinylm.errors import ConfigError, DataError
from tinylm.text import batches as batches_module
from tinylm.text.batches import Batches, EvaluationRows
from tinylm.text.tokens import Tokens

# Tokens that are their own positions: a row says where it was read.
# tokens, context_length, batch_size: primes, among them one window only and less than one batch
SIZES = [(211, 7, 3), (997, 13, 5), (53, 5, 11), (31, 29, 2), (37, 1, 3)]


def numbered(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint16)


def make(n: int = 211, **changes) -> Batches:
    settings = {"tokens": numbered(n), "context_length": 7, "batch_size": 3, "seed": 17} | changes
    return Batches(settings.pop("tokens"), **settings)


def read_epoch(batches: Batches, epoch: int) -> list[int]:
    """The positions at which the rows of one epoch begin, in the order of reading."""
    first = epoch * batches.windows_per_epoch
    last = first + batches.windows_per_epoch
    steps = range(first // batches.batch_size, -(-last // batches.batch_size))
    rows = [int(row) for step in steps for row in batches.batch(step).tokens[:, 0]]
    skip = first - steps.start * batches.batch_size
    return rows[skip : skip + batches.windows_per_epoch]


def equal(one, other) -> bool:
    return torch.equal(one.tokens, other.tokens) and torch.equal(one.targets, other.targets)


@pytest.mark.parametrize(("n", "length", "size"), SIZES)
def test_targets_are_the_tokens_shifted_by_one(n, length, size):
    batches = make(n, context_length=length, batch_size=size)
    for step in range(17):
        tokens, targets = batches.batch(step).tokens, batches.batch(step).targets
        assert tokens.dtype == targets.dtype == torch.int64
        assert tokens.shape == targets.shape == (size, length)
        assert tokens.is_contiguous() and targets.is_contiguous()
        assert torch.equal(targets, tokens + 1)  # numbered tokens


@pytest.mark.parametrize(("n", "length", "size"), SIZES)
def test_epoch_repeats_nothing_and_every_position_is_trained_in_the_end(n, length, size):
    batches = make(n, context_length=length, batch_size=size)
    assert n - 1 - batches.windows_per_epoch * length < 2 * length  # less than two windows are left unread
    scored = set()
    for epoch in range(300):
        read = [p for begin in read_epoch(batches, epoch) for p in range(begin, begin + length)]
        assert len(set(read)) == len(read) == batches.windows_per_epoch * length
        scored |= {p + 1 for p in read}
        if epoch > 5 and len(scored) == n - 1:
            break
    assert scored == set(range(1, n))  # the last token is only ever a target


@pytest.mark.parametrize(("ranks", "micro_steps"), [(2, 1), (3, 1), (1, 5), (2, 3), (3, 2)])
def test_ranks_and_micro_batches_together_read_what_one_rank_with_the_big_batch_reads(ranks, micro_steps):
    one = make(997, context_length=13, batch_size=5 * ranks * micro_steps)
    several = [make(997, context_length=13, batch_size=5, rank=r, world_size=ranks) for r in range(ranks)]
    for step in range(23):  # several epochs, most of them begun inside a batch
        parts = [each.batch(step, m, micro_steps) for m in range(micro_steps) for each in several]
        assert torch.equal(one.batch(step).tokens, torch.cat([part.tokens for part in parts]))
        assert torch.equal(one.batch(step).targets, torch.cat([part.targets for part in parts]))


def test_batch_is_a_pure_function_of_the_step_in_any_order_and_in_several_threads():
    batches, expected = make(53), [make(53).batch(step) for step in range(301)]
    orders = (range(301), range(300, -1, -1), range(0, 301, 7))
    with ThreadPoolExecutor(3) as pool:
        for read in [pool.submit(lambda o=order: [(s, batches.batch(s)) for s in o]) for order in orders]:
            assert all(equal(batch, expected[step]) for step, batch in read.result())
    batches.batch(0).tokens.zero_()  # what is handed out is the caller's own
    assert equal(batches.batch(0), expected[0])


def test_epochs_differ_in_order_and_in_offset():
    batches = make(997, context_length=13, batch_size=5)
    epochs = [read_epoch(batches, epoch) for epoch in range(11)]
    offsets = [min(begins) for begins in epochs]
    assert len(set(offsets)) > 3
    orders = [tuple((p - o) // 13 for p in e) for e, o in zip(epochs, offsets, strict=True)]
    assert len(set(orders)) == 11
    assert all(order != tuple(sorted(order)) for order in orders)
    assert len({tuple(read_epoch(make(997, seed=seed), 0)) for seed in (0, 1, 2, 3, 5, 7, 7)}) == 6


@pytest.mark.parametrize(("n", "length", "size"), [*SIZES, (36, 7, 5), (2, 3, 2), (78, 7, 11)])
def test_evaluation_rows_score_every_token_exactly_once_and_any_may_be_chosen(n, length, size):
    rows = EvaluationRows(numbered(n), context_length=length)
    batch = rows.rows(range(len(rows)))
    assert batch.tokens.shape == batch.targets.shape == (len(rows), length)
    counted = batch.targets != IGNORE_INDEX
    assert batch.targets[counted].tolist() == list(range(1, n))
    assert batch.tokens[counted].tolist() == list(range(n - 1))
    assert (~counted).sum() < length  # only the last window is padded
    for chosen in (range(0, len(rows), 2), range(len(rows) - 1, -1, -3)):
        some = rows.rows(chosen)
        assert torch.equal(some.tokens, batch.tokens[list(chosen)])
        assert torch.equal(some.targets, batch.targets[list(chosen)])


@pytest.mark.parametrize("starts", [[0], [0, 1, 2], [0, 5, 17, 18, 47, 100, 210], [0, 210]])
def test_evaluation_rows_of_documents_begin_with_each_and_hold_no_other(starts):
    starts, n, length = np.array(starts), 211, 7
    rows = EvaluationRows(numbered(n), context_length=length, documents=starts)
    batch = rows.rows(range(len(rows)))
    counted = batch.targets != IGNORE_INDEX
    assert batch.targets[counted].tolist() == list(range(1, n))
    owner = np.searchsorted(starts, np.arange(n), side="right")
    for targets, scored, begin in zip(batch.targets, counted, rows.begins, strict=True):
        assert len({owner[target] for target in targets[scored]}) == 1 and targets[0] == begin + 1
    firsts = {int(start) for start in starts if start > 0}  # position 0 has no predecessor
    assert firsts <= {int(targets[0]) for targets in batch.targets}


def test_keep_says_which_targets_are_scored_in_training_and_evaluation():
    def keep(tokens, targets):
        return targets % 3 == 0

    evaluated = EvaluationRows(numbered(211), context_length=7, keep=keep)
    for batch in (make(keep=keep).batch(4), evaluated.rows([0, 3])):
        every = batch.tokens + 1
        assert torch.equal(batch.targets, torch.where(every % 3 == 0, every, IGNORE_INDEX))
    assert make(keep=keep).fingerprint() == make().fingerprint()


def test_documents_of_a_row_begin_with_the_id_that_ends_the_one_before():
    ids = np.array([4, 1, 2, 0, 3, 0, 5, 6, 7, 1, 2])
    batch = Batches(ids, context_length=9, batch_size=1, seed=0, end_of_text=0).batch(0)
    expected = (batch.tokens[0] == 0).cumsum(0)
    assert expected[-1] == 2 and torch.equal(batch.documents[0], expected)
    assert make().batch(0).documents is None


def test_memmap_and_parts_are_read_like_an_array(tmp_path):
    numbered(211).tofile(tmp_path / "ids.bin")
    mapped = np.memmap(tmp_path / "ids.bin", dtype=np.uint16, mode="r")
    expected = EvaluationRows(numbered(211), context_length=13).rows(range(17))
    for tokens in (mapped, Tokens([mapped[:5], mapped[5:6], mapped[6:100], mapped[100:]])):
        assert all(equal(make(tokens=tokens).batch(step), make().batch(step)) for step in range(23))
        assert equal(EvaluationRows(tokens, context_length=13).rows(range(17)), expected)
        assert make(tokens=tokens).fingerprint() == make().fingerprint()
    high = np.arange(4_000_000_000, 4_000_000_050, dtype=np.uint32)  # and ids above 31 bits keep their value
    assert make(tokens=high).batch(0).tokens.min() >= 4_000_000_000


def test_too_few_tokens_are_refused_with_an_advice_that_works():
    make(14, context_length=13).batch(3)  # one window fits exactly
    for n in (13, 2):
        with pytest.raises(DataError, match=rf"{n} tokens are too few .* 14, or .* of {n - 1} or less"):
            make(n, context_length=13)
        make(n, context_length=n - 1)
    with pytest.raises(DataError, match=r"1 tokens are too few .*: give at least 2"):
        EvaluationRows(numbered(1), context_length=13)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"context_length": 0}, ConfigError, "context_length is 0"),
        ({"align": 0}, ConfigError, "align is 0"),
        ({"context_length": 17, "align": 5}, ConfigError, "not made of whole lines of 5 .*: use 15, and"),
        ({"rank": 2, "world_size": 2}, ConfigError, "rank is 2: it must be at most 1"),
        ({"tokens": np.zeros((2, 50), dtype=np.int64)}, DataError, r"shape \(2, 50\)"),
        ({"tokens": np.zeros(101)}, DataError, "float64"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(change, kind, message):
    with pytest.raises(kind, match=message):
        make(**change)
    for step, micro_step, micro_steps in ((-1, 0, 1), (0, 1, 1), (0, -1, 2)):
        with pytest.raises(DataError, match="no step"):
            make().batch(step, micro_step, micro_steps)


def test_fingerprint_depends_on_all_but_the_step_its_division_and_the_type_of_the_ids():
    ranks = [make(), make(batch_size=4), *(make(rank=rank, world_size=3) for rank in range(3))]
    ranks[1].batch(41)
    assert all(one.fingerprint() == ranks[0].fingerprint() for one in ranks)
    large = np.arange(65_500, 65_711)
    for tokens, types in ((numbered(211), "u2 u4 i4 i8 >u2 >i8"), (large, "u4 i4 i8 >u4 <u8")):
        assert len({str(make(tokens=tokens.astype(t)).fingerprint()) for t in types.split()}) == 1
    other = numbered(211)
    other[100] += 1
    for name, change in {
        **{"seed": {"seed": 18}, "order": {"seed": 18}, "count": {"n": 210}, "tokens": {"tokens": other}},
        "context_length": {"context_length": 2},
    }.items():
        assert make(**change).fingerprint()[name] != make().fingerprint()[name], name


def test_fingerprint_is_the_one_of_earlier_versions(monkeypatch):
    """Else no run could be resumed after an update. Ids are hashed in parts, or known by what was given."""
    monkeypatch.setattr("tinylm.text.tokens.READ_AT_ONCE", 13)
    assert make().fingerprint() == {
        "tokens": hashlib.sha256(numbered(211).astype("<u4").tobytes()).hexdigest(),
        **{"count": 211, "context_length": 7, "seed": 17},
        "order": "b4131fd0c95932ca1f6e726b68365f012d4f8c93b77cf3344615e7e482762814",
    }
    monkeypatch.setattr(batches_module, "_sha256", None)
    assert make(fingerprint="abc").fingerprint()["tokens"] == "abc"


@pytest.mark.parametrize(("n", "line", "lines"), [(211, 7, 1), (211, 7, 2), (105, 5, 3), (21, 5, 4)])
def test_aligned_windows_begin_with_a_line_and_reach_the_first_and_the_last(n, line, lines):
    batches = make(n, context_length=line * lines, align=line)
    begins = [begin for epoch in range(50) for begin in read_epoch(batches, epoch)]
    assert all(begin % line == 0 for begin in begins)
    last = (n - 1) // line - lines  # of the windows with a target for each of their tokens
    assert {0, last * line} <= set(begins)


def test_rows_that_begin_at_documents_read_each_of_them_once_an_epoch():
    begins = np.array([0, 5, 17, 30, 58, 101, 190, 203, 207])
    batches = make(begins=begins)
    whole = [0, 5, 17, 30, 58, 101, 190, 203]  # after 207 no row of 7 and its last target are left
    assert batches.windows_per_epoch == 8
    assert sorted(read_epoch(batches, 0)) == sorted(read_epoch(batches, 1)) == whole
    assert read_epoch(batches, 0) != read_epoch(batches, 1)
    batch = batches.batch(5)
    assert torch.equal(batch.targets, batch.tokens + 1)
    assert batches.fingerprint() != make().fingerprint()
    with pytest.raises(DataError, match="2 documents in 211 tokens give 0 rows of 7: give more"):
        make(begins=np.array([205, 209]))
