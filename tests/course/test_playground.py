"""Laws of the playground: the sliders are the sampling rules, and no mistake shows a traceback."""

import html
import re

import ipywidgets
import pytest
import torch

from tinylm.course import playground
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate_text
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer("abcdefg <&\n")
RULES = {"temperature": 0.45, "top k": 5, "top p": 0.85, "min p": 0.07, "repetition": 1.85}
NAMES = {"top k": "top_k", "top p": "top_p", "min p": "min_p", "repetition": "repetition_penalty"}


@pytest.fixture
def model():
    made = GPT(ModelConfig(vocab_size=11, context_length=7, n_layer=2, n_head=2, n_embd=22, dropout=0.5))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(7)
    return made.train()


def knob(box, name):
    return next(w for w in box.children if getattr(w, "description", "") == name)


def page(box):
    return next(w for w in box.children if isinstance(w, ipywidgets.HTML)).value


def told(box):
    return html.unescape(re.sub(r"<[^>]+>", "", page(box)))


def test_at_the_start_every_token_is_shown_and_the_rules_change_nothing(model):
    box = playground.sampler(model, TOKENIZER, "abc")
    shares = re.findall(r"([\d.]+%) → ([\d.]+%|never)", told(box))
    assert len(shares) == 11
    assert all(before == after for before, after in shares)
    assert sum(float(before[:-1]) for before, _ in shares) == pytest.approx(100, abs=0.6)
    assert "11 of 11 tokens may be drawn" in told(box)


@pytest.mark.parametrize("name", RULES)
def test_each_slider_is_its_rule(model, name):
    box = playground.sampler(model, TOKENIZER, "abc", n_written=13)
    knob(box, name).value = RULES[name]
    config = GenerationConfig(max_new_tokens=13, **{NAMES.get(name, name): RULES[name]})
    written = generate_text(model, TOKENIZER, "abc", config, generator=torch.Generator().manual_seed(1))
    assert told(box).endswith("abc" + written)
    shares = re.findall(r"([\d.]+%) → ([\d.]+%|never)", told(box))
    assert any(before != after for before, after in shares)


def test_the_seed_decides_what_is_written(model):
    box = playground.sampler(model, TOKENIZER, "abc")
    first = told(box)
    knob(box, "seed").value = 2
    assert told(box) != first
    knob(box, "seed").value = 1
    assert told(box) == first


def test_the_model_is_asked_without_dropout_and_left_as_it_was(model):
    assert told(playground.sampler(model, TOKENIZER, "abc")) == told(
        playground.sampler(model, TOKENIZER, "abc")
    )
    assert all(module.training for module in model.modules())


def test_labels_are_escaped_and_what_cannot_be_seen_is_made_visible(model):
    shown = page(playground.sampler(model, TOKENIZER, "a<&"))
    assert "<&" not in shown
    assert "↵" in shown and "␣" in shown


@pytest.mark.parametrize("bad, words", [("", "type at least one character"), ("Z", "'Z'")])
def test_a_text_that_cannot_be_read_is_one_sentence_until_it_is_mended(model, bad, words, capsys):
    box = playground.sampler(model, TOKENIZER, "abc")
    first = told(box)
    knob(box, "text").value = bad
    assert words in told(box) and "→" not in told(box)
    knob(box, "text").value = "abc"
    assert told(box) == first
    assert capsys.readouterr().err == ""


def test_before_and_after_puts_the_most_probable_first_and_counts_what_is_left():
    shown = playground.before_and_after(list("xyz"), [0.2, 0.5, 0.3], [0.0, 0.75, 0.25], title="a < b")
    plain = html.unescape(re.sub(r"<[^>]+>", " ", shown))
    assert plain.index("50.0% → 75.0%") < plain.index("30.0% → 25.0%") < plain.index("20.0% → never")
    assert "a < b" in plain and "2 of 3 tokens may be drawn" in plain
    widths = re.findall(r"width:([\d.]+)%", shown)  # before and after, the longest bar fills its place
    assert widths == ["66.67", "100.00", "40.00", "33.33", "26.67", "0.00"]
    calmed = playground.before_and_after(list("xy"), [0.8, 0.2], [0.4, 0.6])  # a penalty may lower the peak
    assert re.findall(r"width:([\d.]+)%", calmed) == ["100.00", "50.00", "25.00", "75.00"]
