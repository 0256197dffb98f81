"""What a slide shows of a cell, and that a browser finds all of it inside the frame."""

import functools
import html
import re
import shutil
import subprocess

import nbformat
import pytest

from tests.authoring import slides
from tests.authoring.execute import found
from tests.authoring.notebook_sample import FIGURE, code, folded, md
from tinylm.errors import DataError

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
NOTEBOOKS = [path.stem for path in found([])]


def of(*cells):
    """Make the slides of a notebook of these cells."""
    return slides.slides(nbformat.v4.new_notebook(cells=list(cells)))


def wall(shown):
    """Return the text of a slide."""
    return html.unescape(re.sub(r"<[^>]*>", "", "\n".join(shown.body)))


@functools.cache
def committed(name):
    """Make the slides of a notebook of the course."""
    return slides.slides(nbformat.read(*found([name]), as_version=4))


def fitted(page):
    """Return what a browser measures of each slide: the size of its letters, and whether something is cut."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,720", "--dump-dom"]
    command += ["--virtual-time-budget=60000", page.as_uri()]
    seen = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=True).stdout
    assert 'data-fitted="yes"' in seen
    said = re.findall(r'class="page" data-letters="(\d+)" data-wrong="(\w+)"', seen)
    return [(int(letters), wrong == "true") for letters, wrong in said]


def test_only_marked_cells_are_shown_and_the_prose_between_them_is_the_speakers():
    first, second = of(
        md("# 2 · Attention\n\n**Goal.** To look back.", slide="slide"),
        md("Prose between."),
        code("x = 1"),
        md("## Last\n\nAn end.", slide="slide"),
    )
    assert (first.title, second.title) == ("2 · Attention", "Last")
    assert wall(first).strip() == "Goal. To look back." and "Prose between." in first.notes


def test_question_stands_whole_after_what_leads_to_it_and_an_answer_before_a_heading_is_the_speakers():
    source = "Two, because it is.\n\n## Next\n\nOne. Two.\n\n**Predict.** How many?\n\nAnd so on."
    first, second = of(md("# 2 · A\n\nB.", slide="slide"), md(source, "predict", slide="slide"))
    assert "Two, because it is." in first.notes and "because" not in wall(second)
    assert second.title == "Next" and "Predict. How many?" in wall(second) and "One. Two." in wall(second)


def test_of_long_prose_only_the_first_sentence_is_shown_beside_a_formula_and_all_is_in_the_notes():
    (shown,) = of(md("## A\n\n" + "These are words. " * 12 + "\n\n$$x^2$$", slide="slide"))
    assert wall(shown).count("words") == 1 and shown.notes[1].count("words") == 12
    assert '<img class="display"' in shown.body[-1]


def test_list_keeps_the_line_that_leads_to_it_and_every_slide_says_the_licence():
    shown = of(md("# A\n\n**Goal.** To look back.\n\nYou will write\n\n- a mask", slide="slide"))
    assert wall(shown[0]).split() == "Goal. To look back. You will write a mask".split()
    assert "MIT licence</footer>" in slides.deck("02", shown)


def test_each_formula_and_each_picture_has_a_slide_of_its_own():
    two = of(md("## A\n\nB.\n\n$$x$$\n\n$$y$$", slide="slide"))
    assert [re.findall('alt="(.)"', "".join(shown.body)) for shown in two] == [["x"], ["y"]]
    drawn = code("draw()", shows=FIGURE)
    drawn.outputs.append(FIGURE)
    drawn.metadata.slideshow.slide_type = "subslide"
    assert [shown.body[0].count("a line that rises") for shown in of(drawn)] == [1, 1]


def test_code_is_shown_where_there_is_no_picture_and_it_is_short():
    for source, n in (("print(1)", 1), ("print(1)\n" * 30, 0)):
        cell = code(source, prints="1")
        cell.metadata.slideshow.slide_type = "subslide"
        (shown,) = of(cell)
        assert shown.body[-1] == "<pre>1</pre>" and "".join(shown.body).count("highlight") == n


def test_exercise_is_named_and_its_contract_and_what_is_folded_stay_in_the_notebook():
    source = "## A\n\nB.\n\n### 2.1 · add one · ●○○ · 3 min\n\n- takes a number\n\n" + folded(
        "Hint", "secret"
    )
    (shown,) = of(md(source + folded("Hint", "secret"), slide="slide"))
    assert "Your turn: 2.1 · add one" in wall(shown)
    assert "takes a number" not in wall(shown) and "secret" not in str(shown)


def test_formula_that_cannot_be_drawn_is_named():
    with pytest.raises(DataError, match=r"the formula \\nonsense cannot be drawn"):
        slides.to_html(r"A formula: $\nonsense$.")
    assert "$5 and `$x$`" in html.unescape(re.sub("</?code>", "`", slides.to_html("$5 and `$x$`")))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_deck_asks_nothing_of_the_network_and_is_no_longer_than_a_lecture(name):
    shown = committed(name)
    page = slides.deck(name, shown)
    body = page[page.index("<body>") : page.index("<script>")]
    style = page[page.index("<style>") : page.index("</style>")]
    loaded = re.findall(r'src="([^"]{1,40})', body) + re.findall(r"url\(([^)]{1,40})", style + body)
    assert all(source.startswith("data:") for source in loaded)
    assert not re.search(r"<link|@import|<script[^>]*src", page[: page.index("<script>")])
    assert 8 <= len(shown) <= 20 and all(shown.body for shown in shown)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to measure in")
def test_nothing_is_cut_on_any_slide_of_the_course(tmp_path):
    every = [(name, shown) for name in NOTEBOOKS for shown in committed(name)]
    (tmp_path / "all.html").write_text(slides.deck("all", [shown for _, shown in every]), encoding="utf-8")
    measured = fitted(tmp_path / "all.html")
    assert len(measured) == len(every)
    seen = zip(every, measured, strict=True)
    cut = [f"{name}, {shown.title}: {wall(shown)[:80]}" for (name, shown), (_, wrong) in seen if wrong]
    assert not cut, "\n".join(cut)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to measure in")
def test_measure_sees_what_is_too_wide_too_long_and_shrinks_what_can_be_read_smaller(tmp_path):
    wide, long = f'<div class="highlight"><pre>{"x" * 300}</pre></div>', "<p>line</p>" * 60
    some = [slides.Slide("A", [body]) for body in ("<p>short</p>", wide, long, "<p>line</p>" * 16)]
    (tmp_path / "deck.html").write_text(slides.deck("deck", some), encoding="utf-8")
    letters, wrong = zip(*fitted(tmp_path / "deck.html"), strict=True)
    assert wrong == (False, True, True, False) and letters[0] == 34 and 16 < letters[3] < 34
