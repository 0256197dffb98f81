"""The one part of the benchmark that could be silently wrong: what is scored, and after what."""

import math

import pytest
import torch
from torch import nn

from tests.benchmarks.toyworld_floor import evaluate_texts
from tinylm.errors import InputError
from tinylm.text.tokenizers import CharTokenizer
from tinylm.text.toyworld.world import PLAYS

LETTERS = CharTokenizer.train(PLAYS.joined(300_000, seed=0))
TEXTS = ["a", "Is it?", PLAYS.texts(1, 5)[0]]
SEPARATOR = LETTERS.encode(PLAYS.separator).tolist()


class Position(nn.Module):
    """The loss at position t is t nats; a text that does not begin with the separator is refused."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens[0, : len(SEPARATOR)].tolist() == SEPARATOR
        right = torch.cat((tokens[:, 1:], torch.tensor([SEPARATOR[-1:]])), dim=1)  # (1, T) what comes next
        chance = torch.exp(-torch.arange(1, tokens.size(1) + 1, dtype=torch.float64))[
            None, :, None
        ]  # (1, T, 1)
        rest = ((1 - chance) / (LETTERS.vocab_size - 1)).log()
        return torch.where(nn.functional.one_hot(right, LETTERS.vocab_size) > 0, chance.log(), rest)


def test_each_text_is_read_from_its_own_start_and_scored_with_its_closing_separator():
    measured = evaluate_texts(Position(), LETTERS, TEXTS, context_length=256)
    before, lengths = len(SEPARATOR), [len(text) + len(SEPARATOR) for text in TEXTS]
    sums = [sum(range(before, before + n)) for n in lengths]
    assert measured.n_tokens == sum(lengths)
    assert measured.loss == pytest.approx(sum(sums) / sum(lengths))
    assert not math.isnan(measured.standard_error) and measured.unit == "3 texts"


def test_text_longer_than_the_context_is_refused():
    with pytest.raises(
        InputError, match=f"does not fit context_length 7: use {2 * len(SEPARATOR) + 5} or more"
    ):
        evaluate_texts(Position(), LETTERS, ["a", "Is it?"], context_length=7)
