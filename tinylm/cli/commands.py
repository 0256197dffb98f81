"""Commands: what each command does. Imported only when one runs, because importing torch takes a second."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tinylm.cli import options
from tinylm.course import doctor, library, notebooks
from tinylm.errors import CheckpointError, ConfigError, CorpusMissing, DataError, RunError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import opening, stream_text, to_column_major
from tinylm.runs import cards, machine, paths, recipes, records, run, scoring, speedrun
from tinylm.storage import export, weights
from tinylm.text import corpora, prepare


def perform(asked: Any, typed: list[str]) -> int:
    """Run a command, given as one of the classes in options, and return its exit code.

    `typed` are the words of the command line, which the record of a training run quotes."""
    # Without a network huggingface_hub warns at each of its retries. The error that follows says it once.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    match asked:
        case options.Train(name, model, train, data, run_name, init_from, fallback, scale, fsdp):
            chosen = recipes.recipe(name, scale)
            if model.vocab_size != chosen.model.vocab_size:
                raise ConfigError("vocab_size cannot be chosen, it follows from the text: leave it out")
            chosen = replace(chosen, model=model, train=train, data=data, init_from=init_from)
            # A record may be published: it names your own file without the folders that lead to it.
            for path in (data.corpus, data.tokenizer, init_from or data.corpus):
                typed = [word.replace(path, Path(path).name) for word in typed]
            again = shlex.join(["python", "-m", "tinylm", *typed])
            try:
                with run.together(fsdp=fsdp) as world:
                    made = run.run_recipe(
                        chosen, name=run_name, fallback=fallback, command=again, world=world
                    )
                    return finish(made)
            except CorpusMissing as error:
                raise DataError(f"{error}, or add --fallback to train on generated text") from error
        case options.Resume(name, fsdp):
            with run.together(fsdp=fsdp) as world:
                return finish(run.resume(name, world=world))
        case options.Sample(checkpoint, prompt, generation, seed):
            write(paths.open_checkpoint(checkpoint), prompt, generation, seed)
        case options.Evaluate(checkpoint, "validation", None):
            result, text = scoring.validate(checkpoint)
            print(result.described(text.unit))
            print(f"{result.n_tokens:,} {text.unit}s of {text.described}, each predicted once")
        case options.Evaluate(checkpoint, on, items):
            scoring.score(checkpoint, on, items)
        case options.Doctor(name):
            record = records.read_record(paths.find_run(name) / "record.jsonl")
            print(*(doctor.examine(record) or ["both losses stay where those of healthy runs do"]), sep="\n")
        case options.Fetch(corpus, is_all):
            if (corpus is None) != is_all:
                raise ConfigError(f"name one corpus or give --all: {', '.join(corpora.CORPORA)}")
            for name in corpora.unnamed() if is_all else [corpus]:
                source, here = corpora.locate(name) or "network", corpora.corpus_here(name)
                files = corpora.fetch(name)
                source = source.split()[0] if files else "generator"
                print(f"{name}: {here.holds}, {len(files)} files, from the {source}")
        case options.Prepare(corpus, tokenizer):
            folder = prepare.prepare(corpus, tokenizer)
            data = corpus if corpus in corpora.CORPORA else shlex.quote(paths.display_path(folder))
            words = f"--data.corpus {data} --data.tokenizer {shlex.quote(tokenizer)}"
            chosen = "gpt2_124m" if corpus in ("fineweb-edu", "openstax") else "tinystories_51m"
            print(f"ready; next: python -m tinylm train {chosen} --scale small {words}")
        case options.Pack(folder, names):
            n, where = len(corpora.pack(folder, *names)), shlex.quote(str(folder.resolve()))
            print(f"{n} files: set TINYLM_DATA={where}, or copy the folder to a stick")
        case options.Export(checkpoint, folder, overwrite, licence):
            opened = paths.open_checkpoint(checkpoint)
            try:
                card = cards.card_of(checkpoint, licence=licence, exported=True)
            except (CheckpointError, RunError):  # no record of its training, or one without a loss yet
                card = export.plain_card(opened, licence)
            if overwrite and (folder / export.CARD).exists():
                print(f"{export.CARD} is kept as it is: remove it first for a new card")
            export.write_hugging_face(opened, folder, card=card, overwrite=overwrite)
            print(f"next: transformers.AutoModelForCausalLM.from_pretrained({paths.display_path(folder)!r})")
        case options.Import(source, folder, corpus, overwrite):
            opened = export.open_hugging_face(source)
            notes = opened.notes | ({} if corpus is None else {"corpus": corpus})
            tokenizer = opened.tokenizer.to_json()
            weights.save(folder, opened.model, tokenizer=tokenizer, notes=notes, overwrite=overwrite)
            print(f"next: python -m tinylm sample {shlex.quote(paths.display_path(folder))}")
        case options.Card(name, out, licence):
            text = cards.card_of(name, licence=licence)
            if out is None:
                print(text, end="")
            elif out.exists():
                raise ConfigError(f"{out} exists already: choose another --out, or remove that file first")
            else:
                out.write_text(text, encoding="utf-8", newline="\n")
        case options.Machine():
            print("measuring how fast this machine trains, which takes some seconds", flush=True)
            print(machine.report())
        case options.Lab(browser, solutions):
            return notebooks.open_lab([] if browser else ["--no-browser"], solved=solutions)
        case options.Yours(file, overwrite):
            library.write(file, overwrite=overwrite)
        case options.Speedrun(entries, seeds):
            print(speedrun.race(entries, seeds))
    return 0


def finish(trained: run.Run) -> int:
    """Print a sample and what to type next; return the exit code, which is 130 if Ctrl-C ended the run."""
    if trained.world.rank == 0:
        print("\na sample:")
        write(trained, None, replace(options.SAMPLED, max_new_tokens=300), 1)
        print(f"\nnext: python -m tinylm sample {shlex.quote(paths.display_path(trained.folder))}")
    return 130 if trained.interrupted else 0


def write(trained: Any, prompt: str | None, config: GenerationConfig, seed: int | None) -> None:
    """Print the text that a model writes, piece by piece. `trained` is a run or a checkpoint."""
    tokenizer, generator = trained.tokenizer, torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed % 2**63)
    prompt = (trained.prompt or opening(tokenizer)) if prompt is None else prompt
    stop = (*config.stop, "\n") if trained.prompt else config.stop  # it has learned single lines
    to_column_major(trained.model)  # faster to write with, and this process trains no more
    pieces = stream_text(trained.model, tokenizer, prompt, replace(config, stop=stop), generator=generator)
    print(tokenizer.decode(tokenizer.encode(prompt)), end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
