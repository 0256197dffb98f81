"""Widgets: move a slider and see what changes. They are ipywidgets around functions that return HTML.

They need a kernel and no network. An error is one sentence in the widget, never a traceback. The HTML holds
no script, and every text is escaped. Used in every notebook, from 00_start_here on."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import ipywidgets
import numpy as np
import torch
from matplotlib.colors import to_hex
from torch import nn

from tinylm.course import style
from tinylm.course.style import show_whitespace, to_numpy
from tinylm.errors import InputError, TinyLMError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate_text, next_logits, prompt_ids
from tinylm.inference.sampling import probabilities, tokens_seen
from tinylm.model.gpt import eval_mode


def explore(function: Callable[..., str | None], *, height: str | None = None, **controls: Any) -> Any:
    """Show controls above the result of function(**values), which is redrawn whenever a control moves.

    A control is an ipywidget or a short form: (1, 64) or (0.1, 3.0, 0.1) is a slider (from, to, by), and a
    fourth number is its first value; "text" is a text box; ["a", "b"] is a menu. The function returns a
    string of HTML, or draws a chart: then a height such as "420px" keeps the page from jumping. A control
    called text must not be empty: the widget says so."""
    knobs = {name: _control(name, short) for name, short in controls.items()}
    page, faults = ipywidgets.HTML(), []

    def draw(**values: Any) -> None:
        try:
            if values.get("text") == "":
                raise InputError("there is no text: type at least one character")
            page.value = function(**values) or ""
        except Exception as error:  # the message of a TinyLMError is enough, another error needs its name
            kind = "" if isinstance(error, TinyLMError) else f"{type(error).__name__}: "
            faults.extend([error] if kind else [])
            message = " ".join(f"{kind}{error}".split())
            page.value = html_page(f'<span role="alert" class="wrong">{html.escape(message)}</span>')

    paper = ipywidgets.interactive_output(draw, knobs)
    if faults:  # it fails with its first values, so the cell is wrong and not the choice
        raise faults[0]
    paper.layout.min_height = height
    return ipywidgets.VBox([*knobs.values(), page, paper])


def _control(name: str, short: Any) -> Any:
    """Return the widget for a short form, with a readable name."""
    control = ipywidgets.interactive.widget_from_abbrev(short[:3] if isinstance(short, tuple) else short)
    if isinstance(short, tuple):
        control.value = short[3] if len(short) == 4 else short[0]  # by itself it begins in the middle
    if not control.description:
        control.description, control.layout.width = name.replace("_", " "), "38em"
        control.style.description_width = "8em"
    return control


def next_character(predict: Callable[[str], Any], tokenizer: Any, text: str) -> Any:
    """Type a text, and see the twelve most probable next characters.

    predict: a function from a text, which is never empty, to probabilities (V,)."""
    labels = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]

    def draw(text: str) -> str:
        return html_bars(labels, predict(text), title=f"after “{text}”", top=12)

    return explore(draw, text=text)


def sampling_widget(model: nn.Module, tokenizer: Any, text: str) -> Any:
    """Type a text, move the sampling rules, and see which tokens may still follow and what is written.

    Every token of the vocabulary has a row with its probability before and after the rules. At first the
    rules change nothing. Below are 120 tokens drawn with these rules and this seed."""
    labels = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]

    def draw(text: str, seed: int, repetition: float, **rules: Any) -> str:
        config = GenerationConfig(max_new_tokens=120, repetition_penalty=repetition, **rules)
        with eval_mode(model.modules()):
            logits = next_logits(model, [prompt_ids(tokenizer, text)]).cpu()  # (1, V)
        seen = tokens_seen([tokenizer.encode(text)], len(labels))
        before, after = probabilities(logits)[0], probabilities(logits, config, seen)[0]  # (V,) each
        table = html_before_after(labels, before, after, title=f"after “{text}”")
        generator = torch.Generator().manual_seed(seed)
        written = generate_text(model, tokenizer, text, config, generator=generator)
        return table + html_page(f"<pre><b>{html.escape(text)}</b>{html.escape(written)}</pre>")

    rules = {"temperature": (0.0, 3.0, 0.05, 1.0), "top_k": (0, len(labels))}
    rules |= {"top_p": (0.05, 1.0, 0.05, 1.0), "min_p": (0.0, 1.0, 0.01)}
    return explore(draw, text=text, **rules, repetition=(0.5, 3.0, 0.05, 1.0), seed=(0, 99, 1, 1))


def attention_viewer(model: nn.Module, tokenizer: Any, text: str) -> Any:
    """See which tokens each token looks at: choose the layer, the head and the position.

    Only the first 48 tokens of the text are read, or context_length if that is less."""
    limit = min(48, model.config.context_length)
    device = next(model.parameters()).device

    def draw(text: str, layer: int, head: int, position: int) -> str:
        tokens = torch.as_tensor(tokenizer.encode(text), device=device)[:limit]  # (T,)
        where.max = len(tokens) - 1  # a shorter text moves the slider back to its end
        weights = model.attention_maps(tokens[None])[layer][0]  # (H, T, T)
        weights = weights.mean(0) if head < 0 else weights[head]  # (T, T)
        names = [tokenizer.decode([token]) for token in tokens.tolist()]
        return html_attention(names, weights, min(position, len(tokens) - 1))

    heads = [*((f"head {i}", i) for i in range(model.config.n_head)), ("mean of the heads", -1)]
    typed, where = ipywidgets.Text(text), _control("position", (0, limit - 1, 1, limit - 1))
    typed.continuous_update = False
    return explore(draw, text=typed, layer=(0, model.config.n_layer - 1), head=heads, position=where)


def token_colours(tokenizers: Mapping[str, Any], text: str) -> Any:
    """Type a text, choose a tokenizer by its name, and see the text cut into tokens, with their number."""

    def draw(text: str, tokenizer: str) -> str:
        chosen = tokenizers[tokenizer]
        ids = chosen.encode(text).tolist()
        piece = getattr(chosen, "token_bytes", lambda i: chosen.decode([i]))  # a character is never in parts
        size, n = len(text.encode()), len(ids)
        counts = f"{len(text):,} characters, {size:,} bytes, {n:,} tokens: {size / n:.2f} bytes per token"
        counts += " (the first 1,000 are drawn)" if n > 1000 else ""
        return html_tokens([piece(i) for i in ids[:1000]], ids, title=counts)

    return explore(draw, text=ipywidgets.Textarea(text, rows=3), tokenizer=list(tokenizers))


SHEET = Template(Path(__file__).with_suffix(".css").read_text("utf-8")).substitute(vars(style))


def html_page(inner: str, title: str = "", rest: str = "") -> str:
    """Return a white page that looks the same in Jupyter's light and dark themes.

    Its first line is the title, which may be any text, in bold, and the rest of the line."""
    heading = f"<p><b>{html.escape(title)}</b>{rest}</p>" if title or rest else ""
    return f'<style>{SHEET}</style><div class="tinylm">{heading}{inner}</div>'


def _rows(rows: Iterable[tuple[str, Sequence[float], str]], kind: str = "rows") -> str:
    """Return a row for each (label, lengths of its bars from 0 to 1, text at its end)."""
    shown = ""
    for label, parts, said in rows:
        bars = "".join(f"<i style='width:{100 * min(max(part, 0.0), 1.0):.2f}%'></i>" for part in parts)
        name = f"<code>{html.escape(*show_whitespace([label]))}</code>"
        shown += f"<div>{name}<span class='bars'>{bars}</span><span class='said'>{said}</span></div>"
    return f"<div class='{kind}'>{shown}</div>"


def html_bars(labels: Sequence[str], values: Any, *, title: str = "", top: int | None = None) -> str:
    """Return one horizontal bar for each label, values from 0 to 1. `top` keeps the largest, in order."""
    values = to_numpy(values)
    order = np.arange(len(values)) if top is None else np.argsort(-values, kind="stable")[:top]
    shown = _rows((labels[i], [values[i]], f"{values[i]:.1%}") for i in order)
    if others := len(values) - len(order):
        shown += f"<p>the other {others} share {1 - values[order].sum():.1%}</p>"
    return html_page(shown, title)


def html_before_after(labels: Sequence[str], before: Any, after: Any, *, title: str = "") -> str:
    """Return a row for each label, the most probable first: a pale bar before the rules, a dark one after.

    before, after: probabilities (V,). A label that can't be drawn any more says "never"."""
    before, after = to_numpy(before), to_numpy(after)  # (V,) each
    full, rows = max(before.max(), after.max()), []  # the longest bar fills its place
    for i in np.argsort(-before, kind="stable"):
        share = f"{after[i]:.1%}" if after[i] > 0 else "never"
        rows.append((labels[i], (before[i] / full, after[i] / full), f"{before[i]:.1%} → {share}"))
    kept = f": {(after > 0).sum()} of {len(labels)} tokens may be drawn"
    return html_page(_rows(rows, "pairs"), title, f"{kept} (pale: by the model, dark: after the rules)")


