"""Heatmaps: tables of numbers as colour: bigram tables, attention maps, many heads side by side.

In an attention map, rows look at columns. Shown in notebooks 01_characters and 02_attention."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from tinylm.course import style


@style.styled
def heatmap(
    table: Any,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    colours: str = "",
    alt: str | None = None,
    **named: str,
) -> None:
    """A table (R, K) of numbers as colour, around zero where it has both signs; `colours` names the scale.

    named: title, xlabel, ylabel. One-character labels stay readable up to about 65 rows."""
    table = style.to_numpy(table)
    n_rows, n_columns = table.shape
    cell = min(0.62, 7.0 / n_columns)
    figure, axes = style.new_figure(max(4.5, n_columns * cell + 1.8), max(2.6, n_rows * cell + 1.4))
    _paint(axes, table, (float(np.nanmin(table)), float(np.nanmax(table))), colours)
    _label(axes, rows, columns, points=72 * cell)
    axes.set(**named)
    style.show(
        figure, alt or f"Heatmap of {named.get('title', 'a table')}: {n_rows} rows, {n_columns} columns."
    )


@style.styled
def attention_map(
    weights: Any, tokens: Sequence[str], *, title: str = "", numbers: bool | None = None
) -> None:
    """Attention weights (T, T): each row is a token that looks, each column a token that is looked at.

    numbers: write the weights into the cells (default: for T <= 8). Readable up to T of about 40."""
    weights, t = style.to_numpy(weights), len(tokens)
    cell, future = min(0.75, 6.2 / t), _future(weights)
    figure, axes = style.new_figure(max(4.6, t * cell + 2.0), max(4.0, t * cell + 1.2))
    image = _paint(axes, weights, (0.0, 1.0), "attention weight", masked=future)
    _label(axes, tokens, tokens, points=72 * cell)
    axes.set(title=title, xlabel="is looked at", ylabel="looks")
    if numbers or (numbers is None and t <= 8):
        look = {"ha": "center", "va": "center", "fontsize": min(14.0, 72 * cell / 3.2)}
        for (i, j), value in np.ndenumerate(weights):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
            if not future[i, j]:
                axes.text(j, i, f"{value:.2f}", color="white" if dark else "black", **look)
    triangle = "; the future, the upper right triangle, is masked" if future.any() else ""
    style.show(figure, f"Attention map{title and f' of {title}'} over {t} tokens{triangle}.")


@style.styled
def attention_heads(
    weights: Any, tokens: Sequence[str], *, title: str = "", names: Sequence[str] = ()
) -> None:
    """Several heads (H, T, T) as small maps on one scale. Tokens are written where they fit (T <= 16)."""
    weights = style.to_numpy(weights)
    heads, t = weights.shape[0], len(tokens)
    columns = min(heads, 4)
    rows, side = -(-heads // columns), 8.6 / columns
    figure, grid = style.new_figure(8.6, rows * (side + 0.45) + 0.7, rows, columns, squeeze=False)
    shown = tokens if t <= 16 else ()
    for axes in grid.flat[heads:]:
        axes.axis("off")
    for i, (axes, head) in enumerate(zip(grid.flat, weights, strict=False)):
        image = _paint(axes, head, (0.0, 1.0), None, masked=_future(weights))
        _label(axes, shown if i % columns == 0 else (), shown, points=72 * (side - 0.4) / t)
        axes.set_title(names[i] if names else f"head {i}", fontsize=14, fontweight="normal", loc="center")
    bar = figure.colorbar(image, ax=grid, location="bottom", fraction=0.05, aspect=40, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("attention weight (rows look at columns)")
    figure.suptitle(title, fontsize=16, fontweight="bold", x=0.01, ha="left")
    style.show(figure, f"Attention maps{title and f' of {title}'}: {heads} heads over {t} tokens.")


def _paint(
    axes: Axes, table: np.ndarray, limits: tuple[float, float], colours: str | None, masked: Any = False
) -> Any:
    """Colour the table; what is masked is grey: not small, but not allowed. `colours` names the scale."""
    low, high = limits
    if signed := low < 0 < high:
        low, high = min(low, -high), max(high, -low)
    cmap = matplotlib.colormaps[style.DIVERGING if signed else style.SEQUENTIAL]
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(style.GREY)
    table = np.ma.masked_where(masked | ~np.isfinite(table), table)
    look = {"cmap": cmap.with_extremes(bad=style.PALE), "interpolation": "nearest", "aspect": "equal"}
    image = axes.imshow(table, vmin=low, vmax=high, **look)
    if colours is not None:  # a scale as high as the table
        bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.04, 1.0)))
        bar.outline.set_color(style.GREY)
        bar.set_label(colours)
    return image


def _future(weights: np.ndarray) -> np.ndarray:
    """True (T, T) where a position would look ahead, if none does. If one does, nothing is masked."""
    ahead = np.triu(np.ones(weights.shape[-2:], dtype=bool), 1)
    return ahead & bool((weights[..., ahead] == 0).all())


def _label(axes: Axes, rows: Sequence[str], columns: Sequence[str], *, points: float) -> None:
    """Write the labels; where rows are lower than letters, every second label steps aside."""
    size = min(14.0, max(12.0, points * 0.95))
    rows, columns = style.show_whitespace(rows), style.show_whitespace(columns)
    if points < 0.95 * size:
        rows = [row + "  " * (i % 2) for i, row in enumerate(rows)]
    longest = max(map(len, columns), default=0)
    upright = longest > 1 and longest * 0.62 * size > points
    look = {"fontsize": size, "fontfamily": style.MONO}
    axes.set_yticks(range(len(rows)), rows, **look)
    axes.set_xticks(range(len(columns)), columns, rotation=90 if upright else 0, **look)
    axes.tick_params(length=0)
