"""Laws of the flows: arrows lead from box to box, boxes do not overlap, an arc is as thick as its weight."""

from itertools import combinations

import pytest
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text
from tokenizers.models import BPE

from tinylm.course import flows


def of_kind(drawn, kind):
    drawn.figure.draw_without_rendering()
    return [patch for patch in drawn.axes.patches if isinstance(patch, kind)]


COUNTS = {"language_model": (6, 5), "attention": (7, 8), "heads": (6, 7)}
COUNTS |= {"two_ways": (6, 5), "tensor_map": (17, 13), "draft_and_rename": (5, 5)}


@pytest.mark.parametrize("name, n_boxes, n_arrows", [(name, *counts) for name, counts in COUNTS.items()])
def test_arrow_leads_from_the_side_of_one_box_to_the_side_of_another(drawn, name, n_boxes, n_arrows):
    flows.drawing(name)
    boxes = [patch.get_window_extent() for patch in of_kind(drawn, FancyBboxPatch)]
    arrows = [patch._posA_posB for patch in of_kind(drawn, FancyArrowPatch)]
    assert (len(boxes), len(arrows)) == (n_boxes, n_arrows)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    for start, end in map(drawn.axes.transData.transform, arrows):
        assert any(start == pytest.approx((box.x1, (box.y0 + box.y1) / 2), abs=3) for box in boxes)
        assert any(end == pytest.approx((box.x0, (box.y0 + box.y1) / 2), abs=3) for box in boxes)


def test_grids_show_each_number_once_and_every_row_below_the_one_before(drawn):
    table, row = torch.tensor([[3, 5, 7], [11, 13, 17]]), torch.tensor([19, 23])
    flows.grids({"a table": table, "+ a row": row}, title="Grids")
    places = {text.get_text(): text.get_position() for text in drawn.texts()}
    assert {"a table", "+ a row", "(2, 3)", "(2,)", "3", "23"} < {*places}
    for numbers in (*table.tolist(), row.tolist()):
        xs, ys = zip(*(places[str(n)] for n in numbers), strict=True)
        assert list(xs) == sorted(xs) and len({*ys}) == 1
    assert places["11"] == (places["3"][0], pytest.approx(places["3"][1] - 0.5))
    boxes = [patch.get_window_extent() for patch in of_kind(drawn, FancyBboxPatch)]
    assert len(boxes) == 8 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_residual_stream_has_a_straight_line_for_each_word_and_attention_reads_the_lines_above(drawn):
    words, position = [*flows.SENTENCE], 4
    flows.residual_stream()
    ends = [arrow._posA_posB for arrow in of_kind(drawn, FancyArrowPatch)]
    lines = [(start[1], end[1]) for start, end in ends if end[0] - start[0] > 5]
    heights = {text.get_text(): text.get_position()[1] for text in drawn.texts()}
    assert lines == [(heights[word], heights[word]) for word in words] == sorted(lines, reverse=True)
    boxes = [box for box in of_kind(drawn, FancyBboxPatch) if box.get_height() > 0]
    attention = boxes[1].get_bbox()
    into = [(start, end) for start, end in ends if attention.x0 < start[0] == end[0] < attention.x1]
    assert [start[1] for start, _ in into] == [heights[word] for word in words[:position]]
    assert all(end[1] == pytest.approx(attention.y1, abs=0.03) for _, end in into)
    signs = [line.get_xydata()[0] for line in drawn.axes.lines if line.get_marker() == "+"]
    assert [y for _, y in signs] == [heights[words[position]]] * 2
    assert f"of the line of “{words[position]}”" in drawn.alt


def test_arc_is_as_thick_as_its_weight_and_none_leads_to_the_future(drawn):
    weights = [0.1, 0.5, 0.0, 0.4, 0.0]
    flows.look_back(["the", "queen", "said", "that", "she"], 3, weights, title="Where that looks")
    arcs = of_kind(drawn, FancyArrowPatch)
    thick = [arc.get_linewidth() for arc in arcs]
    assert len(arcs) == 2 and thick[1] - thick[0] == pytest.approx(7 * 0.4)
    below = [text.get_text() for text in drawn.axes.texts if text.get_position()[1] < 0]
    assert below == ["0.10", "0.50", "0.00", "0.40", "hidden"]


def test_alike_vectors_point_the_same_way(drawn):
    flows.arrows({"a": (3.0, 0.0), "b": (1.5, 0.0), "c": (0.0, -2.0)}, title="t", xlabel="x", ylabel="y")
    ends = [arrow._posA_posB for arrow in of_kind(drawn, FancyArrowPatch)]
    assert [tuple(map(float, end)) for _, end in ends] == [(3.0, 0.0), (1.5, 0.0), (0.0, -2.0)]
    assert {"a", "b", "c"} <= {*drawn.words()}


MERGES = [("a", "b"), ("c", "a"), ("ab", "r"), ("a", "d"), ("abr", "a"), ("x", "y"), ("b", "r"), ("ca", "d")]


@pytest.mark.parametrize("word", ["abracadabra", "a", "aabab", "cadcabrad"])
def test_merge_tree_has_the_bytes_below_the_librarys_tokens_on_top_and_a_joint_for_each_merge(drawn, word):
    flows.merge_tree(word, [(a.encode(), b.encode()) for a, b in MERGES], title="Merges")
    vocabulary = {piece: i for i, piece in enumerate([*"abcdrxy", *(a + b for a, b in MERGES)])}
    theirs = [token.value for token in BPE(vocabulary, MERGES).tokenize(word)]
    heights = {}
    for text in filter(Text.get_text, drawn.axes.texts):
        heights.setdefault(round(text.get_position()[1], 6), []).append(text.get_text())
    below, names, *joints, tokens = [heights[height] for height in sorted(heights)]
    assert (below, names, tokens) == ([str(byte) for byte in word.encode()], [*word], theirs)
    assert sum(map(len, joints)) == len(word) - len(theirs)
    numbers = {a + b: str(i) for i, (a, b) in enumerate(MERGES)}
    assert {numbers[token] for token in theirs if len(token) > 1} <= {n for row in joints for n in row}
    assert drawn.alt.endswith(f" on top: {', '.join(theirs)}.")
