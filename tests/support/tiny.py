"""A model of one matrix and an embedding, a run of ten steps of 21 tokens, and how to compare weights."""

import numpy as np
import torch
from torch import nn

from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.batches import Batches
from tinylm.text.tokenizers import CharTokenizer
from tinylm.training.config import TrainConfig

V, C, T, B = 13, 11, 7, 3
QUIET = {"show_progress": False}
LETTERS = CharTokenizer("abcdefghijklm")


class Tiny(nn.Module):
    """An embedding, a matrix and a gain; dropout only where asked."""

    def __init__(self, dropout=0.0, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding, self.norm, self.head = nn.Embedding(V, C), nn.LayerNorm(C), nn.Linear(C, V)
        for p in (self.embedding.weight, self.head.weight):
            nn.init.normal_(p, std=0.3, generator=generator)
        nn.init.zeros_(self.head.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens):
        return self.head(self.dropout(self.norm(self.embedding(tokens))))  # (B, T, V)


def make_config(**changes):
    numbers = {"steps": 10, "micro_batch_size": B, "tokens_per_step": B * T, "warmup_steps": 3, "seed": 5}
    numbers |= {"learning_rate": 0.03, "min_learning_rate": 0.003, "eval_every": 0, "log_every": 4}
    return TrainConfig(**(numbers | {"dtype": "float32"} | changes))


def make_batches(**changes):
    tokens = np.random.default_rng(3).integers(0, V, 1009)
    return Batches(tokens, **({"context_length": T, "batch_size": B, "seed": 5} | changes))


def keep(tokens, targets):
    """Most targets are not scored, unevenly over the rows."""
    return targets > 7 - 2 * tokens[:, :1] % 3


def weigh(numbers, batch):
    """Each row has another weight, and each target."""
    return 1 + torch.tensor(numbers)[:, None] % 5 + batch.targets.clamp_min(0) / 7


def sgd(model, rate=1.0):
    return torch.optim.SGD(model.parameters(), lr=rate)


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def tiny_gpt(seed=0, **changes):
    """A GPT of a few hundred weights; what a checkpoint on disk can hold."""
    numbers = {"vocab_size": V, "context_length": T, "n_layer": 1, "n_head": 2, "n_embd": 6}
    config = ModelConfig(**(numbers | changes))
    return GPT(config, generator=torch.Generator().manual_seed(seed))


def by_columns(model):
    """The same model with each matrix stored column after column."""
    for matrix in (p for p in model.parameters() if p.ndim == 2):
        matrix.data = matrix.data.t().contiguous().t()
    return model


def bits_of(tree):
    """Everything in a nested state as bytes: equal only when each number is, to the bit."""
    if isinstance(tree, dict):
        return {key: bits_of(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(bits_of(value) for value in tree)
    return tree.detach().cpu().contiguous().numpy().tobytes() if isinstance(tree, torch.Tensor) else tree
