"""The loss of a text is the known one whatever it is cut into, and its standard error holds what it says."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tinylm.device import Precision
from tinylm.errors import ConfigError, DataError, InputError
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import chunked_loss, masked_loss, next_token_loss
from tinylm.text.tokenizers import CharTokenizer
from tinylm.text.toyworld.world import PLAYS

V = 7
T = 11


class Bigram(nn.Module):
    """Predicts from the last token only, with probabilities that are known."""

    def __init__(self, vocab_size: int = V, context_length: int = T) -> None:
        super().__init__()
        self.config = SimpleNamespace(context_length=context_length)
        generator = torch.Generator().manual_seed(5)
        table = torch.randn(vocab_size, vocab_size, generator=generator, dtype=torch.float64)
        self.log_probabilities = torch.log_softmax(table, dim=-1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.log_probabilities[tokens]  # (B, T, V)


def ids(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(V, size=n)


def gpt(dropout: float = 0.0) -> GPT:
    config = ModelConfig(vocab_size=V, context_length=T, n_layer=2, n_head=2, n_embd=10, dropout=dropout)
    model = GPT(config, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    return model.eval()


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


def test_loss_of_a_gpt_is_the_mean_of_its_losses_token_by_token():
    model, tokens = gpt(), ids(53)
    expected = token_by_token(model, tokens).mean()
    assert evaluate(model, tokens, batch_size=2).loss == pytest.approx(expected, rel=1e-5)


def test_dropout_and_batch_size_change_nothing_and_every_part_is_left_in_the_mode_it_was_in():
    model, tokens = gpt(dropout=0.5).train(), ids(101)
    model.blocks[1].eval()  # a part that somebody froze
    modes = [module.training for module in model.modules()]
    first = evaluate(model, tokens, batch_size=1)
    for batch_size in (1, 4, 1000):
        assert_same(evaluate(model, tokens, batch_size=batch_size), first)
    assert [module.training for module in model.modules()] == modes


def test_dtype_asked_for_is_the_one_measured_in(monkeypatch):
    asked, real = [], Precision.of

    def watched(device, dtype):
        asked.append((str(device), dtype))
        return real("cpu", "float32")

    monkeypatch.setattr(Precision, "of", watched)
    evaluate(gpt(), ids(T), dtype="bfloat16")  # slow on most processors: only asked for
    evaluate(Bigram(), ids(T))
    assert asked == [("cpu", "bfloat16"), ("cpu", "float32")]


class Reads:
    """Ids that count how many of them were read."""

    def __init__(self, tokens: np.ndarray) -> None:
        self.tokens, self.dtype, self.shape, self.n_read = tokens, tokens.dtype, tokens.shape, 0

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, where: slice) -> np.ndarray:
        self.n_read += len(self.tokens[where])
        return self.tokens[where]


def test_max_tokens_reads_only_windows_spread_over_the_text_always_the_same():
    tokens = Reads(np.repeat(np.arange(V), 2 * T))  # each stretch of the text holds one letter
    flat = Bigram()
    flat.log_probabilities = torch.log_softmax(torch.diag(torch.arange(V, dtype=torch.float64)), dim=-1)
    part = evaluate(flat, tokens, max_tokens=V * T)
    assert part.n_tokens == V * T
    assert tokens.n_read == V * (T + 1)
    assert part == evaluate(flat, tokens, max_tokens=V * T - 1)  # in whole windows
    stays = -flat.log_probabilities.diagonal()  # the loss inside the stretch of each letter
    assert part.loss == pytest.approx(float(stays.mean()), rel=1e-6)
    assert evaluate(flat, tokens, max_tokens=10**6).n_tokens == len(tokens) - 1


def test_loss_fn_that_masks_is_divided_by_the_targets_it_scores():
    model, tokens = gpt(), ids(10 * T + 1)
    kept, expected = tokens[1:] > 2, token_by_token(model, tokens)
    sums, counts = (x.reshape(10, T).sum(axis=1) for x in (np.where(kept, expected, 0), kept))
    for inner in (next_token_loss, chunked_loss(5)):
        loss_fn = masked_loss(lambda inputs, targets: targets > 2, inner)
        measured = evaluate(model, tokens, batch_size=7, loss_fn=loss_fn)
        assert measured.n_tokens == kept.sum()
        assert measured.loss == pytest.approx(expected[kept].mean(), rel=1e-5)
        assert measured.standard_error == pytest.approx(standard_error(sums, counts), rel=1e-4)


def test_loss_fn_equal_to_cross_entropy_gives_the_same_evaluation():
    model, tokens = gpt(), ids(307)
    chunked = evaluate(model, tokens, loss_fn=chunked_loss(3))
    assert_same(chunked, evaluate(model, tokens))
    by_blocks = evaluate(model, tokens, loss_fn=chunked_loss(3), documents=[0, 150])
    assert by_blocks == chunked  # one sum for a batch cannot be told apart by documents


@pytest.mark.parametrize("max_tokens", [None, 5 * T])
@pytest.mark.parametrize("loss_fn", [next_token_loss, chunked_loss(3)], ids=["tokens", "sums"])
def test_ranks_that_share_the_windows_sum_to_the_evaluation_of_one_process(max_tokens, loss_fn):
    model, tokens = gpt(), ids(23 * T + 5)
    asked = {"max_tokens": max_tokens, "loss_fn": loss_fn}

    class Rank:
        def __init__(self, rank, others):
            self.rank, self.size, self.others = rank, 3, others

        def sum(self, value):
            self.mine = value.clone()
            return sum(self.others, value)

    ranks = []
    for rank in range(3):
        ranks.append(Rank(rank, [other.mine for other in ranks]))
        together = evaluate(model, tokens, world=ranks[-1], **asked)
    assert_same(together, evaluate(model, tokens, **asked))


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
    (30, {"loss_fn": masked_loss(lambda inputs, targets: targets < 0)}, InputError, NOTHING),
]
STARTS = ([], [0, 5, 5], [0, 9, 4], [-1, 3], [0, 20], [3, 7])
REFUSED += [(20, {"documents": starts}, InputError, DOCUMENTS) for starts in STARTS]


@pytest.mark.parametrize("n, options, error, words", REFUSED)
def test_nothing_to_score_and_documents_outside_the_text_are_refused(n, options, error, words):
    with pytest.raises(error, match=words):
        evaluate(Bigram(), ids(n), **options)


# How sure it is


def test_standard_error_of_equal_blocks_is_the_textbook_one():
    model, tokens = gpt(), ids(30 * T + 1)
    per_block = token_by_token(model, tokens).reshape(10, 3 * T).mean(axis=1)
    measured = evaluate(model, tokens, batch_size=4)
    assert measured.standard_error == pytest.approx(np.std(per_block, ddof=1) / math.sqrt(10), rel=1e-4)
    assert measured.unit == f"10 blocks of {3 * T} tokens"


@pytest.mark.parametrize(
    "n, max_tokens, unit",
    [
        (2, None, "1 block of 1 tokens"),
        (3 * T, None, "3 blocks of 11 tokens"),  # the last window has one token less
        (111_540, None, "13 blocks of 8,580 tokens"),
        (111_540, 4 * T, "4 blocks of 8,580 tokens, 11 scored in each"),
        (111_540, 40 * T, "13 blocks of 8,580 tokens, 34 scored in each"),
    ],
)
def test_blocks_are_at_least_8192_tokens_or_ten_and_the_unit_says_so(n, max_tokens, unit):
    measured = evaluate(Bigram(), ids(n), max_tokens=max_tokens, batch_size=1000)
    assert measured.unit == unit
    assert math.isnan(measured.standard_error) == unit.startswith("1 ")


def text_in_scenes(seed: int, n: int = 13 * 8_192 + 1) -> np.ndarray:
    """Token 1 has a probability of 0.1 or of 0.6 by turns; a scene lasts 1,500 tokens in the mean."""
    rng = np.random.default_rng(seed)
    lengths = rng.geometric(1 / 1_500, size=n // 400)
    chances = np.where((np.arange(len(lengths)) + rng.integers(2)) % 2, 0.1, 0.6)
    return (rng.random(n) < np.repeat(chances, lengths)[:n]).astype(np.int64)


def test_interval_by_blocks_holds_the_truth_on_correlated_text_and_by_windows_does_not():
    class Known(nn.Module):
        """The best guess for one who does not know the scene."""

        config = SimpleNamespace(context_length=256)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.65, 0.35]).log().expand(*tokens.shape, 2)  # (B, T, 2)

    truth = -(0.35 * math.log(0.35) + 0.65 * math.log(0.65))
    held = {"blocks": 0, "windows": 0}
    for seed in range(200):
        tokens = text_in_scenes(seed)
        for name, documents in (("blocks", None), ("windows", np.arange(0, len(tokens), 256))):
            measured = evaluate(Known(), tokens, documents=documents, batch_size=1000)
            held[name] += abs(measured.loss - truth) < 1.96 * measured.standard_error
    assert held["blocks"] >= 0.88 * 200
    assert held["windows"] < 0.7 * 200


LETTERS = CharTokenizer.train(PLAYS.joined(300_000, seed=0))


def plays(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    texts = [text + PLAYS.separator for text in PLAYS.texts(n, seed)]
    lengths = np.array([len(text) for text in texts])
    return LETTERS.encode("".join(texts)), np.cumsum(lengths) - lengths


def test_standard_error_by_documents_is_the_spread_of_the_loss_over_fresh_documents():
    model = Bigram(LETTERS.vocab_size)
    measured = []
    for seed in range(60):
        tokens, starts = plays(31, seed)
        measured.append(evaluate(model, tokens, documents=starts, batch_size=1000))
    spread = np.std([m.loss for m in measured], ddof=1)
    assert np.mean([m.standard_error for m in measured]) == pytest.approx(spread, rel=0.25)


def test_documents_decide_the_unit_and_never_the_loss():
    model, tokens, starts = gpt(), ids(120), np.array([0, 1, 3, 20, 52, 53, 119])
    running, by_documents = (evaluate(model, tokens, documents=d, batch_size=3) for d in (None, starts))
    assert by_documents.loss == pytest.approx(running.loss, rel=1e-12)
    assert by_documents.n_tokens == running.n_tokens == 119
    owner = np.searchsorted(starts, np.arange(1, 120), side="right") - 1  # of every token but the first
    sums, counts = np.bincount(owner, weights=token_by_token(model, tokens)), np.bincount(owner)
    expected = standard_error(sums[counts > 0], counts[counts > 0])
    assert by_documents.standard_error == pytest.approx(expected, rel=1e-4)
    assert by_documents.unit == "6 documents"  # the first holds one token, and it has no predecessor
