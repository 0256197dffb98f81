"""Experiment: a recipe with its text read, its characters numbered, its batches cut and its model built.

Refuses to know which numbers are good ones (recipes), how a model is trained (training) and where runs are
kept (runs).
Taught in notebook 04_training."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from tinylm.errors import ConfigError
from tinylm.model.gpt import GPT
from tinylm.runs.recipes import Recipe
from tinylm.text.batches import Batches
from tinylm.text.corpora import Text, load
from tinylm.text.tokenizers import CharTokenizer


@dataclass(frozen=True)
class Experiment:
    """A recipe with its text read and its model built, ready to train."""

    recipe: Recipe
    """As it will be trained: with the vocabulary's true size."""
    text: Text
    """What was read, and from which kind of source."""
    tokenizer: CharTokenizer
    """One id per character of the text."""
    model: GPT
    """Freshly initialised from the recipe's seed, on the CPU."""
    batches: Batches
    """Training batches, a pure function of the step."""
    validation: np.ndarray
    """Ids of the fixed validation text, (N,)."""


def prepare(recipe: Recipe, *, fallback: bool = False) -> Experiment:
    """Read the text, number its characters, cut it into batches and build the model.

    The alphabet is that of the whole text, whatever share of it is read: a character that only another part
    has would otherwise have no id. With `fallback`, a missing corpus is replaced by the recipe's generated
    one, and one printed line says so. Raises CorpusMissing, and ConfigError when the context is longer than
    the text."""
    text = load(recipe.data.corpus, fallback=recipe.data.fallback if fallback else None)
    alphabet = text.train + text.validation
    text = replace(text, train=text.train[: round(recipe.data.train_share * len(text.train))])
    context_length = recipe.model.context_length
    for part, characters in (("training", len(text.train)), ("validation", len(text.validation))):
        if characters <= context_length:
            raise ConfigError(
                f"context_length {context_length} is longer than the {part} text of {text.name}, which has "
                f"{characters} characters: use {characters - 1} or less"
            )
    tokenizer = CharTokenizer.train(alphabet, lowercase=recipe.data.lowercase)
    recipe = replace(recipe, model=replace(recipe.model, vocab_size=tokenizer.vocab_size))
    return Experiment(
        recipe=recipe,
        text=text,
        tokenizer=tokenizer,
        model=GPT(recipe.model, generator=torch.Generator().manual_seed(recipe.train.seed)),
        batches=Batches(
            tokenizer.encode(text.train),
            context_length=context_length,
            batch_size=recipe.train.micro_batch_size,
            seed=recipe.train.seed,
        ),
        validation=tokenizer.encode(text.validation),
    )
