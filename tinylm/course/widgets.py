"""Widgets: move a slider, see what changes. ipywidgets around plain functions that return a string of HTML.

They need a kernel and no network. What goes wrong is one sentence in the widget, never a traceback. The HTML
has no script in it, and every text is escaped. Used in every notebook, from 00_start_here on."""

import functools
import hashlib
import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np
import torch
from torch import nn

from tinylm.course.style import BLUE, GREY, INK, SKY, VERMILION, show_whitespace, to_numpy
from tinylm.errors import InputError, TinyLMError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate_text, next_logits
from tinylm.inference.sampling import probabilities, tokens_seen
from tinylm.model.gpt import eval_mode


def explore(function: Callable[..., str | None], *, height: str | None = None, **controls: Any) -> Any:
    """Controls above the result of function(**values), redrawn whenever one of them moves.

    A control is an ipywidget, or short for one: (1, 64) or (0.1, 3.0, 0.1) is a slider from, to, by, and a
    fourth number says where it begins; "text" a text box; ["a", "b"] a menu. The function returns a string of
    HTML, replaced in place, or draws a chart: then height, e.g. "420px", keeps the page still."""
    knobs = {name: _control(name, short) for name, short in controls.items()}
    page = ipywidgets.HTML()

    def draw(**values: Any) -> None:
        try:
            page.value = function(**values) or ""
        except Exception as error:
            page.value = html_error(error)

    paper = ipywidgets.interactive_output(draw, knobs)
    paper.layout.min_height = height
    return ipywidgets.VBox([*knobs.values(), page, paper])


def _control(name: str, short: Any) -> Any:
    """The widget that ipywidgets makes of a short form, with a readable name."""
    if isinstance(short, ipywidgets.Widget):
        return short
    control = ipywidgets.interactive.widget_from_abbrev(short[:3] if isinstance(short, tuple) else short)
    if control is None:
        raise InputError(f"control {name} is {short!r}: give a widget, (from, to, by), a text or a list")
    if isinstance(short, tuple):
        control.value = short[3] if len(short) == 4 else short[0]  # by itself it begins in the middle
    control.description, control.layout.width = name.replace("_", " "), "38em"
    control.style.description_width = "8em"
    return control


def _require_text(text: str) -> None:
    if not text:
        raise InputError("there is no text: type at least one character")


def next_character(predict: Callable[[str], Any], tokenizer: Any, text: str) -> Any:
    """Type a text, see the dozen characters that are most probable next.

    predict: a function from a text (never an empty one) to probabilities (V,)."""
    labels = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]

    def draw(text: str) -> str:
        _require_text(text)
        return html_bars(labels, predict(text), title=f"after “{text}”", top=12)

    return explore(draw, text=text)


def sampling_widget(model: nn.Module, tokenizer: Any, text: str) -> Any:
    """Type a text, move the sampling rules, and see which tokens may still follow, and what would be written.

    Every token of the vocabulary has its row: its probability by the model, and after the rules, which at
    first change nothing. Below stand 60 tokens drawn by these rules; the seed decides which."""
    labels = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]

    def draw(text: str, seed: int, repetition: float, **rules: Any) -> str:
        _require_text(text)
        config = GenerationConfig(max_new_tokens=60, repetition_penalty=repetition, **rules)
        ids = [tokenizer.encode(text).tolist()]
        with eval_mode(model.modules()):
            logits = next_logits(model, ids).cpu()  # (1, V)
        after = probabilities(logits, config, tokens_seen(ids, logits.size(-1)))  # (1, V)
        table = html_before_after(labels, probabilities(logits)[0], after[0], title=f"after “{text}”")
        generator = torch.Generator().manual_seed(seed)
        written = generate_text(model, tokenizer, text, config, generator=generator)
        words = f"<b>{html.escape(text)}</b>{html.escape(written)}"
        return table + html_page(f"<div style='{MONO};white-space:pre-wrap'>{words}</div>")

    sliders = {"temperature": (0.0, 3.0, 0.05, 1.0), "top_k": (0, len(labels))}
    sliders |= {"top_p": (0.05, 1.0, 0.05, 1.0), "min_p": (0.0, 1.0, 0.01)}
    sliders |= {"repetition": (0.5, 3.0, 0.05, 1.0), "seed": (0, 99, 1, 1)}
    return explore(draw, text=text, **sliders)


