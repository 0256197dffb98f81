"""Measure what makes a small story model copy names: a space before each line, and a loss with more recall.

    python tests/benchmarks/story_variants.py
    make promote RUN=story_variants

Train toyworld_stories' model with its optimiser for some hundred steps, on the same stories in the same
order: as they are written, with a space before each line, and with that space and the recipe's recall. The
variants of a seed are trained in turns, a block of steps at a time. The nats of a name are a mean over the
names of children and friends that the held-out story has mentioned before. Names are found in the text, so
they mean the same in every variant."""

import statistics
from dataclasses import replace

import numpy as np
import torch
from benchmark import open_record, options
from story_grades import HELD_OUT_SEED, story_nats, tell_and_grade
from variants import Training, train_in_turns

from tinylm.model.gpt import GPT
from tinylm.runs.recipes import recipe
from tinylm.runs.records import RunRecord
from tinylm.runs.task import Task
from tinylm.text.batches import Batches
from tinylm.text.dataset import Dataset
from tinylm.text.tokenizers import BPETokenizer
from tinylm.text.toyworld.world import STORIES, spaced

BASE = recipe("toyworld_stories")
VARIANTS = {"as written": (str, 1.0), "spaced": (spaced, 1.0), "spaced, recalled more": (spaced, 30.0)}
SCENES = [scene for plot in STORIES.plots.options for settled in plot.settled for scene in settled.options]
NAMES = {scene[who] for scene in SCENES for who in ("hero", "friend") if who in scene}


def made(name: str, seed: int, steps: int) -> tuple[Training, BPETokenizer]:
    """Return one variant with one seed, ready to be trained, and its tokenizer."""
    written, weight = VARIANTS[name]
    plan = replace(BASE.train, steps=steps, seed=seed)
    T = BASE.model.context_length
    size = plan.tokens_per_step // T
    stories = [written(story) for story in STORIES.texts(steps * size + size, seed=8)]
    tokenizer = BPETokenizer.train(stories[:3000], BASE.model.vocab_size)
    end, config = tokenizer.end_of_text, replace(BASE.model, vocab_size=tokenizer.vocab_size)
    tokens = np.concatenate([[end], *tokenizer.encode_documents(stories)])
    dataset = Dataset("stories", "generated", tokenizer, tokens, tokens[:0], fingerprint="a benchmark")
    task = Task(replace(BASE.data, recall=weight), dataset)
    batches = Batches(
        tokens,
        context_length=T,
        batch_size=size,
        seed=seed,
        begins=task.begins,
        weigh=task.recall(n_rows=steps * size),
    )
    model = GPT(config, generator=torch.Generator().manual_seed(seed))
    return Training(model, batches, plan), tokenizer


def measured(model: GPT, tokenizer: BPETokenizer, name: str) -> tuple[float, float]:
    """Return the nats of a name mentioned before, and those of a whole story over the entropy.

    Both are means over 100 held-out stories."""
    names, totals = [], []
    for story in STORIES.texts(100, seed=HELD_OUT_SEED):
        ids, nats = story_nats(model, tokenizer, VARIANTS[name][0](story))
        words = [tokenizer.decode([i]).strip() for i in ids]
        names += [nats[t] for t, word in enumerate(words) if word in NAMES and word in words[:t]]
        totals.append(sum(nats))
    return round(statistics.mean(names), 4), round(statistics.mean(totals) / STORIES.entropy, 4)


def trained(record: RunRecord, seed: int, n_steps: int, turns: int) -> None:
    """Train all variants with one seed, grade what they tell in the end, and write and print the figures."""
    runs, tokenizers = {}, {}
    for name in VARIANTS:
        runs[name], tokenizers[name] = made(name, seed, n_steps)
    curves = train_in_turns(runs, turns, lambda name, run: measured(run.model, tokenizers[name], name))
    steps = [n_steps * turn // turns for turn in range(1, turns + 1)]
    for name, run in runs.items():
        shares = tell_and_grade(run.model, tokenizers[name], 200, temperature=0.5, seed=seed)
        nats, ratios = zip(*curves[name], strict=True)
        figures = {"steps": steps, "nats_of_a_name": nats, "ratio": ratios}
        record.write("measurement", name=name, seed=seed, temperature=0.5, **shares, **figures)
        print(f"{name:22} seed {seed}: a name {nats[-1]:.2f} nats,", shares)


def main() -> None:
    about = {"steps": (300, "of each"), "every": (25, "steps between measurements")}
    chosen = options(__doc__, record="story_variants", seeds=([1, 2, 3], "of each"), **about)
    torch.set_num_threads(1)
    record = open_record(chosen, what="experiment", recipe=BASE.name, entropy=STORIES.entropy)
    for seed in chosen.seeds:
        trained(record, seed, chosen.steps, turns=-(-chosen.steps // chosen.every))
    record.write("end")


if __name__ == "__main__":
    main()
