"""One training step on the processor: the plain one, as it is usually written, and the library's."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from variants import Training

from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.text.batches import Batches
from tinylm.training.config import TrainConfig
from tinylm.training.speed import compile_loss

Step = Callable[[], torch.optim.Optimizer]


class PlainBlock(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        C, self.n_head = config.n_embd, config.n_head
        self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.c_attn, self.c_proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.c_fc, self.c_out = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(C, dim=2)
        q, k, v = (part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))  # (B, T, C)
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))  # (B, T, C)


class PlainGPT(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        C, V = config.n_embd, config.vocab_size
        self.wte, self.wpe = nn.Embedding(V, C), nn.Embedding(config.context_length, C)
        self.h = nn.Sequential(*(PlainBlock(config) for _ in range(config.n_layer)))
        self.ln_f, self.lm_head = nn.LayerNorm(C), nn.Linear(C, V, bias=False)
        nn.init.normal_(self.wte.weight, std=0.02)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight[: tokens.size(1)]  # (B, T, C)
        return self.lm_head(self.ln_f(self.h(x)))  # (B, T, V)


def random_ids(config: ModelConfig) -> np.ndarray:
    """Return 100,000 random token ids to train on."""
    return np.random.default_rng(0).integers(0, config.vocab_size, 100_000)


def plain_step(config: ModelConfig, batch: int, dtype: str, *, fused_adamw: bool = False) -> Step:
    """Return a function that does one step as most people write it and returns the optimiser."""
    model, T = PlainGPT(config), config.context_length
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=fused_adamw)
    data = random_ids(config)

    def step():
        begin = np.random.randint(0, len(data) - T - 1, batch)
        tokens = torch.from_numpy(np.stack([data[i : i + T] for i in begin]))  # (B, T)
        targets = torch.from_numpy(np.stack([data[i + 1 : i + 1 + T] for i in begin]))  # (B, T)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(tokens)  # (B, T, V)
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return optimizer

    return step


def our_step(
    config: ModelConfig, batch: int, dtype: str, *, fused: bool = False, compile: bool = False, **changes: Any
) -> Step:
    """Return a function that does one step of the library and returns the optimiser.

    fused: fuse the loss with the head. `changes` are settings of the model that differ from `config`."""
    T = config.context_length
    batches = Batches(random_ids(config), context_length=T, batch_size=batch, seed=0)
    settings = {"learning_rate": 1e-4, "min_learning_rate": 1e-5, "beta2": 0.95, "weight_decay": 0.1}
    plan = TrainConfig(10**6, batch, batch * T, dtype=dtype, log_every=10**6, **settings)
    loss_fn = fused_loss if fused else next_token_loss
    task = SimpleNamespace(loss_fn=compile_loss(loss_fn) if compile else loss_fn)
    model = GPT(replace(config, **changes))
    run = Training(SimpleNamespace(model=model, batches=batches, plan=plan, task=task))

    def step():
        run.go(run.step + 1)
        return run.optimizer

    return step
