"""Heatmaps: tables of numbers as colour: bigram tables, attention maps, many heads side by side.

Each function draws, shows and returns nothing. Rows look at columns. Knows arrays and labels; refuses
to know models. Taught in notebooks 01_characters and 02_attention.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from tinylm.course.style import DIVERGING, GREY, PALE, SEQUENTIAL, new_figure, show, styled, visible
from tinylm.course.style import numbers as as_numbers

MONO = "DejaVu Sans Mono"


@styled
def heatmap(
    table: Any,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    colours: str = "",
    numbers: bool = False,
    limits: tuple[float, float] | None = None,
    alt: str | None = None,
) -> None:
    """A table (R, K) of numbers as colour, with labels. numbers: also write each, with two decimals.

    colours names what colour means. One-character labels stay readable up to about 65 rows.
    """
    table = as_numbers(table)
    n_rows, n_columns = table.shape
    cell = min(0.62, 7.0 / n_columns)
    figure, axes = new_figure(width=max(4.5, n_columns * cell + 1.8), height=max(2.6, n_rows * cell + 1.4))
    image = _paint(axes, table, limits)
    _label(axes, rows or [], columns or [], points=72 * cell)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if numbers:
        _write(axes, table, image, size=min(14.0, 72 * cell / 2.9))
    _key(axes, image, colours)
    show(figure, alt or f"Heatmap{' of ' + title if title else ''}: {n_rows} rows, {n_columns} columns.")


@styled
def attention_map(
    weights: Any,
    tokens: Sequence[str],
    *,
    title: str = "",
    numbers: bool | None = None,
    alt: str | None = None,
) -> None:
    """Attention weights (T, T): each row is a token that looks, each column a token that is looked at.

    numbers: write the weights into the cells (default: for T <= 8). Readable up to T of about 40.
    """
    weights = as_numbers(weights)
    t = len(tokens)
    cell = min(0.75, 6.2 / t)
    figure, axes = new_figure(width=max(4.6, t * cell + 2.0), height=max(4.0, t * cell + 1.2))
    image = _paint(axes, weights, (0.0, 1.0), causal=_causal(weights))
    _label(axes, tokens, tokens, points=72 * cell)
    axes.set(title=title, xlabel="is looked at", ylabel="looks")
    if numbers or (numbers is None and t <= 8):
        _write(axes, weights, image, size=min(14.0, 72 * cell / 3.2))
    _key(axes, image, "attention weight")
    triangle = "; the future, the upper right triangle, is masked" if _causal(weights) else ""
    show(figure, alt or f"Attention map{' of ' + title if title else ''} over {t} tokens{triangle}.")


@styled
def attention_heads(
    weights: Any, tokens: Sequence[str], *, title: str = "", names: Sequence[str] = (), alt: str | None = None
) -> None:
    """Several heads (H, T, T) as small maps on one scale. Tokens are written where they fit (T <= 16)."""
    weights = as_numbers(weights)
    heads, t = weights.shape[0], len(tokens)
    columns = min(heads, 4)
    rows = -(-heads // columns)
    side = 8.6 / columns
    figure, grid = new_figure(8.6, rows * (side + 0.45) + 0.7, rows, columns, squeeze=False)
    for i, axes in enumerate(grid.flat):
        if i >= heads:
            axes.axis("off")
            continue
        image = _paint(axes, weights[i], (0.0, 1.0), causal=_causal(weights))
        fits = t <= 16
        first = i % columns == 0
        _label(axes, tokens if fits and first else [], tokens if fits else [], points=72 * (side - 0.4) / t)
        axes.set_title(names[i] if names else f"head {i}", fontsize=14, fontweight="normal", loc="center")
    bar = figure.colorbar(image, ax=grid, location="bottom", fraction=0.05, aspect=40, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("attention weight (rows look at columns)")
    figure.suptitle(title, fontsize=16, fontweight="bold", x=0.01, ha="left")
    show(figure, alt or f"Attention maps{' of ' + title if title else ''}: {heads} heads over {t} tokens.")


def _paint(axes: Axes, table: np.ndarray, limits: tuple[float, float] | None, *, causal: bool = False) -> Any:
    """Colour the table. With causal, what lies in the future is grey: not small, but not allowed."""
    low, high = limits or (float(np.nanmin(table)), float(np.nanmax(table)))
    signed = low < 0 < high
    if signed:
        low, high = min(low, -high), max(high, -low)
    colours = matplotlib.colormaps[DIVERGING if signed else SEQUENTIAL].with_extremes(bad=PALE)
    future = np.triu(np.ones(table.shape, dtype=bool), 1) & causal
    shown = np.ma.masked_where(future | ~np.isfinite(table), table)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(GREY)
    return axes.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect="equal")


def _key(axes: Axes, image: Any, label: str) -> None:
    """The colour scale, as high as the table."""
    scale = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
    bar = axes.figure.colorbar(image, cax=scale)
    bar.outline.set_color(GREY)
    bar.set_label(label)


def _label(axes: Axes, rows: Sequence[str], columns: Sequence[str], *, points: float) -> None:
    """Write the labels; where rows are lower than letters, every second label steps aside."""
    size = min(14.0, max(12.0, points * 0.95))
    rows, columns = [visible(r) for r in rows], [visible(c) for c in columns]
    if points < 0.95 * size:
        rows = [r + "  " * (i % 2) for i, r in enumerate(rows)]
    wide = max(map(len, columns), default=0) * 0.62 * size > points
    turned = wide and max(map(len, columns)) > 1
    axes.set_yticks(range(len(rows)), rows, fontsize=size, fontfamily=MONO)
    axes.set_xticks(
        range(len(columns)), columns, fontsize=size, fontfamily=MONO, rotation=90 if turned else 0
    )
    axes.tick_params(length=0)


def _write(axes: Axes, table: np.ndarray, image: Any, *, size: float) -> None:
    """Write each number into its cell, in black or white, whichever reads better on its colour."""
    for (i, j), value in np.ndenumerate(table):
        if np.ma.getmaskarray(image.get_array())[i, j]:
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        text = f"{value:.2f}".replace("-", "−")
        axes.text(j, i, text, ha="center", va="center", fontsize=size, color="white" if dark else "black")


def _causal(weights: np.ndarray) -> bool:
    t = weights.shape[-1]
    return t > 1 and bool((weights[..., np.triu(np.ones((t, t), dtype=bool), 1)] == 0).all())
