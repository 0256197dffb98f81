"""Laws of the widgets: a moved control changes the page, the page is true, a mistake shows no traceback."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import ipywidgets
import numpy as np
import pytest
import torch

from tinylm.course import style, widgets
from tinylm.errors import InputError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate_text
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.tokenizers import BPETokenizer, CharTokenizer

TOKENIZER = CharTokenizer.train("abcdefg <&\n")
V = TOKENIZER.vocab_size
T = 7
NASTY = ["<script>alert(1)</script>", "&", '"', "'", "\n", " ", "</p></div>"]
WEIGHTS = np.tril(np.arange(1.0, T * T + 1).reshape(T, T))
WEIGHTS /= WEIGHTS.sum(1, keepdims=True)


@pytest.fixture
def model():
    """A GPT with weights so large that its choices differ, in training mode with much dropout."""
    made = GPT(ModelConfig(vocab_size=V, context_length=T, n_layer=3, n_head=2, n_embd=22, dropout=0.5))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(7)
    return made.train()


def read(shown):
    """The page as a tree, without its style sheet; XML demands that every tag is closed in order."""
    tree = ElementTree.fromstring(f"<page>{shown.replace('<br>', '<br/>')}</page>")
    for sheet in tree.iter("style"):
        sheet.text = ""
    return tree


def text_of(shown):
    return "".join(read(shown).itertext())


def find(box, wanted):
    """The one widget of this kind, or with this description."""
    (found,) = (w for w in box.children if wanted == getattr(w, "description", "") or type(w) is wanted)
    return found


def page(box):
    return find(box, ipywidgets.HTML).value


def seen(box):
    return text_of(page(box))


SHORT = {"x": (2, 11), "by": (2, 11, 3), "from_here": (0, 2.5, 0.5, 1.5), "box": "text", "menu": ["a", "b"]}


def test_explore_takes_short_forms_for_widgets_with_readable_names_and_redraws_when_one_moves():
    box = widgets.explore(lambda **values: repr(values), height="300px", **SHORT)
    assert page(box) == repr({"x": 2, "by": 2, "from_here": 1.5, "box": "text", "menu": "a"})
    assert [w.description for w in box.children[:5]] == ["x", "by", "from here", "box", "menu"]
    assert (find(box, "by").min, find(box, "by").max, find(box, "by").step) == (2, 11, 3)
    assert find(box, ipywidgets.Output).layout.min_height == "300px"
    find(box, "x").value, find(box, "menu").value = 5, "b"
    assert page(box) == repr({"x": 5, "by": 2, "from_here": 1.5, "box": "text", "menu": "b"})


def test_explore_shows_an_error_as_one_sentence_until_it_is_fixed(capsys):
    def judge(k):
        if k < 2:
            raise [InputError("type at\nleast one"), KeyError("<x>")][k]  # another's is named, ours is not
        return f"<p>{k}</p>"

    box, said = widgets.explore(judge, k=(0, 5)), []
    for find(box, "k").value in (0, 1, 2):
        said.append(seen(box))
    assert said == ["type at least one", "KeyError: '<x>'", "2"]
    assert "Error" not in "".join(capsys.readouterr())


def test_explore_whose_first_page_fails_is_an_error_of_the_cell():
    with pytest.raises(KeyError, match="cable"):
        widgets.explore(lambda k: {}["cable"], k=(0, 5))


def test_next_character_is_the_one_that_the_function_expects():
    def predict(text):
        chances = torch.full((V,), 0.01)
        chances[TOKENIZER.encode(text)[-1]] = 0.9
        return chances

    box = widgets.next_character(predict, TOKENIZER, "ab")
    assert seen(box).startswith("after “ab”b90.0%")
    for text, words in (("a<", "after “a<”<90.0%"), ("", "there is no text: type at least"), ("aé", "é")):
        find(box, "text").value = text
        assert words in seen(box) and "Error" not in seen(box)


def test_attention_viewer_shows_the_models_own_attention(model):
    box = widgets.attention_viewer(model, TOKENIZER, "abc<de")
    position, layer = find(box, "position"), find(box, "layer")
    assert (position.max, position.value, layer.max) == (5, 5, 2)
    layer.value, position.value = 2, 4
    maps = model.attention_maps(torch.as_tensor(TOKENIZER.encode("abc<de"))[None])[2][0]  # (H, T, T)
    for head, weights in ((0, maps[0]), (1, maps[1]), (-1, maps.mean(0))):
        find(box, ipywidgets.Dropdown).value = head
        top = int(weights[4].argmax())
        assert f"position 4, “d”, looks at{top} {'abc<de'[top]}{float(weights[4].max()):.1%}" in seen(box)


def test_attention_viewer_position_stays_inside_the_text_which_is_cut_where_the_model_ends(model):
    box = widgets.attention_viewer(model, TOKENIZER, "abc")
    position = find(box, "position")
    for text, last in (("abc", 2), ("abcdefgabcdefg", 6), ("a", 0)):
        find(box, "text").value = text
        assert position.max == last
        position.value = last
    assert "looks at0 a100.0%" in seen(box)


def shares(box):
    return re.findall(r"([\d.]+%) → ([\d.]+%|never)", seen(box))


def test_sampling_widget_shows_every_token_and_begins_with_rules_that_change_nothing(model):
    box = widgets.sampling_widget(model, TOKENIZER, "abc")
    assert len(shares(box)) == V and f"{V} of {V} tokens may be drawn" in seen(box)
    assert all(before == after for before, after in shares(box))
    assert sum(float(before[:-1]) for before, _ in shares(box)) == pytest.approx(100, abs=0.6)


@pytest.mark.parametrize(
    "name, rule", [("top k", {"top_k": 5}), ("repetition", {"repetition_penalty": 1.85})]
)
def test_sampling_widget_slider_is_its_rule(model, name, rule):
    box = widgets.sampling_widget(model, TOKENIZER, "abc")
    (find(box, name).value,), find(box, "seed").value = rule.values(), 3
    config = GenerationConfig(max_new_tokens=120, **rule)
    written = generate_text(model, TOKENIZER, "abc", config, generator=torch.Generator().manual_seed(3))
    assert seen(box).endswith("abc" + written)
    assert any(before != after for before, after in shares(box))


@pytest.mark.parametrize("make", [widgets.sampling_widget, widgets.attention_viewer])
def test_widget_asks_a_gpt_without_dropout_and_leaves_it_as_it_was(model, make):
    model.blocks[0].eval()
    state = torch.get_rng_state()
    assert seen(make(model, TOKENIZER, "abc")) == seen(make(model, TOKENIZER, "abc"))
    assert model.training and not model.blocks[0].training and model.blocks[1].training
    assert torch.equal(torch.get_rng_state(), state)


def refuse(k):
    raise InputError(NASTY[k])


PAGES = {
    "attention": lambda: widgets.html_attention(NASTY, WEIGHTS, 3),
    "bars": lambda: widgets.html_bars(NASTY, WEIGHTS[-1], title=NASTY[0]),
    "before_after": lambda: widgets.html_before_after(NASTY, WEIGHTS[-1], WEIGHTS[-2], title=NASTY[0]),
    "tokens": lambda: widgets.html_tokens(NASTY, range(9), title=NASTY[0]),
    "error": lambda: page(widgets.explore(refuse, k=(0, 1))),
}


@pytest.mark.parametrize("name", PAGES)
def test_html_shows_any_text_as_text_runs_nothing_and_reaches_for_nothing(name):
    elements = [*read(PAGES[name]()).iter()]
    assert "script" not in {element.tag for element in elements} and NASTY[0] in text_of(PAGES[name]())
    names = {name for element in elements for name in element.attrib}
    assert names <= {"style", "class", "title", "id", "role"}
    assert not re.search(r"https?:|src=|url\(|@import|<link", PAGES[name]())


def test_html_attention_colours_each_token_by_its_weight():
    shown = read(widgets.html_attention(list("abcdefg"), WEIGHTS, 4))
    tokens = [element for element in shown.iter("bdi") if element.get("class", "").startswith("look")]
    alphas = [float(re.search(r"--look:([\d.]+)", token.get("style"))[1]) for token in tokens]
    assert np.allclose(alphas, WEIGHTS[4], atol=5e-4)
    assert [token.text for token in tokens if "asks" in token.get("class")] == ["e"]


def drawn_tokens(shown):
    return [element for element in read(shown).iter("bdi") if element.get("class") == "piece"]


def test_html_tokens_stand_in_their_order_each_with_its_id_and_neighbours_differ_in_colour():
    pieces = ["The", " pumpkin", b" \xf0\x9f", b"\x8e", "\n", "\u202eשלום", "\x00", *NASTY, "你好"]
    shown = drawn_tokens(widgets.html_tokens(pieces, range(300, 340)))
    words = ["The", "␣pumpkin", "␣⟨F0 9F⟩", "⟨8E⟩", "↵", "⟨E2 80 AE⟩שלום", "⟨00⟩"]
    assert [token.text for token in shown] == [*words, *style.show_whitespace(NASTY), "你好"]
    assert [int(token.get("title").split()[1].rstrip(",")) for token in shown] == [*range(300, 315)]
    assert all(a.get("style") != b.get("style") for a, b in pairwise(shown))
    assert "id" not in drawn_tokens(widgets.html_tokens(pieces))[0].get("title")


def test_token_colours_draws_the_tokens_of_the_chosen_tokenizer_and_counts_them():
    tokenizers = {"bytes": BPETokenizer.train([""], 257), "characters": CharTokenizer.train("aé\n")}
    box = widgets.token_colours(tokenizers, "aé\n")
    assert seen(box) == "3 characters, 4 bytes, 4 tokens: 1.00 bytes per tokena⟨C3⟩⟨A9⟩↵"
    assert drawn_tokens(page(box))[1].get("title") == "id 127, bytes C3"
    find(box, "tokenizer").value = "characters"
    assert seen(box) == "3 characters, 4 bytes, 3 tokens: 1.33 bytes per tokenaé↵"
    find(box, "text").value = "a" * 1001
    assert "first 1,000 are drawn" in seen(box)
    assert len(drawn_tokens(page(box))) == 1000
