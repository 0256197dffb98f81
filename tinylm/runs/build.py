"""Building an experiment: a recipe with its text read, its batches cut and its model made.

Taught in notebook 04_training."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tinylm.errors import ConfigError
from tinylm.model.gpt import GPT
from tinylm.runs import paths
from tinylm.runs.recipes import Recipe
from tinylm.storage import weights
from tinylm.storage.atomic import read_json
from tinylm.text.batches import Batches
from tinylm.text.corpora import CORPORA
from tinylm.text.dataset import Dataset, load_dataset
from tinylm.text.tokenizers import tokenizer_from_json
from tinylm.training.progress import check_unchanged, default_provenance

FREE = {
    "dropout",
    "attention",
    "residual_init",
    "vocab_multiple",
}  # settings that may differ from those of the weights


@dataclass(frozen=True)
class Experiment:
    """A recipe that is ready to train."""

    recipe: Recipe
    """As it will be trained: with the vocabulary's true size and the corpus that was really read."""
    dataset: Dataset
    model: GPT
    """Initialised from the recipe's seed or from the weights of `init_from`, on the CPU."""
    batches: Batches
    """Training batches, a pure function of the step."""
    provenance: dict[str, Any]
    """What must not change when the run is resumed, as plain JSON: stored with each checkpoint."""


def build_experiment(recipe: Recipe, *, fallback: bool = False) -> Experiment:
    """Read the text, cut it into batches, build the model, and write down what all of it was made of.

    With `fallback`, a missing corpus is replaced by the recipe's generated one, and one printed line says so.
    Raises CorpusMissing, DataError, CheckpointError for `init_from`, and ConfigError where the context is
    longer than the text."""
    data, train = recipe.data, recipe.train
    dataset = load_dataset(
        os.path.expanduser(data.corpus),
        tokenizer=data.tokenizer,
        lowercase=data.lowercase,
        train_share=data.train_share,
        fallback=data.fallback if fallback else None,
    )
    data = replace(data, corpus=dataset.name)
    if dataset.name not in CORPORA:  # a path: it is stored as it leads there from the repository, which names
        data = replace(data, corpus=paths.display_path(dataset.name, paths.HOME))  # no user, and
        dataset = replace(dataset, name=Path(dataset.name).resolve().name)  # published as the file alone
    context_length = recipe.model.context_length
    for part, tokens in (("training", dataset.train), ("validation", dataset.validation)):
        if len(tokens) <= context_length:
            raise ConfigError(
                f"context_length {context_length} is longer than the {part} text of {dataset.name}, "
                f"which has {len(tokens):,} {dataset.unit}s: use {len(tokens) - 1} or less"
            )
    config = replace(recipe.model, vocab_size=dataset.tokenizer.vocab_size)
    recipe = replace(recipe, model=config, data=data)
    model = GPT(config, generator=torch.Generator().manual_seed(train.seed))
    batches = Batches(
        dataset.train,
        context_length=context_length,
        batch_size=train.micro_batch_size,
        seed=train.seed,
        fingerprint=dataset.fingerprint,
    )
    provenance = {
        "recipe": recipe.name,
        "about": recipe.about,
        "data": asdict(data),
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "tokenizer": dataset.tokenizer.fingerprint,
        **default_provenance(model, train, batches),
    }
    if recipe.init_from is not None:
        provenance["init_from"] = _start_from(recipe.init_from, model, dataset)
    return Experiment(recipe, dataset, model, batches, provenance)


def _start_from(name: str, model: GPT, dataset: Dataset) -> dict[str, Any]:
    """Load the weights of a checkpoint into the model; its name, and what tells its weights from any other.

    Raises CheckpointError where its tokenizer or its model is another."""
    folder = paths.find(name)
    stored = weights.load(paths.display_path(folder))
    theirs, ours = (
        {k: v for k, v in config.to_json().items() if k not in FREE} | {"tokenizer": tokenizer.fingerprint}
        for config, tokenizer in (
            (stored.config, tokenizer_from_json(stored.tokenizer)),
            (model.config, dataset.tokenizer),
        )
    )
    check_unchanged(name, theirs, ours)
    stored.fill(model)
    files = read_json(folder, weights.ABOUT, name)["files"]  # load has verified them
    return {"name": Path(name).name, "sha256": files[weights.WEIGHTS]["sha256"]}
