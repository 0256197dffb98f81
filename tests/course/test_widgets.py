"""Laws of the widgets: a moved control changes the page, and no mistake shows a traceback."""

import html
import re

import ipywidgets
import pytest
import torch

from tinylm.course import charts, widgets
from tinylm.errors import TinyLMError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer.train("abcdefg <&\n")


def gpt(**changes):
    settings = {
        "vocab_size": TOKENIZER.vocab_size,
        "context_length": 7,
        "n_layer": 3,
        "n_head": 2,
        "n_embd": 22,
    }
    return GPT(ModelConfig(**(settings | changes)))


def find(box, kind, name=""):
    found = [w for w in box.children if isinstance(w, kind) and (not name or w.description == name)]
    assert len(found) == 1
    return found[0]


def seen(box):
    return html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", "", find(box, ipywidgets.HTML).value))


def test_moving_a_control_redraws_the_page_in_place():
    box = widgets.explore(lambda k, on: f"<p>{k} {on}</p>", k=(2, 11), on=True)
    page = find(box, ipywidgets.HTML)
    assert page.value == "<p>2 True</p>"
    find(box, ipywidgets.IntSlider).value = 5
    find(box, ipywidgets.Checkbox).value = False
    assert page.value == "<p>5 False</p>"


@pytest.mark.parametrize(
    "short, kind, value",
    [
        ((2, 11), ipywidgets.IntSlider, 2),
        ((2, 11, 3), ipywidgets.IntSlider, 2),
        ((0.5, 2.0), ipywidgets.FloatSlider, 0.5),
        ((0, 2.5, 0.5), ipywidgets.FloatSlider, 0.0),
        (True, ipywidgets.Checkbox, True),
        ("text", ipywidgets.Text, "text"),
        (["a", "b"], ipywidgets.Dropdown, "a"),
        ({"one": 1, "two": 2}, ipywidgets.Dropdown, 1),
    ],
)
def test_short_forms_stand_for_widgets(short, kind, value):
    box = widgets.explore(lambda x: repr(x), x=short)
    assert find(box, kind).value == value
    assert find(box, ipywidgets.HTML).value == repr(value)


def test_a_control_that_stands_for_nothing_is_refused_by_name():
    with pytest.raises(TinyLMError, match="control speed is 3: give a widget"):
        widgets.explore(lambda speed: "", speed=3)


def test_an_error_is_one_sentence_and_goes_away_when_it_is_mended(capsys):
    box = widgets.explore(lambda k: str(1 / k), k=(0, 5))
    assert seen(box) == "ZeroDivisionError: division by zero"
    find(box, ipywidgets.IntSlider).value = 2
    assert seen(box) == "0.5"
    assert capsys.readouterr() == ("", "")


def test_a_function_that_draws_is_called_on_every_move(drawn):
    box = widgets.explore(lambda k: charts.bars(["a"], [k]), height="300px", k=(1, 5))
    find(box, ipywidgets.IntSlider).value = 4
    assert [figure.axes[0].patches[0].get_height() for figure, _ in drawn] == [1, 4]
    assert find(box, ipywidgets.Output).layout.min_height == "300px"


def test_the_next_character_is_the_one_that_the_function_expects():
    def predict(text):
        chances = torch.full((TOKENIZER.vocab_size,), 0.01)
        chances[TOKENIZER.encode(text)[-1]] = 0.9
        return chances

    box = widgets.next_character(predict, TOKENIZER, "ab", top=1)
    assert seen(box).startswith("after “ab”b90.0%the other 10 share")
    find(box, ipywidgets.Text).value = "a<"
    assert seen(box).startswith("after “a<”<90.0%")
    find(box, ipywidgets.Text).value = ""
    assert seen(box) == "there is no text to go on from: type at least one character"
    find(box, ipywidgets.Text).value = "aé"
    assert "é" in seen(box) and "Error" not in seen(box) and "Traceback" not in seen(box)


