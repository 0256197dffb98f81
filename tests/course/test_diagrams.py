"""Laws of the drawings: the plan of a model is read off the model."""

import re

import pytest
from torch import nn

from tinylm.course import diagrams
from tinylm.errors import TinyLMError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.layers import MLP

SMALL = ModelConfig(vocab_size=67, context_length=13, n_layer=3, n_head=2, n_embd=22)
CONFIGS = {
    "gpt-2": SMALL,
    "untied": ModelConfig(vocab_size=67, context_length=13, n_layer=3, n_head=2, n_embd=22, tied_head=False),
    "modern": ModelConfig(
        vocab_size=67,
        context_length=13,
        n_layer=5,
        n_head=2,
        n_embd=44,
        position="rotary",
        norm="rmsnorm",
        activation="relu2",
        qk_norm=True,
        bias=False,
    ),
}


def whole(text):
    return int(text.replace(",", ""))


def counted(texts):
    """The parameters of all blocks, from lines such as 3 × 6,050 = 18,150; the products are checked."""
    products = [re.fullmatch(r"(\d+) × ([\d,]+) = ([\d,]+)", text) for text in texts]
    total = 0
    for n, each, product in (match.groups() for match in products if match):
        assert int(n) * whole(each) == whole(product)
        total += whole(product)
    return total


@pytest.mark.parametrize("name", CONFIGS)
def test_the_plans_numbers_add_up_to_the_models_parameters(drawn, name):
    model = GPT(CONFIGS[name])
    diagrams.architecture(model)
    texts = [text.get_text() for text in drawn.texts()]
    blocks = counted(texts)
    assert blocks == sum(p.numel() for block in model.blocks for p in block.parameters())
    lone = [model.token_embedding, model.final_norm]
    lone += [model.position_embedding] if model.position_embedding is not None else []
    lone += [] if model.config.tied_head else [model.head]
    for part in lone:
        count = sum(parameter.numel() for parameter in part.parameters())
        assert f"{count:,}" in texts
        blocks += count
    assert blocks == model.n_parameters()
    assert f"GPT: {model.n_parameters():,} parameters" in texts
    assert ("0 more" in texts) == model.config.tied_head


def test_each_kind_of_model_is_drawn_with_its_own_parts(drawn):
    diagrams.architecture(GPT(CONFIGS["gpt-2"]))
    texts = " ".join(text.get_text() for text in drawn.texts())
    assert (
        "position embedding" in texts and "LayerNorm" in texts and "gelu" in texts and "3 ×\nblock" in texts
    )
    diagrams.architecture(GPT(CONFIGS["modern"]))
    texts = " ".join(text.get_text() for text in drawn.texts())
    assert (
        "position embedding" not in texts
        and "RMSNorm" in texts
        and "relu2" in texts
        and "5 ×\nblock" in texts
    )
    assert "qkv 44 → 132" in texts and "up 44 → 176" in texts and "(B, T, 44)" in texts


def test_a_block_that_differs_is_drawn_by_itself(drawn):
    model = GPT(SMALL)
    model.blocks[1].mlp = MLP(22, 88, activation="relu2", bias=False, dropout=0.0)
    diagrams.architecture(model)
    texts = [text.get_text() for text in drawn.texts()]
    assert sum(text.endswith("block") for text in texts) == 3
    model = GPT(SMALL)
    model.blocks[2].mlp.up = nn.Linear(22, 88, bias=False)
    diagrams.architecture(model)
    assert [text for text in (t.get_text() for t in drawn.texts()) if text.endswith("block")] == [
        "2 ×\nblock",
        "1 ×\nblock",
    ]


def test_no_two_texts_of_the_plan_overlap(drawn):
    for config in CONFIGS.values():
        diagrams.architecture(GPT(config))
        texts = drawn.texts()
        boxes = [text.get_window_extent() for text in texts]
        for i, a in enumerate(boxes):
            for j in range(i):
                assert not a.overlaps(boxes[j]), (texts[i].get_text(), texts[j].get_text())


def test_pictures_are_readable_small_and_told_in_words(drawn, fits):
    diagrams.architecture(GPT(SMALL))
    diagrams.ladder()
    diagrams.ladder("GPT-2")
    for figure, alt in drawn:
        sizes = [
            t.get_fontsize()
            for t in figure.findobj(match=lambda a: hasattr(a, "get_fontsize"))
            if t.get_text()
        ]
        assert min(sizes) >= 12
        assert len(alt.split()) > 10
        fits(figure)
    assert "3 blocks" in drawn[0][1] and "We are at GPT-2" in drawn[2][1]


def test_the_ladder_marks_where_we_are_and_only_there(drawn):
    diagrams.ladder()
    assert not any("here" in text.get_text() for text in drawn.texts())
    diagrams.ladder("Characters")
    assert sum("◀ here" in text.get_text() for text in drawn.texts()) == 1


def test_an_unknown_rung_is_refused_with_those_that_exist(drawn):
    with pytest.raises(TinyLMError, match=r'no rung "GPT-5": use one of Characters, TinyStories'):
        diagrams.ladder("GPT-5")
