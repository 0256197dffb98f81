"""Checks of notebook 03_transformer, and what it goes on with where a part is blank."""

import functools
import inspect
import re

import torch
import torch.nn.functional as F
from torch import nn

from tinylm.course.checks import exercise, marked
from tinylm.course.exercises import nb02
from tinylm.course.exercises.nb02 import blank_module, learns, random
from tinylm.model.attention import CausalSelfAttention as PackageAttention
from tinylm.model.attention import explicit_attention
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT as PackageGPT
from tinylm.storage.export import gpt2_name as given_gpt2_name


class GivenAttention(PackageAttention):
    """The package's layer with GPT-2's settings."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__(ModelConfig(n_embd=n_embd, n_head=n_head))


def given_embed(tokens, token_table, position_table):
    """A vector for each token plus one for its place, (B, T, C)."""
    return token_table[tokens] + position_table[: tokens.shape[1]]


def given_layer_norm(x, gain, bias, epsilon=1e-5):
    """Mean 0 and spread 1 in the last dimension, then gain and bias."""
    return F.layer_norm(x, (x.shape[-1],), gain, bias, epsilon)


def package(**sizes: int) -> PackageGPT:
    """The package's GPT at a small size, all its numbers drawn anew: nothing is left out unseen."""
    sizes = {"vocab_size": 11, "context_length": 7, "n_layer": 1, "n_head": 2, "n_embd": 6} | sizes
    model = PackageGPT(ModelConfig(**sizes)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.4, generator=generator)
    return model


class GivenMLP(nn.Module):
    """C to 4C, GELU, and back."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.up = nn.Linear(n_embd, 4 * n_embd)
        self.down = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x):
        """x (B, T, C) to (B, T, C)."""
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class GivenBlock(nn.Module):
    """Look around, think, and add both to the stream."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        inside = PackageGPT(ModelConfig(n_layer=1, n_head=n_head, n_embd=n_embd)).blocks[0]
        self.attn_norm, self.attn = inside.attn_norm, inside.attn
        self.mlp_norm, self.mlp = inside.mlp_norm, inside.mlp

    def forward(self, x):
        """x (B, T, C) to (B, T, C)."""
        x = x + self.attn(self.attn_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class GivenGPT(nn.Module):
    """Tokens in, logits out."""

    def __init__(self, vocab_size: int, context_length: int, n_layer: int, n_head: int, n_embd: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, n_embd)
        self.position_embedding = nn.Embedding(context_length, n_embd)
        self.blocks = nn.ModuleList(GivenBlock(n_embd, n_head) for _ in range(n_layer))
        self.final_norm = nn.LayerNorm(n_embd)
        self.head = nn.Linear(n_embd, vocab_size, bias=False)
        self.head.weight = self.token_embedding.weight

    def forward(self, tokens):
        """tokens (B, T) to logits (B, T, V)."""
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))


def given_training_step(model, optimizer, tokens, targets):
    """One step downhill; the loss before it, as a float."""
    loss = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def same_weights(check: exercise, mine: nn.Module, theirs: nn.Module) -> None:
    """As in 02; and no buffer, because the model's numbers are loaded by name, into it and out of it."""
    nb02.same_weights(check, mine, theirs)
    saved = [name for name in mine.state_dict() if name not in dict(theirs.state_dict())]
    told = (
        f"`{saved[0]}` would be saved with the weights: register_buffer(..., persistent=False)"
        if saved
        else ""
    )
    check.that(not saved, told)


def _joined(layer: nn.Module, heads: torch.Tensor) -> torch.Tensor:
    """Heads (B, H, T, D) side by side again, and through the layer's proj."""
    return layer.proj(heads.transpose(1, 2).flatten(2))


