"""Heatmaps: tables of numbers as colour: bigram tables, attention maps, many heads side by side.

In an attention map, each row is a query and each column a key. Shown in 01_characters and 02_attention."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from tinylm.course import style

Labels = Sequence[str]


def heatmap(table: Any, *, rows: Labels = (), columns: Labels = (), colours: str = "", **named: str) -> None:
    """Draw a table (R, K) of numbers as colour, around zero if it has both signs; `colours` names the scale.

    named: title, xlabel, ylabel. Labels of one character stay readable up to about 65 rows."""
    table = style.to_numpy(table)
    n_rows, n_columns = table.shape
    cell = min(0.62, 7.0 / n_columns)
    down, across = named.get("ylabel", "rows"), named.get("xlabel", "columns")
    alt = f"Heatmap of {named.get('title', 'a table')}: {n_rows} × {n_columns}, {down} down, {across} across."
    with style.figure(alt, max(4.5, n_columns * cell + 1.8), max(2.6, n_rows * cell + 1.4)) as axes:
        _add_scale(_paint(axes, table, rows, columns, cell), colours)
        axes.set(**named)


def attention_map(
    weights: Any, tokens: Labels, *, title: str = "", numbers: bool = True, **named: str
) -> None:
    """Draw attention weights (T, T): a row for each token that asks (query), a column for each asked (key).

    numbers: write the weights into the cells where T <= 8. Readable up to a T of about 40.
    named: xlabel and ylabel, for weights that were not made by queries and keys."""
    weights, t = _without_future(style.to_numpy(weights)), len(tokens)
    cell, named = min(0.75, 6.2 / t), {"xlabel": "key", "ylabel": "query"} | named
    triangle = "; the future, the upper right triangle, is masked" if np.isnan(weights).any() else ""
    alt = f"Attention map{title and f' of {title}'} over {t} tokens, a row for each {named['ylabel']} and a "
    alt += f"column for each {named['xlabel']}{triangle}."
    with style.figure(alt, max(4.6, t * cell + 2.0), max(4.0, t * cell + 1.2)) as axes:
        _add_scale(_paint(axes, weights, tokens, tokens, cell, (0, 1)), "attention weight")
        axes.set(title=title, **named)
        for i, j in np.argwhere(~np.isnan(weights)) if numbers and t <= 8 else ():
            colour = "white" if weights[i, j] > 0.574 else "black"  # from here on the cell is dark
            size = min(14.0, 72 * cell / 3.2)
            axes.text(j, i, f"{weights[i, j]:.2f}", ha="center", va="center", color=colour, fontsize=size)


def attention_heads(weights: Any, tokens: Labels, *, title: str = "", names: Labels = ()) -> None:
    """Draw several heads (H, T, T) as small maps on one scale, with the tokens where they fit (T <= 16)."""
    heads, t = len(weights), len(tokens)
    columns = min(heads, 4)
    rows, side = -(-heads // columns), 8.6 / columns
    shown, cell = tokens if t <= 16 else (), (side - 0.4) / t
    names = names or [f"head {i}" for i in range(heads)]
    alt = f"Attention maps{title and f' of {title}'}: {heads} heads over {t} tokens, a row for each query."
    with style.figure(alt, 8.6, rows * (side + 0.45) + 0.7, nrows=rows, ncols=columns, squeeze=False) as grid:
        for axes in grid.flat[heads:]:
            axes.axis("off")
        for axes, head, name in zip(grid.flat, style.to_numpy(weights), names, strict=False):
            left = shown if axes in grid[:, 0] else ()
            image = _paint(axes, _without_future(head), left, shown, cell, (0, 1))
            axes.set_title(name, fontsize=14, fontweight="normal", loc="center")
        figure = grid[0, 0].figure
        bar = figure.colorbar(image, ax=grid, location="bottom", fraction=0.05, aspect=40, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("attention weight (a row for each query, a column for each key)")
        figure.suptitle(title, fontsize=16, fontweight="bold", x=0.01, ha="left")


def _without_future(weights: np.ndarray) -> np.ndarray:
    """Return weights (T, T) with nan, drawn grey, where a position would look ahead, unless one does."""
    ahead = np.triu(np.ones(weights.shape, dtype=bool), 1)
    return weights if weights[ahead].any() else np.where(ahead, np.nan, weights)


def _paint(
    axes: Axes, table: np.ndarray, rows: Labels, columns: Labels, cell: float, limits: Any = ()
) -> Any:
    """Colour a table whose cells are `cell` inches high, and label it. Returns matplotlib's image.

    Where rows are lower than letters, every second label steps aside."""
    low, high = limits or (float(np.nanmin(table)), float(np.nanmax(table)))
    if signed := low < 0 < high:
        low, high = min(low, -high), max(high, -low)
    cmap = matplotlib.colormaps[style.DIVERGING if signed else style.SEQUENTIAL].with_extremes(bad=style.PALE)
    image = axes.imshow(np.ma.masked_invalid(table), cmap, vmin=low, vmax=high, interpolation="nearest")
    axes.spines[:].set(visible=True, color=style.GREY)
    rows, columns = style.show_whitespace(rows), style.show_whitespace(columns)
    size = min(14.0, max(12.0, 68.4 * cell))  # points
    if 72 * cell < 0.95 * size:
        rows = [row + "  " * (i % 2) for i, row in enumerate(rows)]
    longest = max(map(len, columns), default=0)
    upright = longest > 1 and longest * 0.62 * size > 72 * cell
    look = {"fontsize": size, "fontfamily": style.MONO}
    axes.set_yticks(range(len(rows)), rows, **look)
    axes.set_xticks(range(len(columns)), columns, rotation=90 if upright else 0, **look)
    axes.tick_params(length=0)
    return image


def _add_scale(image: Any, name: str) -> None:
    """Add a colour scale as high as the table."""
    bar = image.figure.colorbar(image, cax=image.axes.inset_axes((1.03, 0.0, 0.04, 1.0)))
    bar.outline.set_color(style.GREY)
    bar.set_label(name)
