"""The glossary keeps its laws; each law is seen to fail on a fault planted in two small notebooks."""

import pytest

from tests.authoring.glossary import (
    Cell,
    Term,
    explained_by_later_ones,
    found,
    ill_formed,
    not_introduced,
    placed,
    prose,
    read_aloud,
    terms,
    used_before,
)

LAWS = [not_introduced, used_before, explained_by_later_ones]
GLOSSARY = [
    Term("batch", "Several rows of a text that are read at once.", "01_characters", "b"),
    Term("KV cache", "What was computed for earlier tokens and is kept.", "05_sampling", "y"),
    Term("learning rate", "How far each step of the training goes.", "01_characters", "c", ("rate",)),
    Term("token", "One piece of text, often a character.", "01_characters", "a", everyday=True),
]
CELLS = [
    Cell(
        "01_characters",
        "goal",
        True,
        "# 01\n\nYou will read batches of tokens, `KV cache` apart: a token of luck.",
    ),
    Cell("01_characters", "a", False, "A **token** is a piece. $batch$ and\n```\nbatch\n```"),
    Cell(
        "01_characters", "b", False, "Several rows are a *batch*. A cache comes in 05_sampling: the KV cache."
    ),
    Cell(
        "01_characters", "c", False, "The **learning rate**. ## Now\n## Further reading\n- *A KV Cache*, 1950"
    ),
    Cell("05_sampling", "goal", True, "You will build a KV-cache."),
    Cell("05_sampling", "y", False, "It is called a\n**KV cache**, and there are KV caches."),
]


def planted(place, text):
    """The small notebooks, with a text at the beginning of one cell."""
    return [c._replace(text=f"{text}\n\n{c.text}") if c.place == place else c for c in CELLS]


def test_glossary_is_well_formed():
    assert list(ill_formed(terms())) == []


@pytest.mark.parametrize("law", LAWS)
def test_glossary_and_notebooks_keep_the_law(law):
    assert list(law(terms(), prose())) == []


@pytest.mark.parametrize("law", LAWS)
def test_small_notebooks_keep_the_law(law):
    assert list(law(GLOSSARY, CELLS)) == []
    assert list(ill_formed(GLOSSARY)) == []


@pytest.mark.parametrize(
    "text",
    ["a KV cache", "KV-caches.", "a **KV\ncache**", "- one kv cache\n- as in 05_sampling", "| KV cache |"],
)
@pytest.mark.parametrize("place", [("01_characters", "goal"), ("01_characters", "c")])
def test_use_before_the_term_is_introduced_is_found_in_any_spelling(place, text):
    (said,) = used_before(GLOSSARY, planted(place, text))
    assert said.startswith(", ".join(place)) and said.endswith("before 05_sampling, y")


def test_use_before_is_found_in_the_same_notebook_after_its_goal_and_under_other_spellings():
    (said,) = used_before(GLOSSARY, planted(("01_characters", "b"), "The rates differ."))
    assert "'rates'" in said and said.endswith("before 01_characters, c")
    later = [entry._replace(cell="c") if entry.term == "token" else entry for entry in GLOSSARY]
    assert list(used_before(later, CELLS)) == []  # an everyday word is free everywhere
    assert len(list(used_before([entry._replace(everyday=False) for entry in later], CELLS))) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"cell": "nowhere"},
        {"notebook": "02_attention"},
        {"cell": "b"},
    ],
)
def test_cell_that_is_not_there_or_does_not_name_the_term_is_found(fault):
    assert len(list(not_introduced([GLOSSARY[3]._replace(**fault)], CELLS))) == 1


def test_entry_whose_cell_is_gone_gets_the_cell_with_its_term_in_bold_and_no_other_entry_moves():
    bold = Cell("01_characters", "d", False, "Again: **tokens**.")
    for gone, cells, cell in (("x", CELLS, "a"), ("c", CELLS, "a"), ("x", [CELLS[0], bold, *CELLS[1:]], "d")):
        moved = placed([*GLOSSARY[:3], GLOSSARY[3]._replace(cell=gone)], cells)
        assert moved == [*GLOSSARY[:3], GLOSSARY[3]._replace(cell=cell)]
    unnamed = GLOSSARY[0]._replace(cell="x")  # stands in the goal, and nowhere in bold
    assert placed([unnamed], CELLS) == [GLOSSARY[0]]
    lost = GLOSSARY[3]._replace(notebook="02_attention")
    assert placed([lost], CELLS) == [lost]


def test_sentence_that_explains_by_what_comes_later_is_found():
    later = GLOSSARY[3]._replace(sentence="One piece of what stands in a KV cache.")
    (said,) = explained_by_later_ones([*GLOSSARY[:3], later], CELLS)
    assert said == "'token' is explained by 'KV cache', which is introduced later"


FAULTS = {
    "unsorted": [GLOSSARY[1], GLOSSARY[0]],
    "twice": [GLOSSARY[0], GLOSSARY[0]._replace(term="batching", uses=("batch",))],
    "no full stop": [GLOSSARY[0]._replace(sentence="Several rows of a text that are read at once")],
    "two sentences": [GLOSSARY[0]._replace(sentence="Several rows of a text. They are read at once.")],
    "a small letter": [GLOSSARY[0]._replace(sentence="several rows of a text that are read at once.")],
    "too short": [GLOSSARY[0]._replace(sentence="Several rows.")],
    "too long": [GLOSSARY[0]._replace(sentence=f"Several {'very ' * 40}long rows.")],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_glossary_that_is_ill_formed_is_found(fault):
    assert len(list(ill_formed(FAULTS[fault]))) == 1


def test_longest_term_is_the_one_that_is_used_and_code_formulas_addresses_and_works_are_not_read():
    used = [entry.term for entry, _ in found("a learning rate, self-token, tokens of a token", GLOSSARY)]
    assert used == ["learning rate", "token", "token"]
    markdown = "`token` $token$ <b>x</b> [link](token.ipynb)\n```\ntoken\n```\n**Further reading**\n- *Token*"
    assert not list(found(read_aloud(markdown), GLOSSARY))
