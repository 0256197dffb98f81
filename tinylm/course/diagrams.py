"""Diagrams: two drawings of the course: the ladder of models, and a model's own plan.

`architecture` is read off the model that it is given, layer by layer, so that it cannot drift from the code.
Shown in notebooks 00_start_here and 03_transformer."""

from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from tinylm.course import style
from tinylm.course.style import BLUE, GREY, INK, PALE
from tinylm.errors import InputError

LADDER = (  # notebooks, name, size, what it does
    ("00–06", "Characters", "0.8M", "guesses the next letter of Shakespeare"),
    ("07–10", "TinyStories", "51M", "tells a short story that hangs together"),
    ("11–13", "GPT-2", "124M", "GPT-2's own size, on text from the web"),
    ("14–16", "Modern", "MoE", "today's blocks, a mixture of experts"),
    ("17–18", "Chat", "", "answers when it is asked"),
    ("19", "Demo", "", "on a web page, for others to try"),
)


@style.styled
def ladder(here: str | None = None) -> None:
    """The course's ladder of models, from the lowest rung up; `here` names the rung where we are.

    Raises InputError when there is no such rung."""
    names = [name for _, name, _, _ in LADDER]
    if here is not None and here not in names:
        raise InputError(f'the ladder has no rung "{here}": use one of {", ".join(names)}')
    figure, axes = style.new_figure(9.4, 5.0)
    axes.set(xlim=(0, 9.4), ylim=(0, 6 * 0.8 + 0.1))
    axes.axis("off")
    for i, (notebooks, name, size, about) in enumerate(LADDER):
        left, low, width = 0.05 + 0.32 * i, 0.1 + 0.8 * i, 7.6
        box(axes, left, low, width, 0.66, BLUE if name == here else PALE, BLUE)
        look = {"va": "center", "color": "white" if name == here else INK}
        middle = low + 0.33
        axes.text(left + 0.16, middle, notebooks, fontsize=13, **look)
        axes.text(left + 0.95, middle, name, fontsize=15, fontweight="bold", **look)
        axes.text(left + 2.62, middle, size, fontsize=15, **look)
        axes.text(left + 3.5, middle, about, fontsize=13, **look)
        if name == here:
            axes.text(left + width + 0.1, middle, "◀ here", va="center", fontsize=13, color=BLUE)
    rungs = ", ".join(name + (f" ({size})" if size else "") for _, name, size, _ in LADDER)
    at = f" We are at {here}." if here else ""
    style.show(figure, f"The ladder of models, from the lowest rung up: {rungs}.{at}")


def box(
    axes: Axes, left: float, low: float, width: float, height: float, colour: Any, edge: str, line: str = "-"
) -> None:
    """A rounded box."""
    look = {"facecolor": colour, "edgecolor": edge, "linewidth": 1.4, "linestyle": line}
    shape = "round,pad=0,rounding_size=0.1"
    axes.add_patch(FancyBboxPatch((left, low), width, height, boxstyle=shape, **look))


STREAM, LEFT, RIGHT, COUNT = 1.45, 2.15, 3.35, 8.85  # inches: the stream, a branch's two boxes, the counts


@style.styled
def architecture(model: nn.Module) -> None:
    """Draw a GPT from itself: the residual stream upwards, what adds to it, shapes and parameters.

    Neighbouring blocks with the same parts are drawn once, with how many there are."""
    embedding, head, blocks = model.token_embedding, model.head, list(model.blocks)
    channels, tied, total = embedding.embedding_dim, head.weight is embedding.weight, _count(model)
    plan = _Plan()
    plan.note("tokens (B, T)")
    plan.on_stream("token embedding", _inside(embedding), _count(embedding), style.tint(style.SKY))
    if model.position_embedding is not None:
        plan.position(model.position_embedding)
    plan.rise(0.62)
    plan.text(STREAM + 0.15, plan.y - 0.2, f"x (B, T, {channels})")
    for _, same in groupby(blocks, key=lambda block: [(k, v.shape) for k, v in block.named_parameters()]):
        plan.blocks(*same)
    plan.on_stream("final norm", _inside(model.final_norm), _count(model.final_norm), PALE)
    inside, count = ("the token embedding's own matrix", "0 more") if tied else (_inside(head), _count(head))
    plan.on_stream("head", inside, count, style.tint(style.SKY))
    plan.arrow((STREAM, plan.y), (STREAM, plan.y + 0.35), width=3.2)
    plan.y += 0.4
    plan.note(f"logits (B, T, {head.out_features})")
    plan.axes.set(xlim=(0, 9.05), ylim=(-0.05, plan.y + 0.05), title=f"GPT: {total:,} parameters")
    plan.axes.axis("off")
    plan.figure.set_size_inches(9.05, plan.y + 0.6)
    told = (
        f"Plan of the model, from tokens below to logits above: embeddings of width {channels}, "
        f"{len(blocks)} blocks whose attention and MLP each add to the residual stream, "
        f"a final norm and {'a head tied to the embedding' if tied else 'a head'}; {total:,} parameters."
    )
    style.show(plan.figure, told)


