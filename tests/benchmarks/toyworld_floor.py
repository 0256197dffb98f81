"""How near to the floor in two minutes? By hand: python tests/benchmarks/toyworld_floor.py [--record NAME]

Trains shakespeare_fast's model, with a context that holds a whole text, on toyworld plays for two minutes of
wall time, every row beginning where a text begins, and prints the loss on whole held-out texts beside the
exact entropy. The gap is what the model has not learned yet; no model can be below 0.
"""

import time
from dataclasses import asdict, replace

import numpy as np
import torch
from benchmark import open_record, options

from tests.support.likelihood import log_prob
from tinylm.inference.evaluate import Evaluation, summarize
from tinylm.model.gpt import GPT
from tinylm.model.losses import IGNORE_INDEX, token_losses
from tinylm.runs.recipes import recipe
from tinylm.text.batches import Batches
from tinylm.text.tokenizers import CharTokenizer
from tinylm.text.toyworld.world import PLAYS
from tinylm.training.config import TrainConfig
from tinylm.training.loop import train
from tinylm.training.speed import measure_speed

TRAIN_SEED, HELD_OUT_SEED = 1, 2
T, B = 256, 8  # context_length, rows in a batch


def batches_of_texts(tokenizer: CharTokenizer, texts: list[str], seed: int) -> Batches:
    """Rows that all begin where the separator before a text stands."""
    pieces = [PLAYS.separator + text for text in texts]
    lengths = np.array([len(piece) for piece in pieces])
    tokens = tokenizer.encode("".join(pieces) + PLAYS.separator)
    begins = np.cumsum(lengths) - lengths
    return Batches(tokens, context_length=T, batch_size=B, seed=seed, begins=begins)


@torch.no_grad()
def evaluate_texts(model: torch.nn.Module, tokenizer: CharTokenizer, texts: list[str]) -> Evaluation:
    """The mean loss over whole texts, each read alone after a separator, as toyworld counts the floor.

    The separator before a text is read and not scored, the one that closes it is scored; so the first
    character is predicted too, and from nothing but that a text begins. Each text is a unit of the error."""
    sums, counts = [], []
    for text in texts:
        ids = torch.from_numpy(tokenizer.encode(PLAYS.separator + text + PLAYS.separator)).long()[
            None
        ]  # (1, n)
        targets = ids[:, 1:].clone()  # (1, n - 1)
        targets[:, : len(tokenizer.encode(PLAYS.separator)) - 1] = IGNORE_INDEX
        sums.append(float(token_losses(model(ids[:, :-1]), targets).double().sum()))
        counts.append(int((targets != IGNORE_INDEX).sum()))
    return summarize(np.array(sums), np.array(counts), unit=f"{len(texts)} texts")


def main() -> None:
    chosen = options(
        __doc__,
        seconds=(120.0, "to train"),
        held_out=(400, "texts to score"),
        seed=(1, "of the weights and the order"),
    )
    fast, tokenizer = recipe("shakespeare_fast"), CharTokenizer.train(PLAYS.joined(300_000, seed=0))
    config = replace(fast.model, vocab_size=tokenizer.vocab_size, context_length=T)
    model = GPT(config, generator=torch.Generator().manual_seed(chosen.seed))
    header = {"parameters": model.n_parameters(), "model": config.to_json()}
    record = open_record(chosen, **header)
    speed = measure_speed(
        model, TrainConfig(micro_batch_size=B, optimizer="muon"), context_length=T, seconds=3.0
    )
    steps = max(20, int(chosen.seconds * speed / (B * T)))
    lengths = {"steps": steps, "warmup_steps": min(50, steps // 5), "log_every": max(1, steps // 20)}
    sizes = {"micro_batch_size": B, "tokens_per_step": B * T}
    training = replace(fast.train, **sizes, **lengths, seed=chosen.seed, dtype="float32")
    n_texts = min(steps * B, 50_000)  # most rows are read once, none more than a few times
    batches = batches_of_texts(tokenizer, PLAYS.texts(n_texts, TRAIN_SEED), chosen.seed)
    began = time.perf_counter()
    history = train(model, batches, training, callbacks=[record.on_event])
    seconds = time.perf_counter() - began
    held_out = PLAYS.texts(chosen.held_out, HELD_OUT_SEED)
    score = evaluate_texts(model.eval(), tokenizer, held_out)
    # The texts' own log-probabilities take the luck of the draw out: the rest the model does not know.
    exact = -sum(log_prob(PLAYS, text) for text in held_out) / score.n_tokens
    figures = {
        "gap": score.loss - PLAYS.floor,
        "standard_error": score.standard_error,
        "unit": score.unit,
        "gap_to_the_texts_own": score.loss - exact,
        "floor": PLAYS.floor,
        "loss": score.loss,
        "n_characters": score.n_tokens,
    }
    record.write("measurement", name="gap to the floor, nats per character", **figures)
    record.write("end", seconds=seconds, tokens=history.tokens, train=asdict(training))
    for result in history.steps:
        print(f"step {result.step:5d}  loss {result.loss:.4f}  update ratio {result.update_ratio:.1e}")
    print(f"{model.n_parameters():,} parameters, {steps} steps of {B * T} tokens in {seconds:.0f} s")
    print(*(f"{name:20} {value}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
