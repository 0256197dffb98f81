"""A grammar of template sentences: how a text is drawn at random, and how it is parsed.

Taught in notebook 01_characters. A text is made by a chain of draws: a plot; the scene, which is all that the
plot settles before its first line (who, what, where); then for each line a template and its words. The exact
entropy of that chain is computed in `entropy`.

Parsing rests on three facts: the first line gives away its plot and its scene, no line can be made in two
ways, and no line contains a separator. They are not checked here: tests/text/toyworld/test_world.py proves
them for both worlds, and fails if an edit of a world's text file breaks one."""

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np

GAP = re.compile(r"(\{\w+\}|\[\w+\])")  # GAP.split(template): plain text, gap, plain text, ..., plain text
T = TypeVar("T")


class Choice(Generic[T]):
    """One draw: the options and the probability of each, by default equal ones."""

    def __init__(self, options: Sequence[T], probabilities: Sequence[float] | None = None) -> None:
        self.options = list(options)
        self.probabilities = list(probabilities or [1.0 / len(self.options)] * len(self.options))
        self._cumulative = list(accumulate(self.probabilities))

    def items(self) -> list[tuple[T, float]]:
        """Return the options with their probabilities."""
        return list(zip(self.options, self.probabilities, strict=True))

    def draw(self, rng: np.random.Generator) -> T:
        """Draw one option. Takes one random number, or none if there is only one option."""
        if len(self.options) == 1:
            return self.options[0]
        return self.options[min(bisect(self._cumulative, rng.random()), len(self.options) - 1)]


Scene = dict[str, str]  # field -> word
Variable = Choice[Scene]  # what a scene settles together, as {"thing": "boots", "is": "are"}
Recalled = tuple[tuple[str, str], ...]  # (field, word) in a line's order: (("hero", "Anna"), ...)


class Token:
    """A part of a template: plain text, a word drawn from a list, or the scene's word for a field."""

    def __init__(self, words: Choice[str], field: str | None = None, *, is_capital: bool = False) -> None:
        texts = [word[:1].upper() + word[1:] if is_capital else word for word in words.options]
        self.field, self.choice = field, Choice(texts, words.probabilities)
        self._texts = dict(zip(words.options, texts, strict=True))
        self.words = {text: word for word, text in self._texts.items()}

    def write(self, scene: Scene, rng: np.random.Generator) -> str:
        """Return the text of this token in a scene, drawn at random if there is a choice."""
        return self._texts[scene[self.field]] if self.field else self.choice.draw(rng)


class Template:
    """A sentence with gaps: `[list]` draws a word from a list, `{field}` repeats what the scene settled."""

    def __init__(self, source: str, gaps: Mapping[str, Token]) -> None:
        """Parse a source; `gaps` maps "[list]" and "{field}" to tokens. Raises KeyError for another gap."""
        self.tokens = [gaps[p] if GAP.match(p) else Token(Choice([p])) for p in GAP.split(source) if p]

    def write(self, scene: Scene, rng: np.random.Generator) -> str:
        """Return the sentence in a scene, its words drawn at random."""
        return "".join(token.write(scene, rng) for token in self.tokens)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("".join(f"({'|'.join(map(re.escape, token.words))})" for token in self.tokens))

    def reading(self, line: str) -> Recalled | None:
        """Return what the line repeats of the scene if this template can have made it, otherwise None."""
        if not (found := self._pattern.fullmatch(line)):
            return None
        said = zip(self.tokens, found.groups(), strict=True)
        return tuple((token.field, token.words[text]) for token, text in said if token.field)


@dataclass(frozen=True)
class Plot:
    """The shape of a text: what its scene settles, and for each of its lines the templates to choose from."""

    settled: list[Variable]
    lines: list[Choice[Template]]

    def reading(self, index: int, line: str) -> Recalled | None:
        """Return what the line repeats of the scene as this plot's line number `index`, from 0 on.

        None if no template of that line can have made it."""
        readings = (template.reading(line) for template in self.lines[index].options)
        return next((recalled for recalled in readings if recalled is not None), None)

    def scene(self, recalled: Sequence[tuple[str, str]]) -> Scene | None:
        """Return the first scene that agrees with everything recalled, None if there is none."""
        scene: Scene = {}
        for variable in self.settled:
            own = {pair for pair in recalled if pair[0] in variable.options[0]}
            scene |= next((value for value in variable.options if own <= value.items()), {})
        return scene if set(recalled) <= scene.items() else None
