"""Laws of the charts: what is handed in is what is drawn."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tinylm.course import charts

X = np.arange(0, 1100, 100)
FALLS = 2.5 + 1.5 * np.exp(-X / 300)


def test_bars_are_as_high_as_the_values_and_stand_over_their_labels(drawn):
    charts.bars([" ", "e", "\n"], torch.tensor([3.0, 2.0, 1.0]).bfloat16().requires_grad_(), alt="Bars.")
    assert [bar.get_height() for bar in drawn.axes.patches] == [3, 2, 1]
    assert [label.get_text() for label in drawn.axes.get_xticklabels()] == ["␣", "e", "↵"]


def test_bars_of_two_kinds_differ_without_colour_and_counts_have_whole_ticks_with_commas(drawn):
    charts.bars(list("aei"), {"before": [120_000, 2, 1], "after": [1, 6, 1]}, alt="Two kinds.")
    assert len({bar.get_hatch() for bar in drawn.axes.patches}) == 2 and drawn.axes.get_legend() is not None
    starts = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in drawn.axes.patches)
    assert all(end <= start for (_, end), (start, _) in pairwise(starts))  # side by side
    ticks = [label.get_text() for label in drawn.axes.get_yticklabels()]
    assert "100,000" in ticks and not any("." in tick for tick in ticks)


def test_curve_draws_the_points_it_was_given(drawn):
    charts.curve({"training": (X, FALLS)})
    x, y = drawn.axes.lines[0].get_data()
    assert np.array_equal(x, X) and np.array_equal(y, FALLS)
    assert drawn.axes.get_legend() is None  # a single line needs no name


def test_curve_lines_differ_without_colour(drawn):
    charts.curve({f"run {i}": (X, FALLS + i) for i in range(6)})
    looks = [(line.get_color(), line.get_marker(), line._unscaled_dash_pattern) for line in drawn.axes.lines]
    assert [len({str(look) for look in kind}) for kind in zip(*looks, strict=True)] == [6, 6, 6]


def test_curve_names_its_lines_where_none_runs_or_below_the_figure(drawn):
    steps = np.arange(100)
    charts.curve({"one": (steps, steps), "another": (steps, steps / 2)})
    assert drawn.axes.get_legend() is not None and not drawn.figure.legends
    charts.curve({name: (steps, steps * part % 10) for name, part in (("a", 3), ("b", 7), ("c", 1))})
    assert drawn.axes.get_legend() is None
    (below,) = drawn.figure.legends
    assert [text.get_text() for text in below.get_texts()] == ["a", "b", "c"]


def test_curve_level_stands_at_its_value_and_its_name_clear_of_line_and_axis(drawn):
    charts.curve({"training": (X, FALLS)}, levels={"ln V": 4.17, "floor": 2.4})
    assert [line.get_ydata()[0] for line in drawn.axes.lines[1:]] == [4.17, 2.4]
    drawn.figure.draw_without_rendering()
    boxes = {text.get_text(): text.get_window_extent() for text in drawn.axes.texts}
    frame = drawn.axes.get_window_extent()
    end, floor, top = (drawn.axes.transData.transform((1000, y))[1] for y in (FALLS[-1], 2.4, 4.17))
    assert frame.y0 < boxes["floor"].y0 and boxes["floor"].y1 <= floor < end
    assert top <= boxes["ln V"].y0 and boxes["ln V"].y1 < frame.y1


@pytest.mark.parametrize("y, way", [([3, 1], "falls"), ([1, 3], "rises"), ([2, 2], "ends where it began")])
def test_curve_alternative_text_says_where_a_line_goes(drawn, y, way):
    charts.curve({"loss": ([0, 1], y)}, levels={"ln V": 4.0})
    assert f"loss {way}; dotted lines mark ln V." in drawn.alt


def test_dots_stand_at_the_values_with_bars_as_long_as_the_errors_the_first_row_on_top(drawn):
    values = {"plain": (1.9, 0.03), "tried": (1.95, 0.02), "fast": (1.6, 0.01)}
    charts.dots(values, pale=["tried"], alt="Three dots.")
    rows = drawn.axes.containers
    places = [(row.lines[0].get_xdata()[0], row.lines[0].get_ydata()[0]) for row in rows]
    assert places == [(1.9, 0), (1.95, 1), (1.6, 2)]
    ends = [row.lines[2][0].get_segments()[0][:, 0] for row in rows]
    assert np.allclose(ends, [(1.87, 1.93), (1.93, 1.97), (1.59, 1.61)])
    assert [label.get_text() for label in drawn.axes.get_yticklabels()] == ["plain", "tried", "fast"]
    assert drawn.axes.yaxis_inverted()
    assert [row.lines[0].get_markerfacecolor() == "white" for row in rows] == [False, True, False]
