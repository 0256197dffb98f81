"""Make a lecture of a notebook: the cells that are marked as slides, as one HTML file.

    make slides                                       every notebook, into slides/
    python -m tests.authoring.slides 02 --out FOLDER  one of them

A deck needs no network: the file contains pictures, formulas and reveal.js, which the package rise brings.
A slide shows one picture, formula, table or list, and only as much prose as can be read from the back row: a
heading, the first sentence or two, a question to predict. The key S opens the rest, the speaker's notes.
Everything fits into 1280 x 720, which tests/authoring/test_slides.py measures in a browser."""

import argparse
import base64
import html
import importlib.util
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import nbformat
from matplotlib.mathtext import math_to_image
from nbconvert.filters import Highlight2HTML, markdown2html
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from tests.authoring.execute import ROOT, found
from tinylm.errors import DataError

SIZE = 1280, 720
MOST_LINES = 14  # of code or of a printed text, on one slide
CAPTION_LINES = 3  # of what is printed below a picture
SHEET, SCRIPT = (Path(__file__).with_name(f"slides.{end}") for end in ("css", "js"))
MATHS = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$([^$\n]+?)\$", re.DOTALL)
# TeX commands that matplotlib, which draws the formulas, names differently or does not have
INSTEAD = {r"\ge": r"\geq", r"\le": r"\leq", r"\iff": r"\Longleftrightarrow"}
INSTEAD |= {r"\tfrac": r"\frac", r"\top": "T", r"\!": "", r"\,": r"\/"}
SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z*`$\"(])")
KINDS = {"#": "heading", "$$": "formula", "|": "table", "- ": "list", "1. ": "list", "```": "code"}
KINDS |= {"![": "picture", "<img": "picture", "<svg": "picture", "**Predict": "predict"}
POINTS = ("formula", "table", "list", "picture", "code")  # what a slide is made for


@dataclass
class Slide:
    """What the audience sees, as HTML, and the speaker's notes, as Markdown."""

    title: str
    body: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def slides(notebook: NotebookNode) -> list[Slide]:
    """Return the slides of a notebook: one for each section and each picture of its marked cells."""
    shown: list[Slide] = []
    title = ""
    for cell in notebook.cells:
        prose = cell.cell_type == "markdown"
        for heading in re.findall(r"^#{1,2} (.+)$", cell.source, re.MULTILINE) if prose else ():
            title = heading
        if cell.metadata.get("slideshow", {}).get("slide_type") in ("slide", "subslide"):
            made = of_prose(cell.source, shown[-1].title if shown else "") if prose else of_code(cell, title)
            for slide in made:
                if slide.body:
                    shown.append(slide)
                elif shown:
                    shown[-1].notes += slide.notes
        elif prose and shown and "<details" not in cell.source:
            shown[-1].notes.append(cell.source)
    return shown


def of_prose(source: str, title: str) -> Iterator[Slide]:
    """Yield a slide for each section of a Markdown cell, without what a reader has to unfold.

    Text before the first heading answers the slide before: it goes to the notes, unless it has a formula, a
    table or the like."""
    unfolded = re.sub(r"<details>.*?</details>", "", source, flags=re.DOTALL)
    parts = re.split(r"^(?=#{1,2} )", unfolded, flags=re.MULTILINE)
    sections = [part for part in parts if part.strip()]
    for section in sections:
        texts = [*blocks(section)]
        kinds = [kind_of(text) for text in texts]
        if kinds[0] == "heading":
            title = texts[0].lstrip("# ")
        exercise = next((i for i, text in enumerate(texts) if re.match(r"### \d+\.\d+ ·", text)), len(texts))
        prose = [text for text, kind in zip(texts[:exercise], kinds, strict=False) if kind == "paragraph"]
        points = [(t, k) for t, k in zip(texts[:exercise], kinds, strict=False) if k in POINTS]
        questions = [t for t, k in zip(texts[:exercise], kinds, strict=False) if k == "predict"]
        slide = Slide(title, notes=texts)
        if kinds[0] != "heading" and len(sections) > 1 and not points and not questions:
            yield slide  # for the notes alone
            continue
        sentences = SENTENCE.split(" ".join(prose).replace("\n", " "))[: 1 if points else 2]
        if prose:
            slide.body.append(paragraph(" ".join(sentences)))
        for i, (text, kind) in enumerate(points):
            if i and {kind, points[i - 1][1]} <= {"formula", "picture"}:
                yield slide
                slide = Slide(title, notes=texts)
            before = texts[max(0, texts.index(text) - 1)]  # a list hangs in the air without its lead-in
            leads = kind_of(before) == "paragraph" and before[-1] not in ".?!"
            if kind == "list" and leads and before not in " ".join(sentences):
                slide.body.append(paragraph(before))
            slide.body.append(f'<div class="{kind}">{to_html(text)}</div>')
        slide.body += [f'<div class="predict">{to_html(text)}</div>' for text in questions]
        if exercise < len(texts):
            name = texts[exercise].lstrip("# ").split(" · ●")[0]
            slide.body.append(paragraph(f"Your turn: {name}", "turn"))
        yield slide


