"""Laws of the heatmaps: the right cell has the right colour, and the future is not a small number."""

import numpy as np
import torch

from tinylm.course import heatmaps

T, H = 7, 5
SCORES = torch.randn(H, T, T, generator=torch.Generator().manual_seed(0))
WEIGHTS = SCORES.masked_fill(~torch.ones(T, T).tril().bool(), -torch.inf).softmax(-1)
TOKENS = ["The", " king", " is", "\n", "a", " ", "b"]


def test_heatmap_draws_the_table_as_it_is_rows_downwards(drawn):
    heatmaps.heatmap(SCORES[0], rows=TOKENS, columns=TOKENS, title="Scores", ylabel="result", xlabel="input")
    assert drawn.alt == "Heatmap of Scores: 7 × 7, result down, input across."
    image = drawn.axes.images[0]
    assert np.allclose(image.get_array(), SCORES[0].numpy())
    assert drawn.axes.yaxis_inverted()
    for labels in (drawn.axes.get_xticklabels(), drawn.axes.get_yticklabels()):
        assert [label.get_text() for label in labels][:4] == ["The", "␣king", "␣is", "↵"]


def test_heatmap_of_both_signs_is_coloured_around_zero_and_others_are_not(drawn):
    for values, limits in (([[-1.0, 3.0]], (-3.0, 3.0)), ([[1.0, 3.0]], (1.0, 3.0))):
        heatmaps.heatmap(values)
        assert drawn.axes.images[0].get_clim() == limits


def test_attention_map_masks_the_future_and_not_a_small_weight_unless_some_position_sees_it(drawn):
    weights = WEIGHTS[0].clone()
    weights[3, 1] = 0.0
    ahead = SCORES[0].softmax(-1)
    ahead[0, 1:] = 0.0  # one position does not look ahead
    for shown, masked in ((weights, np.triu(np.ones((T, T)), 1)), (ahead, np.zeros((T, T)))):
        heatmaps.attention_map(shown, TOKENS)
        assert np.array_equal(np.ma.getmaskarray(drawn.axes.images[0].get_array()), masked)
        assert len(drawn.axes.texts) == (1 - masked).sum() and drawn.axes.images[0].get_clim() == (0, 1)
        assert ("masked" in drawn.alt) == masked.any()


def test_attention_maps_name_rows_queries_and_columns_keys_unless_they_are_told_otherwise(drawn):
    for named, names in (({}, ("query", "key")), ({"ylabel": "sum", "xlabel": "vector"}, ("sum", "vector"))):
        heatmaps.attention_map(WEIGHTS[0], TOKENS, **named)
        assert (drawn.axes.get_ylabel(), drawn.axes.get_xlabel()) == names
        assert "a row for each {} and a column for each {}".format(*names) in drawn.alt
    heatmaps.attention_heads(WEIGHTS, TOKENS)
    assert any("row for each query, a column for each key" in word for word in drawn.words())


def test_attention_heads_share_one_scale_from_zero_to_one(drawn):
    heatmaps.attention_heads(WEIGHTS, TOKENS)
    images = [axes.images[0] for axes in drawn.figure.axes if axes.images]
    assert len(images) == H
    assert {image.get_clim() for image in images} == {(0.0, 1.0)}
    for image, weights in zip(images, WEIGHTS, strict=True):
        assert np.allclose(image.get_array().filled(0), weights)
