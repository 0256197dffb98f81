"""Grade the stories of a model of toyworld, and measure its nats per story.

    python tests/benchmarks/story_grades.py --checkpoint toyworld_stories
    make promote RUN=story_grades

Stories are generated from an empty prompt, at each temperature. The nats are those of complete held-out
stories, end included; the record has the exact entropy beside them."""

import math

import torch
from benchmark import open_record, options

from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate_texts
from tinylm.model.losses import token_losses
from tinylm.runs.paths import open_checkpoint
from tinylm.text.toyworld.world import STORIES, spaced, unspaced

HELD_OUT_SEED, AT_ONCE = 999, 250
SHARES = ("grammatical", "faithful")


@torch.no_grad()
def story_nats(model, tokenizer, story):
    """Return the token ids of a story, without its end, and -ln p of each one and of the end, in nats.

    The story is read alone, after an end of text."""
    end, ids = tokenizer.end_of_text, tokenizer.encode(story).tolist()
    tokens = torch.tensor([end, *ids, end])
    return ids, token_losses(model(tokens[None, :-1])[0], tokens[1:]).tolist()


def tell_and_grade(model, tokenizer, n, *, temperature, seed):
    """Generate n stories from an empty prompt. Return the shares that the grader accepts."""
    asked = GenerationConfig(max_new_tokens=model.config.context_length - 1, temperature=temperature)
    draw, told = torch.Generator().manual_seed(seed), []
    while len(told) < n:
        prompts = [""] * min(AT_ONCE, n - len(told))
        told += generate_texts(model.eval(), tokenizer, prompts, asked, generator=draw)
    grades = [STORIES.grade(unspaced(story)) for story in told]
    return {name: sum(getattr(g, name) for g in grades) / n for name in SHARES}


def main() -> None:
    chosen = options(
        __doc__,
        record="story_grades",
        checkpoint=("toyworld_stories", "the model: a name or a folder"),
        stories=(1000, "told at each temperature"),
        held_out=(1000, "stories whose nats are counted"),
        temperatures=([0.6, 1.0], "to tell at"),
        seed=(1, "of what is drawn"),
    )
    opened = open_checkpoint(chosen.checkpoint)
    model, tokenizer = opened.model.eval(), opened.tokenizer
    record = open_record(chosen, what="evaluation", parameters=model.n_parameters())
    stories = STORIES.texts(chosen.held_out, HELD_OUT_SEED)
    nats = torch.tensor([sum(story_nats(model, tokenizer, spaced(story))[1]) for story in stories])
    figures = {"nats_per_story": nats.mean().item(), "error": nats.std().item() / math.sqrt(len(nats))}
    figures |= {"entropy": STORIES.entropy, "ratio": nats.mean().item() / STORIES.entropy}
    record.write("measurement", name="held-out stories", **figures)
    print(*(f"{name:16} {value:.4f}" for name, value in figures.items()), sep="\n")
    for heat in chosen.temperatures:
        asked = {"temperature": heat, "seed": chosen.seed}
        shares = tell_and_grade(model, tokenizer, chosen.stories, **asked)
        record.write("measurement", name=f"temperature {heat}", n=chosen.stories, **asked, **shares)
        print(f"temperature {heat}", shares)
    record.write("end")


if __name__ == "__main__":
    main()
