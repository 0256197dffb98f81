"""Laws of the plots: what is handed in is what is drawn, legibly and told in words."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tinylm.course import charts

STEPS = np.arange(0, 1100, 100)
FALLS = 2.5 + 1.5 * np.exp(-STEPS / 300)
ALL = {
    "bars": lambda: charts.bars([" ", "e", "\n"], [3, 2, 1], title="Counts", ylabel="count"),
    "pairs": lambda: charts.bars(list("aeiou"), {"before": [0.2] * 5, "after": [0.6, 0.1, 0.1, 0.1, 0.1]}),
    "forty": lambda: charts.bars([f"word {i}" for i in range(40)], range(40)),
    "curve": lambda: charts.curve({"training": (STEPS, FALLS)}, levels={"ln V": 4.17, "floor": 2.4}),
    "curves": lambda: charts.curve({f"run {i}": (STEPS, FALLS + i) for i in range(6)}, log_y=True),
    "dots": lambda: charts.dots({f"rung {i}": (2 - i / 10, 0.01) for i in range(7)}, pale=["rung 3"]),
    "histogram": lambda: charts.histogram({"a": np.sin(STEPS), "b": np.cos(STEPS)}, normal=1.0, bins=7),
    "vectors": lambda: charts.vectors(
        {"query": (1, 2), "key": (-1, 0.5)}, highlight=["query"], title="Near?"
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_every_letter_is_readable_from_the_back_row(drawn, name, fits):
    ALL[name]()
    assert min(text.get_fontsize() for text in drawn.texts()) >= 12
    assert drawn[0][0].get_figwidth() <= 8.5
    fits(drawn[0][0])


@pytest.mark.parametrize("name", ALL)
def test_every_figure_is_told_in_words_without_a_measured_number(drawn, name):
    ALL[name]()
    assert len(drawn.alt.split()) >= 5
    assert not any(char.isdigit() and "." in word.strip(".") for word in drawn.alt.split() for char in word)
    assert drawn.alt.endswith(".") and "\n" not in drawn.alt


def test_the_authors_own_words_win(drawn):
    charts.bars(["a"], [1], alt="Mine.")
    charts.curve({"a": ([0, 1], [1, 0])}, alt="Mine.")
    charts.dots({"a": (1.0, 0.1)}, alt="Mine.")
    charts.histogram([1, 2], alt="Mine.")
    charts.vectors({"a": (1, 1)}, alt="Mine.")
    assert [alt for _, alt in drawn] == ["Mine."] * 5


def test_bars_are_as_high_as_the_values_and_stand_over_their_labels(drawn):
    values = torch.tensor([3.0, 2.0, 1.0], requires_grad=True)
    charts.bars([" ", "e", "\n"], values)
    assert [bar.get_height() for bar in drawn.axes.patches] == [3, 2, 1]
    assert [label.get_text() for label in drawn.axes.get_xticklabels()] == ["␣", "e", "↵"]
    assert "the tallest bar is space" in drawn.alt


def test_two_kinds_of_bars_differ_without_colour_and_do_not_overlap(drawn):
    ALL["pairs"]()
    bars = sorted(drawn.axes.patches, key=lambda bar: bar.get_x())
    assert len({bar.get_hatch() for bar in bars}) == 2
    assert all(a.get_x() + a.get_width() <= b.get_x() for a, b in pairwise(bars))
    assert drawn.axes.get_legend() is not None
    assert "before: a; after: a" in drawn.alt


def test_whole_counts_have_whole_ticks_with_commas(drawn):
    charts.bars(list("ab"), [120_000, 3])
    texts = [label.get_text() for label in drawn.axes.get_yticklabels()]
    drawn[0][0].draw_without_rendering()
    texts = [label.get_text() for label in drawn.axes.get_yticklabels()]
    assert "120,000" in texts or "100,000" in texts
    assert not any("." in text for text in texts)


def test_a_curve_draws_the_points_it_was_given(drawn):
    ALL["curve"]()
    x, y = drawn.axes.lines[0].get_data()
    assert np.array_equal(x, STEPS) and np.array_equal(y, FALLS)


def test_lines_differ_without_colour_and_a_single_one_needs_no_legend(drawn):
    ALL["curves"]()
    looks = {(line.get_linestyle(), line.get_marker()) for line in drawn.axes.lines}
    assert len({marker for _, marker in looks}) == 6
    ALL["curve"]()
    assert drawn.axes.get_legend() is None


def test_names_of_lines_stand_where_no_line_runs_or_below_the_figure(drawn):
    steps = np.arange(100)
    charts.curve({"one": (steps, steps), "another": (steps, steps / 2)})
    inside = drawn.axes.get_legend()
    assert inside is not None and not drawn[-1][0].legends
    everywhere = {name: (steps, steps * part % 10) for name, part in (("a", 3), ("b", 7), ("c", 1))}
    charts.curve(everywhere)
    figure = drawn[-1][0]
    assert drawn.axes.get_legend() is None
    (below,) = figure.legends
    figure.draw_without_rendering()
    axis = drawn.axes.xaxis.label.get_window_extent()
    assert below.get_window_extent().y1 <= axis.y0
    assert [text.get_text() for text in below.get_texts()] == ["a", "b", "c"]


def test_a_level_is_drawn_at_its_value_and_its_name_stays_clear_of_the_curve_and_the_axis(drawn):
    ALL["curve"]()
    levels = [line.get_ydata()[0] for line in drawn.axes.lines[1:]]
    assert levels == [4.17, 2.4]
    figure = drawn[0][0]
    figure.draw_without_rendering()
    boxes = {text.get_text(): text.get_window_extent() for text in drawn.axes.texts}
    frame, last = drawn.axes.get_window_extent(), drawn.axes.transData.transform((1000, FALLS[-1]))
    assert boxes["floor"].y0 > frame.y0 and boxes["floor"].y1 < last[1]
    assert boxes["ln V"].y1 < frame.y1
    low, high = (drawn.axes.transData.transform((0, level))[1] for level in (2.4, 4.17))
    assert boxes["floor"].y1 <= low and boxes["ln V"].y0 >= high


@pytest.mark.parametrize("y, way", [([3, 1], "falls"), ([1, 3], "rises"), ([2, 2], "ends where it began")])
def test_the_words_say_where_a_line_goes(drawn, y, way):
    charts.curve({"loss": ([0, 1], y)}, levels={"ln V": 4.0})
    assert f"loss {way}; dotted lines mark ln V." in drawn.alt


def test_a_dot_stands_at_its_value_its_bar_is_as_long_as_the_error_and_the_first_row_is_on_top(drawn):
    charts.dots({"plain": (1.9, 0.03), "tried": (1.95, 0.02), "fast": (1.6, 0.01)}, pale=["tried"])
    rows = drawn.axes.containers
    places = [(row.lines[0].get_xdata()[0], row.lines[0].get_ydata()[0]) for row in rows]
    assert places == [(1.9, 0), (1.95, 1), (1.6, 2)]
    ends = [row.lines[2][0].get_segments()[0][:, 0] for row in rows]
    assert np.allclose(ends, [(1.87, 1.93), (1.93, 1.97), (1.59, 1.61)])
    assert [label.get_text() for label in drawn.axes.get_yticklabels()] == ["plain", "tried", "fast"]
    assert drawn.axes.yaxis_inverted()
    assert [row.lines[0].get_markerfacecolor() == "white" for row in rows] == [False, True, False]
    assert "the lowest is fast" in drawn.alt


def test_a_histogram_has_area_one(drawn):
    charts.histogram(np.random.default_rng(0).normal(size=(13, 17)), bins=11)
    values, edges, _ = drawn.axes.patches[0].get_data()
    assert (values * np.diff(edges)).sum() == pytest.approx(1)


def test_an_arrow_ends_where_its_vector_does(drawn):
    ALL["vectors"]()
    tips = [text.xy for text in drawn.axes.texts if hasattr(text, "arrow_patch")]
    assert [tuple(tip) for tip in tips] == [(1, 2), (-1, 0.5)]
    assert drawn.axes.get_aspect() == 1
