"""Flows: draw what goes where: boxes with arrows, grids of numbers, who looks at whom, vectors as arrows.

All have one style, and their words are those of the course's example sentence. Shown in 01 to 03 and 07."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tinylm.course import style
from tinylm.course.diagrams import DRAWINGS, arrow, box, line, paper, plus, write
from tinylm.course.style import BLUE, COLOURS, GREY, INK

SENTENCE = ("the", "queen", "said", "that", "she", "was", "tired")
HIGH, GAP, LANE = 0.78, 0.3, 0.94  # inches: a box, the arrow to the next one, from lane to lane
Box = Sequence[Any]  # column and lane, from the top left, and the text


def flow(boxes: Mapping[str, Box], arrows: str, *, title: str, alt: str) -> None:
    """Draw boxes with arrows between them: {"q": (1, 0, "query\\n(T, D)")} and "x>q x>k q>s".

    The first line of a box's text is its name, in bold. The second line says what the box holds."""

    def width(text: str) -> float:
        name, _, inside = text.partition("\n")
        return max(0.9, 0.2 + 0.118 * len(name), 0.2 + 0.09 * len(inside))

    columns = sorted({column for column, _, _ in boxes.values()})
    wide = {c: max(width(text) for column, _, text in boxes.values() if column == c) for c in columns}
    left = {c: 0.1 + sum(wide[other] + GAP for other in columns if other < c) for c in columns}
    lanes = max(lane for _, lane, _ in boxes.values()) + 1
    long, high = max(5.0, left[columns[-1]] + wide[columns[-1]] + 0.1), lanes * LANE
    with paper(alt, long, high, title=title) as axes:
        for column, lane, text in boxes.values():
            look = {"facecolor": style.tint(COLOURS[columns.index(column) % 6]), "weight": "bold"}
            box(axes, left[column], high - (lane + 0.5) * LANE, wide[column], HIGH, *text.split("\n"), **look)
        for start, end in (pair.split(">") for pair in arrows.split()):
            (c, lane, _), (to, other, _) = boxes[start], boxes[end]
            begin = (left[c] + wide[c], high - (lane + 0.5) * LANE)
            arrow(axes, begin, (left[to], high - (other + 0.5) * LANE))


def drawing(name: str) -> None:
    """Draw one of the fixed flows in drawings.toml: "language_model", "attention", "heads" or "tokenizer"."""
    fixed = DRAWINGS[name]
    flow(fixed["boxes"], fixed["arrows"], title=fixed["title"], alt=fixed["alt"])


def residual_stream(words: Sequence[str] = SENTENCE, position: int = 4) -> None:
    """Draw a line for each word, straight through one block, and what is added to the line at `position`.

    Attention reads this line and the lines above it, the MLP reads this line alone. Later words are grey."""
    word = f"“{words[position]}”"
    told = f"The words “{' '.join(words)}” are straight lines through a block. Attention reads a normed copy "
    told += f"of the line of {word} and of those above, and adds its result a to the line of {word}. "
    told += "Then the MLP reads a normed copy of this line alone, and adds m."
    # inches: from line to line, with room above the chosen one for the boxes and below it for the sums
    heights = [0.42 * (position - i) + 1.1 * (i < position) - 0.2 * (i > position) for i in range(len(words))]
    low, high = heights[-1] - 0.4, max(heights[0], 1.0) + 0.3
    with paper(told, 9.2, high, low, title="The residual stream") as axes:
        for i, (word, y) in enumerate(zip(words, heights, strict=True)):
            colour = INK if i == position else BLUE if i < position else GREY
            write(axes, 1.0, y, word, 15, ha="right", color=colour)
            arrow(axes, (1.15, y), (9.0, y), color=colour, linewidth=3.2 if i == position else 1.8)
            if i < position:  # a copy goes down into attention
                x = 2.9 + 1.5 * (i + 0.5) / position
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
    weights, middles, at = style.to_numpy(weights), [], 0.0
    for word in words:
        middles.append(at + 0.08 * len(word) + 0.2)
        at += 0.16 * len(word) + 0.5
    told = f"The words {' '.join(words)}, with arcs from “{words[position]}” back to the words before it."
    with paper(told, max(6.0, at), 2.2, -0.35, title=title) as axes:
        here = middles[position]
        wide = 0.18 * len(words[position]) + 0.24
        box(axes, here - wide / 2, 0.35, wide, 0.5, facecolor=BLUE, edgecolor=BLUE)
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
    most = 1.25 * max(1.0, *(float(n) for point in points.values() for n in point))
    least = 1.25 * min(0.0, *(float(n) for point in points.values() for n in point)) - 0.2
    told = f"Arrows from one point, in the plane of {xlabel} and {ylabel}: {', '.join(points)}."
    with style.figure(told, 5.2, 4.6) as axes:
        for number, (name, (x, y)) in enumerate(points.items()):
            arrow(axes, (0, 0), (x, y), linewidth=2.6, color=COLOURS[number % 6])
            axes.annotate(name, (x, y), (6, 6), textcoords="offset points", color=INK, fontsize=14)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.axvline(0, color=GREY, linewidth=1)
        ticks = range(math.ceil(least), math.ceil(most))
        axes.set(xlim=(least, most), ylim=(least, most), xticks=ticks, yticks=ticks)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel, aspect="equal")
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
    told = f"The tree of merges of “{word}”: {len(letters)} bytes below, {len(joints)} joints, numbered "
    count = f"{len(tokens)} token{'s' * (len(tokens) > 1)}"
    told += f"in the order of the merges, and {count} on top: {', '.join(tokens)}."
    with paper(told, step * len(letters), top + 0.3, title=title) as axes:
        for i, letter in enumerate(letters):
            name = style.show_bytes(letter, drawn=True)
            box(axes, i * step + 0.03, 0.33, step - 0.06, 0.66, name, str(letter[0]))
        for number, x, y in joints:
            line(axes, x, y)
            ground = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": INK}
            write(axes, (x[0] + x[-1]) / 2, y[1], number, ha="center", bbox=ground)
        left, look = 0.0, {"facecolor": style.tint(BLUE), "weight": "bold"}
        for token, (piece, x, y) in zip(tokens, row, strict=True):
            line(axes, [x, x], [y, top - 0.25])
            box(axes, left + 0.03, top, step * len(piece) - 0.06, 0.5, token, **look)
            left += step * len(piece)
