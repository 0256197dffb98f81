"""Laws of every figure: readable from the back row, small, and told in words."""

import re
from itertools import combinations

import numpy as np
import pytest
import torch

from tinylm.course import charts, diagrams, flows, heatmaps, style
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT

X = np.arange(0, 1100, 100)
FALLS = 2.5 + 1.5 * np.exp(-X / 300)
PAIRS = {"before": [0.2] * 5, "after": [0.6, 0.1, 0.1, 0.1, 0.1]}
WEIGHTS = torch.full((5, 7, 7), 1.0).tril() / torch.arange(1, 8)[:, None]
TOKENS = ["The", " king", " is", "\n", "a", " ", "b"]
LETTERS = [chr(i) for i in range(33, 98)]
MODEL = {"vocab_size": 67, "context_length": 13, "n_layer": 3, "n_head": 2, "n_embd": 22}
MODERN = {**MODEL, "n_embd": 44, "position": "rotary", "norm": "rmsnorm", "tied_head": False}
ABRA = [(b"a", b"b"), (b"ab", b"r"), (b"p", b"k"), (b"abr", b"a")]
SIZES = [256, 512, 1024, 2048, 4096, 50_257]
FIGURES = {
    "bars of two kinds": lambda: charts.bars(list("aeiou"), PAIRS, title="Is a the tallest?"),
    "bars with long labels": lambda: charts.bars([f"word {i}" for i in range(40)], range(40)),
    "durations": lambda: charts.durations({f"model {i}": 60.0 * 9**i for i in range(5)}, title="How long"),
    "curve": lambda: charts.curve({"training": (X, FALLS)}, levels={"ln V": 4.17, "floor": 2.4}),
    "curves": lambda: charts.curve({f"run {i}": (X, FALLS + i) for i in range(6)}, log_x=True, log_y=True),
    "curve of a few sizes": lambda: charts.curve({"a": (SIZES, SIZES)}, log_x=True, xlabel="vocabulary size"),
    "dots": lambda: charts.dots({f"part {i}": (2 - i / 10, 0.01) for i in range(7)}),
    "heatmap": lambda: heatmaps.heatmap(np.eye(65), rows=LETTERS, columns=LETTERS, title="All", colours="p"),
    "small attention map": lambda: heatmaps.attention_map(WEIGHTS[0], TOKENS, title="layer 0, head 1"),
    "large attention map": lambda: heatmaps.attention_map(np.eye(40), LETTERS[:40]),
    "attention heads": lambda: heatmaps.attention_heads(WEIGHTS, TOKENS, title="layer 0"),
    "ladder": lambda: diagrams.ladder("GPT-2"),
    "architecture": lambda: diagrams.architecture(GPT(ModelConfig(**MODEL))),
    "language model": lambda: flows.drawing("language_model"),
    "one head": lambda: flows.drawing("attention"),
    "three heads": lambda: flows.drawing("heads"),
    "residual stream": flows.residual_stream,
    "look back": lambda: flows.look_back(list("abcdefg"), 4, WEIGHTS[0, 4], title="Where e looks"),
    "arrows": lambda: flows.arrows({"a": (2, 0), "b": (0, 3)}, title="Two", xlabel="x", ylabel="y"),
    "merge tree": lambda: flows.merge_tree("abracadabra", ABRA, title="Three merges"),
    "architecture, modern": lambda: diagrams.architecture(GPT(ModelConfig(**MODERN))),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_legible_small_and_has_alternative_text(drawn, name):
    FIGURES[name]()
    texts = drawn.texts()
    assert min(text.get_fontsize() for text in texts) >= 12
    assert drawn.figure.get_figwidth() <= 9.5  # wider ones are shrunk by the page, with their letters
    if name != "heatmap":  # 65 letters of 12 points do not fit beside one another, and need not
        for a, b in combinations(texts, 2):
            inside_a, inside_b = a.get_window_extent().padded(-2), b.get_window_extent().padded(-2)
            assert not inside_a.overlaps(inside_b), (a.get_text(), b.get_text())
    assert len(style.to_png(drawn.figure)) < 45_000  # ten of them fit into a notebook
    words = drawn.alt.rstrip(".").split()
    assert len(words) >= 5 and drawn.alt.endswith(".") and "\n" not in drawn.alt
    # a measured number is another one on another machine, and the output is compared; 0.8M is a name
    assert not any(re.fullmatch(r"\d*\.\d+", word.strip("(),;")) for word in words)


def test_alternative_text_of_the_author_replaces_the_composed_one(drawn):
    charts.curve({"a": ([0, 1], [1, 0])}, alt="Mine.")
    charts.bars("ab", [1, 2], alt="Mine.")
    assert [alt for _, alt in drawn] == ["Mine.", "Mine."]
