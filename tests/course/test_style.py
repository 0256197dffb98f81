"""Laws of showing: small, told in words, and no trace left in the learner's settings."""

import base64
import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from tinylm.course import charts, style


@pytest.fixture
def shown(monkeypatch):
    """What `show` hands to Jupyter: a list of (data, metadata)."""
    outputs = []
    monkeypatch.setattr(style, "get_ipython", lambda: object())
    hand_over = lambda data, metadata=None, raw=False: outputs.append((data, metadata))  # noqa: E731
    monkeypatch.setattr(style, "display", hand_over)
    return outputs


def line():
    figure, axes = plt.subplots(figsize=(8, 4))
    axes.plot([1, 3, 2])
    return figure


def picture(data):
    return Image.open(io.BytesIO(base64.b64decode(data["image/png"])))


def n_colours(shown):
    return len(picture(shown[-2][0]).getcolors())


def test_show_gives_a_small_png_at_the_size_of_the_page_and_its_alternative_text_twice(shown):
    style.show(line(), "Up,\n   then <down>.")
    (data, metadata), (heard, _) = shown
    told = metadata["image/png"]
    assert data["text/plain"] == "figure: Up, then <down>." and told["alt"] == "Up, then <down>."
    assert "Figure: Up, then &lt;down&gt;." in heard["text/html"]  # for screen readers in JupyterLab
    sizes = [n * style.SCREEN_DPI / style.DPI for n in picture(data).size]
    assert [told["width"], told["height"]] == pytest.approx(sizes, abs=1) and 600 < told["width"] < 850
    assert picture(data).format == "PNG" and n_colours(shown) <= style.LINE_COLOURS
    with style.figure("A table of shades.") as axes:
        axes.imshow(np.linspace(0, 1, 17 * 19).reshape(17, 19), cmap="Blues")
    assert style.LINE_COLOURS < n_colours(shown) <= style.PNG_COLOURS


def test_png_of_the_same_figure_has_the_same_bytes():
    assert style.to_png(line()) == style.to_png(line())


def test_bytes_of_a_token_are_text_where_they_are_and_hex_where_no_character_is_seen():
    for piece in ("the", "é🎃你", "<b>"):
        assert style.show_bytes(piece.encode()) == piece
    assert style.show_bytes(" 🎃".encode()[:3]) == "␣⟨F0 9F⟩"
    assert style.show_bytes(b"a\xffb\r\n") == "a⟨FF⟩b⟨0D⟩↵"
    shown = [style.show_bytes(bytes([i, j])) for i in range(256) for j in range(256)]
    assert all(text.isprintable() for text in shown)
    assert len({*shown}) == len(shown)  # two tokens never look the same
    assert style.show_bytes("é🎃".encode(), drawn=True) == "é⟨F0 9F 8E 83⟩"  # no pumpkin in the figures' font


def test_show_prints_one_line_outside_jupyter(capsys, monkeypatch):
    monkeypatch.setattr(style, "get_ipython", lambda: None)
    style.show(line(), "A line.")
    assert capsys.readouterr().out == "figure: A line.\n"


def test_figure_has_the_courses_look_and_leaves_the_learners_settings_alone(drawn):
    with matplotlib.rc_context({"font.size": 7, "axes.spines.top": True}):
        charts.bars(["a"], [1], alt="One bar.")
        assert not drawn.axes.spines["top"].get_visible()
        assert matplotlib.rcParams["font.size"] == 7 and matplotlib.rcParams["axes.spines.top"]


def luminance(colour):
    """WCAG 2's relative luminance of a colour."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("ground", [*map(style.tint, style.COLOURS), style.PALE], ids=str)
def test_dark_text_on_the_tints_of_boxes_and_tokens_has_the_contrast_that_wcag_asks(ground):
    assert (luminance(ground) + 0.05) / (luminance(style.INK) + 0.05) >= 4.5
