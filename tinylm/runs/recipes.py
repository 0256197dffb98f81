"""Recipes: all settings of a named run. recipes.toml holds the settings, and this file reads them.

Taught in notebook 04_training."""

import difflib
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tinylm.errors import Config, ConfigError, require_choice
from tinylm.model.config import ModelConfig
from tinylm.training.config import TrainConfig


@dataclass(frozen=True)
class DataConfig(Config):
    """Which text is read, and how it becomes tokens."""

    corpus: str = "tinyshakespeare"
    """A corpus of the course (`python -m tinylm machine` lists them), a text file or a folder of shards."""
    tokenizer: str = "characters"
    """How the text becomes ids: characters, gpt2, bpe-4096 (trained on the text) or the path of a saved
    tokenizer.json; shards bring their own."""
    lowercase: bool = False
    """Fold the text to lower case: fewer characters to learn, and prompts are folded too."""
    train_share: float = 1.0
    """How much of the training text is read, counted from its beginning: 0.1 is its first tenth."""
    rows: Literal["windows", "lines", "documents"] = "windows"
    """What a row of a batch is: any stretch of the text, whole lines, which must then all have one length, or
    a document from its beginning."""
    scored: Literal["all", "answers"] = "all"
    """Which tokens the loss counts: all, or only what follows the =, in lines such as 12+34=46."""
    recall: float = 1.0
    """How many times a rare token counts that its document has held before, at first; it falls to 1 in the
    first 60% of the steps. 1 counts all alike."""
    fallback: str = "toyworld-plays"
    """The generated text that stands in for a missing corpus, and only when that is asked for."""


PARTS = ("model", "train", "data")
SCALES = ("small", "medium")  # below "full", which is a recipe as it stands


@dataclass(frozen=True)
class Recipe:
    """All settings of a run. The model's vocab_size is a placeholder until the text has been read."""

    name: str
    about: str
    model: ModelConfig
    train: TrainConfig
    data: DataConfig
    init_from: str | None = None
    """A checkpoint whose weights the training starts from; None starts from random ones."""
    scale: str | None = None  # "full" as it stands, "small" or "medium"; None where there is only one
    scales: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What changes at another scale, part by part: {"small": {"model": {"n_layer": 4}}}."""


def read_recipes(path: Path) -> dict[str, Recipe]:
    """Read every recipe of a TOML file; recipes.toml says at its top how one is written.

    Raises TypeError for an unknown setting, KeyError for a base that is not further up in the file."""
    recipes: dict[str, Recipe] = {}
    for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
        base = Recipe(name=name, about="", model=ModelConfig(), train=TrainConfig(), data=DataConfig())
        if "base" in table:
            base = replace(recipes[table.pop("base")], name=name)
        scales = {scale: table.pop(scale) for scale in SCALES if scale in table}
        recipes[name] = replace(_changed(base, table), scale="full" if scales else None, scales=scales)
    return recipes


def _changed(recipe: Recipe, table: dict[str, Any]) -> Recipe:
    """Return the recipe with these settings changed, for example {"model": {"n_layer": 4}}."""
    changed = {part: replace(getattr(recipe, part), **table.get(part, {})) for part in PARTS}
    return replace(recipe, **(table | changed))


def changed(at: Recipe, **settings: Any) -> Recipe:
    """Return the recipe with these settings of its model or its training.

    Raises TypeError for a setting that neither has."""
    model = {name: value for name, value in settings.items() if hasattr(at.model, name)}
    return _changed(at, {"model": model, "train": {name: settings[name] for name in settings.keys() - model}})


def recipe(name: str, scale: str | None = None) -> Recipe:
    """Return the recipe of that name, at one of its scales; None is the full one.

    Raises ConfigError with the nearest name and the whole list, and for a scale that it does not have."""
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}: {did_you_mean(name, RECIPES)}")
    full = RECIPES[name]
    if scale in (None, "full"):
        return full
    require_choice("scale", scale, [*full.scales, "full"])
    return replace(_changed(full, full.scales[scale]), scale=scale)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return what to say about an unknown name: the nearest known one, if any, and up to a dozen of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join([*sorted(known)[:12], *["…"][: len(known) > 12]])
    return f"did you mean {near[0]}? (there is {listed})" if near else f"choose one of {listed}"


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """Return the recipe with fewer steps and its warm-up cut in proportion; unchanged for as many or more.

    A warm-up made for 2400 steps would swallow a run of 100. Fewer than 1 step are left to be refused."""
    train = recipe.train
    if not 1 <= steps < train.steps:
        return recipe
    warmup_steps = train.warmup_steps * steps // train.steps
    return replace(recipe, train=replace(train, steps=steps, warmup_steps=warmup_steps))


RECIPES = read_recipes(Path(__file__).with_name("recipes.toml"))