@marked("3.1 · your attention layer", given=GivenAttention)
def CausalSelfAttention(check: exercise, mine) -> None:
    """qkv, cut into heads, the formula, proj."""
    for B, T, C, H in ((2, 5, 12, 3), (3, 7, 10, 2)):
        module, ours, x = mine(C, H).eval(), GivenAttention(C, H).eval(), random(B, T, C, seed=C)
        blank_module(check, module, x)
        loop = hasattr(module, "heads")
        check.that(not loop, "that is MultiHead with its loop: bring the layer with qkv and proj")
        same_weights(check, module, ours)
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter.normal_(0.0, 0.4, generator=torch.Generator().manual_seed(parameter.numel()))
            module.load_state_dict(ours.state_dict(), strict=False)
            parts = ours.qkv(x).chunk(3, dim=-1)  # (B, T, C) each
            q, k, v = (part.reshape(B, T, H, -1).transpose(1, 2) for part in parts)  # (B, H, T, D) each
            cut = [part.reshape(B, H, T, -1) for part in parts]  # the silent mistake of 02
            found = explicit_attention(q, k, v)[0]

            joined = functools.partial(_joined, ours)
            scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
            seen = torch.ones(T, T).tril().bool()
            usual = {
                "it sees the future: the mask is missing": joined(torch.softmax(scores, -1) @ v),
                "a masked score must be −∞: 0 is a score like any other": joined(
                    torch.softmax(scores * seen, -1) @ v
                ),
                "softmax runs over the columns, dim=-1": joined(
                    torch.softmax(scores.masked_fill(~seen, -torch.inf), -2) @ v
                ),
                "divide by the root of D, not by D": joined(
                    explicit_attention(q / q.shape[-1] ** 0.5, k, v)[0]
                ),
                "the scores are not divided by √D": joined(
                    explicit_attention(q * q.shape[-1] ** 0.5, k, v)[0]
                ),
                "the root of D, the width of a head, not of C": joined(
                    explicit_attention(q / H**0.5, k, v)[0]
                ),
                "proj is missing": found.transpose(1, 2).flatten(2),
                "queries and keys are exchanged: qkv holds q, then k, then v": joined(
                    explicit_attention(k, q, v)[0]
                ),
                "qkv holds queries, keys, values, in this order": joined(explicit_attention(v, k, q)[0]),
                "H must stand in front of T again before the heads are joined: transpose(1, 2)": ours.proj(
                    found.reshape(B, T, C)
                ),
                "view alone cuts the text, not the rows: transpose(1, 2) after it": joined(
                    explicit_attention(*cut)[0]
                ),
                "view alone cuts the text, not the rows: see 2.6": ours.proj(
                    explicit_attention(*cut)[0].reshape(B, T, C)
                ),
                "is it cut into heads? That is one head of C numbers": ours.proj(
                    explicit_attention(*parts)[0]
                ),
                "the stream itself is not added here: the block does that": ours(x) + x,
            }
            try:
                answer = check.run(module, x)
            except NameError as error:
                told = f"your class uses `{error.name}`, which this notebook does not have yet: bring it too"
                check.that(False, told)
        check.that(not isinstance(answer, tuple), "return the results alone: out, _ = attention(...)")
        right = ours(x).detach()
        check.close(answer.detach(), right, "02's layer: qkv, heads, attention, proj", usual=usual, rtol=1e-3)
        learns(check, module, x)


@marked("3.2 · tokens and positions", given=given_embed)
def embed(check: exercise, mine) -> None:
    """Rows of one table by token, rows of the other by place."""
    for B, T, C, V, longest, seed in ((2, 5, 3, 11, 7, 0), (3, 4, 6, 5, 4, 1)):
        tokens = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))
        table, places = random(V, C, seed=seed), random(longest, C, seed=seed + 5)
        right = given_embed(tokens, table, places)
        looked = table[tokens]
        usual = {
            "the positions are missing": looked,
            "the tokens are missing": places[:T].expand(B, T, C),
            "the first T rows are those of the positions 0 to T − 1": looked + places[-T:],
            "positions count from 0": looked + places.roll(-1, 0)[:T],
            "the row follows from the place, not from the token": looked + places[tokens % longest],
            "the two are added, not multiplied": looked * places[:T],
            "each place has its own row, not the mean of all": looked + places.mean(0),
            "the first row is that of position 0 alone": looked + places[0],
        }
        try:
            answer = check.run(mine, tokens, table, places)
        except RuntimeError as error:
            check.that(
                "must match" not in str(error),
                "a text may be shorter than the table of places: take its first T rows, T = tokens.shape[1]",
            )
            raise
        check.close(answer, right, "token_table[tokens], plus a row of position_table", usual=usual)


