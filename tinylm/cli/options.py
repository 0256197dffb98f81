"""Options: what can be typed after python -m tinylm, one dataclass for each command.

The types are the checks and the docstrings are the help.
Shown in notebook 00_start_here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from tinylm.inference.config import GenerationConfig
from tinylm.model.config import ModelConfig
from tinylm.runs.recipes import DataConfig
from tinylm.training.config import TrainConfig

SAMPLED = GenerationConfig(temperature=0.8)  # a little calmer than the model's own probabilities


@dataclass(frozen=True)
class Train:
    """Train a model from a recipe. Any setting can be changed: --model.n-embd 96 --train.steps 200

    With fewer steps than the recipe's, its warm-up becomes shorter in proportion."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help_behavior_hint="")]
    """What to train; `python -m tinylm` lists the recipes."""
    model: ModelConfig
    train: TrainConfig
    data: DataConfig
    run: Annotated[str | None, arg(metavar="NAME")] = None
    """The run's name: it is kept in data/mine/NAME. Left out: the recipe's name and the next number."""
    init_from: Annotated[str | None, arg(metavar="CHECKPOINT")] = None
    """A checkpoint whose weights to start from: a folder, a run's name, or a shipped name."""
    fallback: bool = False
    """Train on generated text when the corpus is not here."""


@dataclass(frozen=True)
class Steps:
    """How long a training is to be: read before all other options, which depend on it."""

    steps: Annotated[int, arg(name="train.steps")] = 0


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped, from its newest whole checkpoint, as if it never had been."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """The run's name, or its folder."""


@dataclass(frozen=True)
class Sample:
    """Let a trained model write. The text is streamed to the terminal."""

    checkpoint: Annotated[Positional[str], arg(metavar="CHECKPOINT")]
    """A checkpoint's folder, a run's name, or a shipped name such as shakespeare_char."""
    prompt: Annotated[str, arg(metavar="TEXT")] = "\n"
    """What to continue. Left out: the beginning of a line."""
    generation: Annotated[GenerationConfig, arg(name=""), UseAppendAction] = SAMPLED
    seed: Annotated[int | None, arg(metavar="INT")] = None
    """The same seed gives the same text. Left out: a new text each time."""


@dataclass(frozen=True)
class Evaluate:
    """Measure a model's loss on the whole validation text of its own corpus."""

    checkpoint: Annotated[Positional[str], arg(metavar="CHECKPOINT")]
    """A checkpoint's folder, a run's name, or a shipped name such as shakespeare_char."""


@dataclass(frozen=True)
class Fetch:
    """Download a corpus, check it and keep it."""

    corpus: Annotated[Positional[str | None], arg(metavar="CORPUS")] = None
    """Which one."""
    all: bool = False
    """Every corpus of the course."""


@dataclass(frozen=True)
class Pack:
    """Copy the corpora that are here into a folder: a classroom pack for TINYLM_DATA=DIR, with no network."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Where to; it is made if need be."""


@dataclass(frozen=True)
class Machine:
    """Say what this machine is, which corpora it has, and how fast it trains."""


@dataclass(frozen=True)
class Lab:
    """Open the course in JupyterLab, in a copy of the notebooks that is yours to write in."""

    browser: bool = True
    """Open a browser window; without it, the address to open is printed."""


COMMANDS = {
    kind.__name__.lower(): kind for kind in (Train, Resume, Sample, Evaluate, Fetch, Pack, Machine, Lab)
}
