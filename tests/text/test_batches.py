import hashlib
import itertools

import numpy as np
import pytest
import torch

from tinylm.errors import DataError
from tinylm.text import batches as batches_room
from tinylm.text.batches import IGNORE_INDEX, Batches, windows

# Tokens that are their own positions: a row says where it was read.
SIZES = [  # tokens, context_length, batch_size: primes, among them one window only and less than one batch
    (211, 7, 3),
    (997, 13, 5),
    (101, 11, 2),
    (53, 5, 11),
    (31, 29, 2),
    (37, 1, 3),
    (23, 11, 1),
]


def numbered(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint16)


def read_epoch(batches: Batches, epoch: int) -> list[int]:
    """The positions at which the rows of one epoch begin, in the order of reading."""
    first = epoch * batches.windows_per_epoch
    last = first + batches.windows_per_epoch
    steps = range(first // batches.batch_size, -(-last // batches.batch_size))
    rows = [int(row) for step in steps for row in batches.batch(step)[0][:, 0]]
    skip = first - steps.start * batches.batch_size
    return rows[skip : skip + batches.windows_per_epoch]


@pytest.mark.parametrize(("n", "length", "size"), SIZES)
def test_targets_are_the_tokens_shifted_by_one(n, length, size):
    batches = Batches(numbered(n), context_length=length, batch_size=size, seed=3)
    for step in range(17):
        tokens, targets = batches.batch(step)
        assert tokens.dtype == targets.dtype == torch.int64
        assert tokens.shape == targets.shape == (size, length)
        assert tokens.is_contiguous() and targets.is_contiguous()
        assert torch.equal(targets, tokens + 1)  # numbered tokens
        assert torch.equal(tokens[:, 1:], targets[:, :-1])


@pytest.mark.parametrize(("n", "length", "size"), SIZES)
def test_nothing_repeats_within_an_epoch(n, length, size):
    batches = Batches(numbered(n), context_length=length, batch_size=size, seed=5)
    for epoch in range(7):
        begins = read_epoch(batches, epoch)
        read = [p for begin in begins for p in range(begin, begin + length)]
        assert len(set(read)) == len(read) == batches.windows_per_epoch * length
        assert max(read) < n - 1  # the last token is only ever a target


@pytest.mark.parametrize(("n", "length", "size"), SIZES)
def test_an_epoch_leaves_less_than_two_windows_unread(n, length, size):
    batches = Batches(numbered(n), context_length=length, batch_size=size, seed=5)
    assert n - 1 - batches.windows_per_epoch * length < 2 * length


@pytest.mark.parametrize(("n", "length", "size"), SIZES)
def test_every_position_is_trained_sooner_or_later(n, length, size):
    batches = Batches(numbered(n), context_length=length, batch_size=size, seed=7)
    scored = set()
    for step in range(2000):
        scored.update(batches.batch(step)[1].flatten().tolist())
        if len(scored) == n - 1:
            break
    assert scored == set(range(1, n))


@pytest.mark.parametrize(("world_size", "micro_steps"), [(2, 1), (3, 1), (1, 5), (2, 3), (3, 2)])
def test_ranks_and_micro_batches_together_read_what_one_rank_with_the_whole_batch_reads(
    world_size, micro_steps
):
    size = 5
    settings = dict(context_length=13, seed=11)
    whole = Batches(numbered(997), batch_size=size * world_size * micro_steps, **settings)
    ranks = [
        Batches(numbered(997), batch_size=size, rank=rank, world_size=world_size, **settings)
        for rank in range(world_size)
    ]
    for step in range(23):  # several epochs, most of them begun inside a batch
        parts = [r.batch(step, m, micro_steps) for m in range(micro_steps) for r in ranks]
        for one, many in zip(whole.batch(step), zip(*parts, strict=True), strict=True):
            assert torch.equal(one, torch.cat(many))
        assert ranks[0].epoch(step, micro_steps) == whole.epoch(step)


def test_two_ranks_never_meet_within_an_epoch():
    ranks = [
        Batches(numbered(997), context_length=7, batch_size=3, seed=13, rank=r, world_size=2) for r in (0, 1)
    ]
    steps = ranks[0].windows_per_epoch // 6
    seen = [{int(p) for step in range(steps) for p in r.batch(step)[0].flatten()} for r in ranks]
    assert len(seen[0]) == len(seen[1]) == steps * 3 * 7
    assert not seen[0] & seen[1]


def test_a_resumed_run_reads_what_the_uninterrupted_run_reads():
    def fresh():
        return Batches(numbered(211), context_length=7, batch_size=3, seed=17)

    uninterrupted = fresh()
    expected = [uninterrupted.batch(step) for step in range(41)]
    for stop in (1, 9, 10, 19, 37):
        resumed = fresh()
        for step in range(stop, 41):
            for now, then in zip(resumed.batch(step), expected[step], strict=True):
                assert torch.equal(now, then)


def test_the_order_of_asking_does_not_matter_and_the_global_generators_are_left_alone():
    batches = Batches(numbered(211), context_length=7, batch_size=3, seed=19)
    forwards = [batches.batch(step)[0] for step in range(40)]
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    for step in reversed(range(40)):
        assert torch.equal(batches.batch(step)[0], forwards[step])
    assert (np.random.get_state()[1] == numpy_before).all()
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_a_batch_across_the_end_of_an_epoch_skips_nothing():
    batches = Batches(numbered(211), context_length=7, batch_size=3, seed=23)
    assert batches.windows_per_epoch % 3  # an epoch ends inside a batch
    rows = [int(p) for step in range(batches.windows_per_epoch) for p in batches.batch(step)[0][:, 0]]
    epochs = [rows[e * batches.windows_per_epoch :][: batches.windows_per_epoch] for e in range(3)]
    assert [len(set(e)) for e in epochs] == [batches.windows_per_epoch] * 3
    assert all(len({p % 7 for p in e}) == 1 for e in epochs)  # one offset per epoch


def test_epochs_differ_in_order_and_in_offset():
    batches = Batches(numbered(997), context_length=13, batch_size=5, seed=29)
    epochs = [read_epoch(batches, epoch) for epoch in range(11)]
    offsets = [min(begins) for begins in epochs]
    assert len(set(offsets)) > 3
    ranks_of_windows = [tuple((p - o) // 13 for p in e) for e, o in zip(epochs, offsets, strict=True)]
    assert len(set(ranks_of_windows)) == 11
    assert all(order != tuple(sorted(order)) for order in ranks_of_windows)


def test_different_seeds_read_in_different_orders():
    def order(seed):
        return tuple(read_epoch(Batches(numbered(997), context_length=13, batch_size=5, seed=seed), 0))

    assert len({order(seed) for seed in range(7)}) == 7
    assert order(3) == order(3)


def test_epoch_counts_how_often_the_windows_were_read():
    batches = Batches(numbered(211), context_length=7, batch_size=3, seed=1, rank=1, world_size=2)
    assert batches.windows_per_epoch == 29
    assert batches.epoch(0) == 0.0
    assert batches.epoch(29) == 6.0
    assert batches.epoch(29, micro_steps=5) == 30.0


def test_rows_begin_where_documents_begin():
    starts = np.array([0, 17, 30, 59, 83, 89])
    batches = Batches(numbered(101), context_length=13, batch_size=2, seed=31, starts=starts)
    assert batches.windows_per_epoch == 5  # 89 leaves room for 12 tokens, not for 13 + 1
    orders = set()
    for epoch in range(7):
        begins = read_epoch(batches, epoch)
        assert sorted(begins) == [0, 17, 30, 59, 83]
        orders.add(tuple(begins))
    assert len(orders) > 3
    tokens, targets = batches.batch(0)
    assert torch.equal(targets, tokens + 1)


def test_the_caller_may_change_starts_and_batches_without_changing_what_is_read():
    starts = np.array([41, 3, 19])
    batches = Batches(numbered(101), context_length=5, batch_size=3, seed=37, starts=starts)
    assert starts.tolist() == [41, 3, 19]
    before = batches.batch(0)[0].clone()
    batches.batch(0)[0].zero_()
    starts[:] = 0
    assert torch.equal(batches.batch(0)[0], before)
    assert torch.equal(batches.batch(9)[0].sort(0).values[:, 0], torch.tensor([3, 19, 41]))


@pytest.mark.parametrize(("n", "length", "size"), [*SIZES, (36, 7, 5), (2, 3, 2), (78, 7, 11)])
def test_validation_windows_score_every_token_exactly_once(n, length, size):
    scored, previous = [], []
    for tokens, targets in windows(numbered(n), length, size):
        assert tokens.dtype == targets.dtype == torch.int64
        assert tokens.shape == targets.shape and tokens.shape[1] == length and 1 <= len(tokens) <= size
        assert (tokens >= 0).all()
        counted = targets != IGNORE_INDEX
        scored += targets[counted].tolist()
        previous += tokens[counted].tolist()
        assert (~counted).sum() < length  # only the last window is padded
    assert scored == list(range(1, n))
    assert previous == list(range(n - 1))


def test_validation_windows_never_move():
    once = list(windows(numbered(211), 7, 3))
    again = list(windows(numbered(211), 7, 3))
    assert all(
        torch.equal(a, b) for a, b in zip(itertools.chain(*once), itertools.chain(*again), strict=True)
    )


def test_a_memmap_is_read_like_an_array(tmp_path):
    numbered(211).tofile(tmp_path / "ids.bin")
    mapped = np.memmap(tmp_path / "ids.bin", dtype=np.uint16, mode="r")
    for a, b in zip(
        Batches(mapped, context_length=7, batch_size=3, seed=1).batch(5),
        Batches(numbered(211), context_length=7, batch_size=3, seed=1).batch(5),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_ids_above_sixteen_bits_keep_their_value():
    tokens = np.arange(4_000_000_000, 4_000_000_050, dtype=np.uint32)
    assert Batches(tokens, context_length=5, batch_size=2, seed=1).batch(0)[0].min() >= 4_000_000_000


def test_too_few_tokens_are_refused_with_both_numbers():
    Batches(numbered(14), context_length=13, batch_size=1, seed=1).batch(3)  # one window fits exactly
    with pytest.raises(DataError, match=r"13 tokens are too few for one window of 13 \+ 1.*12 or less"):
        Batches(numbered(13), context_length=13, batch_size=1, seed=1)
    with pytest.raises(DataError, match="1 tokens hold no target"):
        windows(numbered(1), 13, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context_length": 0}, "context_length 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"seed": -1}, "seed -1"),
        ({"rank": 2, "world_size": 2}, "rank 2 is outside a world of 2"),
        ({"tokens": np.zeros((2, 50), dtype=np.int64)}, r"shape \(2, 50\)"),
        ({"tokens": np.zeros(101)}, "float64"),
        ({"starts": np.array([0, 101])}, "0 to 101, .* 0 to 100"),
        ({"starts": np.array([-1, 5])}, "from -1 to 5"),
        ({"starts": np.array([5, 7, 5])}, "3 positions, 2 of them distinct"),
        ({"starts": np.array([97, 99])}, "none of the 2 starts .* first is 97, .* is 93"),
        ({"starts": np.array([0.5])}, "float64"),
    ],
)
def test_impossible_requests_are_refused_in_one_sentence(change, message):
    settings = dict(tokens=numbered(101), context_length=7, batch_size=3, seed=1) | change
    with pytest.raises(DataError, match=message):
        Batches(settings.pop("tokens"), **settings)


def test_a_micro_step_outside_the_step_is_refused():
    batches = Batches(numbered(101), context_length=7, batch_size=3, seed=1)
    for arguments in ((-1, 0, 1), (0, 1, 1), (0, -1, 2), (0, 0, 0)):
        with pytest.raises(DataError, match="does not exist"):
            batches.batch(*arguments)


def test_batches_that_read_the_same_have_the_same_identity_whatever_type_their_ids_have():
    def identity(step=5, tokens=None, **changes):
        tokens = numbered(211) if tokens is None else tokens
        return Batches(tokens, **({"context_length": 7, "batch_size": 3, "seed": 17} | changes)).identity(
            step
        )

    assert identity() == identity() == identity(tokens=numbered(211).astype(np.int64))
    other = numbered(211)
    other[100] += 1
    for name, changed in {
        "seed": identity(seed=18),
        "context_length": identity(context_length=5),
        "batch_size": identity(batch_size=2),
        "world_size": identity(world_size=2),
        "count": identity(tokens=numbered(210)),
        "tokens": identity(tokens=other),
        "starts": identity(starts=np.array([0, 50, 100])),
        "order": identity(step=6),
    }.items():
        assert changed[name] != identity()[name], name


def test_the_identity_of_long_tokens_is_hashed_in_parts(monkeypatch):
    def identity():
        return Batches(numbered(211), context_length=7, batch_size=3, seed=17).identity(0)

    whole = identity()
    monkeypatch.setattr(batches_room, "HASHED_AT_ONCE", 13)
    assert identity() == whole
    assert whole["tokens"] == hashlib.sha256(numbered(211).astype("<i8").tobytes()).hexdigest()
