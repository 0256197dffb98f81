"""The command line: python -m tinylm. It reads what was typed, calls a room, and prints what comes back.

Reads it with tyro, which takes our dataclasses and their docstrings as they are: the types are the checks and
the docstrings are the help, so there is no second schema and no YAML. Refuses to know how anything is done.
A TinyLMError becomes one sentence and exit code 2; any other exception is a bug and keeps its traceback."""

import contextlib
import io
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg, subcommand

from tinylm.errors import TinyLMError
from tinylm.model.config import ModelConfig
from tinylm.recipes import RECIPES, DataConfig, changed, recipe, shortened
from tinylm.training.config import TrainConfig

PROGRAM = "python -m tinylm"
REFUSED, INTERRUPTED = 2, 130  # exit codes


@dataclass(frozen=True)
class Train:
    """Train a model from a recipe. Any number can be changed: --model.n-embd 96 --train.steps 200

    With fewer steps than the recipe's, its warm-up becomes shorter in proportion."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help_behavior_hint="")]
    """What to train; `python -m tinylm` lists the recipes."""
    model: ModelConfig
    train: TrainConfig
    data: DataConfig
    run: Annotated[str | None, arg(metavar="NAME")] = None
    """The run's name: it is kept in data/mine/NAME. Left out: the recipe's name and the next number."""
    fallback: bool = False
    """Train on generated text when the corpus is not here."""


@dataclass(frozen=True)
class Sample:
    """Let a trained model write. The text is streamed to the terminal."""

    checkpoint: Annotated[Positional[str], arg(metavar="CHECKPOINT")]
    """A checkpoint's folder, a run's name, or a shipped name such as shakespeare_char."""
    prompt: Annotated[str, arg(metavar="TEXT")] = "\n"
    """What to continue. Left out: the beginning of a line."""
    temperature: float = 0.8
    """Below 1 the favourites gain, above 1 the rare characters do; 0 always takes the most probable."""
    max_new_tokens: int = 500
    """How much to write."""
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
    allow_root: bool = False
    """Run as root too, as some containers want it."""


def train(options: Train, command: str) -> int:
    from tinylm import checkpoints, runs

    chosen = changed(recipe(options.recipe), options.model, options.train, options.data)
    finished = runs.run(chosen, name=options.run, fallback=options.fallback, command=command)
    where = checkpoints.shown(finished.folder)
    print("\na sample:")
    sample(Sample(where, max_new_tokens=300, seed=1))
    print(f"\nnext: {PROGRAM} sample {where} --prompt 'to be'")
    return INTERRUPTED if finished.interrupted else 0


def sample(options: Sample, command: str = "") -> int:
    import torch

    from tinylm.checkpoints import open_checkpoint
    from tinylm.inference.generate import stream_text

    opened = open_checkpoint(options.checkpoint)
    generator = torch.Generator()
    generator.seed() if options.seed is None else generator.manual_seed(options.seed % 2**63)
    asked = {"max_new_tokens": options.max_new_tokens, "temperature": options.temperature}
    pieces = stream_text(opened.model, opened.tokenizer, options.prompt, **asked, generator=generator)
    print(opened.tokenizer.decode(opened.tokenizer.encode(options.prompt)), end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    return 0


def evaluate(options: Evaluate, command: str) -> int:
    from tinylm import checkpoints, runs

    result, text = runs.validate(checkpoints.open_checkpoint(options.checkpoint))
    print(runs.in_words(result))
    print(f"{result.n_tokens:,} characters of {text.name} ({text.source}), each predicted once")
    return 0


def fetch(options: Fetch, command: str) -> int:
    from tinylm.text import corpora

    if (options.corpus is None) != options.all:
        raise TinyLMError(f"name one corpus or give --all: {', '.join(corpora.CORPORA)}")
    names = [n for n, c in corpora.CORPORA.items() if c.files] if options.all else [options.corpus]
    for name in names:
        files = corpora.fetch(name)
        print(f"{name}: {', '.join(files) or 'is generated, there is nothing to fetch'}")
    return 0


def pack(options: Pack, command: str) -> int:
    from tinylm.text import corpora

    written = corpora.pack(options.folder)
    print(f"{len(written)} files: set TINYLM_DATA to this folder, or copy it to a stick")
    return 0


def machine(options: Machine, command: str) -> int:
    from tinylm.machine import report

    print(report())
    return 0


def lab(options: Lab, command: str) -> int:
    from tinylm.course.workbook import open_lab

    wanted = {"--no-browser": not options.browser, "--allow-root": options.allow_root}
    return open_lab([flag for flag, is_set in wanted.items() if is_set])


COMMANDS = {
    Train: train,
    Sample: sample,
    Evaluate: evaluate,
    Fetch: fetch,
    Pack: pack,
    Machine: machine,
    Lab: lab,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 2 refused in one sentence, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = parse(arguments or ["--help"])
        return COMMANDS[type(options)](options, shlex.join(["python", "-m", "tinylm", *arguments]))
    except TinyLMError as error:
        print(f"tinylm: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print()
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a read-only folder, a file where a folder should be
        print(f"tinylm: {Path(error.filename or 'a file').name}: {error.strerror}", file=sys.stderr)
        return REFUSED
    except SystemExit as stop:  # tyro has said what is wrong
        return int(stop.code or 0)


def parse(arguments: list[str]) -> object:
    """What was typed, as one of the dataclasses above. SystemExit when tyro has said what is wrong."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(_commands(arguments), prog=PROGRAM, args=arguments, description=_about())
    except SystemExit as stop:
        # tyro draws a box around any ValueError of a dataclass: ours are sentences and are told as such.
        cause: BaseException | None = stop
        while cause is not None:
            if isinstance(cause, TinyLMError):
                raise cause from None
            cause = cause.__context__
        sys.stderr.write(said.getvalue())
        raise


def _commands(arguments: list[str]) -> object:
    """The union of all commands. What train shows and starts from are the numbers of the recipe named."""
    name = next(iter(RECIPES))
    if arguments[0] == "train" and not {"-h", "--help"} & set(arguments[1:2]):
        if len(arguments) < 2 or arguments[1].startswith("-"):
            raise TinyLMError(f"name a recipe first, as in {PROGRAM} train {name} ({PROGRAM} lists them)")
        name = arguments[1]
    chosen = recipe(name)
    # Looked up before tyro reads it, so that the warm-up that goes with it is what tyro starts from.
    if steps := re.search(r"\0--train\.steps[\0=](\d+)\0", "\0".join([*arguments, ""])):
        chosen = shortened(chosen, int(steps[1]))
    default = Train(name, chosen.model, chosen.train, chosen.data)
    commands: object = Annotated[Train, subcommand("train", default=default)]
    for kind in (Sample, Evaluate, Fetch, Pack, Machine, Lab):
        commands = commands | Annotated[kind, subcommand(kind.__name__.lower())]
    return commands


def _about() -> str:
    recipes = "\n".join(f"  {name}: {make().about}" for name, make in RECIPES.items())
    return f"tinylm, a course on language models in notebooks.\n\nrecipes:\n{recipes}"


if __name__ == "__main__":
    sys.exit(main())
