"""Answers that people give to 03_transformer: none that is wrong passes, and most are told why."""

import pytest
from torch import nn, no_grad

from tests.course.exercises.marking import assert_wrong, function
from tinylm.course.exercises import nb03
from tinylm.model.attention import CausalSelfAttention


def attention_layer(n_embd, n_head):
    return CausalSelfAttention(n_embd, n_head, bias=True, dropout=0.0, qk_norm=False)


def count(V, T, L, C):
    return V * C + T * C + L * (12 * C * C + 9 * C) + (2 * L + 1) * 2 * C


NOTEBOOK = {
    "gelu": lambda x: nn.functional.gelu(x, approximate="tanh"),
    "embed": nb03.given_embed,
    "layer_norm": nb03.given_layer_norm,
    "LayerNorm": nn.LayerNorm,
    "attention_layer": attention_layer,
    "MLP": nb03.GivenMLP,
    "Block": nb03.GivenBlock,
    "count": count,
}


def norm(mean="x.mean(-1, keepdim=True)", root="torch.sqrt(v + epsilon)", end=" * gain + bias"):
    return f"mean = {mean}\nv = (x - mean).square().mean(-1, keepdim=True)\nreturn (x - mean) / {root}{end}"


def rms(divide="torch.sqrt(s + epsilon)", s="x.square().mean(-1, keepdim=True)", end=" * gain"):
    return f"s = {s}\nreturn x / {divide}{end}"


def module(head, init, forward):
    name, sizes = head.rstrip(")").split("(")
    body = "".join(f"        {line}\n" for line in init.splitlines())
    rest = "".join(f"        {line}\n" for line in forward.splitlines())
    return (
        f"class {name}(nn.Module):\n    def __init__(self, {sizes}):\n        super().__init__()\n{body}\n"
        f"    def forward(self, x):\n{rest}"
    )


THINK = "return self.down(gelu(self.up(x)))"
UP_DOWN = "self.up = nn.Linear(C, 4 * C)\nself.down = nn.Linear(4 * C, C)"


def mlp(forward, init=UP_DOWN):
    return module("MLP(C)", init, forward)


PARTS = (
    "self.attn_norm, self.mlp_norm = LayerNorm(C), LayerNorm(C)\n"
    "self.attn, self.mlp = attention_layer(C, H), MLP(C)"
)


def block(forward, init=PARTS):
    return module("Block(C, H)", init, forward)


WHOLE = (
    "self.token_embedding, self.position_embedding = nn.Embedding(V, C), nn.Embedding(T, C)\n"
    "self.blocks = nn.ModuleList(Block(C, H) for _ in range(L))\n"
    "self.final_norm, self.head = LayerNorm(C), nn.Linear(C, V, bias=False)\n"
    "self.head.weight = self.token_embedding.weight"
)


def gpt(
    start="embed(x, self.token_embedding.weight, self.position_embedding.weight)",
    loop="for block in self.blocks:\n    x = block(x)",
    end="return self.head(self.final_norm(x))",
    init=WHOLE,
):
    return module("GPT(V, T, L, H, C)", init, f"x = {start}\n{loop}\n{end}")


LOSS = "nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())"


def step(*lines, loss=LOSS, back="return loss.item()"):
    return "\n".join([f"loss = {loss}", *lines, back])


