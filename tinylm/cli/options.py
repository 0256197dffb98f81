"""Options: what can be typed after python -m tinylm, one class for each command, and how it is parsed.

tyro reads the classes as they are: their types are the checks, their docstrings and comments are the help.
What it refuses, it draws as a box on stderr: what is wrong, which options are near, and where the help is.
Shown in 00_start_here."""

import contextlib
import io
import os
import re
import shutil
import sys
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from tinylm.errors import TinyLMError
from tinylm.inference.config import GenerationConfig
from tinylm.model.config import ModelConfig
from tinylm.runs.recipes import RECIPES, DataConfig, did_you_mean, recipe, shortened
from tinylm.training.config import TrainConfig

PROGRAM = "python -m tinylm"
HELP = {"-h", "--help", "--help-all"}
FIRST = next(iter(RECIPES))
# What the help of train shows. Its other options are for those who ask for all.
COMMON = {"-h", "--name", "--init-from", "--fallback", "--scale", "--data.corpus", "--model.n-layer"}
COMMON |= {"--model.n-embd", "--train.steps", "--train.micro-batch-size", "--train.learning-rate"}
SAMPLED = GenerationConfig(temperature=0.8)  # probable tokens gain a little
Checkpoint = Annotated[Positional[str], arg(metavar="CHECKPOINT")]
# Without a constructor tyro tries None first, and its refusal of a value speaks of NoneType.
Integer = Annotated[int | None, arg(constructor=int, metavar="INT", help_behavior_hint="")]


class Train(NamedTuple):
    """Train a model from a recipe. Any setting can be changed: --model.n-embd 96 --train.steps 200

    The defaults shown are those of the recipe that is typed before --help, or of shakespeare_char. With fewer
    steps than the recipe has, its warm-up becomes shorter in proportion."""

    # What to train. `python -m tinylm` lists the recipes.
    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help_behavior_hint="")]
    model: ModelConfig  # The model, by default the recipe's.
    train: TrainConfig  # How to train, by default the recipe's.
    data: DataConfig  # What to read, by default the recipe's.
    # The run is stored in data/mine/NAME, by default the recipe's name and the next number. torchrun has an
    # option --run of its own, so write --name there.
    run: Annotated[str | None, arg(metavar="NAME", aliases=("--name",))] = None
    # The checkpoint whose weights to start from: a folder, a run's name, or a shipped name.
    init_from: Annotated[str | None, arg(metavar="CHECKPOINT")] = None
    fallback: bool = False  # Train on generated text if the corpus is not here.
    # small, medium or full, for a recipe that has scales. Settings that are typed override it.
    scale: Annotated[str | None, arg(metavar="SCALE")] = None
    fsdp: bool = False  # For a model too large for one GPU: each process that torchrun starts keeps a part.


class Resume(NamedTuple):
    """Resume a run that was stopped, from its newest complete checkpoint, as if nothing had happened."""

    name: Annotated[Positional[str], arg(metavar="RUN")]  # The run's name, or its folder.
    fsdp: bool = False  # For a model too large for one GPU: each process that torchrun starts keeps a part.


class Sample(NamedTuple):
    """Let a trained model write. The text appears as it is written."""

    checkpoint: Checkpoint  # A checkpoint's folder, a run's name, or a shipped name such as shakespeare_char.
    # The text to continue, by default the beginning of a line or, for a story model, of a story.
    prompt: Annotated[str | None, arg(metavar="TEXT")] = None
    generation: Annotated[GenerationConfig, arg(name=""), UseAppendAction] = SAMPLED
    # The same seed gives the same text; by default each text is new.
    seed: Integer = None


class Evaluate(NamedTuple):
    """Measure a model's validation loss, or how often it finds the right ending among four."""

    # A run's name, a shipped name, a folder (also in Hugging Face's layout), or a model's name on the Hub.
    checkpoint: Checkpoint
    on: Literal["validation", "hellaswag", "toyworld"] = "validation"  # toyworld needs no file.
    items: Integer = None  # Score only so many.


class Doctor(NamedTuple):
    """Compare a run's losses with those of healthy runs of its recipe, and say where they part."""

    name: Annotated[Positional[str], arg(metavar="RUN")]  # The run's name, or its folder.


