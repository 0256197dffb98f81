"""Checks of notebook 05_sampling."""

import math

import torch

from tinylm.course.checks import exercise, marked
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT


def rows() -> torch.Tensor:
    """Three rows of logits (3, 7): even, uneven, and one that was cut."""
    some = torch.randn(3, 7, generator=torch.Generator().manual_seed(5)) * torch.tensor([[0.6], [2.0], [1.0]])
    return some.index_put((torch.tensor([2, 2]), torch.tensor([1, 5])), torch.tensor(-math.inf))


@marked("5.1 · how many characters is that?")
def choices(check: exercise, mine) -> None:
    """exp of the entropy, where 0 ln 0 counts as 0."""
    logits, uncut = rows(), rows()[:2]
    right = torch.distributions.Categorical(logits=logits).entropy().exp()
    whole, p = right[:2], uncut.softmax(-1)
    usual = {
        "that is the entropy: take exp of it": whole.log(),
        "here H is in nats: its base is e, not 2": 2 ** whole.log(),
        "in bits the base is 2: here H is in nats": torch.exp(whole.log() / math.log(2)),
        "H has a minus: -Σ p ln p": 1 / whole,
        "one number for each row: the sum runs over the last dimension": whole.log().sum().exp(),
        "the mean of −p ln p is not their sum": (whole.log() / 7).exp(),
        "softmax runs over the last dimension": (-(uncut.softmax(0) * uncut.log_softmax(0)).sum(-1)).exp(),
        "logits are not probabilities: softmax first": (-(uncut * uncut.log()).sum(-1)).exp(),
        "that is 1 over the favourite's probability": 1 / p.amax(-1),
        "that counts the tokens that are left": torch.full((2,), 7.0),
        "weigh each surprise by its probability": (-p.log()).mean(-1).exp(),
    }
    diagnosis = "compare with a fair die: six equal logits give 6"
    check.close(check.run(mine, uncut), whole, diagnosis, usual=usual)
    cut = torch.as_tensor(check.run(mine, logits))
    check.that(cut.isfinite(), "after a cut 0 times −∞ is not a number: what should 0 · ln 0 count as?")
    check.close(cut, right, "a token that was cut adds nothing")
    check.close(check.run(mine, torch.zeros(6)), torch.tensor(6.0), "six equal logits give 6")


@marked("5.2 · a cut of your own")
def keep_epsilon(check: exercise, mine) -> None:
    """-inf where the probability is below epsilon, and never the favourite."""
    logits = rows()[:2]
    low = logits.softmax(-1) < 0.08
    usual = {
        "logits are not probabilities: softmax first": logits.masked_fill(logits < 0.08, -math.inf),
        "these are probabilities: return logits": logits.softmax(-1).masked_fill(low, 0.0),
        "these are probabilities, with −∞ among them: return logits": logits.softmax(-1).masked_fill(
            low, -math.inf
        ),
        "turned over: that keeps the improbable ones": logits.masked_fill(~low, -math.inf),
        "a dropped token gets −∞: a logit of 0 is still a chance": logits.masked_fill(low, 0.0),
        "softmax runs over the last dimension": logits.masked_fill(logits.softmax(0) < 0.08, -math.inf),
        "these are log-probabilities: return the logits as they were": logits.log_softmax(-1).masked_fill(
            low, -math.inf
        ),
        "that says which stay: return the logits": ~low,
        "epsilon is a fixed probability, no share of the favourite's (that is min-p)": logits.masked_fill(
            logits.softmax(-1) < 0.08 * logits.softmax(-1).amax(-1, keepdim=True), -math.inf
        ),
    }
    right = logits.masked_fill(low, -math.inf)
    check.close(check.run(mine, logits, 0.08), right, "drop where softmax(logits) < epsilon", usual=usual)
    flat = check.run(mine, torch.tensor([[0.0, 0.1, 0.05], [5.0, 9.1, 5.05]]), 0.995).isfinite()
    check.close(flat, torch.tensor([[False, True, False]] * 2), "keep the favourite, in every row")
    same = torch.tensor([math.log(2), 0.0, 0.0]).softmax(-1)[1]  # 1/4 as float32 has it
    exact = check.run(mine, torch.tensor([math.log(2), 0.0, 0.0]), same).isfinite()
    check.that(exact[1:], "a probability of exactly epsilon stays")


@marked("5.3 · how large is a cache?")
def cache_bytes(check: exercise, mine) -> None:
    """2 · layers · rows · heads · tokens · head_dim · 4."""
    for layers, heads, width, n_rows, tokens in ((5, 6, 66, 7, 50), (3, 2, 34, 1, 11)):
        config = ModelConfig(n_layer=layers, n_head=heads, n_embd=width, context_length=64)
        right = 2 * layers * n_rows * width * tokens * 4
        usual = {
            "half: keys and values, of 4 bytes each": right // 2,
            "a float32 number has 4 bytes": right // 4,
            "a float32 number has 4 bytes, not 32": right * 8,
            "a float32 number has 4 bytes, not 2": right // 2,
            "that is one layer": right // layers,
            "that is one head": right // heads,
            "that is one of the texts": right // n_rows,
            "that is one token": right // tokens,
            "each head has head_dim numbers, not n_embd": right * heads,
            "attention's weights would grow like that; the cache holds one row a token": right * tokens,
            "queries are not kept: keys and values": right // 2 * 3,
            "these are numbers, and keys alone: 4 bytes each, and values too": right // 8,
        }
        diagnosis = "keys and values, in each layer, for each row, head and token"
        check.close(check.run(mine, config, n_rows, tokens), right, diagnosis, usual=usual)
    model = GPT(config, generator=torch.Generator().manual_seed(0))
    cache = model.new_cache()
    with torch.inference_mode():
        model(torch.zeros(1, 5, dtype=torch.int64), cache)
    real = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
    check.close(check.run(mine, config, 1, cache.capacity), real, "compare with cache.layers[0].keys.nbytes")