def test_the_temperature_is_softmaxs():
    logits = torch.tensor([2.0, 1.0, -1.0, 0.5, 0.0, -2.0, 1.5, 0.25, -0.5, 3.0, -torch.inf])
    box = widgets.next_character(lambda text: logits.softmax(-1), TOKENIZER, "a", top=None, warm=True)
    for temperature in (1.0, 0.5, 2.5):
        find(box, ipywidgets.FloatSlider).value = temperature
        expected = [f"{p:.1%}" for p in (logits / temperature).softmax(-1).tolist()]
        assert re.findall(r"\d+\.\d%", seen(box)) == expected
    scores = {"a": 2.0, "b": 0.0, "c": -1.0}
    box = widgets.softmax_temperature(scores)
    find(box, ipywidgets.FloatSlider).value = 0.5
    expected = [f"{p:.1%}" for p in torch.tensor([4.0, 0.0, -2.0]).softmax(-1).tolist()]
    assert re.findall(r"\d+\.\d%", seen(box)) == expected


@pytest.mark.parametrize("training", [True, False])
def test_a_gpt_is_asked_without_dropout_and_left_as_it_was(training):
    model = gpt(dropout=0.5).train(training)
    chances = widgets.gpt_chances(model, TOKENIZER)
    expected = model.eval()(torch.as_tensor(TOKENIZER.encode("cdefgab"))[None])[0, -1].softmax(-1)
    model.train(training)
    state = torch.get_rng_state()
    assert torch.allclose(chances("a longer text <cdefgab"[-12:].replace("x", "a")[-7:]), expected)
    assert torch.allclose(chances("ccccdefgab"), chances("cdefgab"))  # only context_length tokens fit
    assert model.training == training and torch.equal(torch.get_rng_state(), state)
    widgets.attention_viewer(model, TOKENIZER, "abc")
    assert model.training == training and torch.equal(torch.get_rng_state(), state)
    model.blocks[0].train(not training)
    chances("abc")
    widgets.attention_viewer(model, TOKENIZER, "abc")
    assert model.training == training != model.blocks[0].training


def test_scores_spread_as_the_root_of_the_head_dim_unless_they_are_divided_by_it():
    box = widgets.score_scaling(n_keys=13, largest=400)
    spread = lambda: float(re.search(r"spread by ([\d.]+)", seen(box))[1])  # noqa: E731
    for head_dim in (100, 400):
        find(box, ipywidgets.IntSlider).value = head_dim
        find(box, ipywidgets.Checkbox).value = False
        assert spread() == pytest.approx(head_dim**0.5, rel=0.2)
        find(box, ipywidgets.Checkbox).value = True
        assert spread() == pytest.approx(1, abs=0.2)


def test_the_viewer_shows_the_models_own_attention():
    model = gpt()
    box = widgets.attention_viewer(model, TOKENIZER, "abc<de")
    position, layer = find(box, ipywidgets.IntSlider, "position"), find(box, ipywidgets.IntSlider, "layer")
    assert (position.max, position.value, layer.max) == (5, 5, 2)
    layer.value, position.value = 2, 4
    maps = model.attention_maps(torch.as_tensor(TOKENIZER.encode("abc<de"))[None])[2][0]  # (H, T, T)
    for head, weights in ((0, maps[0]), (1, maps[1]), (-1, maps.mean(0))):
        find(box, ipywidgets.Dropdown).value = head
        top = int(weights[4].argmax())
        assert f"position 4, “d”, looks at{top} {'abc<de'[top]}{float(weights[4].max()):.1%}" in seen(box)


def test_the_position_follows_the_text_which_is_cut_where_the_model_ends():
    box = widgets.attention_viewer(gpt(), TOKENIZER, "abc")
    text, position = find(box, ipywidgets.Text), find(box, ipywidgets.IntSlider, "position")
    assert position.max == 2
    text.value = "abcdefgabcdefg"
    assert (position.max, position.value) == (6, 6)
    text.value = "a"
    assert (position.max, position.value) == (0, 0)
    assert "looks at0 a100.0%" in seen(box)


@pytest.mark.parametrize("bad, part", [("aé", "é"), ("", "type at least one character")])
def test_a_text_that_cannot_be_read_is_one_sentence_until_it_is_mended(bad, part, capsys):
    box = widgets.attention_viewer(gpt(), TOKENIZER, bad)
    assert part in seen(box) and "Traceback" not in seen(box)
    find(box, ipywidgets.IntSlider, "layer").value = 1
    assert part in seen(box)
    find(box, ipywidgets.Text).value = "abc"
    assert "position 2, “c”, looks at" in seen(box)
    assert capsys.readouterr() == ("", "")
