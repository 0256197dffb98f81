"""How close to the floor in two minutes? By hand: python tests/benchmarks/toyworld_floor.py [--record NAME]

Train shakespeare_fast's model, with a context that holds a complete text, on toyworld plays for two minutes
of wall time. Every row begins where a text begins. Then print the loss on complete held-out texts, each read
alone, beside the exact entropy. The gap is what the model has not learned yet; its expected value is never
below 0.
"""

from dataclasses import asdict, replace

import numpy as np
import torch
from benchmark import open_record, options

from tests.support.likelihood import log_prob
from tinylm.inference.evaluate import evaluate
from tinylm.model.gpt import GPT
from tinylm.runs.recipes import recipe
from tinylm.text.batches import Batches
from tinylm.text.tokenizers import CharTokenizer
from tinylm.text.toyworld.world import PLAYS
from tinylm.training.config import TrainConfig
from tinylm.training.loop import train
from tinylm.training.speed import measure_speed

TRAIN_SEED, HELD_OUT_SEED = 1, 2
T, B = 256, 8  # context_length, rows in a batch


def joined(tokenizer: CharTokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of these texts and where each one begins.

    A separator follows each text, and its last character stands before the first, so each text can be
    predicted from its first character on."""
    lengths = [len(text) + len(PLAYS.separator) for text in texts]
    ids = tokenizer.encode(PLAYS.separator[-1] + "".join(text + PLAYS.separator for text in texts))
    return ids, 1 + np.cumsum([0, *lengths[:-1]])


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
    record = open_record(chosen, parameters=model.n_parameters(), model=config.to_json())
    timed = TrainConfig(micro_batch_size=B, optimizer="muon")
    speed = measure_speed(model, timed, context_length=T, seconds=3.0)
    steps = max(20, int(chosen.seconds * speed / (B * T)))
    lengths = {"steps": steps, "warmup_steps": min(50, steps // 5), "log_every": max(1, steps // 20)}
    sizes = {"micro_batch_size": B, "tokens_per_step": B * T}
    plan = replace(fast.train, **sizes, **lengths, seed=chosen.seed, dtype="float32")
    n_texts = min(steps * B, 50_000)  # most rows are read once, none more than a few times
    ids, begins = joined(tokenizer, PLAYS.texts(n_texts, TRAIN_SEED))
    batches = Batches(ids, context_length=T, batch_size=B, seed=chosen.seed, begins=begins - 1)
    history = train(model, batches, plan, callbacks=[record.on_event])
    held_out = PLAYS.texts(chosen.held_out, HELD_OUT_SEED)
    ids, begins = joined(tokenizer, held_out)
    begins[0] = 0  # evaluate expects the first document at 0
    score = evaluate(model, ids, documents=begins, from_beginning=True)
    # The held-out texts have a log-probability of their own: what the model loses beyond it is no luck.
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
    record.write("end", seconds=history.seconds, tokens=history.tokens, train=asdict(plan))
    print(f"{steps} steps of {B * T} tokens in {history.seconds:.0f} s")
    print(*(f"{name:20} {value}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
