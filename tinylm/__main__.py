"""The command line: python -m tinylm. It reads what was typed, runs the command, and returns an exit code.

Reads it with tyro, which takes our dataclasses (options) and their docstrings as they are: no second schema
and no YAML. Refuses to know what a command does (commands).
A TinyLMError becomes one sentence and exit code 2; any other exception is a bug and keeps its traceback."""

import contextlib
import io
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import subcommand

from tinylm.cli import commands
from tinylm.cli.commands import DONE, INTERRUPTED
from tinylm.cli.options import Evaluate, Fetch, Lab, Machine, Pack, Resume, Sample, Train
from tinylm.errors import TinyLMError
from tinylm.runs.recipes import RECIPES, recipe, shortened

PROGRAM = "python -m tinylm"
REFUSED = 2  # exit code

COMMANDS = {
    Train: commands.train,
    Resume: commands.resume,
    Sample: commands.sample,
    Evaluate: commands.evaluate,
    Fetch: commands.fetch,
    Pack: commands.pack,
    Machine: commands.machine,
    Lab: commands.lab,
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
        return DONE
    except OSError as error:  # a full disk, a read-only folder, a file where a folder should be
        print(f"tinylm: {Path(error.filename or 'a file').name}: {error.strerror}", file=sys.stderr)
        return REFUSED
    except SystemExit as stop:  # tyro has said what is wrong
        return int(stop.code or 0)


def parse(arguments: list[str]) -> object:
    """What was typed, as one of the dataclasses of options. SystemExit when tyro has said what is wrong."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(_union(arguments), prog=PROGRAM, args=arguments, description=_about())
    except SystemExit as stop:
        # tyro draws a box around any ValueError of a dataclass: ours are sentences and are told as such.
        cause: BaseException | None = stop
        while cause is not None:
            if isinstance(cause, TinyLMError):
                raise cause from None
            cause = cause.__context__
        sys.stderr.write(said.getvalue())
        raise


def _union(arguments: list[str]) -> object:
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
    union: object = Annotated[Train, subcommand("train", default=default)]
    for kind in COMMANDS:
        if kind is not Train:
            union = union | Annotated[kind, subcommand(kind.__name__.lower())]
    return union


def _about() -> str:
    recipes = "\n".join(f"  {name}: {make().about}" for name, make in RECIPES.items())
    return f"tinylm, a course on language models in notebooks.\n\nrecipes:\n{recipes}"


if __name__ == "__main__":
    sys.exit(main())
