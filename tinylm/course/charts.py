"""Charts: numbers as bars, curves, and dots with errors.

Each function draws, shows and returns nothing. `alt` is the alternative text: what there is to see, in words,
without a measured number, so that it is the same on every machine. Shown in notebook 00_start_here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tinylm.course import style


def bars(labels: Sequence[str], values: Any, *, alt: str, height: float = 4.0, **named: str) -> None:
    """One bar per label; {"before": values, "after": values} gives a bar of each kind per label.

    named: the title and the ylabel. Up to about 40 labels are readable."""
    kinds = values if isinstance(values, Mapping) else {"": values}
    kinds = {kind: style.to_numpy(sizes) for kind, sizes in kinds.items()}
    names = style.show_whitespace(labels)
    with style.figure(alt, height=height) as axes:
        places, width = np.arange(len(names)), 0.8 / len(kinds)
        for i, (kind, sizes) in enumerate(kinds.items()):
            offset = (i - (len(kinds) - 1) / 2) * width
            look = {"color": style.COLOURS[i % 6], "hatch": style.HATCHES[i % 6], "edgecolor": "white"}
            axes.bar(places + offset, sizes, width * 0.94, label=kind, linewidth=0, **look)
        longest = max(map(len, names), default=0)
        axes.set_xticks(places, names, rotation=90 if longest > 1 and longest * len(names) > 55 else 0)
        axes.tick_params(axis="x", length=0, **({"labelfontfamily": style.MONO} if longest <= 1 else {}))
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.grid(axis="y")
        axes.set(**named)
        if all((sizes == sizes.round()).all() for sizes in kinds.values()):  # 1,000 rather than 1000.0
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if len(kinds) > 1:
            axes.legend()


def curve(
    lines: Mapping[str, tuple[Any, Any]],
    *,
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    alt: str | None = None,
    height: float = 4.2,
    **named: str,
) -> None:
    """Lines of (x, y) by name, e.g. {"training": (steps, losses)}.

    levels are horizontal lines by name, e.g. {"ln V: knows nothing": 4.174, "floor": 0.61}.
    Where a line has 30 points or fewer they are marked; of several lines with up to 400, about a dozen.
    named: title, xlabel, ylabel. Without `alt` the text says which line falls and which rises."""
    levels, named = levels or {}, {"xlabel": "step", "ylabel": "loss (nats per token)"} | named
    drawn = {name: (style.to_numpy(x), style.to_numpy(y)) for name, (x, y) in lines.items()}
    said = {-1: "falls", 1: "rises"}  # where each line goes, without a measured number
    ways = [f"{n} {said.get(np.sign(y[-1] - y[0]), 'ends where it began')}" for n, (_, y) in drawn.items()]
    ways += [f"dotted lines mark {' and '.join(levels)}"] if levels else []
    told = f"Line chart of {named['ylabel']} against {named['xlabel']}: {'; '.join(ways)}."
    with style.figure(alt or told, height=height) as axes:
        for look, (name, (x, y)) in zip(style.LOOKS(), drawn.items(), strict=False):
            if len(x) > 30:
                few = {"markevery": len(x) // 12} if len(lines) > 1 and len(x) <= 400 else {"marker": None}
                look = look | few
            axes.plot(x, y, label=name, linewidth=1.5 if len(x) > 400 else 2.4, **look)
        axes.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear", **named)
        axes.grid(axis="y")
        last = min((y[-1] for _, y in drawn.values()), default=0.0)
        for name, value in levels.items():
            axes.axhline(value, color=style.GREY, linewidth=1.6, linestyle=(0, (2, 2)))
            below = value <= last  # a floor is named beneath it, where no line runs
            look = {"color": style.INK, "fontsize": 13, "ha": "right", "va": "top" if below else "bottom"}
            place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
            place |= {"xytext": (-4, -5 if below else 4), "annotation_clip": False}
            axes.annotate(name, (1, value), **place, **look)
        axes.margins(x=0.02, y=0.13 if levels else 0.05)
        if len(lines) > 1:
            _name_lines(axes)


def _name_lines(axes: Axes) -> None:
    """A legend where no line runs, or below the figure when there is no such place."""
    legend = axes.legend(handlelength=3)
    axes.figure.draw_without_rendering()  # only now is it known where the names stand
    names = legend.get_window_extent()
    paths = (line.get_transform().transform_path(line.get_path()) for line in axes.lines)
    if any(path.intersects_bbox(names) for path in paths):
        legend.remove()
        n = len(legend.get_texts())
        columns = -(-n // -(-n // 3))  # at most three, in rows as equal as can be: // - rounds up
        axes.figure.legend(loc="outside lower center", ncols=columns, handlelength=3)


def dots(
    values: Mapping[str, tuple[float, float]], *, alt: str, pale: Sequence[str] = (), **named: str
) -> None:
    """One row for each name, from the top: a dot at the value, a bar from value - error to value + error.

    pale names rows to be drawn hollow and grey, such as what was tried and not kept. The axis need not begin
    at zero, as it must for bars: what is read is the place of a dot, not a length."""
    with style.figure(alt, height=1.5 + 0.32 * len(values)) as axes:
        for row, (name, (value, error)) in enumerate(values.items()):
            colour, fill = (style.GREY, "white") if name in pale else (style.BLUE, style.BLUE)
            axes.errorbar(value, row, xerr=error, fmt="o", color=colour, markerfacecolor=fill, capsize=4)
        axes.set_yticks(range(len(values)), list(values))
        axes.tick_params(axis="y", length=0)
        axes.set(**named, ylim=(len(values) - 0.4, -0.6))
        axes.grid(axis="both")
