"""HellaSwag's texts are lm-eval's to the character; toyworld's endings do not tell which of them is right."""

import json
import math
import re
from collections import Counter

import numpy as np
import pytest

from tinylm.errors import ConfigError, DataError
from tinylm.text import corpora
from tinylm.text.choices import Choice, draw, read_hellaswag, toyworld_choices
from tinylm.text.toyworld.world import STORIES, spaced, unspaced

ROOF = {  # the first item of the file
    "ind": 24,
    "activity_label": "Roof shingle removal",
    "ctx_a": "A man is sitting on a roof.",
    "ctx_b": "he",
    "ctx": "A man is sitting on a roof. he",
    "label": 3,
    "endings": [
        "is using wrap to wrap a pair of skis.",
        "is ripping level tiles off.",
        "is holding a rubik's cube.",
        "starts pulling up roofing on a roof.",
    ],
}


@pytest.fixture
def file(tmp_path):
    """A function that writes rows, or bytes, and gives the path."""

    def write(*rows):
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        (tmp_path / "hellaswag_val.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        return tmp_path / "hellaswag_val.jsonl"

    return write


# HellaSwag


def by_lm_eval(doc):
    """(query, choices) by lm_eval/tasks/hellaswag/utils.py, version 0.4.13 (MIT)."""

    def preprocess(text):
        text = text.strip()
        text = text.replace(" [title]", ". ")
        text = re.sub("\\[.*?\\]", "", text)
        text = text.replace("  ", " ")
        return text

    ctx = doc["ctx_a"] + " " + doc["ctx_b"].capitalize()
    query = preprocess(doc["activity_label"] + ": " + ctx)
    return query, tuple(preprocess(ending) for ending in doc["endings"])


def test_raw_rows_are_read_as_lm_eval_reads_them(file):
    rng = np.random.default_rng(3)
    pieces = ["[title]", " [title]", "[step] ", "[", "]", " ", "  ", "a. ", "É", "b\u2028c"]

    def text(most=9):
        return "x" + "".join(rng.choice(pieces, rng.integers(most)))

    rows = [
        {"activity_label": text(3), "ctx_a": text(), "ctx_b": text()[rng.integers(2) :], "label": 0}
        | {"endings": [text() for _ in range(4)]}
        for _ in range(997)
    ]
    items = read_hellaswag(file(*rows))
    assert [(item.context, item.endings) for item in items] == list(map(by_lm_eval, rows))
    assert [item.name for item in items[:3]] == ["0", "1", "2"]


def test_label_is_a_number_or_as_on_the_hub_its_digit(file):
    rows = [ROOF | {"label": label} for label in ("3", 2, "1", "0")]
    items = read_hellaswag(file(*rows))
    assert [item.label for item in items] == [3, 2, 1, 0]
    read = "Roof shingle removal: A man is sitting on a roof. He", tuple(ROOF["endings"]), 3, "24"
    assert items[0] == Choice(*read)


def test_preprocessed_rows_get_the_capital_where_the_unfinished_sentence_begins(file):
    contexts = ["A roof! he is ON", "A roof. He is on.", "the man", "Go to x.. sit down. Now. Sit?"]
    expected = ["A roof! He is on", "A roof. He is on.", "The man", "Go to x.. sit down. Now. Sit?"]
    rows = [{name: ROOF[name] for name in ("activity_label", "endings", "label")} for _ in contexts]
    items = read_hellaswag(file(*(row | {"ctx": c} for row, c in zip(rows, contexts, strict=True))))
    assert [item.context for item in items] == [f"Roof shingle removal: {text}" for text in expected]


def test_whole_file_that_is_at_hand_has_its_10042_items():
    if corpora.locate("hellaswag") is None:
        pytest.skip("HellaSwag is not here: `python -m tinylm fetch hellaswag` gets it")
    items = read_hellaswag(corpora.fetch("hellaswag")["hellaswag_val.jsonl"])
    assert len(items) == 10_042 and {len(item.endings) for item in items} == {4}
    assert Counter(item.label for item in items) == {0: 2515, 1: 2485, 2: 2584, 3: 2458}
    assert items[0].context == "Roof shingle removal: A man is sitting on a roof. He"
    assert items[0].endings == tuple(ROOF["endings"])
    assert sum(item.context[-1] in ".!?" for item in items) == 6_799  # WikiHow's


WRONG = [
    (ROOF | {"endings": ROOF["endings"][:3]}, "3 endings where 4 belong"),
    (ROOF | {"endings": ["a", "b", "[c]", "d"]}, "'' is no text to score: give a word or more"),
    (ROOF | {"label": 4}, "label 4 is none of 4 endings: use 0 to 3"),
    (ROOF | {"label": ""}, "label '' is none of 4 endings"),  # the test set's
    ({"activity_label": "a", "label": 1, "endings": ["a"] * 4}, "no field 'ctx'"),
    *((odd, "no item") for odd in (ROOF | {"endings": ["a", "b", 3, "d"]}, [1], b"\xff", b"[" * 10**5)),
]


@pytest.mark.parametrize(("row", "message"), WRONG)
def test_line_that_is_no_item_is_refused_in_a_sentence_that_names_it(file, row, message):
    path = file(ROOF, row, ROOF)
    with pytest.raises(DataError, match=r"line 2 of 'hellaswag_val.jsonl' is damaged, ") as caught:
        read_hellaswag(path)
    said = str(caught.value)
    assert message in said and "\n" not in said and str(path.parent) not in said and len(said) < 250


@pytest.mark.parametrize(("endings", "label"), [((), 0), (("b",), 0), (("b",), 1)])
def test_choice_of_fewer_than_two_endings_is_refused(endings, label):
    with pytest.raises(DataError, match=rf"label {label} is none of {len(endings)} endings: use 0 to 1"):
        Choice("a", endings, label)


def test_drawn_items_are_a_sample_of_all_in_their_order_and_a_seed_draws_the_same_ones(items):
    half = draw(items, 1_000, seed=7)
    at = [items.index(item) for item in half]
    assert at == sorted(set(at)) and len(at) == 1_000
    n_first = sum(i < 1_001 for i in at)  # of the first half; hypergeometric, 11.2 is one sigma
    assert abs(n_first - 500) < 4 * 11.2
    assert draw(items, 1_000, seed=7) == half != draw(items, 1_000, seed=8)
    assert all(item in half for item in draw(items, 31, seed=7))
    assert draw(items, len(items), seed=7) == items == draw(items, 10**6, seed=7)
    with pytest.raises(ConfigError, match="n is 0: it must be at least 1"):
        draw(items, 0, seed=7)


# Toyworld


@pytest.fixture(scope="module")
def items():
    return toyworld_choices(2_003, seed=5)


def test_grader_accepts_the_right_ending_alone_and_finds_all_of_them_grammatical(items):
    for item in items[:500]:
        grades = [STORIES.grade(unspaced(f"{item.context} {ending}")) for ending in item.endings]
        assert [grade.faithful for grade in grades] == [i == item.label for i in range(4)]
        assert all(grade.grammatical for grade in grades)


def test_endings_differ_in_one_fact_and_every_fact_is_asked_for(items):
    for item in items[:500]:
        first = unspaced(item.context).split("\n")[0]
        plot = next(plot for plot in STORIES.plots.options if plot.reading(0, first) is not None)
        facts = [dict(plot.reading(5, ending)) for ending in item.endings]
        (field,) = [name for name in facts[0] if len({fact[name] for fact in facts}) > 1]
        assert len({fact[field] for fact in facts}) == 4
        blanks = {ending.replace(fact[field], "_") for ending, fact in zip(item.endings, facts, strict=True)}
        assert len(blanks) == 1 and STORIES.labels[field] == item.name
    asked = Counter(item.name for item in items)
    assert asked.keys() == {"hero", "friend", "friend's kind", "toy", "home"} and min(asked.values()) > 100


def test_items_read_as_the_stories_that_a_model_has_read(items):
    stories = [f"{item.context} {item.endings[item.label]}" for item in items]
    assert all(story == spaced(unspaced(story)) for story in stories)
    assert not {*map(unspaced, stories)} & {*STORIES.texts(10_000, seed=1)}


def test_same_seed_gives_the_same_items_and_a_larger_n_more_of_them():
    assert toyworld_choices(31, seed=2) == toyworld_choices(7, seed=2) + toyworld_choices(31, seed=2)[7:]
    assert toyworld_choices(7, seed=2) != toyworld_choices(7, seed=3)


def chance(right):
    """Whether a share of right answers is a quarter, up to four standard errors."""
    return abs(np.mean(right) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(right))


def test_endings_alone_do_not_tell_which_is_right(items):
    """By their place, their length, and how frequent their words are in other stories."""
    counts = Counter(" ".join(STORIES.texts(3_000, seed=1)).split())
    tells = {
        "longest": len,
        "shortest": lambda ending: -len(ending),
        "words": lambda ending: sum(math.log(counts[word] + 1) for word in ending.split()),
        "alphabet": lambda ending: ending,
    }
    for label in range(4):
        assert chance([item.label == label for item in items])
    for name, tell in tells.items():
        guesses = [max(range(4), key=lambda i, e=item.endings: tell(e[i])) for item in items]
        assert chance([guess == item.label for guess, item in zip(guesses, items, strict=True)]), name
