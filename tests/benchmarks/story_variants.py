"""What makes a small story model copy names? A space before each line, and what was told before counted more.

    python tests/benchmarks/story_variants.py
    make promote RUN=story_variants

toyworld_stories' model and optimiser for some hundred steps, on the same stories in the same order: written
as they are, with a space before each line, and with that and the recall of the recipe for the first half.
Each variant of a seed is trained in turns, a block of steps at a time. What a name costs is the mean over
names of a child or a friend that the held-out story has told before; names are read off the text, so that it
means the same in each."""

import statistics
from dataclasses import replace

import numpy as np
import torch
from benchmark import open_record, options
from story_grades import HELD_OUT_SEED, tell_and_grade

from tinylm.model.gpt import GPT
from tinylm.model.losses import token_losses
from tinylm.runs.recipes import recipe
from tinylm.text.batches import Batches
from tinylm.text.recall import Recall
from tinylm.text.tokenizers import BPETokenizer
from tinylm.text.toyworld.world import STORIES, spaced
from tinylm.training.optim import build_optimizer
from tinylm.training.step import train_step

BASE = recipe("toyworld_stories")
VARIANTS = {"as written": (str, 1.0), "spaced": (spaced, 1.0), "spaced, recalled more": (spaced, 30.0)}
SCENES = [scene for plot in STORIES.plots.options for settled in plot.settled for scene in settled.options]
NAMES = {scene[who] for scene in SCENES for who in ("hero", "friend") if who in scene}


class Run:
    """One variant with one seed."""

    def __init__(self, name: str, seed: int, steps: int) -> None:
        self.written, self.recall = VARIANTS[name]
        size = BASE.train.tokens_per_step // BASE.model.context_length
        stories = [self.written(story) for story in STORIES.texts(steps * size + size, seed=8)]
        self.tokenizer = BPETokenizer.train(stories[:3000], BASE.model.vocab_size)
        ids = [np.append(self.tokenizer.encode(story), self.tokenizer.end_of_text) for story in stories]
        begins = np.cumsum([0, *map(len, ids)])[
            :-2
        ]  # of the end before each story; the last do not fill a row
        tokens = np.concatenate([[self.tokenizer.end_of_text], *ids])
        config = replace(BASE.model, vocab_size=self.tokenizer.vocab_size)
        self.train = replace(BASE.train, steps=steps, seed=seed)
        self.model = GPT(config, generator=torch.Generator().manual_seed(seed))
        T = config.context_length
        self.optimizer = build_optimizer(self.model, self.train)
        rare = torch.from_numpy(np.bincount(tokens, minlength=config.vocab_size) < 0.01 * len(tokens))
        rare[self.tokenizer.end_of_text] = False
        recall = Recall(rare, end=self.tokenizer.end_of_text, weight=self.recall, n_rows=steps * size)
        self.batches = Batches(
            tokens, context_length=T, batch_size=size, seed=seed, begins=begins, weigh=recall
        )
        self.step, self.measured = 0, {"steps": [], "nats_of_a_name": [], "ratio": []}

    def go(self, steps: int) -> None:
        """Train so many more steps, and measure."""
        for step in range(self.step, self.step + steps):
            train_step(self.model, self.optimizer, self.batches, step=step, config=self.train, log=False)
        self.step += steps
        self.measure()

    @torch.no_grad()
    def measure(self) -> None:
        """Nats of a name told before; those of whole stories over the entropy; of 100 held-out stories."""
        names, totals, end = [], [], self.tokenizer.end_of_text
        for story in STORIES.texts(100, seed=HELD_OUT_SEED):
            ids = torch.tensor([end, *self.tokenizer.encode(self.written(story)).tolist(), end])
            nats = token_losses(self.model(ids[None, :-1])[0], ids[1:]).tolist()
            words = [self.tokenizer.decode([i]).strip() for i in ids[1:-1].tolist()]
            names += [nats[t] for t, word in enumerate(words) if word in NAMES and word in words[:t]]
            totals.append(sum(nats))
        self.measured["steps"].append(self.step)
        self.measured["nats_of_a_name"].append(round(statistics.mean(names), 4))
        self.measured["ratio"].append(round(statistics.mean(totals) / STORIES.entropy, 4))


def main() -> None:
    about = {"steps": (300, "of each"), "every": (25, "steps between measurements")}
    chosen = options(__doc__, record="story_variants", seeds=([1, 2, 3], "of each"), **about)
    torch.set_num_threads(1)
    record = open_record(chosen, what="experiment", recipe=BASE.name, entropy=STORIES.entropy)
    for seed in chosen.seeds:
        runs = {name: Run(name, seed, chosen.steps) for name in VARIANTS}
        for _ in range(0, chosen.steps, chosen.every):
            for run in runs.values():
                run.go(min(chosen.every, chosen.steps - run.step))
        for name, run in runs.items():
            shares, _ = tell_and_grade(run.model, run.tokenizer, 200, temperature=0.5, seed=seed)
            record.write("measurement", name=name, seed=seed, temperature=0.5, **shares, **run.measured)
            print(f"{name:22} seed {seed}: a name {run.measured['nats_of_a_name'][-1]:.2f} nats,", shares)
    record.write("end")


if __name__ == "__main__":
    main()