def html_attention(tokens: Sequence[str], weights: Any, position: int) -> str:
    """Return the text with each token coloured by how much `position` looks at it; weights (T, T).

    The chosen token is framed, later tokens are grey. The five largest weights follow as bars."""
    row, names, spans = to_numpy(weights)[position], show_whitespace(tokens), ""
    for i, token in enumerate(tokens):
        kind = "look" + (" asks" if i == position else " later" if i > position else "")
        look = f"class='{kind}' title='{i}: {row[i]:.1%}' style='--look:{row[i]:.3f}'"
        spans += f"<bdi {look}>{html.escape(names[i])}</bdi>" + ("<br>" if "\n" in token else "")
    name = html.escape(names[position])
    asked = f"<p class='text'>{spans}</p><p><b>position {position}, “<code>{name}</code>”, looks at</b></p>"
    most = [i for i in np.argsort(-row, kind="stable")[:5] if row[i] > 0]
    return html_page(asked + _rows((f"{i} {names[i]}", [row[i]], f"{row[i]:.1%}") for i in most))


def html_tokens(pieces: Sequence[str | bytes], ids: Sequence[int] | None = None, title: str = "") -> str:
    """Return a text cut into tokens, with six colours in turn and a border around each token.

    pieces: the tokens as text, or as bytes if a token may be a part of a character. Bytes that show nothing
    are written in hex. Pointing at a token shows its id and its bytes. Tokens go from left to right in any
    script, in the order of the ids."""
    colours = [to_hex(style.tint(colour)) for colour in style.COLOURS]
    shown = ""
    for i, piece in enumerate(pieces):
        whole = piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else bytes(piece)
        told = ("" if ids is None else f"id {int(ids[i])}, ") + f"bytes {whole.hex(' ').upper()}"
        look = f"class='piece' style='background:{colours[i % len(colours)]}'"
        shown += f"<bdi {look} title='{told}'>{html.escape(style.show_bytes(whole))}</bdi>"
        shown += "<br>" if b"\n" in whole else ""
    return html_page(f"<p class='text'>{shown}</p>", title)
