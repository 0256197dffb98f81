"""Diagrams: draw the ladder of models and the plan of a model, and the pen for both: boxes, arrows, texts.

`architecture` reads the model that it is given, layer by layer, so the drawing can't drift from the code.
Shown in notebooks 00_start_here and 03_transformer."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from tinylm.course import style
from tinylm.course.style import BLUE, GREY, INK, PALE
from tinylm.runs import machine

DRAWINGS = tomllib.loads(Path(__file__).with_name("drawings.toml").read_text("utf-8"))
Point = tuple[float, float]
STREAM, LEFT, RIGHT, COUNT = 1.45, 2.15, 3.35, 8.85  # inches: the stream, a branch's two boxes, the counts


def ladder(here: str) -> None:
    """Draw the course's ladder of models, from the lowest rung up; `here` names the rung where we are."""
    sizes = [*(name.split()[0] for name in machine.ladder()), "MoE", "", ""]  # of "0.8M Shakespeare"
    rungs = [(*rung, size) for rung, size in zip(DRAWINGS["ladder"], sizes, strict=True)]
    names = ", ".join(f"{name} ({size})" if size else name for _, name, _, size in rungs)
    alt = f"The ladder of models, from the lowest rung up: {names}. We are at {here}."
    with paper(alt, 9.4, 6 * 0.8 + 0.1) as axes:
        for i, (notebooks, name, about, size) in enumerate(rungs):
            left, y = 0.05 + 0.32 * i, 0.43 + 0.8 * i
            ground, ink = (BLUE, "white") if name == here else (PALE, INK)
            box(axes, left, y, 7.6, 0.66, facecolor=ground, edgecolor=BLUE)
            write(axes, left + 0.16, y, notebooks, color=ink)
            write(axes, left + 0.95, y, name, 15, color=ink, weight="bold")
            write(axes, left + 2.62, y, size, 15, color=ink)
            write(axes, left + 3.5, y, about, color=ink)
            if name == here:
                write(axes, left + 7.7, y, "◀ here", color=BLUE)


def architecture(model: nn.Module) -> None:
    """Draw a GPT: its residual stream upwards, the parts that add to it, their shapes and parameters.

    Neighbouring blocks with the same parts are drawn once, with their number."""
    embedding, head, blocks = model.token_embedding, model.head, list(model.blocks)
    channels, tied, total = embedding.embedding_dim, head.weight is embedding.weight, _count(model)
    alt = f"Plan of the model, from tokens below to logits above: embeddings of width {channels}, "
    alt += f"{len(blocks)} blocks whose attention and MLP each add to the residual stream, "
    alt += f"a final norm and {'a head tied to the embedding' if tied else 'a head'}; {total:,} parameters."
    with style.figure(alt) as axes:
        write(axes, STREAM, 0.15, "tokens (B, T)", 14, ha="center", weight="bold")
        _row(axes, 0.77, 0.35, 2.2, "token embedding", embedding, style.tint(style.SKY))
        y = 1.0  # the height reached
        if model.position_embedding is not None:
            y += 0.45
            _row(axes, y, LEFT, 2.6, "position embedding", model.position_embedding, style.tint(style.ORANGE))
            plus(axes, (LEFT, y), (STREAM, y))
        y += 0.62
        write(axes, STREAM + 0.15, y - 0.2, f"x (B, T, {channels})")
        for _, same in groupby(blocks, key=lambda block: [(k, v.shape) for k, v in block.named_parameters()]):
            y = _blocks(axes, y, *same)
        _row(axes, y + 0.45, 0.35, 2.2, "final norm", model.final_norm, PALE)
        told = ("the token embedding's own matrix", "0 more") if tied else ()
        _row(axes, y + 1.13, 0.35, 2.2, "head", head, style.tint(style.SKY), *told)
        y += 1.36
        line(axes, [STREAM, STREAM], [0.32, y], linewidth=3.2)
        arrow(axes, (STREAM, y), (STREAM, y + 0.35), linewidth=3.2)
        write(axes, STREAM, y + 0.55, f"logits (B, T, {head.out_features})", 14, ha="center", weight="bold")
        axes.set(xlim=(0, 9.05), ylim=(-0.05, y + 0.77), title=f"GPT: {total:,} parameters")
        axes.axis("off")
        axes.figure.set_size_inches(9.05, y + 1.32)


def _row(
    axes: Axes, y: float, left: float, width: float, name: str, part: nn.Module, colour: Any, *told: str
) -> None:
    """Draw a part's box, and beside it its sizes and its number of parameters, or the two texts `told`."""
    inside, count = told or (_inside(part), f"{_count(part):,}")
    box(axes, left, y, width, 0.46, name, facecolor=colour)
    write(axes, left + width + 0.2, y, inside)
    write(axes, COUNT, y, count, ha="right")


