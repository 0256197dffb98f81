"""Toyworld's text files: the format in which a person writes a world, and its reader.

Used by world for the text files beside this one. Blocks are separated by blank lines; a line that begins with
# is a comment; a line that ends with | continues in the next one. The first line of a block says what it is:

    list colour                         A word list. A weight follows @, and is 1 if there is none. An entry
    red | blue @2 | dark [shade]        may contain lists from above it.

    scene thing (object), a, is         What a text settles before its first line: fields that agree, and for
    hat | drum: a, is                   each word the forms that go with it, all equally likely. In brackets:
    boots: some, are                    what the grader calls the field.

    plot lost, line 1                   The templates for a line of a plot, all equally likely: [colour] is a
    {hero} lost {a} [colour] {thing}.   word from the list, {thing} what the scene settled, \\n a line break;
    {hero}:\\nMy {thing} {is} lost!     [Colour] and {Thing} begin with a capital.

The words of a scene may be lists ("[women] | [men]"); "two of ..." fills two fields with two different words.
"""

import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import permutations, product

from tinylm.errors import DataError
from tinylm.text.toyworld.grammar import GAP, Choice, Plot, Template, Token, Variable


def load(*names: str) -> tuple[Choice[Plot], dict[str, str]]:
    """Parse the named files of this folder together, see `parse`."""
    return parse("\n\n".join(files(__package__).joinpath(name).read_text(encoding="utf-8") for name in names))


def parse(text: str) -> tuple[Choice[Plot], dict[str, str]]:
    """Return the plots and the grader's labels.

    Raises DataError for a block that is no list, scene or plot, KeyError for a gap that nothing fills,
    ValueError for a word of a scene with too few or too many forms."""
    lists: dict[str, Token] = {}
    labels: dict[str, str] = {}
    variables: list[Variable] = []
    plots: dict[str, list[list[str]]] = {}
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("|\n", "| ")
    for block in re.split(r"\n{2,}", text.strip("\n")):
        head, *body = block.split("\n")
        kind, _, rest = head.partition(" ")
        if kind == "list" and len(body) == 1:
            lists |= _tokens(f"[{rest}]", _words(body[0], lists))
        elif kind == "scene":
            fields = dict(re.findall(r"(\w+)(?: \((.+?)\))?", rest))
            labels |= {field: label for field, label in fields.items() if label}
            variables.append(_variable(list(fields), body, lists))
        elif kind == "plot":
            plots.setdefault(rest.split(",")[0], []).append([line.replace("\\n", "\n") for line in body])
        else:
            raise DataError(f"the block {head!r} of {len(body)} lines is no list, scene or plot")
    return Choice([_plot(pools, variables, lists) for pools in plots.values()]), labels


def _tokens(gap: str, words: Choice[str], field: str | None = None) -> dict[str, Token]:
    """What fills a gap, and the same gap with a capital first letter."""
    capital = gap[0] + gap[1:].capitalize()
    return {gap: Token(words, field), capital: Token(words, field, is_capital=True)}


def _words(source: str, lists: Mapping[str, Token]) -> Choice[str]:
    """The words of "red | blue @2 | dark [shade]", with the lists inside its entries written out."""
    entries = [entry.partition("@") for entry in source.split("|")]
    total = sum(float(weight or 1) for _, _, weight in entries)
    words: dict[str, float] = {}
    for entry, _, weight in entries:
        pieces = GAP.split(entry.strip(" "))
        for fills in product(*(lists[p].choice.items() if GAP.match(p) else [(p, 1.0)] for p in pieces)):
            word = "".join(fill for fill, _ in fills)
            p = float(weight or 1) / total * math.prod(p for _, p in fills)
            words[word] = words.get(word, 0.0) + p
    return Choice(list(words), list(words.values()))


def _variable(fields: Sequence[str], rows: Sequence[str], lists: Mapping[str, Token]) -> Variable:
    """What a scene settles once: a value for each word of each row, with the forms that agree with it."""
    values: list[Sequence[str]] = []
    for row in rows:
        words, _, forms = row.removeprefix("two of ").partition(": ")
        options = _words(words, lists).options
        if row.startswith("two of "):
            values += permutations(sorted(options), 2)
        else:
            values += [(word, *filter(None, forms.split(", "))) for word in options]
    return Choice([dict(zip(fields, value, strict=True)) for value in values])


def _plot(pools: Sequence[Sequence[str]], variables: Sequence[Variable], lists: Mapping[str, Token]) -> Plot:
    """The plot whose first line settles the variables that it names."""
    named = {gap[1:-1].lower() for source in pools[0] for gap in GAP.findall(source) if gap[0] == "{"}
    settled = [variable for variable in variables if named & variable.options[0].keys()]
    gaps = dict(lists)
    for variable in settled:
        for field in variable.options[0]:
            gaps |= _tokens(f"{{{field}}}", Choice([value[field] for value in variable.options]), field)
    return Plot(settled, [Choice([Template(source, gaps) for source in pool]) for pool in pools])
