"""Pages: the HTML inside the widgets: bars of probabilities, and what a token looks at.

Plain functions from labels and numbers to a string: no kernel, no script, no network. Every text is
escaped. Refuses to know models and widgets. Used by `widgets`.
"""

import hashlib
import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinylm.course.style import BLUE, GREY, INK, SKY, VERMILION, numbers, visible
from tinylm.errors import TinyLMError

PAGE = (
    f"background:white;color:{INK};padding:10px 14px;border-radius:6px;font-size:16px;line-height:1.5;"
    "max-width:52em;overflow-wrap:anywhere"
)
MONO = "font-family:Menlo,Consolas,monospace"
FAINTEST = 0.01  # a weight below this gets no colour on hovering
SKY_RGB = ",".join(str(int(SKY[i : i + 2], 16)) for i in (1, 3, 5))


def page(inner: str) -> str:
    """A white page that reads the same in Jupyter's light and dark themes."""
    return f'<div style="{PAGE}">{inner}</div>'


def sentence(error: BaseException) -> str:
    """What went wrong, in one sentence: a TinyLMError speaks for itself, another is named."""
    message = " ".join(str(error).split())
    if not isinstance(error, TinyLMError):
        message = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return page(f'<span role="alert" style="color:{VERMILION}">{html.escape(message)}</span>')


def bars(labels: Sequence[str], values: Any, *, title: str = "", top: int | None = None) -> str:
    """One horizontal bar per label, values between 0 and 1; with top, only so many, largest first."""
    values = numbers(values)
    order = np.arange(len(values)) if top is None else np.argsort(-values, kind="stable")[:top]
    rows = "".join(_bar(labels[i], float(values[i])) for i in order)
    left = 1 - float(values[order].sum())
    rest = (
        f"<p style='margin:6px 0 0'>the other {len(values) - len(order)} share {left:.1%}</p>"
        if len(order) < len(values)
        else ""
    )
    heading = f"<p style='margin:0 0 6px'><b>{html.escape(title)}</b></p>" if title else ""
    return page(f"{heading}<table style='border-collapse:collapse;width:100%'>{rows}</table>{rest}")


def _bar(label: str, value: float) -> str:
    shape = f"background:{BLUE};height:1.1em;width:{100 * min(max(value, 0.0), 1.0):.2f}%;min-width:1px"
    cell = "padding:1px 8px;background:white"
    name = html.escape(visible(label))
    return (
        f"<tr><td style='{cell};{MONO};text-align:right;white-space:nowrap'>{name}</td>"
        f"<td style='{cell};width:75%'><div style='{shape}'></div></td>"
        f"<td style='{cell};text-align:right;white-space:nowrap'>{value:.1%}</td></tr>"
    )


def attention(tokens: Sequence[str], weights: Any, position: int, *, top: int = 5) -> str:
    """The text with each token coloured by how much `position` looks at it; weights (T, T).

    The chosen token is framed, the future is grey. Pointing at another token shows what that one looks
    at (style sheets alone do it). The heaviest weights follow as bars.
    """
    weights = numbers(weights)
    if not 0 <= position < len(tokens):
        raise TinyLMError(
            f"position {position} is not among the {len(tokens)} tokens: use 0 to {len(tokens) - 1}"
        )
    seen = repr(list(tokens)).encode() + weights.round(4).tobytes()
    name = "looks-" + hashlib.sha256(seen).hexdigest()[:10]
    spans = "".join(_token(i, token, weights[position], position) for i, token in enumerate(tokens))
    chosen = html.escape(visible(tokens[position]))
    title = f"position {position}, “<span style='{MONO}'>{chosen}</span>”, looks at"
    row = weights[position]
    order = [i for i in np.argsort(-row, kind="stable")[:top] if row[i] > 0]
    looks = "".join(_bar(f"{i} {visible(tokens[i])}", float(row[i])) for i in order)
    heading = f"<p style='margin:0 0 6px'><b>{title}</b></p>"
    return page(
        f"<style>{_on_hover(name, weights)}</style>"
        f"<p id='{name}' style='{MONO};line-height:2.1;margin:0 0 10px'>{spans}</p>"
        f"{heading}<table style='border-collapse:collapse;width:100%'>{looks}</table>"
    )


def _token(i: int, token: str, row: np.ndarray, position: int) -> str:
    colour = f"background:rgba({SKY_RGB},{row[i]:.3f});color:{INK if i <= position else GREY}"
    frame = f"outline:2px solid {VERMILION};font-weight:bold;" if i == position else ""
    title = f"{i}: {row[i]:.1%}"
    end = "<br>" if "\n" in token else ""
    style = f"padding:4px 2px;border-radius:3px;cursor:default;{frame}{colour}"
    return f"<span class='t t{i}' title='{title}' style='{style}'>{html.escape(visible(token))}</span>{end}"


def _on_hover(name: str, weights: np.ndarray) -> str:
    """Style rules: while token i is pointed at, token j has the colour of weights[i, j]."""
    rules = [f"#{name}:has(.t:hover) .t{{background:none!important}}"]
    for i, j in np.argwhere(weights > FAINTEST):
        colour = f"rgba({SKY_RGB},{weights[i, j]:.2f})"
        rules.append(f"#{name}:has(.t{i}:hover) .t{j}.t{{background:{colour}!important}}")
    return "".join(rules)
