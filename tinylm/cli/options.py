"""Options: what can be typed after python -m tinylm, one class for each command, and how it is read.

tyro reads the classes as they are: their types are the checks, their docstrings and comments the help. What
it refuses it draws as a box; the sentence is taken out of the box. Shown in notebook 00_start_here."""

import contextlib
import difflib
import io
import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from tinylm.errors import TinyLMError, short
from tinylm.inference.config import GenerationConfig
from tinylm.model.config import ModelConfig
from tinylm.runs.recipes import RECIPES, DataConfig, did_you_mean, recipe, shortened
from tinylm.training.config import TrainConfig

PROGRAM = "python -m tinylm"
HELP = {"-h", "--help"}
FIRST = next(iter(RECIPES))
SAMPLED = GenerationConfig(temperature=0.8)  # a little calmer than the model's own probabilities
Checkpoint = Annotated[Positional[str], arg(metavar="CHECKPOINT")]
WORDS = (  # what tyro and Python say, and what we say
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10:", r"\1 is not a whole number:"),
    (r"Error parsing (\S+): no type .*\|INT .* from \['(.*)'\]\. Got .*", r"\1 is not a whole number: \2"),
    (r"Error parsing (\S+): could not convert string to float:", r"\1 is not a number:"),
    (r"Error parsing (\S+): Exceeds the limit .*", r"\1 has too many digits"),
    (r"Unrecognized options: ([^, ]+).*", r"\1 is not known here"),
    (r"Missing value for argument \W*(--[\w.-]+).*", r"\1 needs a value"),
    (r"Missing from .*?: (\S+) (.*) \(required\)", r"\1 is missing: \2"),
    (r"invalid choice (\S+) for argument '(\S+)'. Expected one of \((.*)\)", r"\2 \1 is unknown: use \3"),
)


class Train(NamedTuple):
    """Train a model from a recipe. Any setting can be changed: --model.n-embd 96 --train.steps 200

    With fewer steps than the recipe's, its warm-up becomes shorter in proportion."""

    # What to train; `python -m tinylm` lists the recipes.
    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help_behavior_hint="")]
    model: ModelConfig  # The model's shape, by default the recipe's.
    train: TrainConfig  # How to train, by default the recipe's.
    data: DataConfig  # What is read, by default the recipe's.
    # Kept in data/mine/NAME; left out: the recipe's name and the next number. Under torchrun use --name.
    run: Annotated[str | None, arg(metavar="NAME", aliases=("--name",))] = None
    # A checkpoint whose weights to start from: a folder, a run's name, or a shipped name.
    init_from: Annotated[str | None, arg(metavar="CHECKPOINT")] = None
    fallback: bool = False  # Train on generated text when the corpus is not here.
    # small, medium or full, of a recipe that has scales; settings that are typed count before it.
    scale: Annotated[str | None, arg(metavar="SCALE")] = None


class Resume(NamedTuple):
    """Go on with a run that was stopped, from its newest whole checkpoint, as if it never had been."""

    name: Annotated[Positional[str], arg(metavar="RUN")]  # The run's name, or its folder.


class Sample(NamedTuple):
    """Let a trained model write. The text is streamed to the terminal."""

    checkpoint: Checkpoint  # A checkpoint's folder, a run's name, or a shipped name such as shakespeare_char.
    # What to continue. Left out: the beginning of a line or, of a story model, of a story.
    prompt: Annotated[str | None, arg(metavar="TEXT")] = None
    generation: Annotated[GenerationConfig, arg(name=""), UseAppendAction] = SAMPLED
    # The same seed gives the same text. Left out: a new text each time.
    seed: Annotated[int | None, arg(metavar="INT")] = None


class Evaluate(NamedTuple):
    """Measure a model's loss on the validation text of its corpus, or how often it finds the right ending."""

    # A run's or a shipped name, a folder, also of Hugging Face's layout, or a GPT-2's name on the Hub.
    checkpoint: Checkpoint
    on: Literal["validation", "hellaswag", "toyworld"] = "validation"  # toyworld's items need no file.
    items: Annotated[int | None, arg(metavar="INT")] = None  # Of hellaswag or toyworld, the first ones.


class Doctor(NamedTuple):
    """Say whether a run's losses go where healthy runs of its recipe went, and where they leave them."""

    name: Annotated[Positional[str], arg(metavar="RUN")]  # The run's name, or its folder.


class Fetch(NamedTuple):
    """Download a corpus, check it and keep it."""

    corpus: Annotated[Positional[str | None], arg(metavar="CORPUS")] = None  # Which one.
    all: bool = False  # Every corpus of the course but the large ones, of gigabytes.


class Prepare(NamedTuple):
    """Turn a corpus into files of token ids, once; a preparation that was killed goes on where it was."""

    # A corpus by name, or a file or folder of texts.
    corpus: Annotated[Positional[str], arg(metavar="CORPUS")]
    tokenizer: str = "gpt2"  # gpt2, bpe-4096 (trained on the text) or the path of a saved tokenizer.json.
    processes: Annotated[int | None, arg(metavar="INT")] = None  # How many work; left out: one for each core.


class Pack(NamedTuple):
    """Copy the corpora that are here into a folder: a classroom pack for TINYLM_DATA=DIR, with no network."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]  # Where to; it is made if need be.
    # Which ones. Left out: all but the large ones, of gigabytes, which are copied only by name.
    corpora: Annotated[Positional[tuple[str, ...]], arg(metavar="CORPUS")] = ()


class Export(NamedTuple):
    """Write a model that is a GPT-2 as a folder that Hugging Face's transformers opens."""

    checkpoint: Checkpoint  # A checkpoint's folder, a run's name, or a shipped name such as shakespeare_char.
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]  # A new folder for it, or an empty one.
    overwrite: bool = False  # Replace the files of an earlier export, and keep everything else in the folder.
    # The weights' licence for the model card, as the Hub calls it, such as mit.
    license: Annotated[str | None, arg(metavar="NAME")] = None


