"""Parsing: what was typed becomes one of commands' dataclasses, or one sentence that says what is wrong.

tyro reads the dataclasses and their docstrings as they are, so that there is no second schema. What it
refuses it draws as a box; the sentence is taken out of the box."""

import contextlib
import io
import os
import re
import shutil
from typing import Any

import tyro

from tinylm.cli.commands import COMMANDS, Train, perform
from tinylm.errors import TinyLMError
from tinylm.runs.recipes import RECIPES, did_you_mean, recipe, shortened

PROGRAM = "python -m tinylm"
HELP = {"-h", "--help"}
WORDS = (  # what tyro and Python say, and what we say
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10:", r"\1 is not a whole number:"),
    (r"Error parsing (\S+): could not convert string to float:", r"\1 is not a number:"),
    (r"Error parsing (\S+): Exceeds the limit .*", r"\1 has too many digits"),
    (r"Unrecognized options: ([^, ]+).*", r"\1 is not known here"),
    (r"Missing value for argument \W*(--[\w.-]+).*", r"\1 needs a value"),
    (r"Missing from .*?: (\S+) (.*) \(required\)", r"\1 is missing: \2"),
    (r"invalid choice (\S+) for argument '(\S+)'. Expected one of \((.*)\)", r"\2 \1 is unknown: use \3"),
)


def run(arguments: list[str]) -> int:
    """Run the command that was typed and return its exit code. Raises TinyLMError for what cannot be read."""
    if not arguments or arguments[0] in HELP:
        lines = ["tinylm, a course on language models in notebooks.", "", f"usage: {PROGRAM} COMMAND ...", ""]
        lines += [f"  {name:<9} {kind.__doc__.splitlines()[0]}" for name, kind in COMMANDS.items()]
        lines += ["", f"recipes, as in {PROGRAM} train {next(iter(RECIPES))}:", ""]
        lines += [f"  {name:<21} {made.about}" for name, made in RECIPES.items()]
        print("\n".join([*lines, "", f"{PROGRAM} COMMAND --help lists the options of a command."]))
        return 0
    options = parse(arguments)
    return 0 if options is None else perform(options, arguments)


def parse(arguments: list[str]) -> Any:
    """What was typed as one of the dataclasses of commands; None where it was --help, which is printed."""
    command, *typed = arguments
    if command not in COMMANDS:
        raise TinyLMError(f"there is no command {command[:40]}: {did_you_mean(command, COMMANDS)}")
    boxes, program = io.StringIO(), f"{PROGRAM} {command}"
    os.environ["COLUMNS"] = str(max(40, shutil.get_terminal_size().columns))  # tyro does not end below 8
    try:
        with contextlib.redirect_stderr(boxes):
            start = {"default": _recipe_named(typed)} if command == "train" else {}
            return tyro.cli(COMMANDS[command], prog=program, args=typed, **start)
    except SystemExit as stop:
        # A ValueError of a dataclass is drawn as a box too: ours are sentences and are raised as such.
        cause: BaseException | None = stop
        while cause is not None and not isinstance(cause, TinyLMError):
            cause = cause.__context__
        if cause is None and stop.code:
            cause = TinyLMError(f"{_sentence(boxes.getvalue())} (see {program} --help)")
        if cause is not None:
            raise cause from None
        return None


def _recipe_named(typed: list[str]) -> Train:
    """What `train` starts from: the settings of the recipe named, its warm-up shortened with --train.steps.

    The steps are looked for first: a warm-up longer than the run is refused as soon as it is read."""
    name = next(iter(RECIPES))
    if not typed or (typed[0].startswith("-") and typed[0] not in HELP):
        raise TinyLMError(f"name a recipe first, as in {PROGRAM} train {name} ({PROGRAM} lists them)")
    chosen = recipe(name if typed[0] in HELP else typed[0])
    if steps := re.findall(r"--train\.steps[ =]\+?(\d[\d_]{0,18})(?!\S)", " ".join(typed)):
        chosen = shortened(chosen, int(steps[-1]))
    return Train(chosen.name, chosen.model, chosen.train, chosen.data)


def _sentence(boxes: str) -> str:
    """What tyro's box says above its first rule, in our words, with the option that it finds nearest."""
    rows = "\n".join(line.strip("│╭╮╰╯ ") for line in boxes.splitlines()[1:])
    said, *rest = (" ".join(part.split()) for part in re.split("^[─-]*$", rows, flags=re.M) if part.strip())
    said = said.rstrip(".")
    for pattern, words in WORDS:
        said = re.sub(pattern, words, said)
    near = re.search(r"Perhaps you meant:.*?(--[\w.-]+)", " ".join(rest))
    said = said if len(said) < 200 else f"{said[:150]}… ({len(said)} characters)"
    return said + (f": did you mean {near[1]}?" if near else "")
