"""The glossary and its laws: a term has one sentence, and no notebook uses it before it is introduced.

data/glossary.json is a list of

    {"term": "batch", "sentence": "Several rows …", "notebook": "01_characters", "cell": "its id",
     "uses": ["batches"], "everyday": true}

`uses` are other spellings; a plural with s and a space for a hyphen are found without. An `everyday` term is
also an everyday word, such as process or overlap, and free to use as one anywhere: the glossary defines
terms, and reserves no words. Code, formulas and the works under "Further reading" are not read. A term may
be used early in two places: in a notebook's first cell, whose goal names what it is going to teach; and in
a sentence that names the notebook which introduces the term.

    python -m tests.authoring.glossary     gives an entry whose cell is gone the cell that now has its term

Cells are named after headings, so that a changed heading moves every entry below it.
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
    """A term of the field, what it means, and the cell that introduces it."""

    term: str
    sentence: str
    notebook: str
    cell: str
    uses: tuple[str, ...] = ()
    everyday: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """The notebook and the id of the cell."""
        return self.notebook, self.cell


class Cell(NamedTuple):
    """A cell of prose: where it stands, whether it is its notebook's first, and its text."""

    notebook: str
    id: str
    is_first: bool
    text: str

    @property
    def place(self) -> tuple[str, str]:
        """The notebook and the id of the cell."""
        return self.notebook, self.id


def terms() -> list[Term]:
    """The glossary as it lies on disk."""
    return [Term(**entry) for entry in json.loads(PATH.read_text(encoding="utf-8"))]


def prose() -> list[Cell]:
    """The cells of prose of all notebooks, in reading order."""
    cells = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for i, cell in enumerate(nbformat.read(path, as_version=4).cells):
            if cell.cell_type == "markdown":
                cells.append(Cell(path.stem, cell.id, i == 0, cell.source))
    return cells


def placed(glossary: list[Term], cells: list[Cell]) -> list[Term]:
    """The glossary, in which an entry whose cell is gone, or no longer names its term, has another: the first
    of its notebook that has the term in bold, else the first after the goal that names it."""

    def names(cell: Cell, entry: Term, text: str) -> bool:
        return cell.notebook == entry.notebook and any(e is entry for e, _ in found(text, glossary))

    moved = []
    for entry in glossary:
        there = [cell for cell in cells if names(cell, entry, cell.text.replace("*", ""))]
        ranks = {}
        for cell in there:
            bold = " | ".join(re.findall(r"(?s)\*\*(.+?)\*\*", cell.text))
            read = read_aloud(cell.text)
            ranks[cell] = (not names(cell, entry, bold), cell.is_first, not names(cell, entry, read))
        is_well = not there or entry.place in [cell.place for cell in there]
        moved.append(entry if is_well else entry._replace(cell=min(there, key=ranks.get).id))
    return moved


def read_aloud(markdown: str) -> str:
    """What a reader reads as words, its line ends kept."""
    text = re.split(r"(?im)^(?:#+ |\*\*)further reading", markdown)[0]
    for pattern in UNREAD:
        text = re.sub(pattern, lambda left_out: re.sub(r"[^\n]+", " … ", left_out[0]), text)
    return text.replace("*", "")


def found(text: str, glossary: list[Term]) -> Iterator[tuple[Term, re.Match[str]]]:
    """Each use of a term in `text`. The longest wins: a "learning rate" is no use of "rate"."""
    spellings = {spelling: entry for entry in glossary for spelling in (entry.term, *entry.uses)}
    longest = sorted(spellings, key=len, reverse=True)
    words = [r"[-\s]+".join(map(re.escape, re.split(r"[- ]", spelling))) for spelling in longest]
    everything = "|".join(rf"(?P<t{n}>{word}(?:s|es)?)" for n, word in enumerate(words))
    for match in re.finditer(rf"(?i)(?<![\w-])(?:{everything})(?!\w)", text):
        yield spellings[longest[int(match.lastgroup[1:])]], match


def ill_formed(glossary: list[Term]) -> Iterator[str]:
    """Terms are sorted, each is there once, and has one sentence."""
    for a, b in pairwise(glossary):
        if a.term.casefold() > b.term.casefold():
            yield f"{b.term!r} stands after {a.term!r}"
    spellings = [spelling.casefold() for entry in glossary for spelling in (entry.term, *entry.uses)]
    yield from (f"{s!r} is there {spellings.count(s)} times" for s in {*spellings} if spellings.count(s) > 1)
    for entry in glossary:
        few, many = SENTENCE_WORDS
        is_one = re.fullmatch(r"[A-Z][^.!?]+\.", entry.sentence)
        if not is_one or not few <= len(entry.sentence.split()) <= many:
            yield f"{entry.term!r}: {entry.sentence!r} is not one sentence of {few} to {many} words"


def not_introduced(glossary: list[Term], cells: list[Cell]) -> Iterator[str]:
    """Each term is used in the cell that is said to introduce it."""
    texts = {cell.place: cell.text for cell in cells}
    for entry in glossary:
        if entry.place not in texts:
            yield f"{entry.term!r}: there is no cell of prose {entry.cell} in {entry.notebook}"
        elif not any(e is entry for e, _ in found(texts[entry.place].replace("*", ""), glossary)):
            yield f"{entry.term!r} does not stand in {entry.notebook}, {entry.cell}"


def used_before(glossary: list[Term], cells: list[Cell]) -> Iterator[str]:
    """No term is used in a cell before the one that introduces it, unless it is an everyday word as well."""
    order = {cell.place: n for n, cell in enumerate(cells)}
    for n, cell in enumerate(cells):
        for sentence in re.split(END, read_aloud(cell.text)):
            for entry, match in found(sentence, glossary):
                is_free = entry.everyday or (cell.is_first and cell.notebook == entry.notebook)
                if n < order.get(entry.place, 0) and not is_free and entry.notebook not in sentence:
                    where, introduced = (", ".join(place) for place in (cell.place, entry.place))
                    yield f"{where}: {match[0]!r} in {' '.join(sentence.split())!r}, before {introduced}"


def explained_by_later_ones(glossary: list[Term], cells: list[Cell]) -> Iterator[str]:
    """A sentence explains by terms that its reader has met: none of a later cell."""
    order = {cell.place: n for n, cell in enumerate(cells)}
    for entry in glossary:
        for other, match in found(entry.sentence, glossary):
            is_free = other is entry or other.everyday
            if not is_free and order.get(other.place, 0) > order.get(entry.place, 0):
                yield f"{entry.term!r} is explained by {match[0]!r}, which is introduced later"


def main() -> None:
    """Writes the glossary again, its entries placed, and prints what was moved."""
    before = terms()
    after = placed(before, prose())
    entries = [{key: value for key, value in entry._asdict().items() if value} for entry in after]
    text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
    PATH.write_text(text, encoding="utf-8", newline="\n")
    for a, b in zip(before, after, strict=True):
        if a != b:
            print(f"{b.term}: {b.notebook}, {a.cell} -> {b.cell}")


if __name__ == "__main__":
    main()