class Import(NamedTuple):
    """Bring in a GPT-2 of Hugging Face's layout, as a checkpoint for sample, evaluate and --init-from."""

    # Its folder, or its name on the hub, such as openai-community/gpt2, from where it is fetched.
    source: Annotated[Positional[str], arg(metavar="FOLDER_OR_NAME")]
    folder: Annotated[Positional[Path], arg(metavar="CHECKPOINT")]  # A new folder for it, or an empty one.
    # What `evaluate` then measures it on; left out, it can be sampled from and trained on.
    corpus: Annotated[str | None, arg(metavar="CORPUS")] = None
    overwrite: bool = False  # Replace the files of an earlier import, and keep everything else in the folder.


class Card(NamedTuple):
    """Show a model's card: what it read, how it was trained, what was measured, with the Hub's header."""

    name: Annotated[Positional[str], arg(metavar="RUN")]  # Your run, or a record or model of the course.
    out: Annotated[Path | None, arg(metavar="FILE")] = None  # A new file for it; left out, it is printed.
    # The weights', as the Hub says it, such as mit.
    license: Annotated[str | None, arg(metavar="NAME")] = None


class Machine(NamedTuple):
    """Say what this machine is, which corpora it has, and how fast it trains."""


class Lab(NamedTuple):
    """Open the course in JupyterLab, in a copy of the notebooks that is yours to write in."""

    browser: bool = True  # Open a browser window; without it, the address to open is printed.
    # Open copies of their own, in my_notebooks/solved, with the solutions put in: to teach from, or to read.
    solutions: bool = False


KINDS = (Train, Resume, Sample, Evaluate, Doctor, Fetch, Prepare, Pack, Export, Import, Card, Machine, Lab)
COMMANDS = {kind.__name__.lower(): kind for kind in KINDS}


def parse(arguments: list[str]) -> Any:
    """What was typed, as one of these classes; None where it was --help or nothing, and help is printed.

    Raises TinyLMError for what cannot be read."""
    command, *typed = arguments or ["--help"]
    if command in HELP:
        lines = ["tinylm, a course on language models in notebooks.", "", f"usage: {PROGRAM} COMMAND ...", ""]
        lines += [f"  {name:<9} {kind.__doc__.splitlines()[0]}" for name, kind in COMMANDS.items()]
        lines += ["", f"recipes, as in {PROGRAM} train {FIRST}:", ""]
        lines += [f"  {name:<21} {made.about}" for name, made in RECIPES.items()]
        print(*lines, "", f"{PROGRAM} COMMAND --help lists the options of a command.", sep="\n")
        return None
    if command not in COMMANDS:
        raise TinyLMError(f"there is no command {command[:40]}: {did_you_mean(command, COMMANDS)}")
    start = {"default": _recipe_named(typed)} if command == "train" else {}
    boxes, program = io.StringIO(), f"{PROGRAM} {command}"
    os.environ["COLUMNS"] = str(max(40, shutil.get_terminal_size().columns))  # tyro does not end below 8
    try:
        with contextlib.redirect_stderr(boxes):
            return tyro.cli(COMMANDS[command], prog=program, args=typed, **start)
    except SystemExit as stop:
        if not stop.code:
            return None
        # A ValueError of a setting is drawn as a box too: ours are sentences and are raised as such.
        ours = getattr(stop.__context__, "__context__", None)
        if isinstance(ours, TinyLMError):
            raise ours from None
        page = io.StringIO()
        with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
            tyro.cli(COMMANDS[command], prog=program, args=["--help"], **start)
        known = re.findall(r"--[\w.-]+", page.getvalue())
        said = _sentence(boxes.getvalue(), typed, known)
        raise TinyLMError(f"{said} (see {program} --help)") from None


def _recipe_named(typed: list[str]) -> Train:
    """The settings of the recipe named, at its --scale, its warm-up shortened with --train.steps. Both are
    looked for now: a warm-up longer than the run is refused as soon as it is read."""
    if not typed or (typed[0].startswith("-") and typed[0] not in HELP):
        raise TinyLMError(f"name a recipe first, as in {PROGRAM} train {FIRST} ({PROGRAM} lists them)")
    scales = re.findall(r"--scale[ =](\S+)", " ".join(typed)) or [None]
    chosen = recipe(FIRST if typed[0] in HELP else typed[0], scales[-1])
    if steps := re.findall(r"--train\.steps[ =]\+?(\d[\d_]{0,18})(?!\S)", " ".join(typed)):
        chosen = shortened(chosen, int(steps[-1]))
    return Train(chosen.name, chosen.model, chosen.train, chosen.data, scale=chosen.scale)


def _sentence(box: str, typed: list[str], known: list[str]) -> str:
    """The first option typed that is not known, with the nearest that is; else what tyro's box says."""
    for option in (word.partition("=")[0] for word in typed if word.startswith("--")):
        if option.replace("_", "-") not in known:
            near = difflib.get_close_matches(option, known, n=1)
            return f"{short(option)[1:-1]} is not known here" + "".join(f": did you mean {n}?" for n in near)
    said = " ".join(re.sub("[│╮╰╯]", " ", re.split("[─-]{9,}", box)[1]).split()).rstrip(".")
    for pattern, words in WORDS:
        said = re.sub(pattern, words, said)
    return said if len(said) < 200 else f"{said[:150]}… ({len(said)} characters)"