class _Plan:
    """A drawing that grows upwards. y is the height reached, in inches."""

    def __init__(self) -> None:
        self.figure, self.axes = style.new_figure(9.0, 8.0)
        self.y = 0.0

    def text(self, x: float, y: float, text: str, size: int = 13, **look: Any) -> None:
        self.axes.text(x, y, text, **({"va": "center", "fontsize": size, "color": INK} | look))

    def middle(self, x: float, y: float, text: str, size: int = 14, **look: Any) -> None:
        self.text(x, y, text, size, ha="center", **look)

    def count(self, text: str | int, y: float, **look: Any) -> None:
        self.text(COUNT, y, text if isinstance(text, str) else f"{text:,}", ha="right", **look)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], width: float = 1.8) -> None:
        look = {"arrowstyle": "-|>", "mutation_scale": 14, "linewidth": width, "color": INK}
        self.axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **look))

    def rise(self, by: float) -> None:
        """The residual stream itself: a thick line upwards."""
        top = self.y + by
        self.axes.plot([STREAM, STREAM], [self.y, top], color=INK, linewidth=3.2, linestyle="-", zorder=0)
        self.y = top

    def note(self, text: str) -> None:
        self.middle(STREAM, self.y + 0.15, text, fontweight="bold")
        self.y += 0.32

    def on_stream(self, name: str, inside: str, count: str | int, colour: Any) -> None:
        self.rise(0.22)
        box(self.axes, 0.35, self.y, 2.2, 0.46, colour, INK)
        self.middle(STREAM, self.y + 0.23, name)
        self.text(2.75, self.y + 0.23, inside)
        self.count(count, self.y + 0.23)
        self.y += 0.46

    def position(self, part: nn.Module) -> None:
        self.rise(0.45)
        box(self.axes, LEFT, self.y - 0.23, 2.6, 0.46, style.tint(style.ORANGE), INK)
        self.middle(LEFT + 1.3, self.y, "position embedding")
        self.text(LEFT + 2.75, self.y, _inside(part))
        self.join(LEFT)
        self.count(_count(part), self.y)

    def join(self, x: float) -> None:
        """An arrow from x back to the stream, and the sign of an addition."""
        self.arrow((x, self.y), (STREAM + 0.14, self.y))
        look = {"color": "white", "markeredgecolor": INK, "markeredgewidth": 1.8}
        self.axes.plot(STREAM, self.y, "o", markersize=19, **look)
        self.axes.plot(STREAM, self.y, "+", markersize=12, color=INK, markeredgewidth=2.2)

    def blocks(self, block: nn.Module, *others: nn.Module) -> None:
        """One block in a dashed frame, and how many of its kind follow one another."""
        low, n, each = self.y, 1 + len(others), _count(block)
        self.rise(0.1)
        heads = f"{block.attn.n_head} heads: " if hasattr(block.attn, "n_head") else ""
        self.branch(block.attn_norm, "attention", block.attn, heads, style.tint(style.GREEN))
        self.branch(block.mlp_norm, "MLP", block.mlp, "", style.tint(style.PINK))
        self.rise(0.2)
        times = f"{n} × {each:,} = {n * each:,}" if n > 1 else each
        self.count(times, self.y - 0.22, fontweight="bold")
        box(self.axes, 0.1, low, 8.9, self.y - low, "none", GREY, "--")
        self.text(0.3, (low + self.y) / 2, f"{n} ×\nblock", 15, fontweight="bold")
        self.rise(0.1)

    def branch(self, norm: nn.Module, name: str, part: nn.Module, extra: str, colour: Any) -> None:
        """Off the stream, through a norm and a part, and back on: x = x + part(norm(x))."""
        out, centre = self.y + 0.45, RIGHT + 2.1
        box(self.axes, LEFT, out - 0.33, 0.95, 0.66, PALE, INK)
        self.middle(LEFT + 0.475, out + 0.13, "norm")
        self.middle(LEFT + 0.475, out - 0.15, f"{_count(norm):,}", 12)
        box(self.axes, RIGHT, out - 0.33, 4.2, 0.66, colour, INK)
        self.middle(centre, out + 0.14, name, fontweight="bold")
        self.middle(centre, out - 0.15, extra + _inside(part), 12)
        self.count(_count(part), out)
        self.arrow((STREAM, out), (LEFT, out))
        self.arrow((LEFT + 0.95, out), (RIGHT, out))
        self.rise(1.1)
        self.axes.plot([centre, centre], [out + 0.33, self.y], color=INK, linewidth=1.8, linestyle="-")
        self.join(centre)


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _inside(part: nn.Module) -> str:
    """What a part is made of: its own matrices, as sizes."""
    if isinstance(part, nn.Embedding):
        return f"{part.num_embeddings:,} × {part.embedding_dim}"
    if isinstance(part, nn.Linear):
        return f"{part.in_features} → {part.out_features:,}"
    linears = ((name, child) for name, child in part.named_children() if isinstance(child, nn.Linear))
    sizes = [f"{name} {_inside(linear)}" for name, linear in linears]
    if isinstance(activation := getattr(part, "activation", None), str):
        sizes.insert(1, activation)
    return ", ".join(sizes) or type(part).__name__
