"""Plots: the course's standard figures of numbers: bars, curves, dots with errors, histograms, arrows.

Each function draws, shows and returns nothing. Each takes `alt`, the alternative text; without it one is
composed that holds no measured number. Knows numbers and labels; refuses to know models and tokenizers.
Tables of weights are in `heatmaps`, drawings in `pictures`. Taught in notebook 00_start_here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tinylm.course.style import (
    BLUE,
    GREY,
    HATCHES,
    INK,
    aloud,
    looks,
    new_figure,
    numbers,
    show,
    style,
    styled,
    visible,
)

__all__ = ["bars", "curve", "dots", "histogram", "show", "style", "vectors"]

Numbers = Any  # a list, an array or a tensor of numbers


@styled
def bars(
    labels: Sequence[str],
    values: Numbers | Mapping[str, Numbers],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    alt: str | None = None,
    height: float = 4.0,
) -> None:
    """One bar per label; {"before": values, "after": values} gives a bar of each kind per label.

    Spaces and newlines among the labels are written ␣ and ↵. Up to about 40 labels are readable."""
    kinds = values if isinstance(values, Mapping) else {"": values}
    names = [visible(label) for label in labels]
    figure, axes = new_figure(height=height)
    places, width = np.arange(len(names)), 0.8 / len(kinds)
    for i, (kind, sizes) in enumerate(kinds.items()):
        offset = (i - (len(kinds) - 1) / 2) * width
        look = {"color": looks(i + 1)[i]["color"], "hatch": HATCHES[i % len(HATCHES)], "edgecolor": "white"}
        axes.bar(places + offset, numbers(sizes), width * 0.94, label=kind or None, linewidth=0, **look)
    longest = max(map(len, names), default=0)
    crowded = longest * len(names) > 55
    axes.set_xticks(places, names, rotation=90 if crowded and longest > 1 else 0)
    if longest <= 1:
        axes.tick_params(axis="x", labelfontfamily="DejaVu Sans Mono")
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(axis="y")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    _count(axes, [numbers(v) for v in kinds.values()])
    if len(kinds) > 1:
        axes.legend()
    tallest = [f"{kind}: {aloud(labels[int(numbers(v).argmax())])}" for kind, v in kinds.items()]
    told = "; ".join(text.removeprefix(": ") for text in tallest)
    many = f"{len(names)} label{'s' * (len(names) != 1)}"
    show(figure, alt or f"Bar chart. {_sentence(title or ylabel)}{many}; the tallest bar is {told}.")


def _count(axes: Axes, values: Sequence[np.ndarray]) -> None:
    """Where all values are whole, so are the ticks, with a comma every three digits."""
    if all((v == v.round()).all() for v in values):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


@styled
def curve(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    *,
    title: str = "",
    xlabel: str = "step",
    ylabel: str = "loss (nats per token)",
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    alt: str | None = None,
    height: float = 4.2,
) -> None:
    """Lines of (x, y) by name, e.g. {"training": (steps, losses)}.

    levels are horizontal lines by name, e.g. {"ln V: knows nothing": 4.174, "floor": 0.61}.
    Points are marked where a line has 30 or fewer; of lines with up to 400 about a dozen are. The lines are
    named where none of them runs, and below the figure when there is no such place."""
    figure, axes = new_figure(height=height)
    drawn = {name: (numbers(x), numbers(y)) for name, (x, y) in lines.items()}
    for look, (name, (x, y)) in zip(looks(len(lines)), drawn.items(), strict=True):
        if len(x) > 30:
            look |= {"markevery": len(x) // 12} if len(lines) > 1 and len(x) <= 400 else {"marker": None}
        axes.plot(x, y, label=name, linewidth=1.5 if len(x) > 400 else 2.4, **look)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.set_xscale("log" if log_x else "linear")
    axes.set_yscale("log" if log_y else "linear")
    axes.grid(axis="y")
    last = min((y[-1] for _, y in drawn.values()), default=0.0)
    for name, value in (levels or {}).items():
        axes.axhline(value, color=GREY, linewidth=1.6, linestyle=(0, (2, 2)))
        below = value <= last  # a floor is named beneath it, where no line runs
        place = {"xytext": (-4, -5 if below else 4), "va": "top" if below else "bottom", "ha": "right"}
        where = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
        axes.annotate(name, (1, value), color=INK, fontsize=13, annotation_clip=False, **where, **place)
    axes.margins(x=0.02, y=0.13 if levels else 0.05)
    if len(lines) > 1:
        _name_lines(figure, axes)
    show(figure, alt or _told(drawn, f"{ylabel} against {xlabel}", levels or {}))


def _name_lines(figure: Figure, axes: Axes) -> None:
    legend = axes.legend(handlelength=3)
    figure.draw_without_rendering()  # only now is it known where the names stand
    names = legend.get_window_extent()
    paths = (line.get_transform().transform_path(line.get_path()) for line in axes.lines)
    if any(path.intersects_bbox(names) for path in paths):
        legend.remove()
        n = len(legend.get_texts())
        columns = -(-n // -(-n // 3))  # at most three, in rows as equal as can be: // - rounds up
        figure.legend(loc="outside lower center", ncols=columns, handlelength=3)


def _told(lines: Mapping[str, tuple[np.ndarray, np.ndarray]], what: str, levels: Mapping[str, float]) -> str:
    """Alternative text of a line chart: where each line goes, without a measured number."""
    ways = []
    for name, (_, y) in lines.items():
        way = "falls" if y[-1] < y[0] else "rises" if y[-1] > y[0] else "ends where it began"
        ways.append(f"{name} {way}")
    marked = f"; dotted lines mark {' and '.join(levels)}" if levels else ""
    return f"Line chart of {what}: {'; '.join(ways)}{marked}."


@styled
def dots(
    values: Mapping[str, tuple[float, float]],
    *,
    pale: Sequence[str] = (),
    title: str = "",
    xlabel: str = "loss (nats per token)",
    alt: str | None = None,
) -> None:
    """One row for each name, from the top: a dot at the value, a bar from value - error to value + error.

    pale names rows to be drawn hollow and grey, such as what was tried and not kept. The axis need not begin
    at zero, as it must for bars: what is read is the place of a dot, not a length."""
    figure, axes = new_figure(height=1.5 + 0.32 * len(values))
    for row, (name, (value, error)) in enumerate(values.items()):
        colour, fill = (GREY, "white") if name in pale else (BLUE, BLUE)
        axes.errorbar(value, row, xerr=error, fmt="o", color=colour, markerfacecolor=fill, capsize=4)
    axes.set_yticks(range(len(values)), list(values))
    axes.tick_params(axis="y", length=0)
    axes.set(title=title, xlabel=xlabel, ylim=(len(values) - 0.4, -0.6))
    axes.grid(axis="both")
    lowest = min(values, key=lambda name: values[name][0])
    told = f"Dots with error bars. {_sentence(title)}{len(values)} rows; the lowest is {lowest}."
    show(figure, alt or told)


@styled
def histogram(
    samples: Numbers | Mapping[str, Numbers],
    *,
    title: str = "",
    xlabel: str = "value",
    bins: int = 60,
    limits: tuple[float, float] | None = None,
    normal: float | None = None,
    alt: str | None = None,
    height: float = 4.0,
) -> None:
    """How often each value occurs, as densities on shared bins: activations, initial weights.

    normal: also draw the normal density with mean 0 and this standard deviation."""
    kinds = samples if isinstance(samples, Mapping) else {"": samples}
    flat = {name: numbers(values).ravel() for name, values in kinds.items()}
    low, high = limits or (min(v.min() for v in flat.values()), max(v.max() for v in flat.values()))
    edges = np.linspace(low, high, bins + 1)
    figure, axes = new_figure(height=height)
    for look, (name, values) in zip(looks(len(flat)), flat.items(), strict=True):
        density, _ = np.histogram(values, edges, density=True)
        axes.stairs(density, edges, fill=True, color=look["color"], alpha=0.25)
        axes.stairs(
            density, edges, color=look["color"], linestyle=look["linestyle"], linewidth=2, label=name or None
        )
    if normal is not None:
        x = np.linspace(low, high, 400)
        y = np.exp(-0.5 * (x / normal) ** 2) / (normal * np.sqrt(2 * np.pi))
        label = f"normal, standard deviation {normal:g}"
        axes.plot(x, y, color=INK, linestyle="--", linewidth=1.8, label=label)
    axes.set(title=title, xlabel=xlabel, ylabel="density", ylim=(0, None))
    axes.grid(axis="y")
    if normal is not None or len(flat) > 1:
        axes.legend()
    named = ", ".join(name for name in flat if name)
    show(figure, alt or f"Histogram of {xlabel}{': ' + named if named else ''}.")


@styled
def vectors(
    arrows: Mapping[str, Sequence[float]],
    *,
    title: str = "",
    highlight: Sequence[str] = (),
    alt: str | None = None,
    size: float = 5.5,
) -> None:
    """Arrows from the origin, by name, on a plane with equal axes; highlighted ones are bold and dark."""
    figure, axes = new_figure(width=size + 0.5, height=size)
    points = {name: numbers(xy) for name, xy in arrows.items()}
    reach = 1.2 * max(float(np.abs(xy).max()) for xy in points.values())
    axes.axhline(0, color=GREY, linewidth=1)
    axes.axvline(0, color=GREY, linewidth=1)
    for look, (name, (x, y)) in zip(looks(len(points)), points.items(), strict=True):
        strong = not highlight or name in highlight
        colour = look["color"] if strong else GREY
        axes.annotate(
            "",
            (x, y),
            (0, 0),
            arrowprops={"arrowstyle": "-|>,head_width=0.4,head_length=0.7", "color": colour}
            | {"linewidth": 3 if strong else 1.6, "shrinkA": 0, "shrinkB": 0},
        )
        away = 0.07 * reach * np.array([x, y]) / max(float(np.hypot(x, y)), 1e-9)
        axes.text(
            *(np.array([x, y]) + away),
            name,
            color=colour if strong else INK,
            ha="left" if x >= 0 else "right",
            va="bottom" if y >= 0 else "top",
            fontweight="bold" if strong else "normal",
        )
    axes.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.grid(True)
    show(figure, alt or f"Arrows from the origin. {_sentence(title)}They are {', '.join(points)}.")


def _sentence(title: str) -> str:
    return f"{title.rstrip('.')}{'' if title.endswith(('?', '!')) else '.'} " if title else ""
