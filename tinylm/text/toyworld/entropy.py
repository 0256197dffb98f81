"""Grammar entropy: how surprising a grammar's texts are on average, exactly and in closed form.

The entropy of a text is the entropy of the choices that made it, less what the text does not give away
about them. So this room proves, by exhaustive search, what the text gives away: the opening line
settles the scene, lines cannot run into each other, and two templates never say the same sentence.
Templates that can say the same sentence are put in one bag, whose sentences are counted as sentences.
Refuses to know English and samples: nothing here is estimated. Source: Shannon 1948, section 6.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, combinations_with_replacement, product

from tinylm.errors import DataError
from tinylm.text.toyworld.grammar import Grammar, Plot
from tinylm.text.toyworld.templates import Template, Token

MOST_SENTENCES = 1_000_000  # a bag of ambiguous templates is written out only up to this size


def entropy_of(probabilities: Iterable[float]) -> float:
    """H = -sum p ln p, in nats (Shannon 1948, section 6)."""
    return -math.fsum(p * math.log(p) for p in probabilities if p > 0)


def entropy(grammar: Grammar) -> float:
    """Entropy of one text in nats: plot + scene + each line given the scene. Exact.

    Raises DataError where a text would not give its plot, its scene or its lines away."""
    _check_separators(grammar)
    _check_openings(grammar)
    total = entropy_of(grammar.plot_probabilities)
    for plot, weight in zip(grammar.plots, grammar.plot_probabilities, strict=True):
        scene = sum(entropy_of(grammar.variables[i].probabilities) for i in plot.settled)
        lines = sum(_pool_entropy(pool, plot, grammar) for pool in plot.lines)
        total += weight * (scene + lines)
    return total


def mean_length(grammar: Grammar) -> float:
    """Expected characters per text, separator included. Exact: expectations add up."""
    total = float(len(grammar.separator))
    for plot, weight in zip(grammar.plots, grammar.plot_probabilities, strict=True):
        total += weight * len(grammar.line_separator) * (len(plot.lines) - 1)
        for pool in plot.lines:
            for template, p in pool:
                total += weight * p * sum(_mean_token_length(token, grammar) for token in template.tokens)
    return total


def longest(grammar: Grammar) -> int:
    """An upper bound on the characters of a text, separator included."""
    return len(grammar.separator) + max(
        sum(max(sum(t.lengths[-1] for t in template.tokens) for template, _ in pool) for pool in plot.lines)
        + len(grammar.line_separator) * (len(plot.lines) - 1)
        for plot in grammar.plots
    )


def coincide(one: Template, other: Template) -> bool:
    """Can both templates say the same sentence (for one and the same template: in two different ways)?

    A search over pairs of places, one in each template, and the letters by which one is ahead of the
    other. What is recalled counts as a free choice, so True may be overcautious; False is certain.
    Source: the dangling suffixes of Sardinas and Patterson 1953."""
    a, b = ([token.written for token in template.tokens] for template in (one, other))
    todo = [(0, 0, "", "")]
    if one is other:  # the same words up to token k, and there the first difference
        pairs = [(k + 1, _cancel(v, w)) for k, words in enumerate(a) for v, w in combinations(words, 2)]
        todo = [(k, k, *ahead) for k, ahead in pairs if ahead]
    seen = set(todo)
    while todo:
        i, j, x, y = todo.pop()  # x: what a has said beyond b; y: what b has said beyond a
        if i == len(a) and j == len(b) and x == y:
            return True
        if i < len(a) and not x:
            steps = [(i + 1, j, _cancel(w, y)) for w in a[i]]
        elif j < len(b) and not y:
            steps = [(i, j + 1, _cancel(x, w)) for w in b[j]]
        else:
            continue
        fresh = {(i, j, *ahead) for i, j, ahead in steps if ahead} - seen
        seen |= fresh
        todo += fresh
    return False


def _cancel(x: str, y: str) -> tuple[str, str] | None:
    """What is left of each when the shorter is taken off the front of both; None if they differ."""
    if x.startswith(y):
        return x[len(y) :], ""
    return ("", y[len(x) :]) if y.startswith(x) else None


def _bags(pool: Sequence[tuple[Template, float]]) -> list[list[tuple[Template, float]]]:
    """The pool's templates, those that can say the same sentence in one bag."""
    bags: list[list[tuple[Template, float]]] = []
    for entry in pool:
        touched = [bag for bag in bags if any(coincide(entry[0], other) for other, _ in bag)]
        bags = [bag for bag in bags if bag not in touched] + [[entry, *(e for bag in touched for e in bag)]]
    return bags


