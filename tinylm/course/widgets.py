"""Widgets: move a slider, see what changes. ipywidgets around the plain functions of `pages`.

They need a kernel and no network. What goes wrong is one sentence in the widget, never a traceback.
Each stands beside a static figure, which is what a page on the web shows.
Taught in notebooks 01_characters and 02_attention.
"""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import torch
from IPython import get_ipython
from IPython.display import clear_output
from torch import Tensor, nn

from tinylm.course import pages
from tinylm.course.style import numbers
from tinylm.errors import TinyLMError
from tinylm.model.gpt import eval_mode

LABEL = {"description_width": "8em"}
WIDE = {"width": "38em"}


def explore(function: Callable[..., str | None], *, height: str | None = None, **controls: Any) -> Any:
    """Controls above the result of function(**values), redrawn whenever one of them moves.

    A control is an ipywidget, or short for one: (1, 64) or (0.1, 3.0, 0.1) is a slider from, to, by; True a
    tick box; "text" a text box; ["a", "b"] a menu. The function returns a string of HTML, which is replaced
    in place, or draws with `plots`. height, e.g. "420px", keeps the page still while a figure is redrawn.
    """
    knobs = {name: _control(name, short) for name, short in controls.items()}
    page, paper = ipywidgets.HTML(), ipywidgets.Output()
    paper.layout.min_height = height

    def draw(_change: Any = None) -> None:
        with paper:
            if get_ipython() is not None:
                clear_output(wait=True)  # what is there stays until its successor is drawn: no flicker
            try:
                page.value = function(**{name: knob.value for name, knob in knobs.items()}) or ""
            except Exception as error:
                page.value = pages.sentence(error)

    for knob in knobs.values():
        knob.observe(draw, names="value")
    draw()
    return ipywidgets.VBox([*knobs.values(), page, paper])


def _control(name: str, short: Any) -> Any:
    """The widget that a short form stands for, with a readable name."""
    if isinstance(short, ipywidgets.Widget):
        return short
    look = {"description": name.replace("_", " "), "style": LABEL, "layout": WIDE}
    if isinstance(short, bool):
        return ipywidgets.Checkbox(value=short, description=look["description"])
    if isinstance(short, str):
        return ipywidgets.Text(value=short, continuous_update=True, **look)
    if isinstance(short, list | Mapping):
        choices = list(short.items()) if isinstance(short, Mapping) else short  # ipywidgets 7 warns of a dict
        return ipywidgets.Dropdown(options=choices, **look)
    if isinstance(short, tuple) and len(short) in (2, 3):
        whole = all(isinstance(number, int) for number in short)
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        low, high = short[:2]
        step = short[2] if len(short) == 3 else 1 if whole else (high - low) / 100
        return kind(value=low, min=low, max=high, step=step, **look)
    raise TinyLMError(f"control {name} is {short!r}: give a widget, (from, to, by), True, a text or a list")


def next_character(
    predict: Any, tokenizer: Any, text: str = "th", *, top: int = 12, warm: bool = False
) -> Any:
    """Type a text, see which characters may come next and how probable each is.

    predict: a function from a text (never an empty one) to probabilities (V,), or a GPT.
    warm: also a slider for the temperature.
    """
    labels = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    chances = gpt_chances(predict, tokenizer) if isinstance(predict, nn.Module) else predict

    def draw(text: str, temperature: float = 1.0) -> str:
        if not text:
            raise TinyLMError("there is no text to go on from: type at least one character")
        values = numbers(chances(text))  # (V,)
        if temperature != 1.0:
            # softmax(log(p) / temperature), without the logarithm of a probability of 0
            values = (values / values.max()) ** (1 / temperature)  # (V,)
            values = values / values.sum()
        return pages.bars(labels, values, title=f"after “{text}”", top=top)

    knobs = {"temperature": _slider("temperature", 1.0, 0.1, 3.0, 0.1)} if warm else {}
    return explore(draw, text=text, **knobs)


def gpt_chances(model: nn.Module, tokenizer: Any) -> Callable[[str], Tensor]:
    """A function from a text to a GPT's probabilities (V,) for the next token."""

    @torch.no_grad()
    def chances(text: str) -> Tensor:
        tokens = _ids(model, tokenizer, text)[-model.config.context_length :]  # (T,)
        with eval_mode(model.modules()):
            return torch.softmax(model(tokens[None])[0, -1].float(), -1)  # (V,)

    return chances


