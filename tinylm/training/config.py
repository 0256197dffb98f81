"""TrainConfig: the settings that decide how a model is trained, each declared and checked in one place.

Taught in notebook 04_training."""

from dataclasses import dataclass, replace
from typing import Literal, Self

from tinylm.errors import Config, ConfigError, setting

Schedule = Literal["cosine", "linear", "constant", "wsd"]


@dataclass(frozen=True)
class TrainConfig(Config):
    """How to train. Raises ConfigError for a value, or a pair of values, that cannot work."""

    steps: int = 2000  # Optimiser steps of the whole run.
    micro_batch_size: int = 12  # Sequences per forward pass on each device: as many as its memory holds.
    tokens_per_step: int = 768
    """Tokens per optimiser step, over all devices. Gradients of micro-batches are accumulated up to it."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw for all parameters, or muon for the matrices of the blocks and adamw for the rest."""
    learning_rate: float = 1e-3  # AdamW's peak learning rate, reached when the warm-up ends.
    min_learning_rate: float = 1e-4
    """Learning rate of the last step, for schedules that decay. 0 is reached one step after the last."""
    warmup_steps: int = setting(100, least=0)  # Steps in which the rate rises linearly to its peak.
    schedule: Schedule = "cosine"
    """The learning-rate schedule after the warm-up. wsd keeps the peak and decays over the last fifth."""
    weight_decay: float = 0.1  # Decoupled, of matrices only (also Muon's): biases and norms have none.
    muon_learning_rate: float = 0.02  # Muon's peak learning rate, on the same schedule.
    muon_momentum: float = setting(0.95, least=0, below=1)  # Muon's running average of the gradient.
    beta1: float = setting(0.9, least=0, below=1)  # AdamW's running average of the gradient.
    beta2: float = setting(0.99, least=0, below=1)
    """AdamW's running average of the squared gradient. 0.95 is common for large batches."""
    grad_clip: float = 1.0  # A gradient with a larger norm is scaled down to this; 0 turns clipping off.
    eval_every: int = setting(250, least=0)  # Steps between evaluations; 0 evaluates only at the end.
    eval_tokens: int = setting(0, least=0)  # Validation tokens that an evaluation reads; 0 reads all.
    patience: int = setting(0, least=0)
    """Stop after this many evaluations without a new lowest loss; 0 never stops early."""
    log_every: int = 10  # Steps between logged lines.
    seed: int = setting(1337, least=0)  # Decides the order of the data and the dropout masks.
    # The names that device.resolve_dtype takes. Importing them from there would load torch, even for --help.
    dtype: Literal["auto", "float32", "tf32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the forward pass; auto takes what the device does best. The weights stay float32."""
    compile: bool = False  # Compile the loss function: the first step is slow, the others are faster.
    fused_loss: bool = True
    """Compute head and cross-entropy in one, in half the memory; a loss that weighs its tokens is not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (least := self.min_learning_rate) > (peak := self.learning_rate):
            above = f"min_learning_rate {least:g} is above the peak learning_rate {peak:g}"
            raise ConfigError(f"{above}: use a minimum of {peak / 10:g}")
        if self.warmup_steps >= self.steps:
            never = f"warmup_steps {self.warmup_steps} never ends within steps {self.steps}"
            raise ConfigError(f"{never}: use {self.steps // 10} warm-up steps, or more steps")
        if self.patience and not self.eval_every:
            nothing = f"patience {self.patience} has nothing to wait for with eval_every {self.eval_every}"
            raise ConfigError(f"{nothing}: use eval_every {max(1, self.steps // 10)}, or patience 0")

    def divided(self, context_length: int, world_size: int) -> Self:
        """Return the same training for this many processes: micro_batch_size becomes the largest one, up to
        its own, that divides tokens_per_step. Raises ConfigError if none does."""
        rows = replace(self, micro_batch_size=1).grad_accum_steps(context_length, world_size)  # a process's
        most = next(n for n in range(min(self.micro_batch_size, rows), 0, -1) if rows % n == 0)
        return replace(self, micro_batch_size=most)

    def grad_accum_steps(self, context_length: int, world_size: int = 1) -> int:
        """Return the number of micro-batches per optimiser step on each device.

        Raises ConfigError unless they come to exactly tokens_per_step."""
        at_once = (size := self.micro_batch_size) * context_length * world_size  # tokens
        if self.tokens_per_step % at_once:
            parts = f"micro_batch_size {size} × context_length {context_length} × world_size {world_size}"
            unlike = f"tokens_per_step {self.tokens_per_step} is not a multiple of {parts} = {at_once}"
            raise ConfigError(f"{unlike}: use {max(1, self.tokens_per_step // at_once) * at_once}")
        return self.tokens_per_step // at_once
