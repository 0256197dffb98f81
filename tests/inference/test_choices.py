"""Endings are scored as one row each would be, whatever is shared; the errors said are the true ones."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.support.settings import GPT2S, SMALL, lively, one_choice_at_a_time
from tests.support.tiny import tiny_gpt
from tinylm.errors import ConfigError, Divergence, InputError
from tinylm.inference import choices
from tinylm.inference.choices import ChoiceScores, interval, paired, score_choices
from tinylm.model.gpt import GPT
from tinylm.runs.paths import SHIPPED, open_checkpoint
from tinylm.text.choices import Choice, toyworld_choices
from tinylm.text.tokenizers import CharTokenizer

LETTERS = CharTokenizer("abcdefghijkl ")


def words(rng, n):
    return "".join(rng.choice(list(LETTERS.characters[:-1]), n))


def make_items(n=23, seed=0, context=11, ending=9):
    """Items of all lengths: contexts from 1 character on, endings too."""
    rng = np.random.default_rng(seed)
    texts = [[words(rng, rng.integers(1, most)) for most in (context, *[ending] * 3)] for _ in range(n)]
    return [Choice(first, tuple(rest), int(rng.integers(3))) for first, *rest in texts]


@torch.no_grad()
def one_by_one(model, tokenizer, items):
    """ln p of each ending from a row of its own, of its tokens as lm-eval counts them: (N, E)."""
    model, nats = model.eval(), []
    for first, ending in ((item.context, ending) for item in items for ending in item.endings):
        context, whole = tokenizer.encode(first), tokenizer.encode(f"{first} {ending}")
        continuation = whole[len(context) :]
        ids = torch.tensor(np.concatenate([context, continuation]))[None]
        log_p = torch.log_softmax(model(ids[:, :-1])[0].double(), dim=-1)  # (T - 1, V)
        nats.append(float(log_p.gather(1, ids[0, 1:, None])[len(context) - 1 :].sum()))
    return np.reshape(nats, (len(items), -1))


def small(dropout=0.0, attention="fused", **choice):
    sizes = SMALL.to_json() | {"vocab_size": 13, "dropout": dropout, "attention": attention}
    return lively(GPT(type(SMALL)(**(sizes | choice))))


# What is scored


@one_choice_at_a_time
@pytest.mark.parametrize("attention", ["fused", "explicit"])
def test_sharing_the_context_changes_no_score_whatever_the_model(choice, attention):
    model, items = small(attention=attention, **choice), make_items()
    nats = one_by_one(model, LETTERS, items)
    assert score_choices(model, LETTERS, items).nats == pytest.approx(nats, abs=1e-4) and np.std(nats) > 1
    assert max(len(i.context) + sum(map(len, i.endings)) for i in items) > SMALL.context_length  # of a row


@pytest.mark.parametrize("batch_size", [1, 5, 10**6])
def test_batches_and_dropout_change_nothing_and_the_model_is_left_as_it_was(batch_size):
    just_fits = Choice("abc", ("a", "c", "b" * 20), 0)
    items, model = [*make_items(), just_fits], small(dropout=0.5, **GPT2S).train()
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    scored = score_choices(model, LETTERS, iter(items), batch_size=batch_size)
    assert [module.training for module in model.modules()] == modes
    assert scored.nats == pytest.approx(one_by_one(model, LETTERS, items), abs=1e-4)


def test_a_few_rows_of_logits_at_once_give_the_same_scores():
    model, items = small(**GPT2S), make_items(7)
    expected = one_by_one(model, LETTERS, items)
    object.__setattr__(model.config, "vocab_size", 2**19)  # so that four rows are as many as are made at once
    assert score_choices(model, LETTERS, items).nats == pytest.approx(expected, abs=1e-4)


def test_context_is_computed_once_for_all_endings_the_longest_items_first():
    model, items, shapes = small(), make_items(), []
    real = model.hidden
    model.hidden = lambda tokens, context: shapes.append(tuple(tokens.shape)) or real(tokens, context)
    score_choices(model, LETTERS, items, batch_size=5)
    lengths = sorted((len(i.context) + sum(map(len, i.endings)) for i in items), reverse=True)
    assert shapes == [(min(5, 23 - begin), lengths[begin]) for begin in range(0, 23, 5)]


def test_model_is_asked_where_its_weights_lie_in_float32(monkeypatch):
    asked, of = [], choices.Precision.of
    monkeypatch.setattr(choices.Precision, "of", lambda *to: asked.append(to) or of("cpu", "float32"))
    with pytest.raises(RuntimeError, match="meta"):  # meta is torch's device without numbers
        score_choices(small().to("meta"), LETTERS, make_items())
    assert asked == [(torch.device("meta"), "float32")]


class InPairs:
    """Two characters an id, so that a context of odd length shares its last id with the ending."""

    def encode(self, text):
        pairs = [text[i : i + 2].ljust(2) for i in range(0, len(text), 2)]
        return np.array([LETTERS.encode(pair) @ [13, 1] for pair in pairs])


def test_tokens_of_an_ending_are_those_after_as_many_as_the_context_has():
    model, items = lively(tiny_gpt(vocab_size=169, context_length=23)), make_items(context=19)
    scored = score_choices(model, InPairs(), items)
    assert scored.nats == pytest.approx(one_by_one(model, InPairs(), items), abs=1e-4)
    assert scored.characters.tolist() == [list(map(len, item.endings)) for item in items]
    assert scored.labels.tolist() == [item.label for item in items]


class Unread(torch.nn.Module):
    """A model that must not be asked."""

    config = SMALL


TOO_LONG = Choice("abc", ("a", "c", "b" * 21), 0)  # 25 tokens, of which the last is only predicted
IN_THREES = SimpleNamespace(encode=lambda text: np.zeros(len(text) // 3, dtype=np.int64))  # an id for each 3
EMPTY = [Choice("abc", ("abc", "dea"), 0), Choice("abc", ("a", "def"), 0), Choice("ab", ("abc", "def"), 0)]
LONGEST = "2 of 25 items do not fit the model's context of 23 .*, the longest has 24"
MIXED = [Choice("a", ("b", "c"), 0), Choice("a", ("b", "c", "d"), 0)]
REFUSED = [
    ([TOO_LONG, *make_items(), TOO_LONG], LETTERS, LONGEST),
    ([], LETTERS, "0 items: give 1 or more"),
    (MIXED, LETTERS, "2 items: give 1 or more, all with the same number of endings"),
    (EMPTY, IN_THREES, "2 of 3 items have a text of 0 tokens: leave them out"),
]


@pytest.mark.parametrize(("items", "tokenizer", "message"), REFUSED)
def test_items_that_cannot_be_scored_are_refused_before_the_model_is_asked(items, tokenizer, message):
    with pytest.raises(InputError, match=message) as caught:
        score_choices(Unread(), tokenizer, items)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused():
    model = small()
    with torch.no_grad():
        model.final_norm.weight[3] = torch.nan
    with pytest.raises(Divergence, match="23 of 23 items have no score"):
        score_choices(model, LETTERS, make_items())


# What is counted

SCORES = ChoiceScores(
    nats=np.array([[-6.0, -5.0, -9.0], [-4.0, -2.0, -2.0], [-8.0, -9.0, -9.0], [-3.0, -1.0, -2.0]]),
    characters=np.array([[6, 4, 10], [2, 2, 1], [4, 9, 5], [5, 1, 1]]),
    labels=np.array([2, 1, 1, 0]),
)


@pytest.mark.parametrize(("per", "chosen"), [("ending", [1, 1, 0, 1]), ("character", [2, 1, 1, 0])])
def test_right_is_where_the_likeliest_ending_of_its_length_the_first_of_several_is_right(per, chosen):
    assert SCORES.correct(per).tolist() == [a == b for a, b in zip(chosen, SCORES.labels, strict=True)]


def test_accuracy_says_its_error_its_interval_and_chance():
    accuracy = SCORES.accuracy()
    assert (accuracy.mean, accuracy.n, accuracy.chance) == (0.25, 4, 1 / 3)
    assert (accuracy.low, accuracy.high) == interval(1, 4)
    marks = [0, 1, 0, 0]
    assert accuracy.standard_error == pytest.approx(np.std(marks, ddof=1) / 2)  # as lm-eval's mean_stderr
    said = "accuracy 25.00% ± 25.00% of 4 items, 95% interval 4.56% to 69.94%, chance 33.33%"
    assert accuracy.described() == said
    assert "per character" in SCORES.accuracy("character").described()
    with pytest.raises(ConfigError, match="per is 'word': use 'ending' or 'character'"):
        SCORES.accuracy("word")


# How sure it is


def test_interval_is_wilsons_and_stays_between_0_and_1():
    """Its two ends are the shares p for which the count is 1.96 standard deviations away."""
    for n, share in itertools.product((1, 10, 10_042), (0, 0.3, 1)):
        k = round(n * share)
        for p, side in zip(interval(k, n), (1, -1), strict=True):
            deviation = math.sqrt(n * p * (1 - p))
            assert (k - n * p) == pytest.approx(side * 1.959963984540054 * deviation, abs=1e-6)
    assert interval(3319, 10_042) == pytest.approx((0.3214, 0.3398), abs=1e-4)  # GPT-2 124M in llm.c
    for n in range(1, 400):
        assert interval(0, n)[0] == 0.0 and 1 - 1e-15 < interval(n, n)[1] <= 1.0
    for correct, n in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(InputError, match=f"{correct} correct answers of {n}"):
            interval(correct, n)


@pytest.mark.parametrize("kind", [int, float, bool])
def test_p_of_right_and_wrong_answers_is_the_share_of_coins_that_differ_as_much(kind):
    for only_a, only_b in itertools.product(range(7), repeat=2):
        a = np.array([1] * only_a + [0] * only_b + [1, 0], dtype=kind)
        b = np.array([0] * only_a + [1] * only_b + [1, 0], dtype=bool)
        throws = only_a + only_b
        coins = [abs(2 * sum(coin) - throws) for coin in itertools.product((0, 1), repeat=throws)]
        assert paired(a, b).p == pytest.approx(np.mean([d >= abs(only_a - only_b) for d in coins]))
        assert paired(list(a), b).mean == pytest.approx((only_a - only_b) / len(a))
    many = np.arange(10_042) < 5_021
    assert paired(many, ~many).p == pytest.approx(1.0)
    assert 0 <= paired(many, np.zeros_like(many)).p < 1e-300


def test_p_of_one_item_of_equal_differences_and_of_nan_is_not_known():
    for a, b in (([1.5], [1.0]), ([1.5, 2.5], [1.0, 2.0]), ([0.1, 0.2], [0.4, 0.5]), ([1, math.nan], [1, 2])):
        assert math.isnan(paired(a, b).p)
    assert paired([1.5, 2.5], [1.5, 2.5]).p == 1.0
    assert 0 < paired([1.5, 2.5, 3.0], [1.0, 2.25, 2.5]).p < 1e-3


def test_difference_of_numbers_has_the_textbooks_error_and_the_normals_p():
    rng = np.random.default_rng(7)
    common, noise = rng.normal(3, 2, 101), rng.normal(0.1, 0.3, 101)
    found = paired(common + noise, common)
    assert found.mean == pytest.approx(noise.mean())
    assert found.standard_error == pytest.approx(np.std(noise, ddof=1) / math.sqrt(101))
    z = found.mean / found.standard_error
    assert found.p == pytest.approx(2 * float(torch.special.ndtr(torch.tensor(-abs(z)).double())))


@pytest.mark.parametrize("a, b", [([1.0, 2.0], [1.0]), ([], []), ([[1.0]], [[1.0]])])
def test_rows_that_are_not_of_the_same_items_are_refused(a, b):
    with pytest.raises(InputError, match="are not two rows of the same items"):
        paired(a, b)


# The shipped model


def test_story_model_keeps_the_facts_and_a_blank_one_guesses():
    opened, items = open_checkpoint(SHIPPED / "toyworld_stories"), toyworld_choices(200, seed=3)
    told = score_choices(opened.model, opened.tokenizer, items)
    blank = score_choices(lively(GPT(opened.model.config), 0.02), opened.tokenizer, items)
    for per in ("ending", "character"):
        assert told.accuracy(per).low > 0.9
        assert blank.accuracy(per).low < 0.25 < blank.accuracy(per).high
    assert paired(told.correct(), blank.correct()).p < 1e-20
