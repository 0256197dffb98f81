"""Commands: each calls a room, prints what comes back, and returns an exit code.

The rooms are imported where they are called, because torch takes a second and --help needs none of it.
Refuses to read what was typed (options, __main__) and to know how anything is done.
Shown in notebook 00_start_here."""

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from tinylm.cli.options import SAMPLED, Evaluate, Fetch, Lab, Machine, Pack, Resume, Sample, Train
from tinylm.errors import TinyLMError

if TYPE_CHECKING:
    from tinylm.runs.run import RunResult

DONE, INTERRUPTED = 0, 130  # exit codes


def train(options: Train, command: str) -> int:
    """Train a recipe, let it write a little, and say how to go on."""
    from tinylm.runs import run
    from tinylm.runs.recipes import changed, recipe

    chosen = changed(recipe(options.recipe), options.model, options.train, options.data)
    return _finish(run.run_recipe(chosen, name=options.run, fallback=options.fallback, command=command))


def resume(options: Resume, command: str) -> int:
    """Go on with a run, and end as `train` does."""
    from tinylm.runs import run

    return _finish(run.resume(options.run))


def _finish(finished: "RunResult") -> int:
    from tinylm.runs import paths

    where = paths.shown(finished.folder)
    print("\na sample:")
    sample(Sample(where, generation=replace(SAMPLED, max_new_tokens=300), seed=1))
    print(f"\nnext: python -m tinylm sample {where} --prompt 'to be'")
    return INTERRUPTED if finished.interrupted else DONE


def sample(options: Sample, command: str = "") -> int:
    """Print the prompt as the tokenizer reads it, and then the text that follows, piece by piece."""
    import torch

    from tinylm.inference.generate import stream_text
    from tinylm.runs.paths import open_checkpoint

    opened = open_checkpoint(options.checkpoint)
    generator = torch.Generator()
    generator.seed() if options.seed is None else generator.manual_seed(options.seed % 2**63)
    asked = (options.prompt, options.generation)
    pieces = stream_text(opened.model, opened.tokenizer, *asked, generator=generator)
    print(opened.tokenizer.decode(opened.tokenizer.encode(options.prompt)), end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    return DONE


def evaluate(options: Evaluate, command: str) -> int:
    """Measure a checkpoint on the validation text of its own corpus."""
    from tinylm.runs import callbacks, paths, run

    result, text = run.validate(paths.open_checkpoint(options.checkpoint))
    print(callbacks.in_words(result))
    print(f"{result.n_tokens:,} characters of {text.name} ({text.source}), each predicted once")
    return DONE


def fetch(options: Fetch, command: str) -> int:
    """Fetch one corpus, or every one that has files."""
    from tinylm.text import corpora

    if (options.corpus is None) != options.all:
        raise TinyLMError(f"name one corpus or give --all: {', '.join(corpora.CORPORA)}")
    names = [n for n, c in corpora.CORPORA.items() if c.files] if options.all else [options.corpus]
    for name in names:
        files = corpora.fetch(name)
        print(f"{name}: {', '.join(files) or 'is generated, there is nothing to fetch'}")
    return DONE


def pack(options: Pack, command: str) -> int:
    """Write a classroom pack."""
    from tinylm.text import corpora

    written = corpora.pack(options.folder)
    where = shlex.quote(corpora.as_variable(options.folder))
    print(f"{len(written)} files: set TINYLM_DATA={where}, or copy the folder to a stick")
    return DONE


def machine(options: Machine, command: str) -> int:
    """Say what this machine is."""
    from tinylm.runs.machine import report

    print(report())
    return DONE


def lab(options: Lab, command: str) -> int:
    """Open JupyterLab; its exit code is ours."""
    from tinylm.course.notebooks import open_lab

    wanted = {"--no-browser": not options.browser, "--allow-root": options.allow_root}
    return open_lab([flag for flag, is_set in wanted.items() if is_set])
