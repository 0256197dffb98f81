"""Commands: what can be typed after python -m tinylm, one dataclass for each, and what is then done.

The types are the checks and the docstrings are the help. What needs torch is imported when something
is done, because torch takes a second and --help needs none of it. Shown in notebook 00_start_here."""

import itertools
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from tinylm.errors import ConfigError
from tinylm.inference.config import GenerationConfig
from tinylm.model.config import ModelConfig
from tinylm.runs.recipes import DataConfig, recipe
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
class Resume:
    """Go on with a run that was stopped, from its newest whole checkpoint, as if it never had been."""

    name: Annotated[Positional[str], arg(metavar="RUN")]
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


COMMANDS = {c.__name__.lower(): c for c in (Train, Resume, Sample, Evaluate, Fetch, Pack, Machine, Lab)}


def perform(options: Any, typed: list[str]) -> int:
    """Do what was typed, which the options say; `typed` is for the record. Returns the exit code."""
    from tinylm.course import notebooks
    from tinylm.inference.generate import to_column_major
    from tinylm.runs import machine, run
    from tinylm.runs.paths import open_checkpoint
    from tinylm.text import corpora

    match options:
        case Train(data=data):
            chosen = recipe(options.recipe)
            if (size := options.model.vocab_size) != chosen.model.vocab_size:
                raise ConfigError(f"vocab_size {size} cannot be chosen, the text decides it: leave it out")
            changes = {name: getattr(options, name) for name in ("model", "train", "data", "init_from")}
            words = typed  # a record may be published: it names a file of one's own, and no folder above it
            for typed_path in (data.corpus, options.init_from or data.corpus):
                words = [word.replace(typed_path, Path(typed_path).name) for word in words]
            said = {"command": shlex.join(["python", "-m", "tinylm", *words]), "fallback": options.fallback}
            return _finish(run.run_recipe(replace(chosen, **changes), name=options.run, **said))
        case Resume(name):
            return _finish(run.resume(name))
        case Sample(checkpoint, prompt, generation, seed):
            opened = open_checkpoint(checkpoint)
            to_column_major(opened.model)  # this process only writes
            _write(opened, prompt, generation, seed)
        case Evaluate(checkpoint):
            result, text = run.validate(checkpoint)
            print(run.format_evaluation(result, text.unit))
            print(f"{result.n_tokens:,} {text.unit}s of {text.name} ({text.source}), each predicted once")
        case Fetch(corpus, is_all):
            if (corpus is None) != is_all:
                raise ConfigError(f"name one corpus or give --all: {', '.join(corpora.CORPORA)}")
            for name in [n for n, c in corpora.CORPORA.items() if c.files] if is_all else [corpus]:
                files = corpora.fetch(name)
                print(f"{name}: {', '.join(files) or 'is generated, there is nothing to fetch'}")
        case Pack(folder):
            n, where = len(corpora.pack(folder)), shlex.quote(corpora.as_variable(folder))
            print(f"{n} files: set TINYLM_DATA={where}, or copy the folder to a stick")
        case Machine():
            print(machine.report())
        case Lab(browser):
            return notebooks.open_lab([] if browser else ["--no-browser"])
    return 0


def _finish(run: Any) -> int:
    from tinylm.runs.paths import display_path

    print("\na sample:")
    _write(run, "\n", replace(SAMPLED, max_new_tokens=300), 1)
    print(f"\nnext: python -m tinylm sample {shlex.quote(display_path(run.folder))}")
    return 130 if run.interrupted else 0


def _write(trained: Any, prompt: str, config: GenerationConfig, seed: int | None) -> None:
    import torch

    from tinylm.inference.generate import stream_text, to_column_major
    from tinylm.runs.run import opening

    tokenizer, generator = trained.tokenizer, torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed % 2**63)
    prompt = opening(tokenizer) if prompt == "\n" else prompt
    to_column_major(trained.model)  # this process only writes from now on
    pieces = stream_text(trained.model, tokenizer, prompt, config, generator=generator)
    for piece in itertools.chain([tokenizer.decode(tokenizer.encode(prompt))], pieces, ["\n"]):
        print(piece, end="", flush=True)
