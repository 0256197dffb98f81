"""How near to the floor in two minutes? By hand: python tests/benchmarks/toyworld_floor.py [--record NAME]

Trains a small modern GPT on toyworld plays for two minutes of wall time, every row beginning where a text
begins, and prints the loss on whole held-out texts beside the exact entropy. The gap is what the model has
not learned yet; no model can be below 0. Never fails on time or on the gap.
With --record the figures are written to data/mine/NAME, for `make promote RUN=NAME`.
"""

import argparse
import os
import shlex
import sys
import time
from dataclasses import asdict

import numpy as np
import torch

from tinylm.errors import InputError
from tinylm.inference.evaluate import Evaluation, summarize
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import IGNORE_INDEX, token_losses
from tinylm.runs.forecast import measure_speed
from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import new_folder
from tinylm.text.tokenizers import CharTokenizer
from tinylm.text.toyworld.world import PLAYS
from tinylm.training.config import TrainConfig
from tinylm.training.loop import train

TRAIN_SEED, HELD_OUT_SEED = 1, 2
FAST = {  # the choices of recipes.shakespeare_fast
    "position": "rotary",
    "activation": "relu2",
    "bias": False,
    "token_shift": True,
    "tied_head": False,
    "residual_init": "zero",
}


def encoded(tokenizer: CharTokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Separator, text, separator, ..., text, separator as ids; and where each leading separator begins."""
    pieces = [PLAYS.separator + text for text in texts]
    lengths = np.array([len(piece) for piece in pieces])
    return tokenizer.encode("".join(pieces) + PLAYS.separator), np.cumsum(lengths) - lengths


class BatchesOfTexts:
    """Rows that all begin where a text begins: no start repeats inside an epoch. (B, T) each."""

    rank, world_size = 0, 1

    def __init__(self, tokens: np.ndarray, starts: np.ndarray, length: int, size: int, seed: int) -> None:
        self.tokens, self.context_length, self.batch_size, self.seed = tokens, length, size, seed
        self.starts = starts[starts + length < len(tokens)]

    def batch(self, step: int, micro_step: int = 0, micro_steps: int = 1) -> tuple[torch.Tensor, ...]:
        first = (step * micro_steps + micro_step) * self.batch_size
        epochs, places = np.divmod(np.arange(first, first + self.batch_size), len(self.starts))  # (B,) each
        order = {e: np.random.default_rng([self.seed, int(e)]).permutation(self.starts) for e in {*epochs}}
        begin = np.array([order[e][place] for e, place in zip(epochs, places, strict=True)])  # (B,)
        rows = torch.from_numpy(
            self.tokens[begin[:, None] + np.arange(self.context_length + 1)]
        )  # (B, T + 1)
        return rows[:, :-1], rows[:, 1:]  # (B, T) each

    def count_targets(self, step: int, micro_steps: int = 1) -> int:
        return micro_steps * self.batch_size * self.context_length

    def fingerprint(self) -> dict[str, int]:
        return {"seed": self.seed, "count": len(self.tokens)}


@torch.no_grad()
def evaluate_texts(
    model: torch.nn.Module, tokenizer: CharTokenizer, texts: list[str], *, context_length: int
) -> Evaluation:
    """The mean loss over whole texts, each read alone after a separator, as toyworld counts the floor.

    The separator before a text is read and not scored, the one that closes it is scored; so the first
    character is predicted too, and from nothing but that a text begins. Each text is a unit of the error."""
    separator = tokenizer.encode(PLAYS.separator)
    sums, counts = [], []
    for text in texts:
        ids = torch.from_numpy(tokenizer.encode(PLAYS.separator + text + PLAYS.separator)).long()[
            None
        ]  # (1, n)
        if ids.size(1) > context_length + 1:
            raise InputError(
                f"a text of {ids.size(1)} characters does not fit context_length {context_length}: "
                f"use {ids.size(1) - 1} or more"
            )
        targets = ids[:, 1:].clone()  # (1, n - 1)
        targets[:, : len(separator) - 1] = IGNORE_INDEX
        sums.append(float(token_losses(model(ids[:, :-1]), targets).double().sum()))
        counts.append(int((targets != IGNORE_INDEX).sum()))
    return summarize(np.array(sums), np.array(counts), unit=f"{len(texts)} texts")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=120.0)
    add("--steps", type=int, help="instead of --seconds: as many steps, however long they take")
    add("--n-layer", type=int, default=4)
    add("--n-head", type=int, default=4)
    add("--n-embd", type=int, default=128)
    add("--context-length", type=int, default=256)
    add("--batch-size", type=int, default=8)
    add("--learning-rate", type=float, default=1e-2, help="of AdamW, for what Muon does not take")
    add("--muon-learning-rate", type=float, default=0.01, help="of Muon")
    add("--gpt2", action="store_true", help="GPT-2's blocks and AdamW instead: the plain way")
    add("--beta2", type=float, default=0.99)
    add("--weight-decay", type=float, default=0.0)
    add("--held-out", type=int, default=400, help="texts to score")
    add("--seed", type=int, default=1)
    add("--record", metavar="NAME", help="keep the figures in data/mine/NAME")
    chosen = parser.parse_args()
    where = new_folder("toyworld_floor", chosen.record) / "record.jsonl" if chosen.record else None
    busy = round(os.getloadavg()[0], 2)  # before this run itself is what keeps the machine busy

    tokenizer = CharTokenizer.train(PLAYS.joined(300_000, seed=0))
    fast = {} if chosen.gpt2 else FAST
    model = GPT(
        ModelConfig(
            vocab_size=tokenizer.vocab_size,
            context_length=chosen.context_length,
            n_layer=chosen.n_layer,
            n_head=chosen.n_head,
            n_embd=chosen.n_embd,
            **fast,
        ),
        generator=torch.Generator().manual_seed(chosen.seed),
    )
    tokens_per_step = chosen.batch_size * chosen.context_length
    optimizer = "adamw" if chosen.gpt2 else "muon"
    speed = measure_speed(
        model,
        micro_batch_size=chosen.batch_size,
        context_length=chosen.context_length,
        seconds=3.0,
        optimizer=optimizer,
    )
    steps = chosen.steps or max(20, int(chosen.seconds * speed / tokens_per_step))
    config = TrainConfig(
        steps=steps,
        micro_batch_size=chosen.batch_size,
        tokens_per_step=tokens_per_step,
        optimizer=optimizer,
        learning_rate=chosen.learning_rate,
        muon_learning_rate=chosen.muon_learning_rate,
        min_learning_rate=0.0,
        warmup_steps=min(50, steps // 5),
        schedule="linear",
        weight_decay=chosen.weight_decay,
        beta2=chosen.beta2,
        eval_every=0,
        log_every=max(1, steps // 20),
        seed=chosen.seed,
        dtype="float32",
    )
    n_texts = min(steps * chosen.batch_size, 50_000)  # most rows are read once, none more than a few times
    tokens, starts = encoded(tokenizer, PLAYS.texts(n_texts, TRAIN_SEED))
    batches = BatchesOfTexts(tokens, starts, chosen.context_length, chosen.batch_size, chosen.seed)
    held_out = PLAYS.texts(chosen.held_out, HELD_OUT_SEED)

    header = record_header(
        "benchmark",
        name="toyworld_floor",
        command=shlex.join(["python", "tests/benchmarks/toyworld_floor.py", *sys.argv[1:]]),
        device="cpu",
        dtype=config.dtype,
        threads=torch.get_num_threads(),
        load=busy,
        seed=chosen.seed,
        parameters=model.n_parameters(),
        model=model.config.to_json(),
        train=asdict(config),
    )
    with RunRecord(where, header) as record:
        began = time.perf_counter()
        history = train(model, batches, config, callbacks=[record])
        seconds = time.perf_counter() - began
        score = evaluate_texts(model.eval(), tokenizer, held_out, context_length=chosen.context_length)
        # The texts' own log-probabilities take the luck of the draw out: the rest the model does not know.
        exact = -sum(PLAYS.log_prob(text) for text in held_out) / score.n_tokens
        record.write(
            "measurement",
            name="gap to the floor, nats per character",
            gap=score.loss - PLAYS.floor,
            standard_error=score.standard_error,
            unit=score.unit,
            gap_to_the_texts_own=score.loss - exact,
            floor=PLAYS.floor,
            loss=score.loss,
            n_characters=score.n_tokens,
        )
        record.close(seconds=seconds, tokens=history.tokens)

    for result in history.steps:
        print(f"step {result.step:5d}  loss {result.loss:.4f}  update ratio {result.update_ratio:.1e}")
    n_characters = score.n_tokens / chosen.held_out
    print(
        f"{model.n_parameters():,} parameters, {steps} steps of {tokens_per_step} tokens in {seconds:.0f} s"
    )
    print(f"floor    {PLAYS.floor:.4f} nats per character ({PLAYS.mean_length:.1f} characters a text)")
    print(f"held out {score.loss:.4f} ± {score.standard_error:.4f} ({n_characters:.1f} characters a text)")
    print(f"gap      {score.loss - PLAYS.floor:+.4f} ± {score.standard_error:.4f}")
    print(f"gap to these very texts' own log-probability {score.loss - exact:+.4f}")


if __name__ == "__main__":
    main()
