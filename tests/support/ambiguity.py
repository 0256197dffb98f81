"""Can every draw be read off a text of a toyworld? An exhaustive proof, on which the exact entropy rests."""

from itertools import combinations, combinations_with_replacement

from tinylm.text.toyworld.grammar import Template
from tinylm.text.toyworld.world import World


def ambiguities(world: World) -> list[str]:
    """What a text of this world would not give away, each in a sentence. An empty list is a proof."""
    plots = world.plots.options
    openings = [(plot, template) for plot in plots for template in plot.lines[0].options]
    rivals = [[template for _, template in openings]]  # openings compete with those of every plot
    rivals += [pool.options for plot in plots for pool in plot.lines[1:]]
    pairs = [pair for templates in rivals for pair in combinations_with_replacement(templates, 2)]
    found = [f"same sentence: {example(a)!r} and {example(b)!r}" for a, b in pairs if coincide(a, b)]
    for plot, template in openings:
        named = {token.field for token in template.tokens}
        for variable in plot.settled:
            told = {tuple(value[f] for f in value if f in named) for value in variable.options}
            if len(told) < len(variable.options):
                found.append(f"{example(template)!r} tells {len(told)} of {len(variable.options)} apart")
    templates = {template for plot in plots for pool in plot.lines for template in pool.options}
    return found + [f"separator: {example(t)!r}" for t in templates if holds_separator(t, world)]


def example(template: Template) -> str:
    """A sentence of the template."""
    return "".join(token.choice.options[0] for token in template.tokens)


def texts_of(template: Template) -> list[list[str]]:
    """What each token can say. A word that its list holds twice stays twice: that is ambiguous too."""
    return [list(token.words) if token.field else token.choice.options for token in template.tokens]


def coincide(one: Template, other: Template) -> bool:
    """Can both templates say the same sentence (for one and the same template: in two different ways)?

    A search over pairs of places, one in each template, and the letters by which one is ahead of the
    other. What is recalled counts as a free choice, so True may be overcautious; False is certain.
    Source: the dangling suffixes of Sardinas and Patterson 1953."""
    a, b = texts_of(one), texts_of(other)
    todo = [(0, 0, "", "")]
    if one is other:  # the same words up to token k, and there the first difference
        pairs = [(k + 1, cancel(v, w)) for k, words in enumerate(a) for v, w in combinations(words, 2)]
        todo = [(k, k, *ahead) for k, ahead in pairs if ahead]
    seen = set(todo)
    while todo:
        i, j, x, y = todo.pop()  # x: what a has said beyond b; y: what b has said beyond a
        if i == len(a) and j == len(b) and x == y:
            return True
        if i < len(a) and not x:
            steps = [(i + 1, j, cancel(w, y)) for w in a[i]]
        elif j < len(b) and not y:
            steps = [(i, j + 1, cancel(x, w)) for w in b[j]]
        else:
            continue
        fresh = {(i, j, *ahead) for i, j, ahead in steps if ahead} - seen
        seen |= fresh
        todo += fresh
    return False


def cancel(x: str, y: str) -> tuple[str, str] | None:
    """What is left of each when the shorter is taken off the front of both; None if they differ."""
    if x.startswith(y):
        return x[len(y) :], ""
    return ("", y[len(x) :]) if y.startswith(x) else None


def holds_separator(template: Template, world: World) -> bool:
    """Can a separator stand in this line, or begin or end inside it? Else a text is cut in one way only."""
    between, after = world.line_separator, world.separator
    for separator, before in ((between, ""), (after, between[1 - len(after) :])):
        tails = {before}  # every way in which the text so far can end, as far as the separator reaches
        for words in [*texts_of(template), [separator[:-1]]]:
            said = {tail + word for tail in tails for word in words}
            if any(separator in text for text in said):
                return True
            tails = {text[max(0, len(text) - len(separator) + 1) :] for text in said}
    return False