ZERO, BACKWARD, MOVE = "optimizer.zero_grad()", "loss.backward()", "optimizer.step()"
WIDTH = "width = 64\nwhile {}:\n    width += 64\nreturn {}"
WRONG = {
    "embed": function(
        "embed(tokens, token_table, position_table)",
        ("return token_table[tokens]", "the positions are missing"),
        ("return position_table[: tokens.shape[1]].expand(*tokens.shape, -1)", "the tokens are missing"),
        ("return token_table[tokens] + position_table[-tokens.shape[1] :]", "the first T rows"),
        ("return token_table[tokens] + position_table.roll(-1, 0)[: tokens.shape[1]]", "count from 0"),
        ("return token_table[tokens] + position_table[tokens % len(position_table)]", "from the place"),
        ("return token_table[tokens] * position_table[: tokens.shape[1]]", "not multiplied"),
        ("return token_table[tokens] + position_table.mean(0)", "not the mean of all"),
        ("return token_table[tokens] + position_table[0]", "position 0 alone"),
        ("print(token_table[tokens] + position_table[: tokens.shape[1]])", "is `return` missing?"),
        ("return token_table[tokens] + position_table", "your code raised"),
        ("return token_table[tokens] + position_table[: len(tokens)]", None),
        ("return token_table[tokens[0]] + position_table[: tokens.shape[1]]", "your shape is"),
    ),
    "layer_norm": function(
        "layer_norm(x, gain, bias, epsilon=1e-5)",
        (norm(root="(v.sqrt() + epsilon)"), "inside the root"),
        (norm(root="torch.sqrt(v)"), "is the epsilon there?"),
        (norm(root="(v + epsilon)"), "is the root there?"),
        (norm(root="torch.sqrt(x.var(-1, keepdim=True) + epsilon)"), "divide by C − 1"),
        (norm(root="(x.std(-1, keepdim=True) + epsilon)"), "divide by C − 1"),
        (norm().replace("(x - mean) /", "x /"), "is the mean taken off?"),
        (norm(end=" + bias"), "the gain is missing"),
        (norm(end=" * gain"), "the bias is missing"),
        (norm(end=" * bias + gain"), "exchanged"),
        (
            norm().replace("return (x", "return ((x").replace(" * gain + bias", " + bias) * gain"),
            "added last",
        ),
        (norm(mean="x.mean(-1)"), None),
        (
            norm(mean="x.mean()").replace(".square().mean(-1, keepdim=True)", ".square().mean()"),
            "not over all",
        ),
        ("return nn.functional.layer_norm(x, (x.shape[-1],), gain, bias, epsilon)", "do without"),
        (norm().replace("return", "print(") + ")", "is `return` missing?"),
        (
            norm().replace(".mean(-1, keepdim=True)\nreturn", ".sum(-1, keepdim=True)\nreturn"),
            "not their sum",
        ),
    ),
    "MLP": [
        (mlp("return self.down(self.up(x))"), "the activation function is missing"),
        (mlp("return self.down(nn.functional.relu(self.up(x)))"), "that is ReLU"),
        (mlp("return self.down(nn.functional.gelu(self.up(x)))"), "the other GELU"),
        (mlp("return gelu(self.down(self.up(x)))"), "between up and down"),
        (mlp("return self.down(self.up(gelu(x)))"), "behind up"),
        (mlp("return gelu(self.down(gelu(self.up(x))))"), "once is enough"),
        (mlp("return x + self.down(gelu(self.up(x)))"), "the block does that"),
        (mlp("print(self.down(gelu(self.up(x))))"), "is `return` missing?"),
        (mlp(THINK, UP_DOWN.replace("(C, 4 * C", "(C, 4 * C, bias=False")), "`up` has no bias"),
        (mlp(THINK, UP_DOWN.replace("4", "2")), "has the shape"),
        (mlp(THINK.replace("up", "a"), UP_DOWN.replace("up", "a")), "is not in the contract"),
        (mlp("return self.up(gelu(self.down(x)))"), None),
    ],
    "Block": [
        (
            block("x = self.attn(self.attn_norm(x))\nreturn x + self.mlp(self.mlp_norm(x))"),
            "behind attention",
        ),
        (block("x = x + self.attn(self.attn_norm(x))\nreturn self.mlp(self.mlp_norm(x))"), "behind the MLP"),
        (block("return self.mlp(self.mlp_norm(self.attn(self.attn_norm(x))))"), "nothing is added back"),
        (
            block("y = x + self.attn(self.attn_norm(x))\nreturn x + self.mlp(self.mlp_norm(y))"),
            "not to the first x",
        ),
        (
            block("return x + self.attn(self.attn_norm(x)) + self.mlp(self.mlp_norm(x))"),
            "reads what attention left",
        ),
        (
            block("x = self.attn_norm(x + self.attn(x))\nreturn self.mlp_norm(x + self.mlp(x))"),
            "not after the sum",
        ),
        (block("x = x + self.attn(x)\nreturn x + self.mlp(x)"), "the norms are missing"),
        (block("x = x + self.attn(self.attn_norm(x))\nreturn x + self.mlp(x)"), "the norm before the MLP"),
        (
            block("x = x + self.mlp(self.mlp_norm(x))\nreturn x + self.attn(self.attn_norm(x))"),
            "attention first",
        ),
        (
            block("x = x + self.attn(self.mlp_norm(x))\nreturn x + self.mlp(self.attn_norm(x))"),
            "norms are exchanged",
        ),
        (block("return x + self.attn(self.attn_norm(x))"), "the MLP is missing"),
        (
            block("x = x + self.attn(self.attn_norm(x))\nprint(x + self.mlp(self.mlp_norm(x)))"),
            "is `return` missing?",
        ),
        (
            block("x = self.attn_norm(x)\nx = x + self.attn(x)\nreturn x + self.mlp(self.mlp_norm(x))"),
            "never normed",
        ),
        (
            block("x += self.attn(self.attn_norm(x))\nreturn x + self.mlp(self.mlp_norm(x))"),
            "changes a tensor",
        ),
        (block("x = x * self.attn(self.attn_norm(x))\nreturn x * self.mlp(self.mlp_norm(x))"), None),
    ],
    "GPT": [
        (gpt(end="return self.head(x)"), "the final norm is missing"),
        (gpt(start="self.token_embedding(x)"), "the positions are missing"),
        (gpt(loop=""), "the blocks are missing"),
        (gpt(loop="x = self.blocks[0](x)"), "only the first block"),
        (gpt(loop="first = x\nfor block in self.blocks:\n    x = block(first)"), "what the one before left"),
        (gpt(end="return torch.softmax(self.head(self.final_norm(x)), dim=-1)"), "not probabilities"),
        (gpt(end="return self.final_norm(x)"), "the head makes logits"),
        (gpt(init=WHOLE.replace("nn.ModuleList(", "list(")), "use nn.ModuleList"),
        (
            gpt(init=WHOLE.replace("\nself.head.weight = self.token_embedding.weight", "")),
            "the token table itself",
        ),
        (gpt(init=WHOLE.replace("C, V, bias=False", "C, V")), "bias=False"),
        (gpt(init=WHOLE.replace("range(L)", "range(1)")), "as many blocks"),
        (
            gpt(init=WHOLE.replace("final_norm", "norm"), end="return self.head(self.norm(x))"),
            "not in the contract",
        ),
        (gpt(end="print(self.head(self.final_norm(x)))"), "is `return` missing?"),
        (gpt(end="return self.final_norm(self.head(x))"), None),
        (gpt(loop="for block in self.blocks:\n    block(x)"), "the blocks are missing"),
    ],
    "training_step": function(
        "training_step(model, optimizer, tokens, targets)",
        (step(ZERO, BACKWARD), "nothing moved"),
        (step(ZERO, MOVE), "nothing moved"),
        (step(BACKWARD, MOVE), "of the step before"),
        (step(BACKWARD, ZERO, MOVE), "nothing moved"),
        (step(ZERO, BACKWARD, MOVE, loss=LOSS.replace("targets", "tokens")), "what comes next"),
        (step(ZERO, BACKWARD, MOVE, loss=LOSS[:-1] + ", reduction='sum')"), "not their sum"),
        (step(ZERO, BACKWARD, MOVE, back="return loss"), ".item() makes one"),
        (step(ZERO, BACKWARD, MOVE, back="print(loss.item())"), "is `return` missing?"),
        (step(ZERO, BACKWARD, MOVE, back=f"return {LOSS}.item()"), "the one before"),
        (step(ZERO, "(-loss).backward()", MOVE), "uphill"),
        (
            step(ZERO, BACKWARD, MOVE, loss="nn.functional.cross_entropy(model(tokens), targets)"),
            "your code raised",
        ),
        (step(ZERO, BACKWARD, "for p in model.parameters():\n    p.data -= 0.5 * p.grad"), None),
    ),
    "rms_norm": function(
        "rms_norm(x, gain, epsilon=1e-5)",
        (rms("(s.sqrt() + epsilon)"), "inside the root"),
        (rms("s.sqrt()"), "is the epsilon there?"),
        (rms("(s + epsilon)"), "is the root there?"),
        (rms("(x.std(-1, keepdim=True) + epsilon)"), "no mean is taken off"),
        (rms(s="x.var(-1, keepdim=True)"), "no mean is taken off"),
        (rms(s="x.square().sum(-1, keepdim=True)"), "not their sum"),
        (rms(end=""), "the gain is missing"),
        (rms(s="x.square().mean()"), "the last dimension only"),
        (rms(s="x.square().mean(-1)"), None),
        ("return nn.functional.rms_norm(x, (x.shape[-1],), gain, epsilon)", "do without"),
        (rms("1 * s.sqrt()").replace("x / 1 * s.sqrt()", "x * torch.sqrt(s + epsilon)"), "do not multiply"),
        (rms().replace("return", "print(") + ")", "is `return` missing?"),
        (rms(s="x.mean(-1, keepdim=True).square()"), "not the square of the mean"),
    ),
    "widest": function(
        "widest(n_layer)",
        (WIDTH.format("count(65, 256, n_layer, width) <= 10_000_000", "width"), "one step too far"),
        (WIDTH.format("count(65, 256, n_layer, width + 128) <= 10_000_000", "width"), "one too early"),
        (WIDTH.format("12 * n_layer * (width + 64) ** 2 <= 10_000_000", "width"), "is everything counted?"),
        (
            WIDTH.format("count(65, 256, n_layer, width + 64) <= 10_000_000", "width // 64"),
            "a multiple of 64",
        ),
        ("return int((10_000_000 / (12 * n_layer)) ** 0.5)", "a multiple of 64"),
        (
            WIDTH.format(
                "count(65, 256, n_layer, width + 64) <= 10_000_000", "count(65, 256, n_layer, width)"
            ),
            "the width is asked",
        ),
        (WIDTH.format("count(65, 256, 2, width + 64) <= 10_000_000", "width"), "argument `n_layer`"),
        (WIDTH.format("count(65, 256, n_layer, width + 64) <= 1_000_000", "width"), None),
        (
            WIDTH.format("count(65, 256, n_layer, width + 64) <= 10_000_000", "print(width)"),
            "is `return` missing?",
        ),
        (WIDTH.format("count(50257, 256, n_layer, width + 64) <= 10_000_000", "width"), None),
        ("return 576", "argument `n_layer`"),
        (
            WIDTH.replace("+= 64", "+= 1").format(
                "count(65, 256, n_layer, width + 1) <= 10_000_000", "width"
            ),
            "a multiple of 64",
        ),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_refused_and_two_thirds_are_named(name, capsys):
    names = {key: value for key, value in NOTEBOOK.items() if key != name}
    assert_wrong(nb03, name, WRONG[name], capsys, **names)


def test_a_part_through_which_nothing_can_be_learnt_is_refused(capsys):
    class Detached(nb03.GivenGPT):
        def forward(self, tokens):
            return super().forward(tokens).detach()

    assert nb03.GPT(Detached) is nb03.GivenGPT
    assert "nothing can be learnt" in capsys.readouterr().out


def test_a_buffer_and_torchs_no_grad_are_the_learners_own_matter(capsys):
    class Buffered(nb03.GivenGPT):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.register_buffer("mask", nn.Parameter().detach())

    assert nb03.GPT(Buffered) is Buffered and nb03.layer_norm(no_grad()(forbidden)) is nb03.given_layer_norm
    assert "do without `layer_norm`" in capsys.readouterr().out


def forbidden(x, gain, bias, epsilon=1e-5):
    return nn.functional.layer_norm(x, (x.shape[-1],), gain, bias, epsilon)
