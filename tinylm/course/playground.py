"""Playground: the sampling rules on sliders, and every token's probability before and after them.

Knows a model, its tokenizer and the rules of inference/sampling. Refuses to know where the model came from.
What goes wrong is one sentence in the widget. Needs a kernel and no network; a figure stands beside it.
Taught in notebook 05_sampling."""

import html
from collections.abc import Sequence
from typing import Any

import ipywidgets
import torch
from torch import nn

from tinylm.course import pages, widgets
from tinylm.course.style import BLUE, SKY, numbers, visible
from tinylm.errors import TinyLMError
from tinylm.inference.config import DEFAULT, GenerationConfig
from tinylm.inference.generate import generate_text, next_logits
from tinylm.inference.sampling import probabilities, tokens_seen
from tinylm.model.gpt import eval_mode


def sampler(model: nn.Module, tokenizer: Any, text: str, *, n_written: int = 60) -> Any:
    """Type a text, move the rules, and see which tokens may still follow, and what would be written.

    Every token of the vocabulary has its row: its probability by the model, and after the rules. Below
    stand n_written tokens drawn by these rules; the seed decides which."""
    labels = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]

    def draw(text: str, seed: int, **rules: Any) -> str:
        if not text:
            raise TinyLMError("there is no text to go on from: type at least one character")
        config = GenerationConfig(max_new_tokens=n_written, **rules)
        ids = [tokenizer.encode(text).tolist()]
        with eval_mode(model.modules()):
            logits = next_logits(model, ids).cpu()  # (1, V)
        seen = tokens_seen(ids, logits.size(-1))  # (1, V)
        table = before_and_after(
            labels, probabilities(logits)[0], probabilities(logits, config, seen)[0], title=f"after “{text}”"
        )
        generator = torch.Generator().manual_seed(seed)
        written = generate_text(model, tokenizer, text, config, generator=generator)
        said = f"<b>{html.escape(text)}</b>{html.escape(written)}"
        return table + pages.page(f"<div style='{pages.MONO};white-space:pre-wrap'>{said}</div>")

    return widgets.explore(
        draw,
        text=text,
        temperature=_slider("temperature", DEFAULT.temperature, 0.0, 3.0, 0.05),
        top_k=_slider("top k", DEFAULT.top_k, 0, len(labels), 1),
        top_p=_slider("top p", DEFAULT.top_p, 0.05, 1.0, 0.05),
        min_p=_slider("min p", DEFAULT.min_p, 0.0, 1.0, 0.01),
        repetition_penalty=_slider("repetition", DEFAULT.repetition_penalty, 0.5, 3.0, 0.05),
        seed=_slider("seed", 1, 0, 99, 1),
    )


def before_and_after(labels: Sequence[str], before: Any, after: Any, *, title: str = "") -> str:
    """A page with a row for each label, the most probable first: a pale bar before, a dark one after.

    before, after: probabilities (V,). A label that may no longer be drawn says so."""
    before, after = numbers(before), numbers(after)  # (V,) each
    order = sorted(range(len(labels)), key=lambda i: -before[i])
    full = max(float(before.max()), float(after.max()))  # the longest bar fills its place
    rows = "".join(_row(labels[i], float(before[i]), float(after[i]), full) for i in order)
    kept = f"{int((after > 0).sum())} of {len(labels)} tokens may be drawn"
    kinds = "pale: by the model, dark: after the rules"
    heading = f"<p style='margin:0 0 6px'><b>{html.escape(title)}</b>: {kept} ({kinds})</p>"
    columns = f"column-width:20em;column-gap:2em;{pages.MONO};font-size:13px;line-height:1.3"
    return pages.page(f"{heading}<div style='{columns}'>{rows}</div>")


def _row(label: str, before: float, after: float, full: float) -> str:
    name = html.escape(visible(label))
    share = f"{before:.1%} → {after:.1%}" if after > 0 else f"{before:.1%} → never"
    bars = "".join(
        f"<div style='background:{colour};height:0.45em;width:{100 * chance / full:.2f}%'></div>"
        for colour, chance in ((SKY, before), (BLUE, after))
    )
    return (
        "<div style='display:flex;align-items:center;break-inside:avoid'>"
        f"<span style='width:2em;text-align:right;padding-right:8px;white-space:pre'>{name}</span>"
        f"<div style='flex:1'>{bars}</div><span style='width:11em;text-align:right'>{share}</span></div>"
    )


def _slider(name: str, value: float, low: float, high: float, step: float) -> Any:
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    look = {"description": name, "style": widgets.LABEL, "layout": widgets.WIDE}
    return kind(value=value, min=low, max=high, step=step, **look)
