"""Flows: draw what goes where: boxes with arrows, grids of numbers, who looks at whom, vectors as arrows.

All have one style, and their words are those of the course's example sentence. Shown in 01 to 03, 07, 12."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from tinylm.course import style
from tinylm.course.diagrams import DRAWINGS, arrow, box, line, paper, plus, write
from tinylm.course.style import BLUE, COLOURS, GREY, INK

SENTENCE = ("the", "queen", "said", "that", "she", "was", "tired")
HIGH, GAP, LANE = 0.78, 0.3, 0.94  # inches: a box, the arrow to the next one, from lane to lane
Box = Sequence[Any]  # column and lane, from the top left, and the text


def flow(boxes: Mapping[str, Box], arrows: str, *, title: str, alt: str) -> None:
    """Draw boxes with arrows between them: {"q": (1, 0, "query\\n(T, D)")} and "x>q x>k q>s".

    The first line of a box's text is its name, in bold. The second line says what the box holds."""
    edges, at = {}, 0.1  # of each column: its left and its right end
    for n in sorted({column for column, _, _ in boxes.values()}):
        texts = [text.partition("\n") for column, _, text in boxes.values() if column == n]
        letters = [max(0.118 * len(name), 0.09 * len(inside)) for name, _, inside in texts]
        edges[n] = at, at + max(0.9, 0.2 + max(letters))
        at = edges[n][1] + GAP
    columns, lanes = [*edges], [lane + 0.5 for _, lane, _ in boxes.values()]
    high = LANE * (max(lanes) + 0.5)
    with paper(alt, max(5.0, at - GAP + 0.1), high, title=title) as axes:
        heights = {name: high - LANE * lane for name, lane in zip(boxes, lanes, strict=True)}
        for name, (column, _, text) in boxes.items():
            (left, right), colour = edges[column], style.tint(COLOURS[columns.index(column) % 6])
            where = left, heights[name], right - left, HIGH
            box(axes, *where, *text.split("\n"), facecolor=colour, weight="bold")
        for start, end in (pair.split(">") for pair in arrows.split()):
            (_, right), (left, _) = edges[boxes[start][0]], edges[boxes[end][0]]
            arrow(axes, (right, heights[start]), (left, heights[end]))


def drawing(name: str) -> None:
    """Draw one of the fixed flows in drawings.toml by its name, such as "language_model"."""
    fixed = DRAWINGS[name]
    flow(fixed["boxes"], fixed["arrows"], title=fixed["title"], alt=fixed["alt"])


def residual_stream() -> None:
    """Draw a line for each word, straight through one block, and what is added to the line of “she”.

    Attention reads this line and the lines above it, the MLP reads this line alone. Later words are grey."""
    fixed, here = DRAWINGS["residual_stream"], SENTENCE.index("she")
    with paper(fixed["alt"], 9.2, 3.08, -1.44, title=fixed["title"]) as axes:
        for i, (word, y) in enumerate(zip(SENTENCE, fixed["heights"], strict=True)):
            colour = INK if i == here else BLUE if i < here else GREY
            write(axes, 1.0, y, word, 15, ha="right", color=colour)
            arrow(axes, (1.15, y), (9.0, y), color=colour, linewidth=3.2 if i == here else 1.8)
            if i < here:  # a copy goes down into attention
                x = 2.9 + 1.5 * (i + 0.5) / here
                arrow(axes, (x, y), (x, 1.17), color=BLUE)
                axes.plot(x, y, "o", color=BLUE)
        for x, name, colour, result in ((1.55, "attention", style.GREEN, "a"), (5.3, "MLP", style.PINK, "m")):
            # off the line, through a norm and a part, and back on: x = x + part(norm(x))
            line(axes, [x, x, x + 3.1, x + 3.1], [0, 0.85, 0.85, 0.5])
            box(axes, x + 0.3, 0.85, 0.8, 0.6, "norm")
            box(axes, x + 1.35, 0.85, 1.5, 0.6, name, facecolor=style.tint(colour), weight="bold")
            for start, end in ((0, 0.3), (1.1, 1.35)):
                arrow(axes, (x + start, 0.85), (x + end, 0.85))
            write(axes, x + 3.25, 0.5, result, 14)
            plus(axes, (x + 3.1, 0.5), (x + 3.1, 0))
        for x, text in ((1.35, "x"), (4.95, "x + a"), (8.65, "x + a + m")):
            write(axes, x, -0.3, text, 14, ha="center")


def look_back(words: Sequence[str], position: int, weights: Any, *, title: str) -> None:
    """Draw a row of words, with an arc from the word at `position` to each word that it looks at.

    weights (T,): the larger a weight, the thicker its arc. Words after the position are grey."""
    weights, wide = style.to_numpy(weights), [0.16 * len(word) + 0.5 for word in words]
    told = f"The words {' '.join(words)}, with arcs from “{words[position]}” back to the words before it."
    with paper(told, max(6.0, sum(wide)), 2.2, -0.35, title=title) as axes:
        middles = [sum(wide[:place]) + width / 2 - 0.05 for place, width in enumerate(wide)]
        here, frame = middles[position], 0.18 * len(words[position]) + 0.24
        box(axes, here - frame / 2, 0.35, frame, 0.5, facecolor=BLUE, edgecolor=BLUE)
        for place, (word, middle) in enumerate(zip(words, middles, strict=True)):
            colour = "white" if place == position else INK if place < position else GREY
            write(axes, middle, 0.35, word, 16, ha="center", color=colour)
            below = f"{weights[place]:.2f}" if place <= position else "hidden"
            write(axes, middle, -0.12, below, 13, ha="center", color=INK if place <= position else GREY)
            if place < position and weights[place] > 0:
                look = {"color": BLUE, "mutation_scale": 16, "linewidth": 0.8 + 7 * weights[place]}
                look["connectionstyle"] = f"arc3,rad={0.28 + 0.05 * (position - place)}"
                arrow(axes, (here, 0.68), (middle, 0.68), **look)


