"""Speedrun: how many CPU-seconds an entry needs to a validation loss of 1.60 nats a character on Shakespeare.

An entry is one Python file. Its first line says in words what is new in it, and it has one function:

    def train(tokens, seed, show):
        ...
        show(model, context_length)

`tokens` (N,) are the ids of the training text, one for each character. `show` measures the validation loss
of model(tokens (B, T)) -> logits (B, T, V) in windows of T <= context_length, and ends the attempt once the
goal is reached. Call it as often as you like: measuring takes none of your CPU-seconds. It happens in
another process, so an entry never has the validation text. An entry opens no file, starts no program and
uses no network. This guards against mistakes, not against someone who wants to cheat: read the entries.

Taught in notebook 15_optimizers."""

import itertools
import math
import multiprocessing
import os
import pickle  # noqa: TID251  for models from a process that runs the same code as this one
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from tinylm.errors import RunError, short
from tinylm.inference.evaluate import evaluate
from tinylm.model.cost import parameter_counts
from tinylm.model.gpt import GPT, eval_mode
from tinylm.model.losses import fused_loss
from tinylm.runs import paths
from tinylm.runs.recipes import changed, did_you_mean, recipe
from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import make_folder
from tinylm.runs.task import read_dataset
from tinylm.text.batches import Batches
from tinylm.text.dataset import Dataset
from tinylm.training.loop import train as train_in_steps