def attention_viewer(model: nn.Module, tokenizer: Any, text: str) -> Any:
    """Which tokens each token looks at: choose the layer, the head and the position, or point at a token.

    Reads the text's first 48 tokens, never more than the model's context_length."""
    limit = min(48, model.config.context_length)
    device = next(model.parameters()).device

    @functools.lru_cache(maxsize=1)  # computed once for each text, not for each move of another control
    def read(text: str) -> tuple[list[str], list[np.ndarray]]:
        _require_text(text)
        tokens = torch.as_tensor(tokenizer.encode(text), device=device)[:limit]  # (T,)
        maps = model.attention_maps(tokens[None])  # n_layer × (1, H, T, T)
        return [tokenizer.decode([int(token)]) for token in tokens], [to_numpy(layer[0]) for layer in maps]

    def draw(text: str, layer: int, head: int, position: int) -> str:
        tokens, maps = read(text)
        where.max = len(tokens) - 1  # where the text has become shorter, the slider moves to its end
        weights = maps[layer].mean(0) if head < 0 else maps[layer][head]  # (T, T)
        return html_attention(tokens, weights, min(position, len(tokens) - 1))

    heads = [*((f"head {i}", i) for i in range(model.config.n_head)), ("mean of the heads", -1)]
    typed, where = _control("text", text), _control("position", (0, limit - 1, 1, limit - 1))
    typed.continuous_update = False
    return explore(draw, text=typed, layer=(0, model.config.n_layer - 1), head=heads, position=where)


PAGE = (
    f"background:white;color:{INK};padding:10px 14px;border-radius:6px;font-size:16px;line-height:1.5;"
    "max-width:52em;overflow-wrap:anywhere"
)
MONO = "font-family:Menlo,Consolas,monospace"
FAINTEST = 0.01  # a weight below this gets no colour on hovering
SKY_RGB = ",".join(str(int(SKY[i : i + 2], 16)) for i in (1, 3, 5))


def html_page(inner: str) -> str:
    """A white page that reads the same in Jupyter's light and dark themes."""
    return f'<div style="{PAGE}">{inner}</div>'


def html_error(error: BaseException) -> str:
    """What went wrong, in one sentence: a TinyLMError speaks for itself, another is named."""
    message = " ".join(str(error).split())
    if not isinstance(error, TinyLMError):
        message = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return html_page(f'<span role="alert" style="color:{VERMILION}">{html.escape(message)}</span>')


def html_bars(labels: Sequence[str], values: Any, *, title: str = "", top: int | None = None) -> str:
    """One horizontal bar per label, values between 0 and 1; with top, only so many, largest first."""
    values = to_numpy(values)
    order = np.arange(len(values)) if top is None else np.argsort(-values, kind="stable")[:top]
    shown = (_heading(html.escape(title)) if title else "") + _table((labels[i], values[i]) for i in order)
    if others := len(values) - len(order):
        shown += f"<p style='margin:6px 0 0'>the other {others} share {1 - values[order].sum():.1%}</p>"
    return html_page(shown)


def _label(text: str) -> str:
    return html.escape(show_whitespace([text])[0])


def _heading(bold: str, rest: str = "") -> str:
    return f"<p style='margin:0 0 6px'><b>{bold}</b>{rest}</p>"