def arrows(vectors: Mapping[str, Sequence[float]], *, title: str, xlabel: str, ylabel: str) -> None:
    """Draw vectors of two numbers as named arrows from one point. Similar vectors point the same way."""
    points = {name: style.to_numpy(vector) for name, vector in vectors.items()}
    numbers = np.concatenate([*points.values()])
    least, most = 1.25 * min(0.0, numbers.min()) - 0.2, 1.25 * max(1.0, numbers.max())
    ticks, named = range(math.ceil(least), math.ceil(most)), {"xlabel": xlabel, "ylabel": ylabel}
    told = f"Arrows from one point, in the plane of {xlabel} and {ylabel}: {', '.join(points)}."
    with style.figure(told, 5.2, 4.6) as axes:
        for colour, (name, end) in zip(cycle(COLOURS), points.items(), strict=False):
            arrow(axes, (0, 0), end, linewidth=2.6, color=colour)
            axes.annotate(name, end, (6, 6), textcoords="offset points", color=INK, fontsize=14)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set(xlim=(least, most), ylim=(least, most), xticks=ticks, yticks=ticks)
        axes.set(title=title, aspect="equal", **named)
        axes.grid()


def grids(tensors: Mapping[str, Any], *, title: str) -> None:
    """Draw small tensors as grids of numbers side by side, with their names above and their shapes below."""
    told = "; ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
    wide = 0.4 + max(max(0.5 * tensor.shape[-1], 0.13 * len(name)) for name, tensor in tensors.items())
    high = 0.8 + 0.5 * max(tensor.numel() // tensor.shape[-1] for tensor in tensors.values())
    with paper(f"Grids of numbers: {told}.", wide * len(tensors), high, title=title) as axes:
        for n, (name, tensor) in enumerate(tensors.items()):
            k, middle = tensor.shape[-1], wide * (n + 0.5)
            write(axes, middle, high - 0.15, name, ha="center", weight="bold")
            write(axes, middle, 0.15, str(tuple(tensor.shape)), ha="center")
            for i, number in enumerate(tensor.flatten().tolist()):
                box(axes, middle + (i % k - k / 2) / 2, high - 0.65 - i // k / 2, 0.46, 0.46, f"{number:g}")


def merge_tree(word: str, merges: Sequence[tuple[bytes, bytes]], *, title: str) -> None:
    """Draw how merges turn a word's bytes, at the bottom, into tokens, at the top. Each joint has its number.

    merges: pairs of bytes in their order, [(b"a", b"b"), …], counted from 0. Merges that don't occur in the
    word are ignored. Up to about 18 bytes are readable."""
    letters, joints = [bytes([byte]) for byte in word.encode()], []
    step = min(0.85, 9.2 / len(letters))  # inches from byte to byte
    row = [(letter, (i + 0.5) * step, 0.66) for i, letter in enumerate(letters)]  # a piece, and where it ends
    for number, pair in enumerate(merges):
        for i in range(len(row)):  # a merge shortens the row: past its end there is no pair
            if tuple(piece for piece, _, _ in row[i : i + 2]) == pair:
                (left, x, y), (right, far, other) = row[i : i + 2]
                high = max(y, other) + 0.55
                joints.append((f"{number:,}", [x, x, far, far], [y, high, high, other]))
                row[i : i + 2] = [(left + right, (x + far) / 2, high)]
    top = max(y for _, _, y in row) + 0.6
    tokens = [style.show_bytes(piece, drawn=True) for piece, _, _ in row]
    told = f"The tree of merges of “{word}”: {len(letters)} bytes below, {len(joints)} joints, numbered in "
    told += f"the order of the merges, and {len(tokens)} token{'s' * (len(tokens) > 1)} on top: "
    with paper(told + f"{', '.join(tokens)}.", step * len(letters), top + 0.3, title=title) as axes:
        for i, letter in enumerate(letters):
            name = style.show_bytes(letter, drawn=True)
            box(axes, i * step + 0.03, 0.33, step - 0.06, 0.66, name, str(letter[0]))
        for number, x, y in joints:
            line(axes, x, y)
            ground = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": INK}
            write(axes, (x[0] + x[-1]) / 2, y[1], number, ha="center", bbox=ground)
        left = 0.03
        for token, (piece, x, y) in zip(tokens, row, strict=True):
            line(axes, [x, x], [y, top - 0.25])
            wide = step * len(piece)
            box(axes, left, top, wide - 0.06, 0.5, token, facecolor=style.tint(BLUE), weight="bold")
            left += wide