@marked("3.3 · LayerNorm", given=given_layer_norm)
def layer_norm(check: exercise, mine) -> None:
    """(x − μ) / √(σ² + ε) · gain + bias, over the last dimension."""
    check.forbid(mine, "layer_norm", "LayerNorm", "batch_norm", "group_norm", "native_layer_norm")
    for shape, scale in (((5, 7), 1.0), ((2, 3, 6), 0.003)):
        x, C = scale * random(*shape) + scale, shape[-1]
        gain, bias = random(2, C, seed=8)
        mean, spread = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
        off = x - mean
        right = given_layer_norm(x, gain, bias)
        usual = {
            "is your epsilon inside the root?": off / (spread.sqrt() + 1e-5) * gain + bias,
            "is the epsilon there?": off / spread.sqrt() * gain + bias,
            "is the root there?": off / (spread + 1e-5) * gain + bias,
            "the variance divides by C: torch's var and std divide by C − 1": off
            / (x.var(-1, keepdim=True) + 1e-5).sqrt()
            * gain
            + bias,
            "torch's std divides by C − 1, and the epsilon belongs inside the root": off
            / (x.std(-1, keepdim=True) + 1e-5)
            * gain
            + bias,
            "is the mean taken off?": x / (spread + 1e-5).sqrt() * gain + bias,
            "the gain is missing": off / (spread + 1e-5).sqrt() + bias,
            "the bias is missing": off / (spread + 1e-5).sqrt() * gain,
            "gain and bias are missing": off / (spread + 1e-5).sqrt(),
            "gain and bias are exchanged": off / (spread + 1e-5).sqrt() * bias + gain,
            "the bias is added last": (off / (spread + 1e-5).sqrt() + bias) * gain,
            "the mean runs over the last dimension, not over all": (x - x.mean())
            / (x.var(correction=0) + 1e-5).sqrt()
            * gain
            + bias,
            "over the last dimension, dim=-1": F.layer_norm(x.transpose(0, -1), (shape[0],)).transpose(0, -1)
            * gain
            + bias,
            "the mean of the squares, not their sum": off / (C * spread + 1e-5).sqrt() * gain + bias,
        }
        try:
            answer = check.run(mine, x, gain, bias)
        except RuntimeError as error:
            told = "mean(dim=-1) drops the dimension: with keepdim=True it stays, as 1, and the shapes fit"
            check.that("must match" not in str(error), told)
            raise
        check.close(answer, right, "compare with the formula, part by part", usual=usual)


@marked("3.4 · the MLP", given=GivenMLP)
def MLP(check: exercise, mine) -> None:
    """down(gelu(up(x)))."""
    for C in (6, 5):
        module, ours, x = mine(C), GivenMLP(C), random(2, 3, C, seed=C)
        blank_module(check, module, x)
        same_weights(check, module, ours)
        with torch.no_grad():
            up, right = ours.up(x), ours(x)
            usual = {
                "the activation function is missing: two matrices in a row are one": ours.down(up),
                "that is ReLU: use gelu": ours.down(F.relu(up)),
                "torch's default GELU: take its tanh approximation, the notebook's gelu": ours.down(
                    F.gelu(up)
                ),
                "the activation function stands between up and down, not behind them": F.gelu(
                    ours.down(up), approximate="tanh"
                ),
                "gelu belongs behind up, not before it": ours.down(ours.up(F.gelu(x, approximate="tanh"))),
                "once is enough: nothing follows down": F.gelu(right, approximate="tanh"),
                "the stream is not added here: the block does that": right + x,
            }
            answer = check.run(module, x)
        check.close(answer.detach(), right, "down of gelu of up", usual=usual)
        learns(check, module, x)


