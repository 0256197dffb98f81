"""Flows: drawings of what goes where: boxes with arrows, who looks at whom, vectors as arrows.

One style, and where there are words, those of the course's example sentence. Shown in notebooks 02_attention
and 03_transformer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.patches import FancyArrowPatch

from tinylm.course import style
from tinylm.course.diagrams import arrow, box, write
from tinylm.course.style import BLUE, COLOURS, GREY, INK

HIGH, GAP, LANE = 0.78, 0.3, 0.94  # inches: a box, the arrow to the next one, from lane to lane
Box = tuple[float, float, str]  # column and lane, from the top left, and the text


def flow(boxes: Mapping[str, Box], arrows: str, *, title: str, alt: str) -> None:
    """Boxes with arrows between them: {"q": (1, 0, "query\\n(T, D)")} and "x>q x>k q>s".

    A text's first line is the box's name, in bold; the second says what is in it."""
    columns = sorted({column for column, _, _ in boxes.values()})
    wide = {c: max(_width(text) for column, _, text in boxes.values() if column == c) for c in columns}
    left = {c: 0.1 + sum(wide[other] + GAP for other in columns if other < c) for c in columns}
    lanes = max(lane for _, lane, _ in boxes.values()) + 1
    long, high = max(5.0, left[columns[-1]] + wide[columns[-1]] + 0.1), lanes * LANE
    with style.figure(alt, long, high + 0.5) as axes:
        for column, lane, text in boxes.values():
            look = {"facecolor": style.tint(COLOURS[columns.index(column) % 6]), "weight": "bold"}
            box(axes, left[column], high - (lane + 0.5) * LANE, wide[column], HIGH, *text.split("\n"), **look)
        for start, end in (pair.split(">") for pair in arrows.split()):
            (c, lane, _), (to, other, _) = boxes[start], boxes[end]
            begin = (left[c] + wide[c], high - (lane + 0.5) * LANE)
            arrow(axes, begin, (left[to], high - (other + 0.5) * LANE))
        axes.set(xlim=(0, long), ylim=(0, high), title=title)
        axes.axis("off")


def _width(text: str) -> float:
    """How wide a box is, in inches."""
    name, _, inside = text.partition("\n")
    return max(0.9, 0.2 + 0.118 * len(name), 0.2 + 0.09 * len(inside))


def language_model() -> None:
    """From a text to the probabilities of what comes next: the whole way."""
    texts = ("text\nthe queen said", "ids\n0 1 2", "vectors\n(T, C)", "blocks\nlook, think", "logits\n(T, V)")
    boxes = {str(i): (i, 0, text) for i, text in enumerate((*texts, "probabilities\nthat … 0.4"))}
    told = "A text becomes ids, ids become vectors; blocks change them; logits and probabilities come out."
    flow(boxes, "0>1 1>2 2>3 3>4 4>5", title="A language model", alt=told)


def attention() -> None:
    """One head: query and key make the scores, softmax the weights, weights and values the result."""
    boxes = {
        "x": (0, 1, "x\n(T, C)"),
        "q": (1, 0, "query\nx W_q  (T, D)"),
        "k": (1, 1, "key\nx W_k  (T, D)"),
        "v": (1, 2, "value\nx W_v  (T, D)"),
        "s": (2, 0.5, "scores\nq · k / √D  (T, T)"),
        "w": (3, 0.5, "weights\nmask, softmax"),
        "o": (4, 1, "result\nΣ weight · value"),
    }
    told = "x makes queries, keys and values; queries and keys make scores, softmax makes weights of them, "
    flow(boxes, "x>q x>k x>v q>s k>s s>w w>o v>o", title="One head", alt=told + "and they weigh the values.")


def heads(n_head: int) -> None:
    """Several heads side by side, and the matrix that mixes what they found."""
    middle = (n_head - 1) / 2
    boxes = {"x": (0, middle, "x\n(T, C)")}
    boxes |= {f"h{i}": (1, i, f"head {i}\n(T, D)") for i in range(n_head)}
    boxes |= {"c": (2, middle, "side by side\n(T, C)"), "p": (3, middle, "proj\n(T, C)")}
    arrows = " ".join(f"x>h{i} h{i}>c" for i in range(n_head))
    told = f"The same x goes into {n_head} heads; their results stand side by side, and proj mixes them."
    flow(boxes, f"{arrows} c>p", title=f"{n_head} heads", alt=told)


def block() -> None:
    """One round of a transformer: two parts read the stream, and add what they found to it."""
    boxes = {
        "x": (0, 1, "x\n(B, T, C)"),
        "a": (1, 0, "norm, attention\nlook around"),
        "p": (2, 1, "+"),
        "m": (3, 0, "norm, MLP\nthink"),
        "q": (4, 1, "+"),
        "o": (5, 1, "x\n(B, T, C)"),
    }
    told = "The stream x runs straight through; attention and then the MLP read a normed copy and add to it."
    flow(boxes, "x>a x>p a>p p>m p>q m>q q>o", title="One block", alt=told)


def look_back(words: Sequence[str], position: int, weights: Any, *, title: str) -> None:
    """A row of words, and from the word at `position` an arc to each that it looks at; weights (T,).

    The heavier the weight, the thicker the arc; what comes after the position is grey."""
    weights, middles, at = style.to_numpy(weights), [], 0.0
    for word in words:
        middles.append(at + 0.08 * len(word) + 0.2)
        at += 0.16 * len(word) + 0.5
    told = f"The words {' '.join(words)}, with arcs from “{words[position]}” back to the words before it."
    with style.figure(told, max(6.0, at), 2.7) as axes:
        here = middles[position]
        box(axes, here - 0.09 * len(words[position]) - 0.12, 0.35, 0.18 * len(words[position]) + 0.24, 0.5)
        axes.patches[-1].set(facecolor=BLUE, edgecolor=BLUE)
        for place, (word, middle) in enumerate(zip(words, middles, strict=True)):
            colour = "white" if place == position else INK if place < position else GREY
            write(axes, middle, 0.35, word, 16, ha="center", color=colour)
            below = f"{weights[place]:.2f}" if place <= position else "hidden"
            write(axes, middle, -0.12, below, 13, ha="center", color=INK if place <= position else GREY)
            if place < position and weights[place] > 0:
                bow = f"arc3,rad={0.28 + 0.05 * (position - place)}"
                look = {"arrowstyle": "-|>", "mutation_scale": 16, "color": BLUE, "shrinkA": 0, "shrinkB": 0}
                look |= {"linewidth": 0.8 + 7 * weights[place], "connectionstyle": bow}
                axes.add_patch(FancyArrowPatch((here, 0.68), (middle, 0.68), **look))
        axes.set(xlim=(-0.1, at), ylim=(-0.35, 2.2), title=title)
        axes.axis("off")


def arrows(vectors: Mapping[str, Sequence[float]], *, title: str, xlabel: str, ylabel: str) -> None:
    """Vectors of two numbers as named arrows from one point: those that are alike point the same way."""
    points = {name: style.to_numpy(vector) for name, vector in vectors.items()}
    most = 1.25 * max(1.0, *(float(n) for point in points.values() for n in point))
    least = 1.25 * min(0.0, *(float(n) for point in points.values() for n in point)) - 0.2
    told = f"Arrows from one point, in the plane of {xlabel} and {ylabel}: {', '.join(points)}."
    with style.figure(told, 5.2, 4.6) as axes:
        for number, (name, (x, y)) in enumerate(points.items()):
            arrow(axes, (0, 0), (x, y), 2.6)
            axes.patches[-1].set_color(COLOURS[number % 6])
            axes.annotate(name, (x, y), (6, 6), textcoords="offset points", color=INK, fontsize=14)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.axvline(0, color=GREY, linewidth=1)
        ticks = range(math.ceil(least), math.ceil(most))
        axes.set(xlim=(least, most), ylim=(least, most), xticks=ticks, yticks=ticks)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        axes.set_aspect("equal")
        axes.grid()
