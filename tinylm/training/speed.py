"""Speed: a loss that is compiled, how many threads a step is worth, how fast a model trains here, measured.

Taught in notebooks 08_tinystories and 10_speed."""

import copy
import functools
import os
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinylm.batch import Batch
from tinylm.device import Precision
from tinylm.errors import ConfigError
from tinylm.model.losses import LossFn, fused_loss, next_token_loss
from tinylm.text.batches import Batches
from tinylm.training.config import TrainConfig
from tinylm.training.optim import build_optimizer
from tinylm.training.step import train_step


def measure_speed(
    model: nn.Module, *, micro_batch_size: int, context_length: int, seconds: float = 1.0, **settings: Any
) -> float:
    """Training speed in tokens per second: the median of real steps on random tokens, after three to warm up.

    `settings` are those of a TrainConfig that cost time: optimizer, dtype, compile, fused_loss. What moves is
    a copy of the model, and by nothing: at a rate of 0 no step diverges."""
    per_step = micro_batch_size * context_length  # tokens
    rates = {"learning_rate": 0.0, "min_learning_rate": 0.0, "muon_learning_rate": 0.0, "warmup_steps": 0}
    config = TrainConfig(10**6, micro_batch_size, per_step, **rates, **settings)
    model = copy.deepcopy(model).train()
    precision = Precision.of(next(model.parameters()).device, config.dtype)
    loss_fn = fused_loss() if config.fused_loss else next_token_loss
    how = {"config": config, "precision": precision}
    how["loss_fn"] = compile_loss(loss_fn) if config.compile else loss_fn
    optimizer = build_optimizer(model, config)
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=per_step + 1)
    batches = Batches(ids, context_length=context_length, batch_size=micro_batch_size, seed=0)
    speeds: list[float] = []
    began = time.perf_counter()
    while len(speeds) < 6 or time.perf_counter() - began < seconds:
        step = train_step(model, optimizer, batches, step=len(speeds), **how)
        speeds.append(step.tokens_per_second)
    return statistics.median(speeds[3:])


def compile_loss(loss_fn: LossFn) -> LossFn:
    """The same loss, compiled at its first call and for each new shape, which takes from seconds to minutes.

    The function is compiled and never the model: generation with a cache would compile for every token. It
    draws dropout's masks by the same seed in another way. Raises
    ConfigError where nothing can be compiled."""
    torch.compiler.reset()  # a ninth model in one process would else be run as it stands, without a word
    compiled = None

    @functools.wraps(loss_fn)
    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        nonlocal compiled
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what the compiler says of its own parts
                compiled = compiled or torch.compile(loss_fn, dynamic=False)  # a run has one shape
                return compiled(model, batch)
        except RuntimeError as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            cause = str(getattr(error, "inner_exception", error)).partition("\n")[0]
            way_out = "install a C++ compiler such as g++, for a GPU triton too, or leave compile out"
            raise ConfigError(f"the loss cannot be compiled here ({cause}): {way_out}") from error

    return loss


@contextmanager
def threads_for(flops: float) -> Iterator[None]:
    """Inside, torch has the threads that a step of so many operations is worth, or OMP_NUM_THREADS of them.

    On 2 quiet cores two threads took 0.96 of the time of one for 0.04 GFLOP and 0.66 for 1.2; on busy ones up
    to 1.7 times as long, because a thread that waits for the other one spins."""
    before = torch.get_num_threads()
    if flops < 1e9 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