GOAL, CLOCK = 1.60, 900.0  # nats a character, CPU-seconds
BASELINE, EQUAL = "shakespeare_baseline", 1.01  # how many times its parameters the first track allows
METHOD, PATIENCE = "spawn", 3  # seconds that may pass for each CPU-second of the clock
FORBIDDEN = {"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "socket.connect"}
# Where the libraries that an entry imports may read.
LIBRARIES = (sys.prefix, sys.base_prefix, Path(__file__).parents[1], "/dev", "/proc", "/sys")
OPEN = tuple(os.path.join(os.path.realpath(folder), "") for folder in LIBRARIES)
ENTRIES = {path.stem: path for path in Path(__file__).with_name("entries").glob("[!_]*.py")}

Show = Callable[[nn.Module, int], None]


def settings(name: str, *, every: int = 100, **changes: Any) -> Callable[[np.ndarray, int, Show], None]:
    """Return the train function of an entry that only changes settings of a recipe's model or training.

    The model is shown every so many steps in the second half of the training, and after the last one."""

    def train(tokens: np.ndarray, seed: int, show: Show) -> None:
        at = changed(recipe(name), **changes, seed=seed, eval_every=0)
        config, steps = replace(at.model, vocab_size=int(tokens.max()) + 1), at.train.steps
        model, T = GPT(config, generator=torch.Generator().manual_seed(seed)), config.context_length
        batches = Batches(tokens, context_length=T, batch_size=at.train.micro_batch_size, seed=seed)

        def look(state: Any) -> None:
            step = state.progress.step
            if step == steps or (step % every == 0 and step >= steps / 2):
                show(model, T)

        train_in_steps(model, batches, at.train, callbacks=[look], loss_fn=fused_loss, show_progress=False)

    return train


def race(names: Sequence[str], seeds: Sequence[int]) -> str:
    """Run each entry once with each seed, in turns, and return the leaderboard as text.

    An entry is a file, or the name of one of the course's own, baseline and fast; none means both.
    The record is in data/mine/speedrun-N. Raises RunError for an entry that does not exist and for two of one
    name, and CorpusMissing."""
    entries = [_find(name) for name in names or ENTRIES]
    if len(known := {entry.stem for entry in entries}) < len(entries):
        raise RunError(f"{len(entries)} entries have {len(known)} names: give each file a name of its own")
    dataset = read_dataset(recipe(BASELINE).data)
    command = f"python -m tinylm speedrun {' '.join(entry.stem for entry in entries)} --seeds "
    header = record_header("speedrun", command=command + " ".join(map(str, seeds)), goal=GOAL, threads=1)
    record = RunRecord(paths.MINE / make_folder("speedrun", None) / "record.jsonl", header)
    lines: list[dict[str, Any]] = []
    for seed, entry in itertools.product(seeds, entries):
        line = {"name": entry.stem, "seed": seed}
        if not any(earlier["name"] == entry.stem and "refused" in earlier for earlier in lines):
            line["about"] = entry.read_text(encoding="utf-8").partition("\n")[0].strip("\"'# ")
            try:
                line |= attempt(entry, seed, dataset)
            except RunError as error:
                line |= {"refused": str(error)}
            record.write("measurement", **line)
            lines.append(line)
            print(f"{entry.stem}, seed {seed}: {_words([line])}", flush=True)
    record.write("end")
    return leaderboard(lines)


def leaderboard(lines: Sequence[dict[str, Any]]) -> str:
    """Return both tracks as text, each ranked by the median, and why the other entries are refused.

    lines: the measurements of a record that `race` wrote."""
    most = EQUAL * parameter_counts(replace(recipe(BASELINE).model, vocab_size=65))["total"]
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        found.setdefault(line["name"], []).append(line)
    refused = [name for name, those in found.items() if "refused" in those[-1]]
    ranked = sorted(found.keys() - refused, key=lambda name: _middle(found[name]))
    equal = [name for name in ranked if found[name][0]["parameters"] <= most]
    tracks = {f"at most {most:,.0f} parameters": equal, "anything goes": ranked, "refused": refused}
    board = []
    for track, names in tracks.items():
        board += [track] if names else []
        board += [f"{place:>3}  {name:<12} {_words(found[name])}" for place, name in enumerate(names, 1)]
    return "\n".join(board)


def _middle(lines: list[dict[str, Any]]) -> float:
    return statistics.median(line["cpu_seconds"] for line in lines)


def _words(lines: list[dict[str, Any]]) -> str:
    """Return the median of some attempts with its standard error, or why the last one is refused."""
    n, last = len(lines), lines[-1]
    if "refused" in last:
        return f"refused: {last['refused']}"
    spread = statistics.stdev(line["cpu_seconds"] for line in lines) if n > 1 else math.nan
    error = f" ± {1.2533 * spread / math.sqrt(n):.1f}" if n > 1 else ""
    return f"{_middle(lines):6.1f}{error} CPU-seconds, {last['parameters']:,} parameters. {last['about']}"


def attempt(
    entry: Path, seed: int, dataset: Dataset, goal: float = GOAL, clock: float = CLOCK
) -> dict[str, Any]:
    """Run an entry once, on one thread of a process of its own, and measure the models that it shows.

    Returns the CPU-seconds to the goal, the loss there and the number of parameters. Raises RunError, with
    one sentence, for an entry that breaks a rule, stops with an error or does not reach the goal."""
    context, source = multiprocessing.get_context(METHOD), entry.read_bytes()
    pipe, theirs = context.Pipe()
    process = context.Process(target=_attempt, args=(theirs, str(entry), source, seed, dataset.train))
    process.start()
    theirs.close()
    lowest = math.inf
    try:
        while pipe.poll(PATIENCE * clock):
            refusal, seconds, *shown = pipe.recv()
            if refusal:
                raise RunError(refusal)
            if seconds > clock:
                break
            if not shown:
                raise RunError(f"it ended at a loss of {lowest:.4f}, above {goal}: train it longer")
            _run(str(entry), source)  # for the classes of its models
            model = pickle.loads(shown[0])  # noqa: S301
            lowest = min(lowest, _measure(model, shown[1], dataset))
            pipe.send(lowest > goal)  # whether to go on
            if lowest <= goal:
                n_parameters = sum(p.numel() for p in model.parameters())
                return {"cpu_seconds": seconds, "loss": lowest, "parameters": n_parameters}
        raise RunError(f"it ran past {clock:g} CPU-seconds at a loss of {lowest:.4f}, above {goal}")
    except EOFError:
        process.join()
        raise RunError(f"its process ended with exit code {process.exitcode}") from None
    finally:
        process.join(1)  # one that ends by itself leaves nothing behind
        process.kill()
        process.join()


def _attempt(pipe: Any, entry: str, source: bytes, seed: int, tokens: np.ndarray) -> None:
    """Run an entry in this process, which has no validation text. Waiting for an answer takes no CPU-time."""

    def show(model: nn.Module, context_length: int) -> None:
        pipe.send((None, time.process_time() - began, pickle.dumps(model), context_length))
        if not pipe.recv():
            sys.exit()

    refusal = None
    torch.set_num_threads(1)
    sys.addaudithook(_guard)
    began = time.process_time()
    try:
        _run(entry, source).train(tokens, seed, show)
    except Exception as error:
        lines = [at for frame, at in walk_tb(error.__traceback__) if frame.f_code.co_filename == entry]
        where = f" in line {lines[-1]}" if lines else ""
        refusal = f"it stopped{where}: {type(error).__name__}: {short(str(error), most=200)}"
    pipe.send((refusal, time.process_time() - began))


def _run(entry: str, source: bytes) -> ModuleType:
    """Run the code of an entry as a module. By its name, pickle finds the same classes in both processes."""
    module = sys.modules["entry"] = ModuleType("entry")
    exec(compile(source, entry, "exec"), module.__dict__)  # noqa: S102  what an entry is for
    return module


def _guard(event: str, args: tuple[Any, ...]) -> None:
    """Refuse what an entry may not do. Python calls this before it opens a file or starts a program."""
    if event == "open" and not isinstance(args[0], int):
        path = os.path.realpath(os.fsdecode(args[0]))
        if not path.startswith(OPEN):
            raise RunError(f"{os.path.basename(path)} is opened: an entry learns from its tokens alone")
    elif event in FORBIDDEN:
        raise RunError(f"{event} is called: an entry starts no program and uses no network")


class _Shown(nn.Module):
    """Any model, with the context length that `evaluate` asks for."""

    def __init__(self, model: nn.Module, context_length: int) -> None:
        super().__init__()
        self.config, self.forward = SimpleNamespace(context_length=context_length), model.__call__


def _measure(model: nn.Module, context_length: int, dataset: Dataset) -> float:
    """Return the validation loss. Raises RunError for logits of an odd shape, or that see later tokens."""
    V, T = dataset.tokenizer.vocab_size, context_length
    tokens = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(0))
    other = tokens.flip(0)
    other[0, : T // 2] = tokens[0, : T // 2]  # later tokens differ, and so does the other row
    try:
        with eval_mode(model.modules()), torch.no_grad():
            logits, changed_logits = model(tokens), model(other)
            if logits.shape != (2, T, V):
                raise RunError(
                    f"its logits are {tuple(logits.shape)} for tokens (2, {T}): return (2, {T}, {V})"
                )
            if not torch.allclose(logits[0, : T // 2], changed_logits[0, : T // 2], rtol=0, atol=1e-3):
                raise RunError("its logits depend on later tokens or on other rows: mask them")
            return evaluate(_Shown(model, T), dataset.validation).loss
    except RunError:
        raise
    except Exception as error:
        raise RunError(f"its model cannot be measured: {type(error).__name__}: {error}") from error


def _find(name: str) -> Path:
    """Return the file of an entry. Raises RunError with the nearest of the course's own entries."""
    entry = ENTRIES.get(name, Path(name))
    if entry.is_file():
        return entry.resolve()
    raise RunError(f"there is no entry {short(name)}: {did_you_mean(name, ENTRIES)}, or give a file")
