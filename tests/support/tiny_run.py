"""A run of seven steps, one that Ctrl-C stops, and everything that a run leaves behind."""

from dataclasses import replace

from tinylm.inference.evaluate import Evaluation
from tinylm.runs import task
from tinylm.runs.recipes import Recipe, recipe
from tinylm.runs.records import read_record
from tinylm.storage.checkpoint import folder_of, saved_steps


def tiny(*, data=None, init_from=None, model=None, **train) -> Recipe:
    made = recipe("shakespeare_char")
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 22, "context_length": 31} | (model or {})
    settings = {"steps": 7, "warmup_steps": 2, "micro_batch_size": 3, "log_every": 2, "eval_every": 3}
    settings |= {"tokens_per_step": 3 * sizes["context_length"]} | train
    return replace(
        made,
        model=replace(made.model, **sizes),
        train=replace(made.train, **settings),
        data=replace(made.data, **({"corpus": "toyworld-plays"} | (data or {}))),
        init_from=init_from,
    )


def interrupt_at(monkeypatch, call: int) -> None:
    """Ctrl-C is pressed in the evaluation of that number, counted from 1."""
    calls, evaluate = [], task.evaluate

    def interrupted(model, *args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return evaluate(model, *args, **kwargs)

    monkeypatch.setattr(task, "evaluate", interrupted)


def evaluation(loss: float) -> Evaluation:
    return Evaluation(loss=loss, standard_error=0.1, n_tokens=10, bits_per_byte=None, unit="10 blocks")


def losses_are(monkeypatch, *losses: float) -> None:
    """What the evaluations of a run find, one after the other."""
    coming = iter(losses)
    monkeypatch.setattr(task, "evaluate", lambda *_, **__: evaluation(next(coming)))


def contents(folder):
    """Every file in a folder, by its path in it, with its bytes."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def files(folder):
    """Every tensor file of a run with its bytes, the record's lines without what a clock measured."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.safetensors")}
    record = read_record(folder / "record.jsonl")
    clocks = ("seconds", "tokens_per_second")
    lines = [{k: v for k, v in line.items() if k not in clocks} for line in record.steps + record.evaluations]
    return found, lines


def the_end(folder):
    """The last checkpoint and the record; one too many may be left over where removing it went wrong."""
    found, lines = files(folder)
    last = folder_of(saved_steps(folder / "checkpoints")[-1])
    return {name: content for name, content in found.items() if last in name}, lines