@marked("3.5 · the block", given=GivenBlock)
def Block(check: exercise, mine) -> None:
    """x + attn(norm(x)), then x + mlp(norm(x))."""
    for C, H in ((6, 2), (12, 3)):
        ours, x = package(n_embd=C, n_head=H).blocks[0], random(2, 5, C, seed=C)
        module = mine(C, H).eval()
        blank_module(check, module, x)
        same_weights(check, module, ours)
        check.that(module.attn_norm is not module.mlp_norm, "attn_norm and mlp_norm are two norms: make two")
        with torch.no_grad():
            a, right = ours.attn(ours.attn_norm(x)), ours(x)
            middle = x + a
            m = ours.mlp(ours.mlp_norm(middle))
            post = ours.attn_norm(x + ours.attn(x))
            first = x + ours.mlp(ours.mlp_norm(x))
            usual = {
                "x is not added back behind attention": a + ours.mlp(ours.mlp_norm(a)),
                "x is not added back behind the MLP": m,
                "nothing is added back: x + … twice": ours.mlp(ours.mlp_norm(a)),
                "the MLP adds to what attention left, not to the first x": x + m,
                "the MLP reads what attention left, not the first x": middle + ours.mlp(ours.mlp_norm(x)),
                "norm before each part, not after the sum": ours.mlp_norm(post + ours.mlp(post)),
                "the norms are missing": x + ours.attn(x) + ours.mlp(x + ours.attn(x)),
                "the norm before the MLP is missing": middle + ours.mlp(middle),
                "the norm before attention is missing": x
                + ours.attn(x)
                + ours.mlp(ours.mlp_norm(x + ours.attn(x))),
                "attention first, then the MLP": first + ours.attn(ours.attn_norm(first)),
                "the MLP is missing": middle,
                "attention is missing": first,
                "the two norms are exchanged": x
                + ours.attn(ours.mlp_norm(x))
                + ours.mlp(ours.attn_norm(x + ours.attn(ours.mlp_norm(x)))),
                "the stream itself is never normed": ours.attn_norm(x)
                + a
                + ours.mlp(ours.mlp_norm(ours.attn_norm(x) + a)),
            }
            answer = check.run(module, x)
        check.close(answer.detach(), right, "norm, part, add: twice", usual=usual, rtol=1e-3, atol=1e-5)
        learns(check, module, x)


@marked("3.6 · the GPT", given=GivenGPT)
def GPT(check: exercise, mine) -> None:
    """Embeddings, blocks, final norm, tied head."""
    for n_layer, V, T, longest in ((2, 11, 5, 7), (3, 13, 4, 4)):
        ours = package(n_layer=n_layer, vocab_size=V, context_length=longest)
        tokens = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(T))
        sizes = {"vocab_size": V, "context_length": longest, "n_layer": n_layer, "n_head": 2, "n_embd": 6}
        other = next((name for name in sizes if name not in inspect.signature(mine).parameters), "")
        check.that(not other, f"the contract calls an argument `{other}`, and so do the cells below")
        module = mine(**sizes).eval()
        blank_module(check, module, tokens)
        blocks = getattr(module, "blocks", None)
        check.that(not isinstance(blocks, list), "a plain list hides its parameters: use nn.ModuleList")
        check.that(blocks is None or len(blocks) == n_layer, "as many blocks as n_layer says")
        alone = blocks is None or len({id(block) for block in blocks}) == n_layer
        check.that(alone, "that is one block n_layer times: make a new one for each")
        same_weights(check, module, ours)
        with torch.no_grad():
            right, (start, *_, end) = ours(tokens), ours.residual_stream(tokens)
            bare = x = ours.token_embedding(tokens)
            for block in ours.blocks:
                bare = block(bare)
            usual = {
                "the final norm is missing": ours.head(end),
                "the positions are missing": ours.head(ours.final_norm(bare)),
                "the blocks are missing": ours.head(ours.final_norm(start)),
                "only the first block is used": ours.head(ours.final_norm(ours.blocks[0](start))),
                "x = block(x): each block reads what the one before left": ours.head(
                    ours.final_norm(ours.blocks[-1](start))
                ),
                "logits, not probabilities: softmax comes later": right.softmax(-1),
                "these are vectors: the head makes logits of them": ours.final_norm(end),
                "the norm comes before the head": ours.final_norm(x),
            }
            answer = check.run(module, tokens)
        check.close(answer.detach(), right, "embed, blocks, norm, head", usual=usual, rtol=1e-3, atol=1e-4)
        learns(check, module, tokens)
        tied = getattr(module.head, "weight", None) is module.token_embedding.weight
        check.that(tied, "the head's weight is the token table itself: head.weight = token_embedding.weight")


