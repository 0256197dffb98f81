"""Laws of the charts: what is handed in is what is drawn."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from tinylm.course import charts
from tinylm.course.doctor import healthy_band, training_curve
from tinylm.runs.records import Record

X = np.arange(0, 1100, 100)
FALLS = 2.5 + 1.5 * np.exp(-X / 300)


def test_bars_of_two_kinds_differ_without_colour_and_counts_have_whole_ticks_with_commas(drawn):
    charts.bars(list("aei"), {"before": [120_000, 2, 1], "after": [1, 6, 1]}, alt="Two kinds.")
    assert len({bar.get_hatch() for bar in drawn.axes.patches}) == 2 and drawn.figure.legends  # below them
    starts = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in drawn.axes.patches)
    assert all(end <= start for (_, end), (start, _) in pairwise(starts))  # side by side
    ticks = [label.get_text() for label in drawn.axes.get_yticklabels()]
    assert "100,000" in ticks and not any("." in tick for tick in ticks)


def test_bars_stand_over_the_top_labels_which_are_the_largest_of_any_kind_in_the_order_of_the_first(drawn):
    before, after = [0.1, 0.4, 0.0, 0.3, 0.2], [0.0, 0.125, 0.875, 0.0, 0.0]
    after = torch.tensor(after).bfloat16().requires_grad_()
    charts.bars("a c\ne", {"before": before, "after": after}, top=3)
    assert [label.get_text() for label in drawn.axes.get_xticklabels()] == ["␣", "↵", "c"]
    assert [bar.get_height() for bar in drawn.axes.patches] == [0.4, 0.3, 0.0, 0.125, 0.0, 0.875]
    told = "before highest at ␣, with 1 at 0; after highest at c, with 1 at 0."
    assert drawn.alt == f"Bars of probability over 3 labels; {told}"


def test_durations_end_at_their_time_on_a_logarithmic_axis_and_say_it_in_words(drawn):
    charts.durations({"small": 180, "large": 2.0e8, "middle": 86400 * 33}, title="Forecast")
    assert [bar.get_width() for bar in drawn.axes.patches] == [180, 2.0e8, 86400 * 33]
    assert drawn.axes.get_xscale() == "log" and drawn.alt.endswith("shortest first: small, middle, large.")
    beside = {text.get_text(): text.get_position() for text in drawn.axes.texts}
    assert list(beside) == ["about 3 minutes", "about 6.3 years", "about 33 days"]
    assert all(x > bar.get_width() for (x, _), bar in zip(beside.values(), drawn.axes.patches, strict=True))
    ticks = zip(drawn.axes.get_xticks(), drawn.axes.get_xticklabels(), strict=True)
    assert (86_400, "1 day") in [(seconds, label.get_text()) for seconds, label in ticks]


def test_curve_draws_the_points_it_was_given_from_step_0_where_no_steps_are_given(drawn):
    charts.curve({"loss": [3.0, 2.0, 1.5], "training": (X, FALLS)})
    values, given = drawn.axes.lines
    assert values.get_xdata().tolist() == [0, 1, 2]
    assert np.array_equal(given.get_xdata(), X) and np.array_equal(given.get_ydata(), FALLS)


def test_curve_of_few_places_on_a_logarithmic_axis_names_each_of_them(drawn):
    charts.curve({"a": ([256, 1024, 50_257], [1, 2, 3]), "b": ([512, 1024], [1, 2])}, log_x=True)
    assert [text.get_text() for text in drawn.axes.get_xticklabels()] == ["256", "512", "1,024", "50,257"]
    assert drawn.axes.get_xscale() == "log" and not len(drawn.axes.get_xticks(minor=True))


def test_curve_lines_differ_without_colour(drawn):
    charts.curve({f"run {i}": (X, FALLS + i) for i in range(6)})
    looks = [(line.get_color(), line.get_marker(), line._unscaled_dash_pattern) for line in drawn.axes.lines]
    assert [len({str(look) for look in kind}) for kind in zip(*looks, strict=True)] == [6, 6, 6]


@pytest.mark.parametrize("log_y", [False, True])
def test_curve_level_stands_at_its_value_and_its_name_beside_it_where_no_line_runs(drawn, log_y):
    charts.curve({"training": (X, FALLS)}, levels={"ln V: knows nothing": 4.17, "floor": 2.4}, log_y=log_y)
    assert [line.get_ydata()[0] for line in drawn.axes.lines[1:]] == [4.17, 2.4]
    drawn.figure.draw_without_rendering()
    for text, level in zip(drawn.axes.texts, (4.17, 2.4), strict=True):
        box, (_, height) = text.get_window_extent(), drawn.axes.transData.transform((0, level))
        assert drawn.axes.get_window_extent().x1 < box.x0 < box.x1 <= drawn.figure.bbox.x1
        assert (box.y0 + box.y1) / 2 == pytest.approx(height, abs=4)


NOISE = np.random.default_rng(0).normal(size=400)
WAYS = {
    "falls": 3 - np.arange(400) / 200 + 0.05 * NOISE,
    "falls, then rises": (np.arange(400) / 200 - 0.8) ** 2,
    "rises, then falls, then rises": np.sin(np.arange(400) / 55),
    "goes up and down": NOISE,
    "stays level": np.full(9, 2.0),
}


@pytest.mark.parametrize("way, y", WAYS.items(), ids=WAYS)
def test_curve_alternative_text_says_where_a_line_goes(drawn, way, y):
    charts.curve({"loss": y}, levels={"ln V": 4.0})
    assert f"loss {way}; dotted lines mark ln V." in drawn.alt


def test_dots_stand_at_the_values_with_bars_as_long_as_the_errors_the_first_row_on_top(drawn):
    values = {"plain": (1.9, 0.03), "tried": (1.95, [[0.02], [0.05]]), "fast": (1.6, 0.01)}
    charts.dots(values, level=1)
    assert (
        "A dot with its error for each of plain, tried, fast; the lowest value is that of fast" in drawn.alt
    )
    rows = drawn.axes.containers
    places = [(row.lines[0].get_xdata()[0], row.lines[0].get_ydata()[0]) for row in rows]
    assert places == [(1.9, 0), (1.95, 1), (1.6, 2)]
    ends = [row.lines[2][0].get_segments()[0][:, 0] for row in rows]
    assert np.allclose(ends, [(1.87, 1.93), (1.93, 2.0), (1.59, 1.61)])
    assert [label.get_text() for label in drawn.axes.get_yticklabels()] == ["plain", "tried", "fast"]
    assert drawn.axes.yaxis_inverted() and drawn.axes.lines[-1].get_xdata() == [1, 1]


def test_dots_without_errors_claim_none(drawn):
    charts.dots({"fused": (1.4, None), "plain": (1.0, 0)})
    assert "A dot for each of fused, plain;" in drawn.alt


def test_in_band_draws_the_edges_of_the_band_and_the_smoothed_losses_over_it(drawn):
    def record(*losses):
        return Record({}, [{"step": 10 * i, "loss": loss} for i, loss in enumerate(losses)], [])

    healthy = [record(loss, loss) for loss in (1.9, 2.0, 2.1)]
    charts.in_band(healthy, {"mine": record(4.0, 3.0, None)}, title="Mine")
    (area,), (line,) = drawn.axes.collections, drawn.axes.lines
    band = healthy_band([training_curve(run) for run in healthy])
    edges = {(step, edge) for step in band for edge in band[step]}
    assert len(edges) == 4 and edges <= {*map(tuple, area.get_paths()[0].vertices.tolist())}
    assert line.get_xdata().tolist() == [0, 10, 20]
    assert line.get_ydata().tolist() == pytest.approx([4.0, 3.8, math.nan], nan_ok=True)
    assert {"mine", "3 healthy runs", "Mine"} <= {*drawn.words()} and "3 healthy runs" in drawn.alt
