"""Templates: sentences with gaps, and every way to read a sentence back.

A gap is of two kinds: `[list]` is a fresh choice from a word list, and `{field}` recalls something that
the scene settled before the first line ("{hero}", "{thing}"). A capital first letter in a gap
(`[List]`, `{Field}`) makes a capital of what is put there.
Knows one sentence at a time; refuses to know texts, English and grading. Used by the grammar.
"""

import math
import re
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, product

import numpy as np

from tinylm.errors import DataError

Mentions = tuple[tuple[str, str], ...]  # (("hero", "Anna"), ("thing", "ring")): what a line says of the scene
GAP = re.compile(r"\{(\w+)\}|\[(\w+)\]")


def weighted(choices: str | Iterable[str]) -> dict[str, float]:
    """Probabilities of choices such as "red | green | blue @2": the weight after @ is 1 unless given."""
    entries = choices.split("|") if isinstance(choices, str) else choices
    weights: dict[str, float] = {}
    for entry in entries:
        word, _, weight = entry.partition("@")
        weights[word.strip(" ")] = weights.get(word.strip(" "), 0.0) + float(weight or 1)
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()}


def capitalised(word: str) -> str:
    """The word with its first letter large."""
    return word[:1].upper() + word[1:]


class Variable:
    """Something that a scene settles once: its possible values, each a record of fields.

    {"hero": "Anna", "she": "she"} is one value of a variable with the fields "hero" and "she".
    Sets of values are bit masks: bit i stands for value i."""

    def __init__(self, values: Sequence[Mapping[str, str]], weights: Sequence[float] | None = None) -> None:
        self.values = [dict(value) for value in values]
        total = sum(weights) if weights else len(values)
        self.probabilities = [w / total for w in (weights or [1.0] * len(values))]
        self.cumulative = list(accumulate(self.probabilities))
        self.fields = list(self.values[0])
        self.everything = (1 << len(self.values)) - 1
        self.masks: dict[tuple[str, str], int] = {}
        for i, value in enumerate(self.values):
            for mention in value.items():
                self.masks[mention] = self.masks.get(mention, 0) | 1 << i

    def probability(self, mask: int) -> float:
        """The probability that the value is one of those in the mask."""
        if mask == self.everything:
            return 1.0
        return sum(p for i, p in enumerate(self.probabilities) if mask >> i & 1)


class Token:
    """One stretch of a template: the words that may stand there, each with its probability.

    words maps what is written to (probability, word); field names what is recalled, if anything is:
    then the scene decides, and the probability is 1."""

    def __init__(
        self, words: Mapping[str, float], *, field: str | None = None, capital: bool = False
    ) -> None:
        self.field = field
        self.capital = capital
        self.words: dict[str, tuple[float, str]] = {}
        for word, probability in words.items():
            written = capitalised(word) if capital else word
            self.words[written] = (probability + self.words.get(written, (0.0, ""))[0], word)
        self.lengths = sorted({len(word) for word in self.words})
        self.written = list(self.words)
        self.cumulative = list(accumulate(p for p, _ in self.words.values()))

    def say(self, scene: Mapping[str, str], rng: np.random.Generator) -> str:
        """One wording of this token in a scene, drawn at random where there is a choice."""
        if self.field:
            return capitalised(scene[self.field]) if self.capital else scene[self.field]
        if len(self.written) == 1:
            return self.written[0]
        return self.written[min(bisect(self.cumulative, rng.random()), len(self.written) - 1)]


class Template:
    """A sentence with gaps, cut into tokens."""

    def __init__(self, source: str, words: Mapping[str, str], fields: Mapping[str, Iterable[str]]) -> None:
        self.source = source
        self.tokens: list[Token] = []
        at = 0
        for gap in GAP.finditer(source):
            if gap.start() > at:
                self.tokens.append(Token({source[at : gap.start()]: 1.0}))
            name = gap[1] or gap[2]
            key, capital = name[:1].lower() + name[1:], name[:1].isupper()
            if gap[1] and key in fields:
                self.tokens.append(Token({word: 1.0 for word in fields[key]}, field=key, capital=capital))
            elif gap[2] and key in words:
                self.tokens.append(Token(flattened(key, words), capital=capital))
            else:
                raise DataError(f"the template {source!r} asks for {gap[0]}, which is neither list nor field")
            at = gap.end()
        if at < len(source):
            self.tokens.append(Token({source[at:]: 1.0}))
        # What every sentence of this template holds: most lines can be turned away at a glance.
        self.always = max(GAP.split(source)[::3], key=len)

    def readings(self, line: str) -> dict[Mentions, float]:
        """Every way in which this template says the line: what it mentions of the scene -> probability.

        The forward algorithm: go through the tokens from left to right and keep, for each place that
        can have been reached and for what was mentioned on the way, the summed probability."""
        if self.always not in line:
            return {}
        front: dict[tuple[int, Mentions], float] = {(0, ()): 1.0}
        for token in self.tokens:
            ahead: dict[tuple[int, Mentions], float] = {}
            for (at, said), probability in front.items():
                for length in token.lengths:
                    hit = token.words.get(line[at : at + length])
                    if hit:
                        key = (at + length, (*said, (token.field, hit[1])) if token.field else said)
                        ahead[key] = ahead.get(key, 0.0) + probability * hit[0]
            if not ahead:
                return {}
            front = ahead
        return {said: probability for (at, said), probability in front.items() if at == len(line)}


def flattened(name: str, words: Mapping[str, str]) -> dict[str, float]:
    """A word list with the lists named inside its entries ("a [colour] bird") written out."""
    flat: dict[str, float] = {}
    for entry, probability in weighted(words[name]).items():
        pieces = GAP.split(entry)[0::3]
        inner = [flattened(gap[2], words) for gap in GAP.finditer(entry)]
        for fills in product(*(choice.items() for choice in inner)):
            word = pieces[0] + "".join(w + piece for (w, _), piece in zip(fills, pieces[1:], strict=True))
            flat[word] = flat.get(word, 0.0) + probability * math.prod(p for _, p in fills)
    return flat