def softmax_temperature(scores: Mapping[str, float]) -> Any:
    """Scores by name through softmax(scores / temperature): sharp when cold, flat when hot."""
    values = torch.tensor(list(scores.values()), dtype=torch.float64)

    def draw(temperature: float) -> str:
        title = f"softmax(scores / {temperature:.2f})"
        return pages.bars(list(scores), torch.softmax(values / temperature, -1), title=title)

    return explore(draw, temperature=_slider("temperature", 1.0, 0.05, 5.0, 0.05))


def score_scaling(*, n_keys: int = 8, largest: int = 512, seed: int = 0) -> Any:
    """Why attention divides by √D: one random query, n_keys random keys, head_dim on a slider."""

    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(1000, largest, generator=generator, dtype=torch.float64)  # (1000, largest)
    keys = torch.randn(n_keys, largest, generator=generator, dtype=torch.float64)  # (n_keys, largest)

    def draw(head_dim: int, divide: bool) -> str:
        scores = queries[:, :head_dim] @ keys[:, :head_dim].T  # (1000, n_keys)
        if divide:
            scores = scores / head_dim**0.5  # (1000, n_keys)
        weights = torch.softmax(scores[0], -1)  # (n_keys,)
        title = (
            f"scores spread by {float(scores.std()):.1f}; the largest weight is {float(weights.max()):.0%}"
        )
        return pages.bars([f"key {i}" for i in range(n_keys)], weights, title=title)

    return explore(
        draw, head_dim=(1, largest), divide=ipywidgets.Checkbox(value=False, description="divide by √D")
    )


def attention_viewer(model: nn.Module, tokenizer: Any, text: str, *, max_tokens: int = 48) -> Any:
    """Which tokens each token looks at: choose the layer, the head and the position, or point at a token.

    Reads the first max_tokens tokens of the text (never more than the model's context_length).
    """
    limit = min(max_tokens, model.config.context_length)
    box = ipywidgets.Text(value=text, description="text", continuous_update=False, style=LABEL, layout=WIDE)
    layer = _whole("layer", 0, model.config.n_layer - 1)
    heads = [(f"head {i}", i) for i in range(model.config.n_head)] + [("mean of the heads", -1)]
    head = ipywidgets.Dropdown(options=heads, description="head", style=LABEL, layout=WIDE)
    position = _whole("position", 0, limit - 1)
    page = ipywidgets.HTML()
    read: dict[str, Any] = {}

    def look(_change: Any = None) -> None:
        try:
            if read.get("text") != box.value:
                read.update(tokens=[], maps=[], text=box.value)
                read["tokens"], read["maps"] = attention_of(model, tokenizer, box.value, limit)
                last = len(read["tokens"]) - 1
                with position.hold_trait_notifications():
                    position.max = last
                    position.value = last
            elif not read["tokens"]:
                return
            maps = read["maps"][layer.value]  # (H, T, T)
            weights = maps.mean(0) if head.value == -1 else maps[head.value]  # (T, T)
            page.value = pages.attention(read["tokens"], weights, position.value)
        except Exception as error:
            page.value = pages.sentence(error)

    for knob in (box, layer, head, position):
        knob.observe(look, names="value")
    look()
    return ipywidgets.VBox([box, layer, head, position, page])


def attention_of(model: nn.Module, tokenizer: Any, text: str, limit: int) -> tuple[list[str], list[Tensor]]:
    """The first `limit` tokens of a text as strings, and each layer's weights (H, T, T) over them."""
    if not text:
        raise TinyLMError("there is no text to look at: type at least one character")
    tokens = _ids(model, tokenizer, text)[:limit]  # (T,)
    maps = model.attention_maps(tokens[None])
    return [tokenizer.decode([int(token)]) for token in tokens], [weights[0] for weights in maps]


def _ids(model: nn.Module, tokenizer: Any, text: str) -> Tensor:
    return torch.as_tensor(tokenizer.encode(text), device=next(model.parameters()).device)  # (T,)


def _slider(name: str, value: float, low: float, high: float, step: float) -> Any:
    look = {"description": name, "style": LABEL, "layout": WIDE}
    return ipywidgets.FloatSlider(value=value, min=low, max=high, step=step, **look)


def _whole(name: str, low: int, high: int) -> Any:
    look = {"description": name, "style": LABEL, "layout": WIDE}
    return ipywidgets.IntSlider(value=low, min=low, max=high, **look)
