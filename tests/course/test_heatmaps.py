"""Laws of the heatmaps: the right cell has the right colour, and the future is not a small number."""

import numpy as np
import pytest
import torch

from tinylm.course import heatmaps

T, H = 7, 5
SCORES = torch.randn(H, T, T, generator=torch.Generator().manual_seed(0))
WEIGHTS = SCORES.masked_fill(~torch.ones(T, T).tril().bool(), -torch.inf).softmax(-1)
TOKENS = ["The", " king", " is", "\n", "a", " ", "b"]
LETTERS = [chr(i) for i in range(33, 98)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: heatmaps.heatmap(
            np.eye(65), rows=LETTERS, columns=LETTERS, title="65", colours="probability"
        ),
        lambda: heatmaps.heatmap(SCORES[0, :3, :5], rows="abc", columns="vwxyz", numbers=True),
        lambda: heatmaps.attention_map(WEIGHTS[0], TOKENS, title="layer 0, head 1"),
        lambda: heatmaps.attention_map(np.eye(40), LETTERS[:40]),
        lambda: heatmaps.attention_heads(WEIGHTS, TOKENS, title="layer 0"),
    ],
)
def test_every_letter_is_readable_and_every_figure_is_small_and_told_in_words(drawn, fits, draw):
    draw()
    assert min(text.get_fontsize() for text in drawn.texts()) >= 12
    assert drawn[0][0].get_figwidth() <= 9.0
    assert len(drawn.alt.split()) >= 5
    fits(drawn[0][0])


def test_the_table_is_drawn_as_it_is_rows_downwards(drawn):
    heatmaps.heatmap(SCORES[0], rows=TOKENS, columns=TOKENS)
    image = drawn.axes.images[0]
    assert np.allclose(image.get_array(), SCORES[0].numpy())
    assert drawn.axes.yaxis_inverted() or image.origin == "upper"
    assert [label.get_text() for label in drawn.axes.get_xticklabels()][:4] == ["The", "␣king", "␣is", "↵"]


def test_values_of_both_signs_are_coloured_around_zero_and_others_are_not(drawn):
    heatmaps.heatmap([[-1.0, 3.0]])
    assert drawn.axes.images[0].get_clim() == (-3.0, 3.0)
    heatmaps.heatmap([[1.0, 3.0]])
    assert drawn.axes.images[0].get_clim() == (1.0, 3.0)


def test_the_future_is_masked_and_a_small_weight_is_not(drawn):
    weights = WEIGHTS[0].clone()
    weights[3, 1] = 0.0
    heatmaps.attention_map(weights, TOKENS)
    hidden = np.ma.getmaskarray(drawn.axes.images[0].get_array())
    assert np.array_equal(hidden, np.triu(np.ones((T, T), dtype=bool), 1))
    assert len(drawn.axes.texts) == T * (T + 1) // 2
    assert "masked" in drawn.alt


def test_attention_that_sees_the_future_is_shown_in_full(drawn):
    heatmaps.attention_map(SCORES[0].softmax(-1), TOKENS)
    assert not np.ma.getmaskarray(drawn.axes.images[0].get_array()).any()
    assert "masked" not in drawn.alt


def test_all_heads_share_one_scale_from_zero_to_one(drawn):
    heatmaps.attention_heads(WEIGHTS, TOKENS)
    images = [axes.images[0] for axes in drawn[0][0].axes if axes.images]
    assert len(images) == H
    assert {image.get_clim() for image in images} == {(0.0, 1.0)}
    for image, weights in zip(images, WEIGHTS, strict=True):
        assert np.allclose(np.ma.getdata(image.get_array()), weights)


def test_numbers_are_written_dark_on_light_and_light_on_dark(drawn):
    heatmaps.heatmap([[0.0, 1.0]], numbers=True)
    assert [(text.get_text(), text.get_color()) for text in drawn.axes.texts] == [
        ("0.00", "black"),
        ("1.00", "white"),
    ]
