"""Recipes: all settings of a named run, in one place.

Taught in notebook 04_training."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from tinylm.errors import Config, ConfigError
from tinylm.model.config import ModelConfig
from tinylm.training.config import TrainConfig


@dataclass(frozen=True)
class DataConfig(Config):
    """Which text is read, and how it becomes tokens."""

    corpus: str = "tinyshakespeare"
    """A corpus of the course (`python -m tinylm machine` lists them), a text file or a folder of shards."""
    tokenizer: str = "characters"  # How the text becomes ids; shards bring their own.
    lowercase: bool = False
    """Fold the text to lower case: fewer characters to learn, and prompts are folded too."""
    train_share: float = 1.0
    """How much of the training text is read, counted from its beginning: 0.1 is its first tenth."""
    rows: Literal["windows", "lines"] = "windows"
    """What a row of a batch is: any stretch of the text, or whole lines, which are then all of one length."""
    scored: Literal["all", "answers"] = "all"
    """Which tokens the loss counts: all, or only what follows the =, in lines such as 12+34=46."""
    fallback: str = "toyworld-plays"
    """The generated text that stands in for a missing corpus, and only when that is asked for."""

    ADDED_LATER: ClassVar[dict] = {"tokenizer": "characters", "lowercase": False, "train_share": 1.0} | {
        "rows": "windows",
        "scored": "all",
        "fallback": "toyworld-plays",
    }


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


def _differing(base: Recipe, name: str, about: str, **parts: dict[str, Any]) -> Recipe:
    """A recipe by what it does otherwise than another: model={"n_layer": 4}."""
    others = {part: replace(getattr(base, part), **changes) for part, changes in parts.items()}
    return replace(base, name=name, about=about, **others)


SHAKESPEARE_CHAR = Recipe(  # a quarter of an hour on two CPU cores
    name="shakespeare_char",
    about="three GPT-2 blocks that learn to write, character by character",
    model=ModelConfig(vocab_size=39, context_length=256, n_layer=3, n_head=4, n_embd=128),
    train=TrainConfig(
        steps=2400,
        micro_batch_size=16,
        tokens_per_step=16 * 256,
        learning_rate=2e-3,
        min_learning_rate=2e-4,
        warmup_steps=100,
        beta2=0.99,  # few tokens a step: a longer memory steadies the second moment
        eval_every=200,
        log_every=10,
        seed=1,
    ),
    data=DataConfig(corpus="tinyshakespeare", lowercase=True),
)
OVERFIT = _differing(  # a lesson in minutes on a CPU
    SHAKESPEARE_CHAR,
    "overfit",
    "three GPT-2 blocks that read a tenth of their text again and again, and learn it by heart",
    model={"context_length": 64},
    train={"steps": 4000, "tokens_per_step": 16 * 64},
    data={"train_share": 0.1},
)
SHAKESPEARE_BASELINE = _differing(  # ends near 1.90 nats per character
    SHAKESPEARE_CHAR,
    "shakespeare_baseline",
    "four GPT-2 blocks trained the usual way, what shakespeare_fast is measured against",
    model={"vocab_size": 65, "context_length": 64, "n_layer": 4},
    train={"steps": 2000, "micro_batch_size": 12, "tokens_per_step": 12 * 64, "eval_every": 0}
    | {"learning_rate": 1e-3, "min_learning_rate": 1e-4},
    data={"lowercase": False},
)
# As many parameters and CPU-seconds as shakespeare_baseline, and a far lower loss. The choices lower it
# together: added one by one, two of them raise it at first, and left out one by one, two are not missed
# (tests/benchmarks/fast_ladder.py, shown in notebook 04_training).
SHAKESPEARE_FAST = _differing(
    SHAKESPEARE_BASELINE,
    "shakespeare_fast",
    "the size and CPU-seconds of shakespeare_baseline, other choices together: a far lower loss",
    model={"context_length": 128, "position": "rotary", "activation": "relu2", "bias": False}
    | {"token_shift": True, "tied_head": False, "residual_init": "zero"},
    train={
        "steps": 1450,  # a step costs more than the baseline's: so many take the same CPU-seconds
        "micro_batch_size": 6,  # of twice the context: as many tokens a step
        "optimizer": "muon",
        "learning_rate": 1e-2,
        "min_learning_rate": 0.0,
        "muon_learning_rate": 0.01,
        "warmup_steps": 40,
        "schedule": "linear",
        "weight_decay": 0.0,
    },
)
ADDITION = Recipe(
    name="addition",
    about="two small GPT-2 blocks that learn to add numbers of three digits, scored on the result alone",
    model=ModelConfig(vocab_size=13, context_length=13, n_layer=2, n_head=4, n_embd=64),
    train=TrainConfig(
        steps=400,
        micro_batch_size=256,
        tokens_per_step=256 * 13,
        optimizer="muon",
        learning_rate=1e-2,
        min_learning_rate=0.0,
        warmup_steps=20,
        schedule="linear",
        weight_decay=0.0,
        eval_every=50,
        seed=1,
    ),
    data=DataConfig(corpus="addition", rows="lines", scored="answers", fallback="addition"),
)
KNOWN = (SHAKESPEARE_CHAR, OVERFIT, SHAKESPEARE_BASELINE, SHAKESPEARE_FAST, ADDITION)
RECIPES = {made.name: made for made in KNOWN}


def recipe(name: str) -> Recipe:
    """The recipe of that name. Raises ConfigError with the nearest name and the whole list."""
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}: {did_you_mean(name, RECIPES)}")
    return RECIPES[name]


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The way out for a name that nothing has: the nearest of those that there are, and a dozen of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    listed = ", ".join([*sorted(known)[:12], *["…"][: len(known) > 12]])
    return f"did you mean {near}? (there is {listed})"


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with its warm-up cut in proportion to `steps`; unchanged when that is as long as it was.

    A warm-up made for 2400 steps would swallow a run of 100. Below 1 step it is left to be refused."""
    train = recipe.train
    if not 1 <= steps < train.steps:
        return recipe
    warmup_steps = train.warmup_steps * steps // train.steps
    return replace(recipe, train=replace(train, steps=steps, warmup_steps=warmup_steps))
