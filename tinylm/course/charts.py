"""Charts: draw numbers as bars, durations, curves, and dots with errors.

Each function draws and shows, and returns nothing. The alternative text says what was drawn. It holds no
measured number, since outputs are compared between machines. `alt` replaces it.
Shown in notebook 00_start_here."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from tinylm.course import style
from tinylm.course.doctor import healthy_band, training_curve
from tinylm.runs.records import Record
from tinylm.training.forecast import plain_duration

TIMES = {"1 s": 1, "1 min": 60, "1 hour": 3600, "1 day": 86400, "1 year": 31_536_000, "100 years": 3.1536e9}


def bars(labels: Sequence[str], values: Any, *, top: int = 0, alt: str = "", **named: str) -> None:
    """Draw one bar for each label, or with {"before": values, "after": values} a bar of each kind.

    top: draw only this many labels, those with the largest values, in the order of the first kind. By default
    all labels are drawn in the given order; about 40 stay readable.
    named: title and ylabel, by default "probability"."""
    kinds, named = values if isinstance(values, Mapping) else {"": values}, {"ylabel": "probability"} | named
    names = np.array(style.show_whitespace(labels), dtype=object)
    sizes = np.array([style.to_numpy(kind) for kind in kinds.values()])  # (kinds, labels)
    if top:
        few = np.argsort(-sizes.max(axis=0), kind="stable")[:top]
        few = few[np.argsort(-sizes[0, few], kind="stable")]
        names, sizes = names[few], sizes[:, few]
    told = f"Bars of {named['ylabel']} over {len(names)} labels"
    for kind, size in zip(kinds, sizes, strict=True):
        zeros = f", with {n} at 0" if (n := (size == 0).sum()) else ""
        told += f"{f'; {kind}' if kind else ','} highest at {names[size.argmax()]}{zeros}"
    with style.figure(alt or told + ".") as axes:
        places, width = np.arange(len(names)), 0.8 / len(kinds)
        for i, kind in enumerate(kinds):
            offset = (i - (len(kinds) - 1) / 2) * width
            look = {"color": style.COLOURS[i % 6], "hatch": style.HATCHES[i % 6], "edgecolor": "white"}
            axes.bar(places + offset, sizes[i], width * 0.94, label=kind, linewidth=0, **look)
        longest = max(map(len, names))
        axes.set_xticks(places, names, rotation=90 if longest > 1 and longest * len(names) > 55 else 0)
        axes.tick_params(axis="x", length=0, **({"labelfontfamily": style.MONO} if longest <= 1 else {}))
        axes.grid(axis="y")
        axes.set(xlim=(-0.6, len(names) - 0.4), **named)
        if (sizes == sizes.round()).all():  # 1,000 rather than 1000.0
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.yaxis.set_major_formatter("{x:,.0f}")
        if len(kinds) > 1:
            axes.figure.legend(loc="outside lower center", ncols=len(kinds))


def durations(seconds: Mapping[str, float], *, title: str) -> None:
    """Draw a bar for each name, from the bottom up, on a logarithmic axis, with the time in words."""
    times, names = list(seconds.values()), sorted(seconds, key=lambda name: seconds[name])
    told = f"Bars of time on a logarithmic axis, the shortest first: {', '.join(names)}."
    with style.figure(told, height=1.2 + 0.6 * len(times)) as axes:
        axes.barh(list(seconds), times, color=style.BLUE, height=0.55)
        for i, time in enumerate(times):
            axes.text(1.3 * time, i, plain_duration(time), va="center")
        axes.set(xscale="log", xlim=(min(1, *times) / 2, 1000 * max(times)), title=title)
        axes.set_xticks(list(TIMES.values()), list(TIMES))
        axes.minorticks_off()
        axes.grid(axis="x")


def curve(
    lines: Mapping[str, Any],
    *,
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    height: float = 4.2,
    alt: str = "",
    **named: str,
) -> None:
    """Draw lines by name: {"training": (steps, losses)}, or {"training": losses} for the steps 0, 1, 2, …

    levels: horizontal lines by name, for example {"ln V: knows nothing": 4.174, "floor": 0.61}.
    A line of up to 30 points has a marker at each. Several lines of up to 400 points have about a dozen each.
    named: title, xlabel, ylabel. The default alternative text says where each line falls and rises."""
    levels, named = levels or {}, {"xlabel": "step", "ylabel": "loss (nats per token)"} | named
    pairs = {name: y if isinstance(y, tuple) else (range(len(y)), y) for name, y in lines.items()}
    drawn = {name: (style.to_numpy(x), style.to_numpy(y)) for name, (x, y) in pairs.items()}
    ways = [f"{name} {_way(y)}" for name, (_, y) in drawn.items()]
    ways += [f"dotted lines mark {' and '.join(levels)}"] if levels else []
    told = f"Line chart of {named['ylabel']} against {named['xlabel']}: {'; '.join(ways)}."
    rows = -(-len(lines) // 3) if len(lines) > 1 else 0  # of names, at most three in each: // - rounds up
    with style.figure(alt or told, height=height + 0.3 * rows) as axes:
        for look, (name, (x, y)) in zip(style.LOOKS(), drawn.items(), strict=False):
            if len(x) > 30:
                few = {"markevery": len(x) // 12} if len(lines) > 1 and len(x) <= 400 else {"marker": None}
                look = look | few
            axes.plot(x, y, label=name, linewidth=1.5 if len(x) > 400 else 2.4, **look)
        axes.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear", **named)
        places = np.unique(np.concatenate([x for x, _ in drawn.values()]))
        if log_x and len(places) <= 8:  # 512 rather than 5 × 10²
            axes.set_xticks(places, [f"{place:,.10g}" for place in places])
            axes.minorticks_off()
        axes.grid(axis="y")
        for name, value in levels.items():  # named beside the axes, where no line runs
            axes.axhline(value, color=style.GREY, linewidth=1.6, linestyle=(0, (2, 2)))
            place = {"xycoords": axes.get_yaxis_transform(), "va": "center"}
            axes.annotate(textwrap.fill(name, 14), (1.01, value), **place, color=style.INK, fontsize=13)
        axes.margins(x=0.02, y=0.05)
        if rows:
            axes.figure.legend(loc="outside lower center", ncols=-(-len(lines) // rows), handlelength=3)


def _way(y: np.ndarray) -> str:
    """Say where a line goes: "falls, then rises". A turn of less than a quarter of its range is noise."""
    ways, low, high = [], y[0], y[0]
    for value in y:
        low, high = min(low, value), max(high, value)
        if high - low > np.ptp(y) / 4:
            ways, low, high = [*ways, "rises" if value == high else "falls"], value, value
    ways = [way for way, _ in groupby(ways)] or ["stays level"]
    return ", then ".join(ways) if len(ways) < 4 else "goes up and down"


def dots(values: Mapping[str, tuple[float, Any]], *, level: float | None = None, **named: str) -> None:
    """Draw a row for each name, from the top: a dot at the value, a bar from value - error to value + error.

    Give [[below], [above]] for an error that differs on the two sides, and a level for a dotted line there.
    The axis doesn't need to begin at zero, as it must for bars: you read the place of a dot, not a length."""
    lowest = min(values, key=lambda name: values[name][0])
    dot = "A dot with its error" if any(np.any(error) for _, error in values.values()) else "A dot"
    told = f"{dot} for each of {', '.join(values)}; the lowest value is that of {lowest}."
    with style.figure(told, height=1.5 + 0.32 * len(values)) as axes:
        for row, (value, error) in enumerate(values.values()):
            axes.errorbar(value, row, xerr=error, fmt="o", color=style.BLUE, capsize=4)
        if level is not None:
            axes.axvline(level, color=style.GREY, linewidth=1.6, linestyle=(0, (2, 2)), zorder=0)
        axes.set_yticks(range(len(values)), list(values))
        axes.tick_params(axis="y", length=0)
        axes.set(**named, ylim=(len(values) - 0.4, -0.6))
        axes.grid(axis="both")


def in_band(healthy: Sequence[Record], runs: Mapping[str, Record], **named: str) -> None:
    """Draw the training losses of some runs, smoothed as the doctor does, over the band of healthy runs."""
    n, band = len(healthy), healthy_band([training_curve(record) for record in healthy])
    edges = zip(*band.values(), strict=True)
    told = f"The band where {n} healthy runs went, over the steps, and the curves of {', '.join(runs)}."
    with style.figure(told, height=4.5) as axes:
        axes.fill_between(list(band), *edges, color=style.PALE, label=f"{n} healthy runs")
        for look, (name, record) in zip(style.LOOKS(), runs.items(), strict=False):
            steps, losses = zip(*training_curve(record).items(), strict=True)
            axes.plot(steps, losses, label=name, **look | {"marker": None})
        axes.set(**{"xlabel": "step", "ylabel": "training loss, smoothed (nats per token)"} | named)
        axes.grid(axis="y")
        axes.figure.legend(loc="outside lower center", ncols=3, handlelength=3)
