"""Exercises of notebook 03_transformer."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tinylm.course.checks import Check
from tinylm.course.exercises.modules import module, random
from tinylm.course.slips import Lesson
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT as PackageGPT

lesson = Lesson("03", "import math, re\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn")
lesson.names["gelu"] = functools.partial(F.gelu, approximate="tanh")
lesson.names["LayerNorm"] = nn.LayerNorm  # the notebook's own class gives the same


def outputs(check: Check, answer: Callable[..., Any], sizes: tuple[Any, ...], *inputs: Any) -> Any:
    """Return what a module returns; no buffer may be saved with its weights."""
    try:
        mine = answer(*sizes)
        told = "that is MultiHead with its loop: bring the layer with qkv and proj"
        check.that(not hasattr(mine, "heads"), told)
        out = module(check, answer, sizes, *inputs)
    except NameError as error:
        told = f"your class uses `{error.name}`, which this notebook does not have yet: bring it too"
        check.that(not error.name, told)
        raise
    extra = min(mine.state_dict().keys() - check.given(*sizes).state_dict().keys(), default="")
    check.that(
        not extra, f"`{extra}` would be saved with the weights: register_buffer(..., persistent=False)"
    )
    return out


def part(check: Check, answer: Callable[..., Any], *case: Any) -> Any:
    """Return what a module returns, which must be one tensor."""
    out = outputs(check, answer, *case)
    check.that(isinstance(out, torch.Tensor), "return the result alone, a tensor: out, _ = attention(...)")
    return out


CausalSelfAttention = lesson.exercise(
    "3.1 · your attention layer",
    """
    def split_heads(x, n_head):
        B, T, C = x.shape
        return x.view(B, T, n_head, C // n_head).transpose(1, 2)  # (B, H, T, D)


    def attention(q, k, v):
        T, D = q.shape[-2:]
        scores = q @ k.transpose(-2, -1) / math.sqrt(D)  # (B, H, T, T)
        may_look = torch.ones(T, T).tril().bool()
        return torch.softmax(scores.masked_fill(~may_look, -math.inf), dim=-1) @ v  # (B, H, T, D)


    class CausalSelfAttention(nn.Module):
        def __init__(self, n_embd, n_head):
            super().__init__()
            self.n_head = n_head
            self.qkv = nn.Linear(n_embd, 3 * n_embd)
            self.proj = nn.Linear(n_embd, n_embd)

        def forward(self, x):
            parts = self.qkv(x).chunk(3, dim=-1)  # (B, T, C) each
            out = attention(*(split_heads(part, self.n_head) for part in parts))  # (B, H, T, D)
            return self.proj(out.transpose(1, 2).flatten(2))  # (B, T, C)
    """,
    run=part,
    cases=[((12, 3), random(2, 5, 12)), ((10, 2), random(3, 7, 10, seed=1))],
    said="02's layer: qkv, heads, attention, proj",
    rtol=1e-3,
    atol=1e-4,
    slips="""
    .masked_fill(~may_look, -math.inf) ->  :: the mask is missing: every position sees the future
    .masked_fill(~may_look, -math.inf) -> * may_look :: a masked score must be −∞: 0 is a score like any other
    -math.inf -> 0.0 :: a masked score must be −∞: 0 is a score like any other
    ~may_look -> may_look :: the past is hidden and the future seen: masked_fill hides where it gets True
    ~may_look -> ~may_look.T :: the mask is transposed: rows are queries, and the past lies to the left
    .tril() -> .tril(1) :: one too many: a position may not see the next one
    .tril() -> .tril(-1) :: a position also sees itself: without it, the first row is NaN
    dim=-1) @ v -> dim=-2) @ v :: softmax runs over the columns, dim=-1
    math.sqrt(D) -> D :: divide by the root of D, not by D
    / math.sqrt(D) ->  :: the scores are not divided by √D
    math.sqrt(D) -> math.sqrt(D * q.shape[1]) :: take the root of D, the width of a head, not of C
    self.proj(out.transpose(1, 2).flatten(2)) -> out.transpose(1, 2).flatten(2) :: proj is missing
    in parts -> in (parts[1], parts[0], parts[2]) :: queries and keys are exchanged: q, k, v is the order
    in parts -> in parts[::-1] :: qkv holds queries, keys, values, in this order
    out.transpose(1, 2).flatten(2) -> out.reshape(x.shape) :: move H behind T again before you join the heads
    view(B, T, n_head, C // n_head).transpose(1, 2) -> reshape(B, n_head, T, C // n_head)
        :: view alone cuts the text, not the rows: transpose(1, 2) after it
    view(B, T, n_head, C // n_head).transpose(1, 2) -> reshape(B, n_head, T, C // n_head)
        && out.transpose(1, 2).flatten(2) -> out.reshape(x.shape)
            :: view alone cuts the text, not the rows: see 2.6
    (split_heads(part, self.n_head) for part in parts) -> parts && out.transpose(1, 2).flatten(2) -> out
        :: that is one head of C numbers: cut q, k and v into heads
    .flatten(2)) -> .flatten(2)) + x :: the stream itself is not added here: the block does that
    @ v -> @ v, scores :: 02's attention returns two things: out, _ = attention(...)
    .flatten(2)) -> .flatten(2)), parts :: return the result alone
    .flatten(2)) -> .flatten(2)).detach() :: nothing can be learnt through it
    return self.proj -> found = self.proj :: is `return` missing?
    3 * n_embd -> 3 * n_embd, bias=False :: `qkv` has no bias
    self.qkv -> self.all :: is not in the contract
    self.qkv = -> self.heads = :: that is MultiHead with its loop
    split_heads(part -> cut_heads(part :: your class uses `cut_heads`, which this notebook does not have yet
    self.proj = -> self.register_buffer("mask", torch.ones(1)) ⏎ self.proj =
        :: `mask` would be saved with the weights
    in parts -> in (parts[2], parts[0], parts[1])
    """,
)


def texts(B: int, T: int, V: int, seed: int) -> torch.Tensor:
    """Return token ids (B, T)."""
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))


embed = lesson.exercise(
    "3.2 · tokens and positions",
    """
    def embed(tokens, token_table, position_table):
        T = tokens.shape[1]
        return token_table[tokens] + position_table[:T]  # (B, T, C) + (T, C)
    """,
    cases=[
        (texts(2, 5, 11, 0), random(11, 3), random(7, 3, seed=5)),
        (texts(3, 3, 5, 1), random(5, 6, seed=1), random(4, 6, seed=6)),
    ],
    said="token_table[tokens], plus a row of position_table",
    slips="""
    + position_table[:T] ->  :: the positions are missing
    token_table[tokens] + -> 0 * token_table[tokens] + :: the tokens are missing
    [:T] -> [-T:] :: take the first T rows: they belong to the positions 0 to T − 1
    [:T] -> .roll(-1, 0)[:T] :: positions count from 0
    [:T] -> [tokens % len(position_table)] :: the row follows from the place, not from the token
    + position -> * position :: the two are added, not multiplied
    [:T] -> .mean(0) :: each position gets its own row, not the mean of all rows
    [:T] -> [0] :: position 0 gets the first row, and every other position its own
    [:T] -> [T - 1] :: each position gets its own row, not all of them the last
    [:T] ->  :: a text may be shorter than the table of places: take its first T rows, T = tokens.shape[1]
    tokens.shape[1] -> tokens.shape[0]
        :: take the first T rows, T = tokens.shape[1]: dimension 0 counts the texts
    return token -> x = token :: is `return` missing?
    [:T] -> [:5] :: T is not always the same: T = tokens.shape[1]
    token_table[tokens] -> token_table[tokens[0]] :: your shape is
    """,
)

layer_norm = lesson.exercise(
    "3.3 · LayerNorm",
    """
    def layer_norm(x, gain, bias, epsilon=1e-5):
        mean = x.mean(dim=-1, keepdim=True)  # (..., 1)
        variance = (x - mean).square().mean(dim=-1, keepdim=True)  # (..., 1)
        return (x - mean) / torch.sqrt(variance + epsilon) * gain + bias
    """,
    cases=[
        (scale * random(*shape) + scale, *random(2, shape[-1], seed=8))
        for shape, scale in (((5, 7), 1.0), ((2, 3, 6), 0.003))
    ],
    said="compare with the formula, part by part",
    forbid=("layer_norm", "LayerNorm", "batch_norm", "group_norm", "native_layer_norm"),
    slips="""
    torch.sqrt(variance + epsilon) -> (variance.sqrt() + epsilon) :: the epsilon belongs inside the root
    variance + epsilon -> variance :: the epsilon is missing: variance + epsilon
    torch.sqrt(variance + epsilon) -> (variance + epsilon) :: the root is missing: divide by √(variance + ε)
    (x - mean).square().mean(dim=-1, keepdim=True) -> x.var(dim=-1, keepdim=True)
        :: the variance divides by C: torch's var and std divide by C − 1
    torch.sqrt(variance + epsilon) -> (x.std(dim=-1, keepdim=True) + epsilon)
        :: torch's std divides by C − 1, and the epsilon belongs inside the root
    return (x - mean) -> return x :: the mean is not subtracted: x - mean is divided
    * gain + bias -> + bias :: the gain is missing
    * gain + bias -> * gain :: the bias is missing
    * gain + bias ->  :: gain and bias are missing
    * gain + bias -> * bias + gain :: gain and bias are exchanged
    return (x -> return ((x && * gain + bias -> + bias) * gain :: the bias is added last
    dim=-1, keepdim=True ->  :: the mean runs over the last dimension, not over all
    dim=-1 -> dim=0 :: take the mean over the last dimension, dim=-1
    .square().mean( -> .square().sum( :: the variance is the mean of the squares, not their sum
    .square() -> .abs() :: the variance is the mean of the squared distances: .square()
    (x - mean).square() -> x.square() :: subtract the mean before you square: this is not the variance
    x.mean(dim=-1, keepdim=True) -> x.mean(dim=-1) :: keepdim=True keeps the last dimension, with size 1
    .square().mean(dim=-1, keepdim=True) -> .square().mean(dim=-1)
        :: keepdim=True keeps the last dimension, with size 1
    = return F.layer_norm(x, (x.shape[-1],), gain, bias, epsilon) :: do without `layer_norm`
    return -> y = :: is `return` missing?
    x.mean(dim=-1, keepdim=True) -> x.mean(dim=-1) @ gain
    """,
)

MLP = lesson.exercise(
    "3.4 · the MLP",
    """
    class MLP(nn.Module):
        def __init__(self, n_embd):
            super().__init__()
            self.up = nn.Linear(n_embd, 4 * n_embd)
            self.down = nn.Linear(4 * n_embd, n_embd)

        def forward(self, x):
            return self.down(gelu(self.up(x)))  # (B, T, C) -> (B, T, 4C) -> (B, T, C)
    """,
    run=part,
    cases=[((6,), random(2, 3, 6)), ((5,), random(2, 3, 5, seed=1))],
    said="down of gelu of up",
    slips="""
    gelu(self.up(x)) -> self.up(x) :: the activation function is missing: two matrices in a row are one
    gelu(self.up -> F.relu(self.up :: that is ReLU: use gelu
    gelu(self.up -> torch.tanh(self.up :: tanh is only a part of the approximation: use gelu
    gelu(self.up -> F.gelu(self.up :: torch's default GELU: use the notebook's, the tanh approximation
    self.down(gelu(self.up(x))) -> gelu(self.down(self.up(x)))
        :: gelu goes between up and down, not after down
    gelu(self.up(x)) -> self.up(gelu(x)) :: gelu comes after up, not before it
    self.down(gelu(self.up(x))) -> gelu(self.down(gelu(self.up(x)))) :: use gelu once, between up and down
    return self -> return x + self :: the stream is not added here: the block does that
    return self -> y = self :: is `return` missing?
    (n_embd, 4 * n_embd) -> (n_embd, 4 * n_embd, bias=False) :: `up` has no bias
    4 * n_embd -> 2 * n_embd :: has the shape
    self.up -> self.a :: is not in the contract
    gelu(self.up(x)) -> gelu(self.up(x).detach()) :: no gradient reaches up.weight: is there a detach?
    self.down(gelu(self.up(x))) -> self.up(gelu(self.down(x)))
    """,
)

Block = lesson.exercise(
    "3.5 · the block",
    """
    class Block(nn.Module):
        def __init__(self, n_embd, n_head):
            super().__init__()
            self.attn_norm = LayerNorm(n_embd)
            self.attn = CausalSelfAttention(n_embd, n_head)
            self.mlp_norm = LayerNorm(n_embd)
            self.mlp = MLP(n_embd)

        def forward(self, x):
            x = x + self.attn(self.attn_norm(x))  # look around
            return x + self.mlp(self.mlp_norm(x))  # think
    """,
    run=part,
    cases=[((6, 2), random(2, 5, 6)), ((12, 3), random(2, 5, 12, seed=1))],
    said="norm, part, add: twice",
    rtol=1e-3,
    atol=1e-4,
    slips="""
    x = x + self.attn -> x = self.attn :: x is not added back after attention: x + …
    return x + self.mlp -> return self.mlp :: x is not added back after the MLP: x + …
    x + self. -> self. :: nothing is added back: write x + … twice
    x = x -> y = x && self.mlp_norm(x) -> self.mlp_norm(y)
        :: the MLP adds to attention's result, not to the first x
    x = x -> y = x && return x -> return y :: the MLP reads attention's result, not the first x
    x + self.attn(self.attn_norm(x)) -> self.attn_norm(x + self.attn(x)) && x + self.mlp(self.mlp_norm(x))
        -> self.mlp_norm(x + self.mlp(x)) :: the norm comes before each part, not after the sum
    self.attn_norm(x) -> x && self.mlp_norm(x) -> x :: the norms are missing
    self.mlp_norm(x) -> x :: the norm before the MLP is missing
    self.attn_norm(x) -> x :: the norm before attention is missing
    self.attn(self.attn_norm(x)) -> self.m(x) && self.mlp(self.mlp_norm(x)) -> self.attn(self.attn_norm(x))
        && self.m(x) -> self.mlp(self.mlp_norm(x)) :: attention first, then the MLP
    return x + self.mlp(self.mlp_norm(x)) -> return x :: the MLP is missing
    x = x + self.attn(self.attn_norm(x)) ->  :: attention is missing
    attn_norm(x -> norm(x && mlp_norm(x -> attn_norm(x && self.norm(x -> self.mlp_norm(x
        :: the two norms are exchanged
    x = x + -> x = self.attn_norm(x) ⏎ x = x + && self.attn(self.attn_norm(x)) -> self.attn(x)
        :: the stream itself is never normed
    self.mlp_norm = LayerNorm(n_embd) -> self.mlp_norm = self.attn_norm
        :: make two norms, not one with two names
    x = x + self.attn -> x += self.attn :: changes a tensor
    return x -> y = x :: is `return` missing?
    self.attn_norm -> self.norm :: is not in the contract
    CausalSelfAttention( -> Attention( :: your class uses `Attention`, which this notebook does not have yet
    x + self. -> x * self.
    """,
)

ARGUMENTS = ("vocab_size", "context_length", "n_layer", "n_head", "n_embd")


def whole(check: Check, answer: Callable[..., Any], sizes: tuple[int, ...], tokens: torch.Tensor) -> Any:
    """Return a GPT's logits; it has n_layer different blocks, and its head is its token table."""
    other = next((name for name in ARGUMENTS if name not in inspect.signature(answer).parameters), "")
    check.that(not other, f"the contract calls an argument `{other}`, and so do the cells below")
    mine = answer(**dict(zip(ARGUMENTS, sizes, strict=True)))
    blocks = getattr(mine, "blocks", None)
    check.that(not isinstance(blocks, list), "a plain list hides its parameters: use nn.ModuleList")
    alone = blocks is None or len(blocks) == len({*blocks}) == sizes[2]
    check.that(alone, "as many blocks as n_layer says, and a new Block for each")
    out = part(check, lambda *sizes: answer(**dict(zip(ARGUMENTS, sizes, strict=True))), sizes, tokens)
    tied = getattr(mine.head, "weight", None) is mine.token_embedding.weight
    check.that(tied, "the head's weight is the token table itself: head.weight = token_embedding.weight")
    return out


GPT = lesson.exercise(
    "3.6 · the GPT",
    """
    class GPT(nn.Module):
        def __init__(self, vocab_size, context_length, n_layer, n_head, n_embd):
            super().__init__()
            self.token_embedding = nn.Embedding(vocab_size, n_embd)
            self.position_embedding = nn.Embedding(context_length, n_embd)
            self.blocks = nn.ModuleList(Block(n_embd, n_head) for _ in range(n_layer))
            self.final_norm = LayerNorm(n_embd)
            self.head = nn.Linear(n_embd, vocab_size, bias=False)
            self.head.weight = self.token_embedding.weight  # one table, two uses

        def forward(self, tokens):
            x = embed(tokens, self.token_embedding.weight, self.position_embedding.weight)  # (B, T, C)
            for block in self.blocks:
                x = block(x)  # (B, T, C)
            return self.head(self.final_norm(x))  # (B, T, V)
    """,
    run=whole,
    cases=[((11, 7, 2, 2, 6), texts(2, 5, 11, 5)), ((13, 4, 3, 2, 6), texts(2, 4, 13, 4))],
    said="embed, blocks, norm, head",
    rtol=1e-3,
    atol=1e-4,
    slips="""
    self.final_norm(x)) -> x) :: the final norm is missing
    embed(tokens, self.token_embedding.weight, self.position_embedding.weight) -> self.token_embedding(tokens)
        :: the positions are missing
    x = block(x) -> block(x) :: the blocks are missing, or their results are not used: x = block(x)
    in self.blocks: -> in self.blocks[:1]: :: only the first block is used
    in self.blocks: -> in self.blocks[::-1]: :: the blocks are used in the wrong order
    for block -> first = x ⏎ for block && block(x) -> block(first)
        :: each block reads the result of the one before
    self.final_norm(x)) -> self.final_norm(x)).softmax(-1) :: logits, not probabilities: softmax comes later
    self.head(self.final_norm(x)) -> self.final_norm(x) :: these are vectors: the head makes logits of them
    self.head(self.final_norm(x)) -> self.final_norm(self.head(x)) :: the norm comes before the head
    x = block(x) -> x = self.final_norm(block(x)) :: the final norm is used once, after the last block
    self.final_norm(x)) -> x) && for block -> x = self.final_norm(x) ⏎ for block
        :: the norm comes after the blocks
    self.final_norm(x)) -> self.final_norm(x))[:, -1] :: return the logits of all T positions
    nn.ModuleList -> list :: use nn.ModuleList
    self.head.weight = self.token_embedding.weight ->  :: the token table itself
    vocab_size, bias=False -> vocab_size :: bias=False
    range(n_layer) -> range(1) :: as many blocks as n_layer says
    (Block(n_embd, n_head) for _ in range(n_layer)) -> ([Block(n_embd, n_head)] * n_layer)
        :: a new Block for each
    final_norm -> norm :: is not in the contract
    n_layer -> layers :: the contract calls an argument `n_layer`
    return self -> logits = self :: is `return` missing?
    self.final_norm(x)) -> self.final_norm(x)).detach() :: nothing can be learnt
    nn.Embedding(context_length -> nn.Embedding(vocab_size :: has the shape
    """,
)


def package(**sizes: int) -> PackageGPT:
    """Return the package's GPT at a small size, with all its numbers drawn anew."""
    sizes = {"vocab_size": 11, "context_length": 7, "n_layer": 1, "n_head": 2, "n_embd": 6} | sizes
    model = PackageGPT(ModelConfig(**sizes)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.4, generator=generator)
    return model


def stepped(check: Check, answer: Callable[..., Any], tokens: torch.Tensor, targets: torch.Tensor) -> Any:
    """Return how far a step moves the parameters, all in one row, and the loss that it returns."""
    model = package()
    F.cross_entropy(model(targets).flatten(0, 1), tokens.flatten()).backward()  # an earlier step's gradient
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)  # it moves by the gradient itself
    loss = check.run(answer, model, sgd, tokens, targets)
    check.that(not isinstance(loss, torch.Tensor), "return a float: .item() makes one of a tensor")
    return {"move": before - nn.utils.parameters_to_vector(model.parameters()).detach(), "loss": loss}


training_step = lesson.exercise(
    "3.7 · one training step",
    """
    def training_step(model, optimizer, tokens, targets):
        loss = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    """,
    run=stepped,
    cases=[(texts(4, 7, 11, seed), texts(4, 7, 11, seed + 2)) for seed in (0, 1)],
    said="the move must be the gradient of this batch, and the loss the one before the step",
    rtol=1e-3,
    atol=1e-5,
    slips="""
    optimizer.step() ->  :: nothing moved: zero_grad(), loss.backward() and optimizer.step(), in this order
    loss.backward() ->  :: nothing moved: zero_grad(), loss.backward() and optimizer.step(), in this order
    optimizer.zero_grad() ->  :: zero_grad() must come before backward(): the caller may have left a gradient
    optimizer.zero_grad() ->  && return -> optimizer.zero_grad() ⏎ return
        :: zero_grad() must come before backward()
    optimizer.zero_grad() ->  && loss.backward() -> loss.backward() ⏎ optimizer.zero_grad()
        :: nothing moved: zero_grad(), loss.backward() and optimizer.step(), in this order
    loss.backward() ⏎ optimizer.step() -> optimizer.step() ⏎ loss.backward()
        :: nothing moved: zero_grad(), loss.backward() and optimizer.step(), in this order
    optimizer.zero_grad() ⏎ loss.backward() ⏎ optimizer.step() -> optimizer.step() ⏎ loss.backward()
        :: backward() must come before step(): it needs the weights that made the loss
    loss.backward() -> (-loss).backward() :: uphill: the optimiser itself subtracts the gradient
    targets.flatten() -> tokens.flatten() :: the targets are what comes next, not the tokens themselves
    targets.flatten() -> targets.flatten(), reduction="sum" :: the mean of the losses is asked, not their sum
    model(tokens) -> model(tokens).softmax(-1) :: cross_entropy takes the logits: no softmax before it
    model(tokens) -> model(targets) :: the model reads the tokens, not the targets
    optimizer.step() -> optimizer.step() ⏎ optimizer.step() :: the optimiser steps once in a step
    loss.item() -> loss :: .item() makes one
    loss.item() -> F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).item()
        :: that is the loss after the step: return the loss before it
    return loss.item() -> print(loss.item()) :: is `return` missing?
    model(tokens).flatten(0, 1), targets.flatten() -> model(tokens), targets :: your code raised
    model(tokens).flatten(0, 1) -> model(tokens).transpose(0, 1).flatten(0, 1)
    optimizer.step() -> for p in model.parameters(): ⏎     p.data -= 0.5 * p.grad
    """,
)

LAYER = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
NAMES = ["wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"] + [
    f"h.{n}.{name}.{kind}" for n in range(12) for name in LAYER for kind in ("weight", "bias")
]

gpt2_name = lesson.exercise(
    "3.8 · GPT-2's names",
    """
    def gpt2_name(name):
        parts = {"wte": "token_embedding", "wpe": "position_embedding", "h.": "blocks."}
        parts |= {"ln_1": "attn_norm", "attn.c_attn": "attn.qkv", "attn.c_proj": "attn.proj"}
        parts |= {"ln_2": "mlp_norm", "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down", "ln_f": "final_norm"}
        for theirs, ours in parts.items():
            name = name.replace(theirs, ours)
        return name
    """,
    cases=[(name,) for name in NAMES],
    said="{0} has another name here",
    slips="""
    "h.": "blocks." -> "h.": "h." :: h is blocks here
    "h.": "blocks." -> "h.": "blocks" :: count the dots: h. becomes blocks.
    "h.": "blocks." -> "h.": "blocks.0." :: count the dots: h. becomes blocks., the number is there already
    return name -> return re.sub(r"\\d+", "0", name) :: the number of the block stays
    return name -> return name.replace("weight", "W") :: weight and bias stay
    "ln_2": "mlp_norm" -> "ln_2": "attn_norm" :: a block has two norms: ln_1 is attn_norm, ln_2 is mlp_norm
    "ln_1": "attn_norm" -> "ln_1": "mlp_norm" :: a block has two norms: ln_1 is attn_norm, ln_2 is mlp_norm
    "mlp.down" -> "attn.proj" :: c_proj appears twice: attn.c_proj is attn.proj, mlp.c_proj is mlp.down
    "attn.proj" -> "mlp.down" :: c_proj appears twice: attn.c_proj is attn.proj, mlp.c_proj is mlp.down
    "attn.c_proj" -> "c_proj" && "attn.proj" -> "proj"
        :: c_proj appears twice: attn.c_proj is attn.proj, mlp.c_proj is mlp.down
    "ln_f": "final_norm" -> "ln_f": "norm" :: ln_f is called final_norm here
    "wte": "token_embedding", ->  :: wte, the table of tokens, is called token_embedding here
    name = name.replace -> name.replace :: the name stays as it was: replace returns a new string
    return name -> return name.split(".") :: your answer is a list, but it should be a string
    return name -> return parts :: your answer is a dictionary, but it should be a string
    return name -> print(name) :: is `return` missing?
    = return "blocks.3.attn.qkv.bias" :: does not use its argument `name`
    = return {"wte.weight": "token_embedding.weight"}[name] :: your code raised KeyError
    "ln_1": "attn_norm", ->  :: ln_1 is called attn_norm here
    "attn.c_proj": "attn.proj" ->
    """,
)

GivenGPT, GivenMLP = lesson.names["GPT"], lesson.names["MLP"]  # for 05 and 12, which build on this notebook