class Fetch(NamedTuple):
    """Download a corpus and verify it."""

    corpus: Annotated[Positional[str | None], arg(metavar="CORPUS")] = None  # Which one.
    all: bool = False  # Every corpus of the course except the large ones (gigabytes).


class Prepare(NamedTuple):
    """Turn a corpus into files of token ids, once. A preparation that was stopped resumes where it was."""

    # A corpus by name, or a file or folder of texts.
    corpus: Annotated[Positional[str], arg(metavar="CORPUS")]
    tokenizer: str = "gpt2"  # gpt2, bpe-4096 (trained on the text), or a saved tokenizer.json.


class Pack(NamedTuple):
    """Copy corpora into a folder: a pack for a classroom without a network, used with TINYLM_DATA=DIR."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]  # Where to write; it need not exist.
    # Which corpora, by default all except the large ones (gigabytes), which are copied only by name.
    corpora: Annotated[Positional[tuple[str, ...]], arg(metavar="CORPUS")] = ()


class Export(NamedTuple):
    """Write a model as a folder that Hugging Face's transformers opens: as GPT-2, Llama or Qwen 3."""

    checkpoint: Checkpoint  # A checkpoint's folder, a run's name, or a shipped name such as shakespeare_char.
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]  # A new folder for it, or an empty one.
    overwrite: bool = False  # Replace the files of an earlier export, and keep everything else in the folder.
    # The weights' licence for the model card, as the Hub calls it, such as mit.
    license: Annotated[str | None, arg(metavar="NAME")] = None


class Import(NamedTuple):
    """Turn a GPT-2, Llama or Qwen 3 in Hugging Face's layout into a checkpoint for sample, evaluate and
    --init-from. Its tokenizer must be a BPE on bytes, as theirs are."""

    # A folder, or a name on the Hub such as openai-community/gpt2, from where it is downloaded.
    source: Annotated[Positional[str], arg(metavar="FOLDER_OR_NAME")]
    folder: Annotated[Positional[Path], arg(metavar="CHECKPOINT")]  # A new folder for it, or an empty one.
    # The corpus on which `evaluate` then measures it. Without one it can still write and be trained.
    corpus: Annotated[str | None, arg(metavar="CORPUS")] = None
    overwrite: bool = False  # Replace the files of an earlier import, and keep everything else in the folder.


class Card(NamedTuple):
    """Print a model's card for the Hub: what it read, how it was trained, what was measured."""

    name: Annotated[Positional[str], arg(metavar="RUN")]  # The name of your run, or of a model of the course.
    out: Annotated[Path | None, arg(metavar="FILE")] = None  # Write it to this new file.
    # The licence of the weights by its name on the Hub, such as mit.
    license: Annotated[str | None, arg(metavar="NAME")] = None


class Machine(NamedTuple):
    """Show what this machine is, which corpora it has, and how long the models of the course would take."""


class Lab(NamedTuple):
    """Open the course in JupyterLab, in your own copies of the notebooks."""

    browser: bool = True  # Open a browser window. Otherwise the address is printed.
    # Open separate copies with the solutions put in, in my_notebooks/solved.
    solutions: bool = False


class Yours(NamedTuple):
    """Write what you have solved in the notebooks as one file that needs torch and numpy alone."""

    file: Annotated[Positional[Path], arg(metavar="FILE")] = Path("my_lm.py")  # Where to write it.
    overwrite: bool = False  # Replace a file that you have changed by hand.


class Speedrun(NamedTuple):
    """Race entries: the CPU-seconds that each needs to a validation loss of 1.60 on Shakespeare.

    An entry is a file with a function train(tokens, seed, show). tokens are the ids of the training text, and
    show(model, context_length) measures model(tokens) -> logits. Its first line says what is new in it."""

    # Files with a train function, or baseline and fast; by default these two.
    entries: Annotated[Positional[tuple[str, ...]], arg(metavar="ENTRY")] = ()
    seeds: tuple[int, ...] = (1, 2, 3)  # Each entry runs once with each.


