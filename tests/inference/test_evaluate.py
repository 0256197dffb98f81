"""Tests of tinylm.inference.evaluate."""

import contextlib
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from tinylm.errors import InputError
from tinylm.inference.evaluate import Evaluation, evaluate, evaluate_documents
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.batches import IGNORE_INDEX

V = 7
T = 11


class Bigram(nn.Module):
    """Predicts from the last token only, with probabilities that are known."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        table = torch.randn(V, V, generator=generator, dtype=torch.float64)
        self.log_probabilities = torch.log_softmax(table, dim=-1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.log_probabilities[tokens.clamp(min=0)]  # (B, T, V)


def ids(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(V, size=n)


def gpt(dropout: float = 0.0) -> GPT:
    config = ModelConfig(vocab_size=V, context_length=T, n_layer=2, n_head=2, n_embd=10, dropout=dropout)
    model = GPT(config, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    return model


def nats(model: nn.Module, seen: np.ndarray, target: int) -> float:
    with torch.no_grad():
        logits = model(torch.as_tensor(seen)[None])[0, -1]
    return -float(torch.log_softmax(logits.double(), dim=-1)[target])


def token_by_token(model: nn.Module, tokens: np.ndarray, context_length: int) -> list[float]:
    """The loss of every token but the first, each from a forward of its own."""
    losses = []
    for position in range(1, len(tokens)):
        window = (position - 1) // context_length * context_length
        losses.append(nats(model, tokens[window:position], tokens[position]))
    return losses


@pytest.mark.parametrize("n", [2, T, T + 1, T + 2, 97, 10 * T + 1])
def test_a_bigram_model_has_its_known_loss_whatever_the_windows(n):
    tokens, table = ids(n), Bigram().log_probabilities
    known = -np.mean([float(table[a, b]) for a, b in itertools.pairwise(tokens)])
    for context_length in (1, 3, T, 200):
        measured = evaluate(Bigram(), tokens, context_length=context_length, batch_size=3)
        assert measured.loss == pytest.approx(known, rel=1e-6)
        assert measured.n_tokens == n - 1


def test_the_loss_of_a_gpt_is_the_mean_of_its_losses_token_by_token():
    model, tokens = gpt().eval(), ids(53)
    measured = evaluate(model, tokens, batch_size=2)
    assert measured.loss == pytest.approx(np.mean(token_by_token(model, tokens, T)), rel=1e-5)


def test_the_standard_error_of_equal_windows_is_the_textbook_one():
    model, tokens = gpt().eval(), ids(13 * T + 1)
    per_window = np.mean(np.reshape(token_by_token(model, tokens, T), (13, T)), axis=1)
    textbook = np.std(per_window, ddof=1) / math.sqrt(13)
    assert evaluate(model, tokens).standard_error == pytest.approx(textbook, rel=1e-4)


def test_the_standard_error_is_the_spread_of_the_measured_loss_over_fresh_texts():
    model = Bigram()
    measured = [evaluate(model, ids(307, seed), context_length=T) for seed in range(60)]
    spread = np.std([m.loss for m in measured], ddof=1)
    assert np.mean([m.standard_error for m in measured]) == pytest.approx(spread, rel=0.25)


def test_one_window_has_no_standard_error():
    assert math.isnan(evaluate(Bigram(), ids(T), context_length=T).standard_error)


def test_the_batch_size_and_a_repetition_change_nothing():
    model, tokens = gpt(dropout=0.5).train(), ids(101)
    first = evaluate(model, tokens, batch_size=1)
    for batch_size in (1, 4, 1000):
        again = evaluate(model, tokens, batch_size=batch_size)
        assert again.loss == pytest.approx(first.loss, rel=1e-6)
        assert again.standard_error == pytest.approx(first.standard_error, rel=1e-5)
    assert model.training


def test_every_part_is_left_in_the_mode_it_was_in():
    model = gpt().train()
    model.blocks[1].eval()  # a part that somebody froze
    modes = [module.training for module in model.modules()]
    evaluate(model, ids(101))
    assert [module.training for module in model.modules()] == modes


def test_the_device_and_the_precision_that_were_asked_for_are_those_that_are_measured(monkeypatch):
    asked = []

    def watched(device, dtype):
        asked.append((str(device), dtype))
        return contextlib.nullcontext()

    monkeypatch.setattr("tinylm.inference.evaluate.autocast", watched)
    evaluate(Bigram(), ids(T), context_length=T, dtype="bfloat16")  # slow on most processors: only asked for
    evaluate(Bigram(), ids(T), context_length=T, device="cpu:0")
    assert asked == [("cpu", "bfloat16"), ("cpu:0", "float32")]


def test_fewer_windows_are_spread_over_the_text_and_always_the_same():
    tokens = np.repeat(np.arange(V), 2 * T)  # each stretch of the text holds one letter
    flat = Bigram()
    flat.log_probabilities = torch.log_softmax(torch.diag(torch.arange(V, dtype=torch.float64)), dim=-1)
    part = evaluate(flat, tokens, context_length=T, max_windows=V)
    assert part.n_tokens == V * T
    assert part == evaluate(flat, tokens, context_length=T, max_windows=V)
    stays = -flat.log_probabilities.diagonal()  # the loss inside the stretch of each letter
    assert part.loss == pytest.approx(float(stays.mean()), rel=1e-6)
    assert evaluate(flat, tokens, context_length=T, max_windows=10**6).n_tokens == len(tokens) - 1


def test_bits_per_byte_divide_by_the_bytes_of_a_token():
    measured = evaluate(Bigram(), ids(83), context_length=T, bytes_per_token=3.7)
    assert measured.bits_per_byte == pytest.approx(measured.loss / math.log(2) / 3.7)
    assert evaluate(Bigram(), ids(83), context_length=T).bits_per_byte is None
    assert measured.perplexity == pytest.approx(math.exp(measured.loss))
    assert measured.bits_per_token == pytest.approx(measured.loss / math.log(2))


@pytest.mark.parametrize("options", [{}, {"max_windows": 0}])
def test_nothing_to_score_is_refused(options):
    tokens = ids(1) if not options else ids(30)
    with pytest.raises(InputError, match="nothing"):
        evaluate(Bigram(), tokens, context_length=T, **options)


def test_texts_without_a_token_to_score_and_an_empty_batch_are_refused():
    with pytest.raises(InputError, match="0 tokens were scored"):
        evaluate(Bigram(), np.array([1, IGNORE_INDEX]), context_length=T)
    with pytest.raises(InputError, match="0 tokens were scored"):
        evaluate_documents(Bigram(), ids(3), [0, 1, 2], prefix=[], context_length=T)
    for batch_size in (0, -1):
        with pytest.raises(InputError, match=f"batch_size {batch_size} reads nothing"):
            evaluate(Bigram(), ids(30), context_length=T, batch_size=batch_size)


PREFIX = [3, 5]
LENGTHS = [1, 2, 5, T - 1, T, T + 1, 3, 2 * T, 37]
STARTS = np.cumsum([0, *LENGTHS[:-1]])


def document_sums(model: nn.Module, tokens: np.ndarray, context_length: int = 10**6) -> list[float]:
    sums = []
    for start, length in zip(STARTS, LENGTHS, strict=True):
        text = np.concatenate((PREFIX, tokens[start : start + length]))
        sums.append(
            sum(
                nats(model, text[max(0, i - context_length) : i], text[i])
                for i in range(len(PREFIX), len(text))
            )
        )
    return sums


def test_whole_texts_have_the_known_loss_of_a_bigram_model_from_the_prefix_on():
    tokens = ids(sum(LENGTHS), 2)
    for context_length in (2, 3, 5, T, 64):
        measured = evaluate_documents(
            Bigram(), tokens, STARTS, prefix=PREFIX, context_length=context_length, batch_size=4
        )
        assert measured.n_tokens == sum(LENGTHS)
        assert measured.loss == pytest.approx(sum(document_sums(Bigram(), tokens)) / sum(LENGTHS), rel=1e-6)


def test_texts_that_fit_the_context_are_scored_with_all_that_stands_before_in_them_and_nothing_else():
    model, tokens = gpt().eval(), ids(sum(LENGTHS), 3)
    short = [i for i, n in enumerate(LENGTHS) if n + len(PREFIX) <= T + 1]
    starts = np.cumsum([0] + [LENGTHS[i] for i in short[:-1]])
    kept = np.concatenate([tokens[STARTS[i] : STARTS[i] + LENGTHS[i]] for i in short])
    sums = np.array(document_sums(model, tokens, T))[short]
    lengths = np.array(LENGTHS)[short]
    measured = evaluate_documents(model, kept, starts, prefix=PREFIX, batch_size=3)
    loss = sums.sum() / lengths.sum()
    assert measured.loss == pytest.approx(loss, rel=1e-5)
    k = len(short)
    by_hand = math.sqrt(k / (k - 1) * np.sum((sums - loss * lengths) ** 2)) / lengths.sum()
    assert measured.standard_error == pytest.approx(by_hand, rel=1e-4)


def test_in_a_longer_text_every_token_sees_at_least_half_the_context():
    class Age(nn.Module):
        """A loss of 0 for positions from T // 2 on, and for all of the first window."""

        n_read = 0

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            self.n_read += len(tokens)
            age = torch.arange(tokens.size(1)).expand(tokens.shape)
            first = (tokens[:, :1] == V - 1).expand(tokens.shape)
            sure = ((age >= T // 2) | first)[..., None]
            right = nn.functional.one_hot(torch.zeros_like(tokens), V).double()
            return torch.where(sure, 100 * right, 0.0)

    tokens = np.zeros(5 * T + 3, dtype=np.int64)
    model = Age()
    measured = evaluate_documents(model, tokens, [0], prefix=[V - 1], context_length=T)
    assert measured.n_tokens == len(tokens)
    assert measured.loss == pytest.approx(0.0, abs=1e-9)
    assert model.n_read == 1 + math.ceil((len(tokens) - T) / (T // 2))  # and not one window more than that


def test_without_a_prefix_the_first_token_of_each_text_is_not_scored():
    tokens = ids(sum(LENGTHS), 2)
    measured = evaluate_documents(Bigram(), tokens, STARTS, prefix=[], context_length=T)
    assert measured.n_tokens == sum(LENGTHS) - len(LENGTHS)


@pytest.mark.parametrize("starts", [[], [0, 5, 5], [0, 9, 4], [-1, 3], [0, 20]])
def test_starts_out_of_order_or_outside_the_text_are_refused(starts):
    with pytest.raises(InputError, match="for 20 tokens: give increasing positions"):
        evaluate_documents(Bigram(), ids(20), starts, prefix=[1], context_length=T)


def test_perplexity_is_infinite_where_a_float_ends():
    assert Evaluation(1e6, 0.1, 10).perplexity == math.inf
    assert Evaluation(math.log(7), 0.1, 10).perplexity == pytest.approx(7)
