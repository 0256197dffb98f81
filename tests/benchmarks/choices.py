"""Measure how often the shipped models choose the right ending, on one thread:
OMP_NUM_THREADS=1 TINYLM_DATA=../shared/data python tests/benchmarks/choices.py --record NAME

All of HellaSwag's 10,042 items and 1,000 of toyworld's, for each shipped model that can read them, and for a
model of the same shape that has learned nothing. A model whose context or characters do not hold all items is
refused as a whole, and the record says so. Which items each has right is written down as a row of 0 and 1,
because two models are compared item by item.
"""

import time

import torch
from benchmark import open_record, options

from tinylm.errors import TinyLMError
from tinylm.inference.choices import paired, score_choices
from tinylm.model.gpt import GPT
from tinylm.runs import paths
from tinylm.runs.cards import measurement
from tinylm.text import corpora
from tinylm.text.choices import read_hellaswag, toyworld_choices

WAYS = ("ending", "character")


def scored(record, name, on, what, model, tokenizer, items):
    """Write a line for each way to count what this model has right. Return the scores, or None if refused."""
    began = time.perf_counter()
    try:
        scores = score_choices(model, tokenizer, items)
    except TinyLMError as error:
        record.write("measurement", name=f"{name} on {on}", model=name, on=on, refused=str(error))
        return print(f"{name} on {on}: {error}")
    seconds = time.perf_counter() - began
    for per in WAYS:
        accuracy, right = scores.accuracy(per), "".join(str(int(one)) for one in scores.correct(per))
        line = measurement(name, on, accuracy, what)
        record.write("measurement", **line, seconds=seconds, right=right)
        print(f"{name} on {on}: {line['described']}, {seconds:.0f} s")
    return scores


def main():
    chosen = options(
        __doc__,
        checkpoints=(["tinystories_fast", "toyworld_stories", "shakespeare_char"], "shipped models"),
        items=(0, "of HellaSwag, the first ones; 0 for all"),
        toyworld=(1000, "items of toyworld, of seed 1"),
    )
    here = corpora.corpus_here("hellaswag")
    record = open_record(chosen, what="evaluation", holds=here.holds, items_of=here.what or "the raw file")
    hellaswag = read_hellaswag(*corpora.fetch("hellaswag").values())[: chosen.items or None]
    toyworld = toyworld_choices(chosen.toyworld, seed=1)
    sets = {"hellaswag": (here.what, hellaswag), "toyworld": ("", toyworld)}
    for name in chosen.checkpoints:
        opened = paths.open_checkpoint(name)
        blank = GPT(opened.config, generator=torch.Generator().manual_seed(1)).eval()
        for on, (what, items) in sets.items():
            if (found := scored(record, name, on, what, opened.model, opened.tokenizer, items)) is None:
                continue
            nothing = scored(record, f"{name}, blank", on, what, blank, opened.tokenizer, items)
            for per in WAYS:
                difference = paired(found.correct(per), nothing.correct(per))
                about = {"name": f"{name} on {on}, per {per}, beside blank", "per": per}
                record.write("measurement", **about, **difference._asdict())
                print(f"  per {per}: {difference}")
    record.write("end")


if __name__ == "__main__":
    main()
