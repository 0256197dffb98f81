"""Commands: each one calls the function that does it, prints what comes back, and returns an exit code.

What needs torch is imported where it is called, because torch takes a second and --help needs none of it.
Shown in notebook 00_start_here."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinylm.cli.options import SAMPLED, Evaluate, Fetch, Lab, Machine, Pack, Resume, Sample, Train
from tinylm.errors import TinyLMError

if TYPE_CHECKING:
    from tinylm.inference.config import GenerationConfig
    from tinylm.runs.paths import LoadedModel
    from tinylm.runs.run import RunResult

DONE, INTERRUPTED = 0, 130  # exit codes


def train(options: Train, typed: list[str]) -> int:
    """Train a recipe, let it write a little, and say how to go on."""
    from tinylm.runs import run
    from tinylm.runs.recipes import changed, recipe

    chosen = changed(recipe(options.recipe), options.model, options.train, options.data, options.init_from)
    # A record may be published: of a file of one's own it names the file and not the folders above it.
    words = [word.replace(options.data.corpus, Path(options.data.corpus).name) for word in typed]
    command = shlex.join(["python", "-m", "tinylm", *words])
    return _finish(run.run_recipe(chosen, name=options.run, fallback=options.fallback, command=command))


def resume(options: Resume, typed: list[str]) -> int:
    """Go on with a run, and end as `train` does."""
    from tinylm.runs import run

    return _finish(run.resume(options.run))


def _finish(result: "RunResult") -> int:
    from tinylm.runs.paths import display_path

    print("\na sample:")
    _write(result, "\n", replace(SAMPLED, max_new_tokens=300), seed=1)
    print(f"\nnext: python -m tinylm sample {shlex.quote(display_path(result.folder))} --prompt 'to be'")
    return INTERRUPTED if result.interrupted else DONE


def sample(options: Sample, typed: list[str]) -> int:
    """Print the prompt as the tokenizer reads it, and then the text that follows, piece by piece."""
    from tinylm.inference.generate import to_column_major
    from tinylm.runs.paths import open_checkpoint

    opened = open_checkpoint(options.checkpoint)
    to_column_major(opened.model)  # this process only writes
    _write(opened, options.prompt, options.generation, seed=options.seed)
    return DONE


def _write(
    trained: "LoadedModel | RunResult", prompt: str, config: "GenerationConfig", *, seed: int | None
) -> None:
    import torch

    from tinylm.inference.generate import stream_text
    from tinylm.runs.callbacks import opening

    prompt = opening(trained.tokenizer) if prompt == "\n" else prompt
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed % 2**63)
    pieces = stream_text(trained.model, trained.tokenizer, prompt, config, generator=generator)
    print(trained.tokenizer.decode(trained.tokenizer.encode(prompt)), end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def evaluate(options: Evaluate, typed: list[str]) -> int:
    """Measure a checkpoint on the validation text of its own corpus."""
    from tinylm.runs import callbacks, run

    result, dataset = run.validate(options.checkpoint)
    print(callbacks.format_evaluation(result, dataset.unit))
    print(f"{result.n_tokens:,} {dataset.unit}s of {dataset.name} ({dataset.source}), each predicted once")
    return DONE


def fetch(options: Fetch, typed: list[str]) -> int:
    """Fetch one corpus, or every one that has files."""
    from tinylm.text import corpora

    if (options.corpus is None) != options.all:
        raise TinyLMError(f"name one corpus or give --all: {', '.join(corpora.CORPORA)}")
    names = [n for n, c in corpora.CORPORA.items() if c.files] if options.all else [options.corpus]
    for name in names:
        files = corpora.fetch(name)
        print(f"{name}: {', '.join(files) or 'is generated, there is nothing to fetch'}")
    return DONE


def pack(options: Pack, typed: list[str]) -> int:
    """Write a classroom pack."""
    from tinylm.text import corpora

    written = corpora.pack(options.folder)
    where = shlex.quote(corpora.as_variable(options.folder))
    print(f"{len(written)} files: set TINYLM_DATA={where}, or copy the folder to a stick")
    return DONE


def machine(options: Machine, typed: list[str]) -> int:
    """Say what this machine is."""
    from tinylm.runs.machine import report

    print(report())
    return DONE


def lab(options: Lab, typed: list[str]) -> int:
    """Open JupyterLab; its exit code is ours."""
    from tinylm.course.notebooks import open_lab

    return open_lab([] if options.browser else ["--no-browser"])