KINDS = (Train, Resume, Sample, Evaluate, Doctor, Fetch, Prepare, Pack, Export, Import, Card, Machine, Lab)
KINDS += (Yours, Speedrun)
COMMANDS = {kind.__name__.lower(): kind for kind in KINDS}


def parse(arguments: list[str]) -> Any:
    """Return what was typed as one of these classes.

    Raises SystemExit when the help, or tyro's box of what is wrong, has been printed. Nothing typed at all
    asks for help too. Raises TinyLMError for an unknown command and for a setting that cannot work."""
    command, *typed = arguments or ["--help"]
    if command in HELP:
        print(overview())
        sys.exit(0)
    if command not in COMMANDS:
        raise TinyLMError(f"there is no command {command[:40]}: {did_you_mean(command, COMMANDS)}")
    words = list(takewhile(lambda word: not word.startswith("-"), typed))
    if command == "sample" and len(words) > 1:
        raise TinyLMError(f'the text to continue is an option: --prompt "{" ".join(words[1:])}"')
    start = {"default": _recipe_named(typed)} if command == "train" else {}
    os.environ["COLUMNS"] = str(max(40, shutil.get_terminal_size().columns))  # below 8 tyro never returns
    text, box = io.StringIO(), io.StringIO()
    short = command == "train" and {"-h", "--help"} & {*typed}
    asked = ["--help" if word == "--help-all" else word for word in typed]
    try:
        with contextlib.redirect_stdout(text if short else sys.stdout), contextlib.redirect_stderr(box):
            return tyro.cli(COMMANDS[command], prog=f"{PROGRAM} {command}", args=asked, **start)
    except SystemExit as stop:
        # tyro also draws a ValueError of a setting as a box. Ours are sentences already.
        ours = getattr(stop.__context__, "__context__", None)
        if isinstance(ours, TinyLMError):
            raise ours from None
        if shown := text.getvalue():
            print(_common(shown))
        print(box.getvalue(), end="", file=sys.stderr)
        raise


def _common(text: str) -> str:
    """Return the help of train with the options of COMMON alone."""
    options, kept, shown = 0, [], True
    for line in text.splitlines():
        if option := re.match(r". (--?[a-z][\w.-]*)", line):
            options, shown = options + 1, option[1] in COMMON
        elif line[1:8].strip() or not line.strip():  # a heading or the end of a box, not more of an option
            shown = True
        if shown:
            kept.append(line.rstrip())
    kept.append(
        f"These are {len(COMMON) - 1} of {options - 1} options. {PROGRAM} train --help-all lists all."
    )
    return "\n".join(kept)


def overview() -> str:
    """Return the help of the program: its commands and its recipes."""
    lines = ["tinylm, a course on language models in notebooks.", "", f"usage: {PROGRAM} COMMAND ...", ""]
    lines += [f"  {name:<9} {kind.__doc__.splitlines()[0]}" for name, kind in COMMANDS.items()]
    lines += ["", f"recipes, as in {PROGRAM} train {FIRST}:", ""]
    lines += [f"  {name:<21} {recipe.about}" for name, recipe in RECIPES.items()]
    lines += ["", f"{PROGRAM} COMMAND --help lists the options of a command."]
    return "\n".join(lines)


def _recipe_named(typed: list[str]) -> Train:
    """Return the settings of the recipe that was typed, at its --scale, as the defaults of all options.

    --train.steps is looked up here too: a warm-up longer than the run is refused as soon as it is read, so it
    must be shortened before tyro reads it."""
    if not typed or (typed[0].startswith("-") and typed[0] not in HELP):
        raise TinyLMError(f"name a recipe first, as in {PROGRAM} train {FIRST} ({PROGRAM} lists them)")
    scales = re.findall(r"--scale[ =](\S+)", " ".join(typed)) or [None]
    chosen = recipe(FIRST if typed[0] in HELP else typed[0], scales[-1])
    if steps := re.findall(r"--train\.steps[ =]\+?(\d[\d_]{0,18})(?!\S)", " ".join(typed)):
        chosen = shortened(chosen, int(steps[-1]))
    return Train(chosen.name, chosen.model, chosen.train, chosen.data, scale=chosen.scale)
