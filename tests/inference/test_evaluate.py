"""The loss of a text is the known one whatever it is cut into, and its standard error holds what it says."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.settings import lively
from tests.support.tiny import tiny_gpt
from tinylm import device
from tinylm.errors import ConfigError, DataError, InputError
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.model.gpt import GPT
from tinylm.model.losses import fused_loss, next_token_loss

V = 7
T = 11


class Bigram(nn.Module):
    """Predicts from the last token only, with probabilities that are known."""

    def __init__(self, context_length: int = T, table: torch.Tensor | None = None) -> None:
        super().__init__()
        self.config = SimpleNamespace(context_length=context_length)
        drawn = torch.randn(V, V, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        self.log_probabilities = torch.log_softmax(drawn if table is None else table, dim=-1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.log_probabilities[tokens]  # (B, T, V)


def ids(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(V, size=n)


def gpt(dropout: float = 0.0) -> GPT:
    sizes = {"vocab_size": V, "context_length": T, "n_layer": 2, "n_head": 2, "n_embd": 10}
    return lively(tiny_gpt(dropout=dropout, **sizes)).eval()


def token_by_token(model: nn.Module, tokens: np.ndarray, context_length: int = T) -> np.ndarray:
    """The loss of every token but the first, each from a forward of its own."""
    losses = []
    for position in range(1, len(tokens)):
        window = (position - 1) // context_length * context_length
        with torch.no_grad():
            logits = model(torch.as_tensor(tokens[window:position])[None])[0, -1]
        losses.append(-float(torch.log_softmax(logits.double(), dim=-1)[tokens[position]]))
    return np.array(losses)


def standard_error(sums: np.ndarray, counts: np.ndarray) -> float:
    """Of a ratio of sums, by the delta method: the spread of what each unit adds to the mean."""
    residuals = (sums - sums.sum() / counts.sum() * counts) / counts.mean()
    return math.sqrt(np.mean(residuals**2) / (len(sums) - 1))


def assert_same(measured: Evaluation, expected: Evaluation) -> None:
    """But for the order in which losses were added up."""
    assert measured.loss == pytest.approx(expected.loss, rel=1e-6)
    assert measured.standard_error == pytest.approx(expected.standard_error, rel=1e-5)
    assert (measured.n_tokens, measured.unit) == (expected.n_tokens, expected.unit)


# What is scored


@pytest.mark.parametrize("n", [2, T, T + 1, T + 2, 97, 10 * T + 1])
def test_loss_of_a_bigram_model_is_the_known_one_whatever_the_windows(n):
    tokens, table = ids(n), Bigram().log_probabilities
    known = -np.mean([float(table[a, b]) for a, b in itertools.pairwise(tokens)])
    for context_length in (1, 3, T, 200):
        measured = evaluate(Bigram(context_length=context_length), tokens, batch_size=3)
        assert measured.loss == pytest.approx(known, rel=1e-6)
        assert measured.n_tokens == n - 1


def test_dropout_and_batch_size_change_nothing_and_every_part_is_left_in_the_mode_it_was_in():
    model, tokens = gpt(dropout=0.5).train(), ids(101)
    model.blocks[1].eval()  # a part that somebody froze
    modes = [module.training for module in model.modules()]
    first = evaluate(model, tokens, batch_size=1)
    for batch_size in (1, 4, 1000):
        assert_same(evaluate(model, tokens, batch_size=batch_size), first)
    assert [module.training for module in model.modules()] == modes


def test_dtype_asked_for_is_the_one_measured_in(monkeypatch):
    monkeypatch.setattr(device, "supports_bf16", lambda _: True)  # any processor does it, most slowly
    exact, rounded = (evaluate(gpt(), ids(T), dtype=dtype).loss for dtype in ("float32", "bfloat16"))
    assert exact != rounded == pytest.approx(exact, rel=0.05)


def test_max_tokens_reads_whole_windows_spread_over_the_text_always_the_same():
    tokens = np.repeat(np.arange(V), 2 * T)  # each stretch of the text holds one letter
    flat = Bigram(table=torch.diag(torch.arange(V, dtype=torch.float64)))
    part = evaluate(flat, tokens, max_tokens=V * T)
    stays = -flat.log_probabilities.diagonal()  # the loss inside the stretch of each letter
    assert part.loss == pytest.approx(float(stays.mean()), rel=1e-6) and part.n_tokens == V * T
    assert part == evaluate(flat, tokens, max_tokens=V * T - 1)
    assert evaluate(flat, tokens, max_tokens=10**6).n_tokens == len(tokens) - 1


def high(tokens, targets):
    return targets > 2


@pytest.mark.parametrize("loss_fn", [next_token_loss, fused_loss], ids=["plain", "fused"])
def test_targets_that_are_kept_alone_are_scored_with_the_error_of_every_loss_alike(loss_fn):
    model, tokens = gpt(), ids(10 * T + 1)
    kept, expected = tokens[1:] > 2, token_by_token(model, tokens)
    starts = np.array([0, 20, 21, 60, 90])
    owner = np.searchsorted(starts, np.arange(1, len(tokens)), side="right") - 1
    sums = np.bincount(owner, weights=np.where(kept, expected, 0))
    measured = evaluate(model, tokens, documents=starts, keep=high, batch_size=7, loss_fn=loss_fn)
    assert measured.n_tokens == kept.sum()
    assert measured.loss == pytest.approx(expected[kept].mean(), rel=1e-5)
    counts = np.bincount(owner[kept], minlength=5)
    expected = standard_error(sums[counts > 0], counts[counts > 0])
    assert measured.standard_error == pytest.approx(expected, rel=1e-4)


def noting(model, batch):
    return next_token_loss(model, batch)[0], {
        "first": batch.tokens[:, 0].double().mean(),
        "load": batch.tokens.flatten(),  # a vector is for the model, and no number to report
    }


@pytest.mark.parametrize("max_tokens", [None, 5 * T])
def test_ranks_that_share_the_windows_sum_to_the_evaluation_of_one_process(max_tokens):
    model, tokens = gpt(), ids(23 * T + 5)
    asked = {"max_tokens": max_tokens, "loss_fn": noting}

    class Rank:
        def __init__(self, rank, others):
            self.rank, self.size, self.others, self.sums = rank, size, others, []

        def sum(self, value):
            self.sums.append(value.clone())
            return sum((other.sums[len(self.sums) - 1] for other in self.others), value)

        def broadcast(self, value):
            self.said = self.others[0].said if self.others else value
            return self.said

    alone = evaluate(model, tokens, **asked)
    if max_tokens is None:
        assert alone.metrics == {"first": pytest.approx(tokens[: 23 * T + 1 : T].mean())}  # over the rows
    for size in (3, 29):  # more ranks than windows: some have nothing to read
        ranks = []
        for rank in range(size):
            ranks.append(Rank(rank, [*ranks]))
            together = evaluate(model, tokens, world=ranks[-1], **asked)
        assert_same(together, alone)
        assert together.metrics == pytest.approx(alone.metrics)


def test_bits_and_perplexity_follow_from_the_loss():
    measured = evaluate(Bigram(), ids(83), bytes_per_token=3.7)
    assert measured.bits_per_byte == pytest.approx(measured.loss / math.log(2) / 3.7)
    assert evaluate(Bigram(), ids(83)).bits_per_byte is None
    assert measured.perplexity == pytest.approx(math.exp(measured.loss))
    assert measured.bits_per_token == pytest.approx(measured.loss / math.log(2))
    assert Evaluation(1e6, 0.1, 10).perplexity == math.inf


def test_weights_that_are_not_finite_give_nan_and_not_a_number_that_could_be_believed():
    model = gpt()
    with torch.no_grad():
        model.final_norm.weight[3] = torch.nan
    measured = evaluate(model, ids(101))
    assert all(math.isnan(x) for x in (measured.loss, measured.standard_error, measured.perplexity))


NOTHING = "0 tokens were scored"
DOCUMENTS = "documents in 20 tokens: give rising positions, 0 first"
REFUSED = [
    (1, {}, DataError, "1 tokens are too few"),
    (30, {"batch_size": 0}, ConfigError, "batch_size is 0"),
    (30, {"max_tokens": 0}, InputError, NOTHING),
    (30, {"keep": lambda tokens, targets: targets < 0}, InputError, NOTHING),
]
STARTS = ([0, 9, 4], [0, 20], [3, 7])
REFUSED += [(20, {"documents": starts}, InputError, DOCUMENTS) for starts in STARTS]


@pytest.mark.parametrize("n, options, error, words", REFUSED)
def test_nothing_to_score_and_documents_outside_the_text_are_refused(n, options, error, words):
    with pytest.raises(error, match=words):
        evaluate(Bigram(), ids(n), **options)


# How sure it is


def test_loss_and_standard_error_of_equal_blocks_are_the_textbooks():
    model, tokens = gpt(), ids(30 * T + 1)
    per_block = token_by_token(model, tokens).reshape(10, 3 * T)
    halves = per_block.reshape(5, 6 * T)
    errors = {len(part): np.std(part.mean(axis=1), ddof=1) / len(part) ** 0.5 for part in (per_block, halves)}
    measured = evaluate(model, tokens, batch_size=4)
    assert measured.loss == pytest.approx(per_block.mean(), rel=1e-5)
    assert measured.standard_error == pytest.approx(max(errors.values()), rel=1e-4)
    n = max(errors, key=errors.get)
    assert measured.unit == f"{n} blocks of {30 * T // n} tokens"


SOME = [(13, "8,580", 34), (6, "18,590", 73)]  # blocks, tokens in each, scored of them


@pytest.mark.parametrize(
    "n, max_tokens, units",
    [
        (2, None, ["1 blocks of 1 tokens"]),
        (3 * T, None, ["3 blocks of 11 tokens"]),  # the last window has one token less
        (111_540, None, ["13 blocks of 8,580 tokens", "6 blocks of 18,590 tokens"]),
        (111_540, 40 * T, [f"{n} blocks of {m} tokens, {k} scored in each" for n, m, k in SOME]),
    ],
)
def test_blocks_are_at_least_8192_tokens_or_ten_and_the_unit_says_so(n, max_tokens, units):
    measured = evaluate(Bigram(), ids(n), max_tokens=max_tokens, batch_size=1000)
    assert measured.unit in units
    assert math.isnan(measured.standard_error) == (units[0][:2] == "1 ")


def scenes(rng, n, mean_length):
    """Token 1 has a probability of 0.1 or of 0.6, by turns, in scenes of random length."""
    lengths = rng.geometric(1 / mean_length, size=n // mean_length * 4 + 20)
    chances = np.where((np.arange(len(lengths)) + rng.integers(2)) % 2, 0.1, 0.6)
    return (rng.random(n) < np.repeat(chances, lengths)[:n]).astype(np.int64)


@pytest.mark.parametrize(
    "n, mean_length, least, most",
    [(111_540, 4_000, 0.75, 1.35), (111_540, 1, 0.9, 1.35)],
)
def test_standard_error_is_the_spread_over_disjoint_pieces_of_one_long_text(n, mean_length, least, most):
    known, rng = Bigram(256, torch.tensor([0.65, 0.35]).log().expand(2, 2)), np.random.default_rng(1)
    long = scenes(rng, 40 * n, mean_length)
    measured = [evaluate(known, piece, batch_size=1000) for piece in long.reshape(40, n)]
    spread = np.std([one.loss for one in measured], ddof=1)
    reported = math.sqrt(np.mean([one.standard_error**2 for one in measured]))
    assert least < reported / spread < most, reported / spread


def test_documents_are_read_from_their_beginning_where_that_is_asked():
    model, tokens, starts = gpt(), ids(120), np.array([0, 1, 3, 20, 52, 53, 119])
    expected = []
    for begin, end in itertools.pairwise([0, *(starts[1:] - 1), 119]):  # the id before each document is read
        for at in range(begin, end, T):
            expected += token_by_token(model, tokens[at : min(at + T, end) + 1]).tolist()
    measured = evaluate(model, tokens, documents=starts, from_beginning=True, batch_size=3)
    assert measured.loss == pytest.approx(np.mean(expected), rel=1e-5)
    assert (measured.n_tokens, measured.unit) == (119, "6 documents")
    some = evaluate(model, tokens, documents=starts, from_beginning=True, max_tokens=30)
    assert 20 <= some.n_tokens <= 45


def test_sources_have_a_loss_and_an_error_each():
    model, tokens, starts = gpt(), ids(120), np.array([0, 20, 52, 53, 90])
    sources = ["a", "b", "a", "b", "b"]
    measured = evaluate(model, tokens, documents=starts, sources=sources)
    losses = token_by_token(model, tokens)
    owner = np.searchsorted(starts, np.arange(1, 120), side="right") - 1
    for name, documents in (("a", [0, 2]), ("b", [1, 3, 4])):
        sums, counts = (np.array([f(losses[owner == d]) for d in documents]) for f in (np.sum, len))
        assert measured.by_source[name].loss == pytest.approx(sums.sum() / counts.sum(), rel=1e-5)
        error = standard_error(sums, counts)
        assert measured.by_source[name].standard_error == pytest.approx(error, rel=1e-4)
    assert evaluate(model, tokens).by_source == {}
    with pytest.raises(InputError, match="2 sources for 5 documents: name one for each document"):
        evaluate(model, tokens, documents=starts, sources=["a", "b"])