def of_code(cell: NotebookNode, title: str) -> Iterator[Slide]:
    """Yield a slide for each picture of a code cell, or else one with its code, if short, and its output."""
    notes = [f"```python\n{cell.source}\n```"]
    said = "".join(out.text for out in cell.outputs if out.output_type == "stream").rstrip().splitlines()
    pictures = []
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            pictures.append(picture(data["image/png"], output.metadata.get("image/png", {}).get("alt", "")))
        elif "text/markdown" in data:
            pictures.append(to_html(data["text/markdown"]))
        elif "text/html" in data and "text/plain" in data:  # not what is for screen readers alone
            pictures.append(data["text/html"])
    if pictures:
        for i, drawn in enumerate(pictures):
            below = said if i == len(pictures) - 1 and len(said) <= CAPTION_LINES else []
            yield Slide(title, [f'<div class="picture">{drawn}</div>', *printed(below)], notes + said)
            notes = []
        return
    is_short = len(cell.source.splitlines()) <= MOST_LINES
    code = [Highlight2HTML()(cell.source, language="python")] if is_short else []
    yield Slide(title, [*code, *printed(said[:MOST_LINES])], notes + said)


def printed(lines: list[str]) -> list[str]:
    """Return what a cell printed, as HTML."""
    return [f"<pre>{html.escape(chr(10).join(lines))}</pre>"] if lines else []


def blocks(text: str) -> Iterator[str]:
    """Yield paragraphs, tables, formulas and fences: blank lines divide them, except inside a fence."""
    part: list[str] = []
    for line in [*text.splitlines(), ""]:
        if not line.strip() and sum(inside.startswith("```") for inside in part) % 2 == 0:
            if part:
                yield "\n".join(part)
            part = []
        else:
            part.append(line)


def kind_of(block: str) -> str:
    """Return the kind of a block of Markdown, which its beginning shows."""
    return next((kind for begin, kind in KINDS.items() if block.startswith(begin)), "paragraph")


def paragraph(text: str, kind: str = "lead") -> str:
    return f'<div class="{kind}">{to_html(text)}</div>'


def to_html(text: str) -> str:
    """Return Markdown as HTML with its formulas drawn."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(formula(found[1] or found[2], display=bool(found[1])))
        return f"@@{len(kept) - 1}@@"

    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    parts[::2] = [MATHS.sub(keep, part) for part in parts[::2]]
    return re.sub(r"@@(\d+)@@", lambda at: kept[int(at[1])], markdown2html("".join(parts)))


def formula(tex: str, *, display: bool) -> str:
    """Return a formula as an image, larger if it is on a line of its own.

    Raises DataError if matplotlib cannot draw it."""
    text = " ".join(tex.split())
    for theirs, ours in INSTEAD.items():
        text = re.sub(re.escape(theirs) + r"(?![a-zA-Z])", lambda _, ours=ours: ours, text)
    drawn = io.BytesIO()
    with matplotlib.rc_context({"mathtext.fontset": "cm", "svg.fonttype": "path", "svg.hashsalt": "slides"}):
        try:
            depth = math_to_image(f"${text}$", drawn, dpi=72, format="svg", color="#1A1A1A")
        except ValueError as error:
            raise DataError(f"the formula {tex} cannot be drawn: {error}") from None
    source = drawn.getvalue()
    width, height = (float(n) for n in re.findall(rb'(?:width|height)="([\d.]+)pt"', source)[:2])
    em = {"height": height, "width": width, "vertical-align": -float(depth)}
    look = ";".join(f"{name}:{length / 10:.3f}em" for name, length in em.items() if name != "width")
    kind = "display" if display else "inline"
    coded = base64.b64encode(source).decode()
    shown = f'class="{kind}" style="{look}" alt="{html.escape(tex)}"'
    return f'<img {shown} src="data:image/svg+xml;base64,{coded}">'


def picture(png: str, alt: str) -> str:
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{"".join(png.split())}">'


def deck(name: str, shown: list[Slide]) -> str:
    """Return the HTML of a deck, with all that it needs. Raises DataError if the package rise is missing."""
    found = importlib.util.find_spec("rise")
    if found is None or found.origin is None:
        raise DataError("slides need reveal.js, which comes with rise: make .venv/ready")
    reveal = Path(found.origin).parent / "static" / "reveal.js"
    style = (reveal / "css" / "reveal.css").read_text(encoding="utf-8") + SHEET.read_text(encoding="utf-8")
    style += HtmlFormatter(style="default").get_style_defs(".highlight")
    script = (reveal / "js" / "reveal.js").read_text(encoding="utf-8")
    parts = []
    for slide in shown:
        notes = to_html("\n\n".join(slide.notes))
        body = "\n".join(slide.body)
        heading = f"<h2>{to_html(slide.title).strip().removeprefix('<p>').removesuffix('</p>')}</h2>"
        page = f'<div class="page">{heading}\n{body}</div>'
        parts.append(f'<section>{page}<aside class="notes">{notes}</aside></section>')
    title = html.escape(name)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>
<body><div class="reveal"><div class="slides">
{"".join(parts)}
</div><footer>tinylm · {title} · MIT licence</footer></div>
<script>{script}</script>
<script>{SCRIPT.read_text(encoding="utf-8")}</script>
</body></html>
"""


def main() -> None:
    """Write the decks of the notebooks named on the command line, or of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=ROOT / "slides")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for path in found(asked.names):
        target = asked.out / f"{path.stem}.html"
        shown = slides(nbformat.read(path, as_version=4))
        target.write_text(deck(path.stem, shown), encoding="utf-8")
        print(target.relative_to(Path.cwd()) if target.is_relative_to(Path.cwd()) else target)


if __name__ == "__main__":
    main()
