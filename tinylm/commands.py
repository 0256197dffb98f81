"""Commands: each calls a room, prints what comes back, and returns an exit code.

The rooms are imported where they are called, because torch takes a second and --help needs none of it.
Refuses to read what was typed (options, __main__) and to know how anything is done.
Shown in notebook 00_start_here."""

from dataclasses import replace
from typing import TYPE_CHECKING

from tinylm.errors import TinyLMError
from tinylm.options import SAMPLED, Evaluate, Fetch, Lab, Machine, Pack, Promote, Resume, Sample, Train

if TYPE_CHECKING:
    from tinylm.runs import Finished

DONE, INTERRUPTED = 0, 130  # exit codes


def train(options: Train, command: str) -> int:
    """Train a recipe, let it write a little, and say how to go on."""
    from tinylm import runs
    from tinylm.recipes import changed, recipe

    chosen = changed(recipe(options.recipe), options.model, options.train, options.data)
    return _finish(runs.run(chosen, name=options.run, fallback=options.fallback, command=command))


def resume(options: Resume, command: str) -> int:
    """Go on with a run, and end as `train` does."""
    from tinylm import runs

    return _finish(runs.resume(options.run))


def _finish(finished: "Finished") -> int:
    from tinylm import checkpoints

    where = checkpoints.shown(finished.folder)
    print("\na sample:")
    sample(Sample(where, generation=replace(SAMPLED, max_new_tokens=300), seed=1))
    print(f"\nnext: python -m tinylm sample {where} --prompt 'to be'")
    return INTERRUPTED if finished.interrupted else DONE


def sample(options: Sample, command: str = "") -> int:
    """Print the prompt as the tokenizer reads it, and then the text that follows, piece by piece."""
    import torch

    from tinylm.checkpoints import open_checkpoint
    from tinylm.inference.generate import stream_text

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
    from tinylm import checkpoints, runs, watch

    result, text = runs.validate(checkpoints.open_checkpoint(options.checkpoint))
    print(watch.in_words(result))
    print(f"{result.n_tokens:,} characters of {text.name} ({text.source}), each predicted once")
    return DONE


def promote(options: Promote, command: str) -> int:
    """Keep a record, and say what it says."""
    from tinylm import checkpoints, promotion
    from tinylm.training.forecast import compared
    from tinylm.training.results import tokens_read

    if options.run is None:
        promotion.refresh()
    else:
        path, record = promotion.promote(options.run, name=options.name)
        header, end = record.header, record.end
        print(f"{checkpoints.shown(path)}: {record.what}, made at commit {header['commit']}")
        if record.what == "training":
            tokens = tokens_read(record)
            print(f"{tokens:,} tokens")
            if "forecast_seconds" in header:
                share = tokens / header["tokens"]
                print(compared(header["forecast_seconds"], end["seconds"], share=share))
    print("README's table of results is as the records in data/runs/ have it")
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
    print(f"{len(written)} files: set TINYLM_DATA to this folder, or copy it to a stick")
    return DONE


def machine(options: Machine, command: str) -> int:
    """Say what this machine is."""
    from tinylm.machine import report

    print(report())
    return DONE


def lab(options: Lab, command: str) -> int:
    """Open JupyterLab; its exit code is ours."""
    from tinylm.course.workbook import open_lab

    wanted = {"--no-browser": not options.browser, "--allow-root": options.allow_root}
    return open_lab([flag for flag, is_set in wanted.items() if is_set])