@marked("3.7 · one training step", given=given_training_step)
def training_step(check: exercise, mine) -> None:
    """Move once against the gradient of this batch; return the loss as a float."""
    for seed in (0, 1):
        tokens, targets = torch.randint(11, (2, 4, 7), generator=torch.Generator().manual_seed(seed))
        model, ours = package(), package()
        F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).backward()  # of an earlier step
        before = torch.cat([p.detach().flatten() for p in model.parameters()])
        loss = F.cross_entropy(ours(tokens).flatten(0, 1), targets.flatten())
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in ours.parameters()])
        sgd = torch.optim.SGD(model.parameters(), lr=1.0)  # it moves by the gradient itself
        answer = check.run(mine, model, sgd, tokens, targets)
        moved = before - torch.cat([p.detach().flatten() for p in model.parameters()])
        own = package()
        F.cross_entropy(own(tokens).flatten(0, 1), tokens.flatten()).backward()
        copied = torch.cat([p.grad.flatten() for p in own.parameters()])
        usual = {
            "nothing moved: loss.backward() and optimizer.step(), in this order": 0 * gradient,
            "zero_grad() must come before backward(): the caller may have left a gradient": 2 * gradient,
            "uphill: the optimiser already has the minus": -gradient,
            "the targets are what comes next, not the tokens themselves": copied,
            "the mean of the losses is asked, not their sum": gradient * targets.numel(),
        }
        check.close(moved, gradient, "not the gradient of this batch", usual=usual, rtol=1e-3, atol=1e-5)
        check.that(not isinstance(answer, torch.Tensor), "return a float: .item() makes one of a tensor")
        with torch.no_grad():
            after = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).item()
        usual = {"that is the loss after the step: return the one before": after}
        check.close(answer, loss.item(), "the loss of this batch, before the step", usual=usual, rtol=1e-4)


@marked("3.8 · GPT-2's names", given=given_gpt2_name)
def gpt2_name(check: exercise, mine) -> None:
    """OpenAI's name to ours, for each of the 148 tensors."""
    kinds = ("weight", "bias")
    parts = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    names = ["wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"]
    names += [f"h.{n}.{part}.{kind}" for n in range(12) for part in parts for kind in kinds]
    for name in names:
        answer, right = check.run(mine, name), given_gpt2_name(name)
        check.that(isinstance(answer, str), "a name is a string")
        told = f"{name} should become {right}, yours becomes {answer}"
        number = re.match(r"h\.(\d+)", name)
        if number and re.match(r"blocks\.\d+\.", answer):
            same = answer.startswith(f"blocks.{number[1]}.")
            check.that(same, f"the number of the block stays: {told}")
        twins = {
            "attn.proj": "mlp.down",
            "mlp.down": "attn.proj",
            "attn_norm": "mlp_norm",
            "mlp_norm": "attn_norm",
        }
        for one, other in twins.items():
            mixed = one in right and answer == right.replace(one, other)
            check.that(not mixed, f"c_proj stands in two places, and so do norms: {told}")
        check.that(answer.split(".")[-1] == name.split(".")[-1], f"weight and bias stay: {told}")
        check.that("." in right and answer.count(".") == right.count("."), f"count the dots: {told}")
        check.that(not answer.startswith("h."), f"h is blocks here: {told}")
        check.that(answer != name, f"{name} is left as it is: it should become {right}")
        check.that(answer == right, told)