def _pool_entropy(pool: Sequence[tuple[Template, float]], plot: Plot, grammar: Grammar) -> float:
    """Entropy of one line given the scene: which bag, and then which sentence of the bag."""
    bags = _bags(pool)
    total = entropy_of(sum(p for _, p in bag) for bag in bags)
    for bag in bags:
        weight = sum(p for _, p in bag)
        template = bag[0][0]
        if len(bag) == 1 and not coincide(template, template):
            fresh = [token for token in template.tokens if not token.field]
            total += weight * sum(entropy_of(p for p, _ in token.words.values()) for token in fresh)
        else:
            total += weight * _bag_entropy(bag, plot, grammar)
    return total


def _bag_entropy(bag: Sequence[tuple[Template, float]], plot: Plot, grammar: Grammar) -> float:
    """The mean over scenes of the entropy of the bag's sentences, every sentence written out."""
    weight = sum(p for _, p in bag)
    named = {token.field for template, _ in bag for token in template.tokens}
    used = [grammar.variables[i] for i in plot.settled if named & set(grammar.variables[i].fields)]
    per_scene = sum(math.prod(len(t.words) for t in template.tokens if not t.field) for template, _ in bag)
    size = per_scene * math.prod(len(v.values) for v in used)
    if size > MOST_SENTENCES:
        raise DataError(
            f"the templates like {bag[0][0].source!r} can say the same sentence in two ways and make {size} "
            f"sentences, where {MOST_SENTENCES} can be counted: reword one of them"
        )
    total = 0.0
    for values in product(*(zip(v.values, v.probabilities, strict=True) for v in used)):
        scene = {field: word for value, _ in values for field, word in value.items()}
        sentences: dict[str, float] = {}
        for template, p in bag:
            for sentence, q in sentences_of(template, scene):
                sentences[sentence] = sentences.get(sentence, 0.0) + q * p / weight
        total += math.prod(p for _, p in values) * entropy_of(sentences.values())
    return total


def sentences_of(template: Template, scene: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Every derivation of the template in this scene: the sentence and the derivation's probability."""
    tokens = [
        [(written, p) for written, (p, word) in token.words.items() if scene.get(token.field, word) == word]
        for token in template.tokens
    ]
    for choice in product(*tokens):
        yield "".join(word for word, _ in choice), math.prod(p for _, p in choice)


def _mean_token_length(token: Token, grammar: Grammar) -> float:
    if token.field is None:
        return sum(p * len(written) for written, (p, _) in token.words.items())
    owner = next(v for v in grammar.variables if token.field in v.fields)
    return sum(
        p * len(value[token.field]) for p, value in zip(owner.probabilities, owner.values, strict=True)
    )


def _check_openings(grammar: Grammar) -> None:
    """The opening line must give away its plot and the whole scene."""
    openings = [(plot, template) for plot in grammar.plots for template, _ in plot.lines[0]]
    for (_, one), (_, other) in combinations_with_replacement(openings, 2):
        if coincide(one, other):
            raise DataError(
                f"the openings {one.source!r} and {other.source!r} can say the same line in two ways: "
                "reword one of them"
            )
    for plot, template in openings:
        named = [token.field for token in template.tokens if token.field]
        for variable in (grammar.variables[i] for i in plot.settled):
            shown = {tuple(value[f] for f in variable.fields if f in named) for value in variable.values}
            if len(shown) < len(variable.values):
                raise DataError(
                    f"the opening {template.source!r} tells {len(shown)} of {len(variable.values)} values "
                    f"of {'/'.join(variable.fields)} apart: name a field that differs in all of them"
                )


def _check_separators(grammar: Grammar) -> None:
    """No separator may stand in a line, nor begin inside one: so a text can be cut in one way only."""
    between, after = grammar.line_separator, grammar.separator
    for separator, before in ((between, ""), (after, between[1 - len(after) :])):
        for template in (template for plot in grammar.plots for pool in plot.lines for template, _ in pool):
            tails = {before}  # every way in which the text so far can end, as far as the separator reaches
            for words in [*(token.written for token in template.tokens), [separator[:-1]]]:
                said = {tail + word for tail in tails for word in words}
                if any(separator in text for text in said):
                    raise DataError(f"the template {template.source!r} can hold the separator {separator!r}")
                tails = {text[max(0, len(text) - len(separator) + 1) :] for text in said}
