"""Speed: measure how fast a model trains here, and compile its loss.

Taught in notebooks 08_tinystories and 10_speed."""

import copy
import statistics
import time
import warnings
from dataclasses import replace

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
    model: nn.Module, config: TrainConfig, *, context_length: int, seconds: float = 1.0
) -> float:
    """Return the speed of training with this config in tokens per second: the median of real steps.

    The steps are micro-batches of random tokens: three to warm up, then as many as fit into `seconds`, at
    least three. The model stays as it is: a copy trains, with a learning rate of 0, so no step diverges."""
    size = config.micro_batch_size * context_length  # tokens
    config = replace(config, tokens_per_step=size, min_learning_rate=0.0)
    config = replace(config, learning_rate=0.0, muon_learning_rate=0.0)
    model = copy.deepcopy(model).train()
    precision = Precision.of(next(model.parameters()).device, config.dtype)
    loss_fn = fused_loss if config.fused_loss else next_token_loss
    loss_fn = compile_loss(loss_fn) if config.compile else loss_fn
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=size + 1)
    batches = Batches(ids, context_length=context_length, batch_size=config.micro_batch_size, seed=0)
    optimizer = build_optimizer(model, config)
    speeds: list[float] = []
    began = time.perf_counter()
    while len(speeds) < 6 or time.perf_counter() - began < seconds:
        step = len(speeds)
        result = train_step(
            model, optimizer, batches, step=step, config=config, precision=precision, loss_fn=loss_fn
        )
        speeds.append(result.tokens_per_second)
    return statistics.median(speeds[3:])


def compile_loss(loss_fn: LossFn) -> LossFn:
    """Return the same loss, compiled at its first call and for each new shape: seconds to minutes each time.

    The function is compiled and never the model: generation with a cache would compile for every token. The
    same seed gives other dropout masks than without. Raises ConfigError if nothing can be compiled here."""
    torch.compiler.reset()  # or torch would silently leave the ninth model of a process uncompiled
    compiled = torch.compile(loss_fn, dynamic=False)  # a run has one shape

    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the compiler's own parts
                return compiled(model, batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = str(getattr(error, "inner_exception", error)).partition("\n")[0]
            remedy = "install a C++ compiler such as g++, for a GPU triton too, or leave compile out"
            raise ConfigError(f"the loss cannot be compiled here ({cause}): {remedy}") from error

    return loss
