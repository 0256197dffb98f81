"""Style: give every figure of the course one look, and an alternative text for someone who can't see it.

The colours can be told apart with any colour vision (Okabe and Ito 2008, "Color Universal Design"), and the
letters can be read from the back row. `show` puts a small PNG and its alternative text into the notebook.
Learners can use `figure` and `show` for figures of their own. Shown in notebook 00_start_here."""

import base64
import html
import io
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython import get_ipython
from IPython.display import display
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from PIL import Image

BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
PINK, SKY, VERMILION = "#CC79A7", "#56B4E9", "#D55E00"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY)
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
HATCHES = ("", "//", "..", "\\\\", "xx", "++")
MONO = "DejaVu Sans Mono"
DRAWN = "\u0530"  # below it, in Latin, Greek and Cyrillic, the figures' letters lack none
INK, GREY, PALE = "#1A1A1A", "#595959", "#E9EDF1"
SEQUENTIAL = "Blues"  # white is nothing, ink is much; one hue, so any colour vision reads it
DIVERGING = "PuOr_r"  # for values of both signs: white is zero

WIDTH = 8.0  # inches
DPI = 120  # drawn finer than it is shown, so that a projector and a fine screen stay sharp
SCREEN_DPI = 96  # dots per inch in the page
PNG_COLOURS = 128  # as many as a table of shades needs
LINE_COLOURS = 32  # enough for lines, letters and their soft edges; a fifth smaller
# HTML that only a screen reader meets
UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"

LOOKS = cycler(color=COLOURS, linestyle=LINES, marker=MARKERS)  # of lines: any one of the three is enough
STYLE = {"axes.prop_cycle": cycler(color=COLOURS, linestyle=LINES), "figure.dpi": SCREEN_DPI}
SHEET = Path(__file__).with_suffix(".mplstyle")  # the rest of it


@contextmanager
def figure(alt: str, width: float = WIDTH, height: float = 4.0, **subplots: Any) -> Iterator[Any]:
    """Open a figure in the course's style, `with figure(alt) as axes:`, and show it when the block ends.

    `axes` is an array when `subplots` asks for several. The learner's own settings stay as they were."""
    with matplotlib.rc_context(STYLE, SHEET):
        drawn = Figure(figsize=(width, height), layout="constrained")  # pyplot does not know it
        yield drawn.subplots(**subplots)
        show(drawn, alt)


def tint(colour: str) -> tuple[float, ...]:
    """Mix the colour with white, so that dark text is readable on it."""
    return tuple(1 - 0.45 * (1 - part) for part in to_rgb(colour))


def to_png(figure: Figure) -> bytes:
    """Return the figure as a small PNG, with PNG_COLOURS colours, or LINE_COLOURS if it has no image."""
    raw, small = io.BytesIO(), io.BytesIO()
    options = {"bbox_inches": "tight", "pad_inches": 0.12, "metadata": {"Software": None}}
    figure.savefig(raw, format="png", dpi=DPI, **options)
    colours = PNG_COLOURS if any(axes.images for axes in figure.axes) else LINE_COLOURS
    how = {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 2, "dither": Image.Dither.NONE}
    picture = Image.open(raw).convert("RGB").quantize(colours, **how)  # a rare colour is kept too
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def show(figure: Figure, alt: str) -> None:
    """Show a figure with its alternative text, and close it if pyplot made it.

    alt: one or two sentences on what there is to see, with only such numbers as every machine gives. HTML
    pages read it from the image's metadata. JupyterLab shows images without alternative text, so the text
    follows as HTML that only screen readers meet. Outside Jupyter this prints "figure: ALT"."""
    alt = " ".join(alt.split())
    if get_ipython() is None:
        print(f"figure: {alt}")
    else:
        picture = to_png(figure)
        width, height = (round(n * SCREEN_DPI / DPI) for n in Image.open(io.BytesIO(picture)).size)
        data = {"image/png": base64.b64encode(picture).decode(), "text/plain": f"figure: {alt}"}
        display(data, metadata={"image/png": {"alt": alt, "width": width, "height": height}}, raw=True)
        display({"text/html": f'<span style="{UNSEEN}">Figure: {html.escape(alt)}</span>'}, raw=True)
    plt.close(figure)


def to_numpy(values: Any) -> np.ndarray:
    """Return a tensor, array or list as a numpy array of floats, for drawing."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=float)


def show_whitespace(labels: Iterable[str]) -> list[str]:
    """Return tokens with their outer spaces and newlines made visible: " the" -> "␣the", "\\n" -> "↵"."""
    shown = (re.sub(r"^ +| +\Z", lambda spaces: "␣" * len(spaces[0]), str(label)) for label in labels)
    return [label.replace("\n", "↵").replace("\t", "⇥") for label in shown]


def show_bytes(piece: bytes, drawn: bool = False) -> str:
    """Return a token's bytes as text, with hex for bytes that show nothing: b" \\xf0\\x9f" -> "␣⟨F0 9F⟩".

    drawn: write characters in hex that the letters of a figure lack."""
    text, parts, last = piece.decode("utf-8", "surrogateescape"), [], DRAWN if drawn else chr(sys.maxunicode)
    for seen, run in groupby(text, lambda c: c in "\n\t" or (c.isprintable() and c < last)):
        part = "".join(run)
        parts.append(part if seen else f"⟨{part.encode('utf-8', 'surrogateescape').hex(' ').upper()}⟩")
    return show_whitespace(["".join(parts)])[0]