def _blocks(axes: Axes, low: float, block: nn.Module, *others: nn.Module) -> float:
    """Draw one block in a dashed frame, with the number of its kind. Returns the height of its upper end."""
    n, each, y = 1 + len(others), _count(block), low + 0.1
    halves = [("attention", block.attn, block.attn_norm, style.GREEN)]
    halves += [("MLP", block.mlp, block.mlp_norm, style.PINK)]
    for name, part, norm, colour in halves:
        # off the stream, through a norm and a part, and back on: x = x + part(norm(x))
        out, y, centre = y + 0.45, y + 1.1, RIGHT + 2.1
        box(axes, LEFT, out, 0.95, 0.66, "norm", f"{_count(norm):,}")
        box(axes, RIGHT, out, 4.2, 0.66, name, _inside(part), facecolor=style.tint(colour), weight="bold")
        write(axes, COUNT, out, f"{_count(part):,}", ha="right")
        arrow(axes, (STREAM, out), (LEFT, out))
        arrow(axes, (LEFT + 0.95, out), (RIGHT, out))
        line(axes, [centre, centre], [out + 0.33, y])
        plus(axes, (centre, y), (STREAM, y))
    times = f"{n} × {each:,} = {n * each:,}" if n > 1 else f"{each:,}"
    write(axes, COUNT, y - 0.02, times, ha="right", weight="bold")
    middle, height = (low + y + 0.2) / 2, y + 0.2 - low
    box(axes, 0.1, middle, 8.9, height, facecolor="none", edgecolor=GREY, linestyle="--")
    write(axes, 0.3, middle, f"{n} ×\nblock", 15, weight="bold")
    return y + 0.3


@contextmanager
def paper(alt: str, width: float, high: float, low: float = 0.0, title: str = "") -> Iterator[Axes]:
    """Open a figure to draw on in inches: x from 0 to width, y from low to high. It is shown at the end."""
    with style.figure(alt, width, high - low + (0.5 if title else 0.1)) as axes:
        axes.set(xlim=(0, width), ylim=(low, high), title=title)
        axes.axis("off")
        yield axes


def line(axes: Axes, x: Any, y: Any, linewidth: float = 1.8) -> None:
    """Draw a line through the points, below everything else."""
    axes.plot(x, y, color=INK, linewidth=linewidth, linestyle="-", zorder=0)


def plus(axes: Axes, start: Point, end: Point) -> None:
    """Draw an arrow that ends in a plus sign."""
    arrow(axes, start, end, shrinkB=10)
    axes.plot(*end, "o", markersize=19, color="white", markeredgecolor=INK, markeredgewidth=1.8)
    axes.plot(*end, "+", markersize=12, color=INK, markeredgewidth=2.2)


def box(axes: Axes, left: float, y: float, width: float, height: float, *text: str, **look: Any) -> None:
    """Draw a rounded box around the height y, with its name, and below it, smaller, what it holds."""
    name, inside = (*text, "", "")[:2]
    weight, shape = look.pop("weight", "normal"), "round,pad=0,rounding_size=0.1"
    look = {"facecolor": PALE, "edgecolor": INK, "linewidth": 1.4} | look
    axes.add_patch(FancyBboxPatch((left, y - height / 2), width, height, boxstyle=shape, **look))
    write(axes, left + width / 2, y + (0.14 if inside else 0), name, 14, ha="center", weight=weight)
    write(axes, left + width / 2, y - 0.15, inside, 12, ha="center")


def arrow(axes: Axes, start: Point, end: Point, **look: Any) -> None:
    """Draw an arrow from (x, y) to (x, y)."""
    look = {"arrowstyle": "-|>", "mutation_scale": 14, "linewidth": 1.8, "color": INK, "shrinkB": 0} | look
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, **look))


def write(axes: Axes, x: float, y: float, text: str, size: int = 13, **look: Any) -> None:
    """Write a text that begins at x, with its middle at the height y."""
    axes.text(x, y, text, **({"va": "center", "fontsize": size, "color": INK} | look))


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _inside(part: nn.Module) -> str:
    """Return what a part is made of: the sizes of its own matrices."""
    if isinstance(part, nn.Embedding):
        return f"{part.num_embeddings:,} × {part.embedding_dim}"
    if isinstance(part, nn.Linear):
        return f"{part.in_features} → {part.out_features:,}"
    linears = ((name, child) for name, child in part.named_children() if isinstance(child, nn.Linear))
    sizes = [f"{name} {_inside(linear)}" for name, linear in linears]
    if isinstance(activation := getattr(part, "activation", None), str):
        sizes.insert(1, activation)
    heads = f"{part.n_head} heads: " if hasattr(part, "n_head") else ""
    return heads + (", ".join(sizes) or type(part).__name__)
