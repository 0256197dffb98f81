"""Laws of the widgets' HTML: well-formed, escaped, and true to the numbers."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from tinylm.course import pages
from tinylm.errors import TinyLMError

T = 7
NASTY = ["<script>alert(1)</script>", "&", '"', "'", "\n", " ", "</p></div>"]
WEIGHTS = np.tril(np.arange(1.0, T * T + 1).reshape(T, T))
WEIGHTS /= WEIGHTS.sum(1, keepdims=True)


class Reader(HTMLParser):
    """Demands that every tag is closed in order; collects tags and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.styles = [], [], "", {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        names = dict(attributes)
        assert set(names) <= {"style", "class", "title", "id", "role"}, names
        if "t" in names.get("class", "").split():
            self.styles[names["class"].split()[1]] = names["style"]
        if tag not in ("br",):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


@pytest.mark.parametrize("position", range(T))
def test_any_text_is_shown_as_text_and_never_runs(position):
    reader = Reader(pages.attention(NASTY, WEIGHTS, position))
    assert "script" not in reader.tags and NASTY[0] in reader.text
    reader = Reader(pages.bars(NASTY, WEIGHTS[-1], title="after “<b>”"))
    assert "script" not in reader.tags and "b" in reader.tags and "after “<b>”" in reader.text
    reader = Reader(pages.sentence(ValueError("<script>")))
    assert reader.text == "ValueError: <script>"


def test_a_page_reaches_for_nothing_outside_itself():
    for text in (pages.attention(NASTY, WEIGHTS, 3), pages.bars(NASTY, WEIGHTS[-1])):
        assert not re.search(r"https?:|src=|url\(|@import|<link", text)


def test_a_token_is_coloured_by_its_weight():
    styles = Reader(pages.attention(list("abcdefg"), WEIGHTS, 4)).styles
    for i in range(T):
        alpha = float(re.search(r"rgba\(\d+,\d+,\d+,([\d.]+)\)", styles[f"t{i}"])[1])
        assert alpha == pytest.approx(WEIGHTS[4, i], abs=5e-4)
    assert [name for name, style in styles.items() if "outline" in style] == ["t4"]


def test_pointing_at_a_token_colours_what_it_looks_at_and_nothing_of_the_future():
    rules = re.findall(r"\.t(\d+):hover\) \.t(\d+)\.t", pages.attention(list("abcdefg"), WEIGHTS, 0))
    pairs = {(int(i), int(j)) for i, j in rules}
    assert pairs == {(int(i), int(j)) for i, j in np.argwhere(WEIGHTS > pages.FAINTEST)}
    assert all(j <= i for i, j in pairs)


def test_two_texts_on_one_page_do_not_colour_each_other():
    name = re.compile(r"id='(looks-\w+)'")
    a = name.search(pages.attention(list("abcdefg"), WEIGHTS, 0))[1]
    assert a != name.search(pages.attention(list("abcdefh"), WEIGHTS, 0))[1]
    assert a != name.search(pages.attention(list("abcdefg"), WEIGHTS**2, 0))[1]


def test_the_heaviest_weights_are_listed_heaviest_first():
    text = Reader(pages.attention(list("abcdefg"), WEIGHTS, 6, top=3)).text
    assert re.search(r"looks at6 g\d.*5 f\d.*4 e\d", text)
    text = Reader(pages.attention(list("abcdefg"), WEIGHTS, 0)).text
    assert text.endswith("looks at0 a100.0%")


def test_a_position_outside_the_text_is_refused():
    with pytest.raises(TinyLMError, match="position 7 is not among the 7 tokens: use 0 to 6"):
        pages.attention(NASTY, WEIGHTS, 7)


def test_bars_keep_their_order_or_show_the_largest_first_and_the_rest_as_a_sum():
    values = torch.tensor([0.1, 0.5, 0.15, 0.25])
    assert re.findall(r"[\d.]+%", Reader(pages.bars("abcd", values)).text) == [
        "10.0%",
        "50.0%",
        "15.0%",
        "25.0%",
    ]
    text = Reader(pages.bars("abcd", values, top=2)).text
    assert text == "b50.0%d25.0%the other 2 share 25.0%"
    widths = [float(w) for w in re.findall(r"width:([\d.]+)%;min-width", pages.bars("abcd", values))]
    assert widths == [10, 50, 15, 25]


def test_an_error_of_ours_is_its_own_sentence_and_others_are_named():
    assert (
        Reader(pages.sentence(TinyLMError("type at\nleast one character"))).text
        == "type at least one character"
    )
    assert Reader(pages.sentence(KeyError("x"))).text == "KeyError: 'x'"
    assert Reader(pages.sentence(AssertionError())).text == "AssertionError"
