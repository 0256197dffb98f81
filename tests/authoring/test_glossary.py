"""The glossary follows its rules; each rule is seen to fail on a fault planted in two small notebooks."""

import pytest

from tests.authoring import glossary
from tests.authoring.glossary import Cell, Term, explained_by_later_ones, found, introductions, used_before

RULES = [glossary.not_introduced, used_before, explained_by_later_ones]
BATCH, CACHE, RATE, TOKEN = GLOSSARY = [
    Term("batch", "Several rows of a text that are read at once.", "01_characters"),
    Term("KV cache", "What was computed for earlier tokens and is kept.", "05_sampling"),
    Term("learning rate", "How far each step of the training goes.", "01_characters", ("rate",)),
    Term("token", "One piece of text, often a character.", "01_characters", everyday=True),
]
TEXTS = {
    ("01_characters", "goal"): "# 01\n\nYou will read batches of tokens, `KV cache` apart: a token of luck.",
    ("01_characters", "a"): "A **token** is a piece. $batch$ and\n```\nbatch\n```",
    ("01_characters", "b"): "Several rows are a *batch*. A cache comes in 05_sampling: the KV cache.",
    ("01_characters", "c"): "The **learning rate**. ## Now\n## Further reading\n- *A KV Cache*, 1950",
    ("05_sampling", "goal"): "You will build a KV-cache.",
    ("05_sampling", "y"): "It is called a\n**KV cache**, and there are KV caches.",
}
CELLS = [Cell(*place, place[1] == "goal", text) for place, text in TEXTS.items()]


def planted(place, text):
    """Return the small notebooks with a text added at the beginning of one cell."""
    cells = {(cell.notebook, cell.id): cell for cell in CELLS}
    cells[place] = cells[place]._replace(text=f"{text}\n\n{cells[place].text}")
    return [*cells.values()]


def test_glossary_is_well_formed():
    assert list(glossary.ill_formed(glossary.terms())) == []


@pytest.mark.parametrize("rule", RULES)
def test_glossary_and_notebooks_follow_the_rule(rule):
    assert list(rule(glossary.terms(), glossary.prose())) == []
    assert list(rule(GLOSSARY, CELLS)) == []


@pytest.mark.parametrize("text", ["a KV cache", "a **KV\ncache**", "- one kv cache\n- as in 05_sampling"])
def test_use_before_the_term_is_introduced_is_found_in_any_spelling(text):
    (said,) = used_before(GLOSSARY, planted(("01_characters", "goal"), text))
    assert said.startswith("01_characters, goal: ") and said.endswith("before 05_sampling, y")


def test_use_before_is_found_in_the_same_notebook_after_its_goal_and_under_other_spellings():
    (said,) = used_before(GLOSSARY, planted(("01_characters", "b"), "The rates differ. A token."))
    assert "'rates'" in said and said.endswith("before 01_characters, c")
    reserved = [BATCH, CACHE, RATE, TOKEN._replace(notebook="05_sampling", everyday=False)]
    assert list(
        used_before(reserved, planted(("05_sampling", "y"), "**tokens**"))
    )  # an everyday word is free


def test_term_is_introduced_where_it_is_bold_or_else_where_it_is_first_named_after_the_goal():
    again = Cell("01_characters", "d", False, "Again: **tokens**, **batches**.")
    assert introductions(GLOSSARY, CELLS) == {"token": 1, "batch": 2, "learning rate": 3, "KV cache": 5}
    assert introductions(GLOSSARY, [*CELLS, again])["batch"] == 6
    assert len(list(glossary.not_introduced([TOKEN._replace(notebook="02_attention")], CELLS))) == 1


def test_sentence_that_explains_by_what_comes_later_is_found():
    later = TOKEN._replace(sentence="One piece of what stands in a KV cache.")
    (said,) = explained_by_later_ones([BATCH, CACHE, RATE, later], CELLS)
    assert said == "'token' is explained by 'KV cache', which is introduced later"


@pytest.mark.parametrize(
    "terms",
    [
        [CACHE, BATCH],
        [BATCH, BATCH._replace(term="batching", uses=("batch",))],
        [BATCH._replace(sentence="Several rows of a text. They are read at once.")],
        [BATCH._replace(sentence="Several rows.")],
    ],
    ids=["unsorted", "twice", "two sentences", "too short"],
)
def test_glossary_that_is_ill_formed_is_found(terms):
    assert len(list(glossary.ill_formed(terms))) == 1


def test_longest_term_is_the_one_that_is_used_and_code_formulas_addresses_and_works_are_not_read():
    used = [entry.term for entry, _ in found("a learning rate, self-token, tokens of a token", GLOSSARY)]
    assert used == ["learning rate", "token", "token"]
    markdown = "`token` $token$ <b>x</b> [link](token.ipynb)\n```\ntoken\n```\n**Further reading**\n- *Token*"
    assert not list(found(glossary.read_aloud(markdown), GLOSSARY))
