"""Choices: a context and some endings, one of which is right. HellaSwag's items, and toyworld's own.

Taught in notebook 13_evaluation. A model's answers are scored in inference/choices."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinylm.errors import DataError, require_count, short

TEXT = re.compile(r"\s*[^\s\ud800-\udfff][^\ud800-\udfff]*")  # half a surrogate pair is no UTF-8


@dataclass(frozen=True)
class Choice:
    """One item: a model reads `context + " " + ending` for each ending.

    Raises DataError for a text without a word, half a surrogate pair, or a label that is no ending's."""

    context: str
    endings: tuple[str, ...]
    label: int  # which ending is right
    name: str = ""

    def __post_init__(self) -> None:
        n, texts = len(self.endings), [*self.endings, self.context]
        if odd := [text for text in texts if not isinstance(text, str) or not TEXT.fullmatch(text)]:
            raise DataError(f"{short(odd[0])} is no text to score: give a word or more, of whole characters")
        if n < 2 or type(self.label) is not int or self.label not in range(n):
            raise DataError(f"label {short(self.label)} is none of {n} endings: use 0 to {max(n - 1, 1)}")


def draw(items: Sequence[Choice], n: int, seed: int = 1) -> list[Choice]:
    """Return n items drawn at random without replacement, in their own order; all of them if n is larger.

    The first n of a file are not a random sample: all of HellaSwag's first 3,243 items come from ActivityNet,
    and the others from WikiHow. The same seed draws the same items, and a larger n keeps them and adds more.
    Raises ConfigError for an n below 1."""
    require_count("n", n)
    drawn = np.random.default_rng(seed).permutation(len(items))[:n]
    return [items[i] for i in sorted(drawn)]


def read_hellaswag(path: str | Path) -> list[Choice]:
    """Read the items of HellaSwag's file (Zellers et al. 2019, arXiv:1905.07830), in its order.

    The texts are those of lm-eval's task "hellaswag", character for character: the activity, a colon, ctx_a,
    ctx_b with a capital first letter, and nothing that is in brackets.

    Lines without ctx_a and ctx_b are preprocessed ones: their brackets are gone, and so is the place where
    ctx_b begins. We take what follows the last full stop of a context that ends without one. Such texts are
    close to lm-eval's: of a thousand items that OLMo published, about one context in twelve differs in a
    space or a capital, and in half of the items an ending lacks the space that a bracket left before it.

    Raises DataError for a line that is no item."""
    items, name = [], short(Path(path).name)
    for number, line in enumerate(Path(path).read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
            endings = row["endings"] if isinstance(row["endings"], list) else []
            if len(endings) != 4:
                raise DataError(f"{len(endings)} endings where 4 belong")
            context = without_brackets(f"{row['activity_label']}: {_context(row)}")
            label = {str(i): i for i in range(4)}.get(row["label"], row["label"])  # the Hub's copy has text
            endings = tuple(map(without_brackets, endings))
            items.append(Choice(context, endings, label, str(row.get("ind", number - 1))))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = {KeyError: f"no field {error}", DataError: error}.get(type(error), "no item")
            raise DataError(f"line {number:,} of {name} is damaged, {why}: fetch the file again") from error
    return items


def _context(row: dict) -> str:
    if "ctx_b" in row:
        return f"{row['ctx_a']} {row['ctx_b'].capitalize()}"
    *whole, last = re.split(r"(?<=[.!?]) ", row["ctx"])
    return " ".join([*whole, last if last[-1:] in ".!?" else last.capitalize()])


def without_brackets(text: str) -> str:
    """Return the text without WikiHow's "[title]" and the like, character for character as lm-eval does."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def toyworld_choices(n: int, seed: int) -> list[Choice]:
    """Make n items from toyworld's stories: a story without its last line, and four last lines for it.

    The four differ in one fact, wherever the line says it: the name of the child or of the friend, its kind,
    the toy or the home. All are grammatical, and one agrees with the first line: STORIES.grade accepts the
    whole story (`unspaced`) with that one only. The wrong words are drawn uniformly from those that fit the
    line, so without the context nobody is right more often than one time in four. It is enough to see which
    word the context has: the items test memory of a story, not reasoning. Each line begins with a space, as
    in "toyworld-library". The same seed gives the same items."""
    from tinylm.text.toyworld.world import STORIES, spaced  # its grammar is only read when it is wanted

    rng, items = np.random.default_rng(seed), []
    for _ in range(n):
        plot = STORIES.plots.draw(rng)
        drawn = [variable.draw(rng) for variable in plot.settled]
        scene = {field: word for value in drawn for field, word in value.items()}
        *before, last = [pool.draw(rng) for pool in plot.lines]
        context = spaced("".join(t.write(scene, rng) + STORIES.line_separator for t in before))
        facts = [(i, next(iter(value))) for i, value in enumerate(drawn)]  # its word; other fields agree
        facts = [(i, field) for i, field in facts if field in {token.field for token in last.tokens}]
        i, field = facts[rng.integers(len(facts))]
        same = [value for value in plot.settled[i].options if value | {field: drawn[i][field]} == drawn[i]]
        same.remove(drawn[i])
        values = [drawn[i], *(same[j] for j in rng.choice(len(same), 3, replace=False))]
        order, words = rng.permutation(4), int(rng.integers(2**63))  # all other words are drawn alike
        endings = tuple(last.write(scene | values[j], np.random.default_rng(words)) for j in order)
        items.append(Choice(context, endings, int(order.argmin()), STORIES.labels[field]))
    return items
