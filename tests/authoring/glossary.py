"""Rules for the glossary: each term has one sentence, and no notebook uses a term before it is introduced.

data/glossary.json is a list of

    {"term": "batch", "sentence": "Several rows …", "notebook": "01_characters",
     "uses": ["batches"], "everyday": true}

`uses` are other spellings. A plural with s and a space in place of a hyphen are found without them. The cell
that introduces a term is the first cell of its notebook that has the term in bold; if no cell has it in bold,
the first cell after the notebook's opening that names it. An `everyday` term is also an everyday word, such
as process or overlap, and may be used anywhere: the glossary defines terms and reserves no words. Code,
formulas and the works under "Further reading" are not checked. A term may appear early in two places: in the
opening cell of its own notebook, whose goal says what the notebook will teach, and in a sentence that names
the notebook which introduces the term.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import nbformat

from tests.authoring.execute import NOTEBOOKS, ROOT

PATH = ROOT / "data" / "glossary.json"
SENTENCE_WORDS = (5, 40)
END = r"(?<=[.!?])\s|\n\n|\n(?=[-|#])"  # of a sentence
UNREAD = (r"(?s)```.*?```", r"`[^`\n]*`", r"(?s)\$\$.*?\$\$", r"\$[^$\n]+\$", r"<[^>]*>", r"\]\([^)]*\)")


class Term(NamedTuple):
    """A term of the field, what it means, and the notebook that introduces it."""

    term: str
    sentence: str
    notebook: str
    uses: tuple[str, ...] = ()
    everyday: bool = False


class Cell(NamedTuple):
    """A cell of prose: its notebook, its id, whether it opens its notebook, and its text."""

    notebook: str
    id: str
    is_first: bool
    text: str


def terms() -> list[Term]:
    """Load the glossary."""
    return [Term(**entry) for entry in json.loads(PATH.read_text(encoding="utf-8"))]


def prose() -> list[Cell]:
    """Load the Markdown cells of all notebooks, in reading order."""
    cells = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for i, cell in enumerate(nbformat.read(path, as_version=4).cells):
            if cell.cell_type == "markdown":
                cells.append(Cell(path.stem, cell.id, i == 0, cell.source))
    return cells


def introductions(glossary: list[Term], cells: list[Cell]) -> dict[str, int]:
    """Return, for each term that is introduced, the position of the cell that introduces it."""
    best: dict[str, tuple[bool, bool, int]] = {}
    for n, cell in enumerate(cells):
        bold = " | ".join(re.findall(r"(?s)\*\*(.+?)\*\*", cell.text))
        in_bold = {entry.term for entry, _ in found(bold, glossary)}
        for entry, _ in found(read_aloud(cell.text), glossary):
            if entry.notebook == cell.notebook:
                rank = entry.term not in in_bold, cell.is_first, n
                best[entry.term] = min(rank, best.get(entry.term, rank))
    return {term: n for term, (*_, n) in best.items()}


def read_aloud(markdown: str) -> str:
    """Return the prose of a Markdown cell without code, formulas, links and further reading."""
    text = re.split(r"(?im)^(?:#+ |\*\*)further reading", markdown)[0]
    for pattern in UNREAD:
        text = re.sub(pattern, lambda left_out: re.sub(r"[^\n]+", " … ", left_out[0]), text)
    return text.replace("*", "")


def found(text: str, glossary: list[Term]) -> Iterator[tuple[Term, re.Match[str]]]:
    """Yield each use of a term in `text`. The longest term wins: "learning rate" is no use of "rate"."""
    spellings = {spelling: entry for entry in glossary for spelling in (entry.term, *entry.uses)}
    longest = sorted(spellings, key=len, reverse=True)
    words = [r"[-\s]+".join(map(re.escape, re.split(r"[- ]", spelling))) for spelling in longest]
    everything = "|".join(rf"(?P<t{n}>{word}(?:s|es)?)" for n, word in enumerate(words))
    for match in re.finditer(rf"(?i)(?<![\w-])(?:{everything})(?!\w)", text):
        yield spellings[longest[int(match.lastgroup[1:])]], match


def ill_formed(glossary: list[Term]) -> Iterator[str]:
    """Terms are sorted, no spelling appears twice, and each term has one sentence."""
    for a, b in pairwise(glossary):
        if a.term.casefold() > b.term.casefold():
            yield f"{b.term!r} comes after {a.term!r}: sort the terms"
    spellings = [spelling.casefold() for entry in glossary for spelling in (entry.term, *entry.uses)]
    yield from (f"{s!r} appears {spellings.count(s)} times" for s in {*spellings} if spellings.count(s) > 1)
    for entry in glossary:
        few, many = SENTENCE_WORDS
        is_one = re.fullmatch(r"[A-Z][^.!?]+\.", entry.sentence)
        if not is_one or not few <= len(entry.sentence.split()) <= many:
            yield f"{entry.term!r}: {entry.sentence!r} is not one sentence of {few} to {many} words"


def not_introduced(glossary: list[Term], cells: list[Cell]) -> Iterator[str]:
    """Each term appears in the notebook that introduces it."""
    introduced = introductions(glossary, cells)
    yield from (f"{e.term!r} does not appear in {e.notebook}" for e in glossary if e.term not in introduced)


def used_before(glossary: list[Term], cells: list[Cell]) -> Iterator[str]:
    """No cell uses a term before the cell that introduces it, unless the term is an everyday word as well."""
    introduced = introductions(glossary, cells)
    for n, cell in enumerate(cells):
        for sentence in re.split(END, read_aloud(cell.text)):
            for entry, match in found(sentence, glossary):
                at = introduced.get(entry.term, 0)
                is_free = entry.everyday or (cell.is_first and cell.notebook == entry.notebook)
                if n < at and not is_free and entry.notebook not in sentence:
                    said = " ".join(sentence.split())
                    where = f"{cell.notebook}, {cell.id}: {match[0]!r} in {said!r}"
                    yield f"{where}, before {cells[at].notebook}, {cells[at].id}"


def explained_by_later_ones(glossary: list[Term], cells: list[Cell]) -> Iterator[str]:
    """A term's sentence uses no term that a later cell introduces."""
    introduced = introductions(glossary, cells)
    for entry in glossary:
        for other, match in found(entry.sentence, glossary):
            is_free = other is entry or other.everyday
            if not is_free and introduced.get(other.term, 0) > introduced.get(entry.term, 0):
                yield f"{entry.term!r} is explained by {match[0]!r}, which is introduced later"
