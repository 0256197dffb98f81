"""Train the storyteller for one minute with several recipes: python tests/benchmarks/one_minute.py

Every recipe starts from the same weights and reads the same stories of toyworld, in float32 on one thread,
until its CPU-seconds are used up. The learning rate falls to 0 with the time. The record has the steps, the
tokens, the loss on stories that no recipe trains on, and a story of each model. Drawn in notebook 10_speed.
"""

import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from benchmark import open_record, options
from torch import nn

from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate_text
from tinylm.model.gpt import GPT
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.runs.paths import open_checkpoint
from tinylm.runs.recipes import recipe
from tinylm.text.batches import Batches
from tinylm.text.toyworld.world import STORIES, spaced
from tinylm.training.optim import build_optimizer

RECIPE, TOKENIZER = recipe("toyworld_stories"), open_checkpoint("toyworld_stories").tokenizer
T, OPENING = RECIPE.model.context_length, " Once a clever girl named Xenia"
ASKED = GenerationConfig(max_new_tokens=110, temperature=0.7)


def batches_of(n_stories: int, *, stories_seed: int, rows: int, seed: int = 0) -> Batches:
    """Return batches in which each row begins with a story."""
    end, texts = TOKENIZER.end_of_text, STORIES.texts(n_stories, seed=stories_seed)
    ids = np.concatenate([[end], *(np.append(TOKENIZER.encode(spaced(text)), end) for text in texts)])
    begins = np.flatnonzero(ids == end)[:-3]
    return Batches(ids, context_length=T, batch_size=rows, seed=seed, begins=begins)


def adamw(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Return PyTorch's AdamW as it comes, with the betas of the recipe."""
    return torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, RECIPE.train.beta2))


def muon(model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of the recipe."""
    return build_optimizer(model, RECIPE.train)


RUNS = {  # the optimiser, the loss, stories in each step
    "plain": (partial(adamw, learning_rate=6e-3), next_token_loss, 32),
    "fused loss": (partial(adamw, learning_rate=6e-3), fused_loss, 32),
    "8 stories": (partial(adamw, learning_rate=3e-3), next_token_loss, 8),
    "fast": (muon, fused_loss, 8),
}


def train(name: str, seed: int, budget: float, n_stories: int) -> tuple[GPT, int]:
    """Train a new model for so many CPU-seconds. Return it with its number of steps."""
    optimizer_of, loss_of, rows = RUNS[name]
    size = replace(RECIPE.model, vocab_size=TOKENIZER.vocab_size)
    model = GPT(size, generator=torch.Generator().manual_seed(seed))
    optimizer = optimizer_of(model)
    peaks = [group["lr"] for group in optimizer.param_groups]
    batches, steps, used = batches_of(n_stories, stories_seed=10, rows=rows, seed=seed), 0, 0.0
    while used < budget:
        share, began = used / budget, time.process_time()
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * min(1, 0.05 + 6 * share) * (1 - share)
        optimizer.zero_grad()
        loss_of(model, batches.batch(steps))[0].mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps, used = steps + 1, used + time.process_time() - began
    return model.eval(), steps


def main() -> None:
    chosen = options(__doc__, seconds=(60.0, "CPU-seconds of each run"), seeds=([0, 1], "of the weights"))
    torch.set_num_threads(1)
    record = open_record(chosen, what="experiment", threads=1)
    test = batches_of(400, stories_seed=999, rows=256).batch(0)
    for seed in chosen.seeds:
        for name, (_, _, rows) in RUNS.items():
            model, steps = train(name, seed, chosen.seconds, n_stories=12_000)
            with torch.no_grad():
                loss = next_token_loss(model, test)[0].mean().item()
            draw = torch.Generator().manual_seed(1)
            story = OPENING + generate_text(model, TOKENIZER, OPENING, ASKED, generator=draw)
            print(f"{name:12} seed {seed}: {steps} steps, loss {loss:.3f}", flush=True)
            figures = {"steps": steps, "tokens": steps * rows * T, "loss": loss, "story": story}
            record.write("measurement", name=name, seed=seed, rows=rows, **figures)
    record.write("end")


if __name__ == "__main__":
    main()