def _table(rows: Any) -> str:
    cell = "padding:1px 8px;background:white"
    inner = ""
    for label, value in rows:
        bar = f"background:{BLUE};height:1.1em;width:{100 * min(max(value, 0.0), 1.0):.2f}%;min-width:1px"
        inner += (
            f"<tr><td style='{cell};{MONO};text-align:right;white-space:nowrap'>{_label(label)}</td>"
            f"<td style='{cell};width:75%'><div style='{bar}'></div></td>"
            f"<td style='{cell};text-align:right;white-space:nowrap'>{value:.1%}</td></tr>"
        )
    return f"<table style='border-collapse:collapse;width:100%'>{inner}</table>"


def html_before_after(labels: Sequence[str], before: Any, after: Any, *, title: str = "") -> str:
    """A row for each label, the most probable first: a pale bar before the rules, a dark one after.

    before, after: probabilities (V,). A label that may no longer be drawn says so."""
    before, after = to_numpy(before), to_numpy(after)  # (V,) each
    full = max(float(before.max()), float(after.max()))  # the longest bar fills its place
    rows = ""
    for i in np.argsort(-before, kind="stable"):
        bars = ""
        for colour, chance in ((SKY, before[i]), (BLUE, after[i])):
            bars += f"<div style='background:{colour};height:0.45em;width:{100 * chance / full:.2f}%'></div>"
        share = f"{before[i]:.1%} → " + (f"{after[i]:.1%}" if after[i] > 0 else "never")
        name = "width:2em;text-align:right;padding-right:8px;white-space:pre"
        rows += (
            "<div style='display:flex;align-items:center;break-inside:avoid'>"
            f"<span style='{name}'>{_label(labels[i])}</span>"
            f"<div style='flex:1'>{bars}</div><span style='width:11em;text-align:right'>{share}</span></div>"
        )
    kept = f": {int((after > 0).sum())} of {len(labels)} tokens may be drawn"
    heading = _heading(html.escape(title), f"{kept} (pale: by the model, dark: after the rules)")
    columns = f"column-width:20em;column-gap:2em;{MONO};font-size:13px;line-height:1.3"
    return html_page(f"{heading}<div style='{columns}'>{rows}</div>")


def html_attention(tokens: Sequence[str], weights: Any, position: int) -> str:
    """The text with each token coloured by how much `position` looks at it; weights (T, T).

    The chosen token is framed, the future is grey. Pointing at another token shows what that one looks at
    (style sheets alone do it). The five heaviest weights follow as bars."""
    weights = to_numpy(weights)
    row = weights[position]
    # a name of its own, so that two texts on one page do not colour each other
    seen = repr(list(tokens)).encode() + weights.round(4).tobytes()
    name = f"looks-{hashlib.sha256(seen).hexdigest()[:10]}"
    rules = [f"#{name}:has(.t:hover) .t{{background:none!important}}"]
    for i, j in np.argwhere(weights > FAINTEST):
        colour = f"rgba({SKY_RGB},{weights[i, j]:.2f})"
        rules.append(f"#{name}:has(.t{i}:hover) .t{j}.t{{background:{colour}!important}}")
    spans = ""
    for i, token in enumerate(tokens):
        look = f"background:rgba({SKY_RGB},{row[i]:.3f});color:{INK if i <= position else GREY}"
        frame = f"outline:2px solid {VERMILION};font-weight:bold;" if i == position else ""
        look = f"padding:4px 2px;border-radius:3px;cursor:default;{frame}{look}"
        spans += f"<span class='t t{i}' title='{i}: {row[i]:.1%}' style='{look}'>{_label(token)}</span>"
        spans += "<br>" if "\n" in token else ""
    order = [i for i in np.argsort(-row, kind="stable")[:5] if row[i] > 0]
    heading = f"position {position}, “<span style='{MONO}'>{_label(tokens[position])}</span>”, looks at"
    return html_page(
        f"<style>{''.join(rules)}</style>"
        f"<p id='{name}' style='{MONO};line-height:2.1;margin:0 0 10px'>{spans}</p>"
        + _heading(heading)
        + _table((f"{i} {tokens[i]}", row[i]) for i in order)
    )
