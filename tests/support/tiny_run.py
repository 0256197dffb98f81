"""A whole run of seven steps, one that Ctrl-C stops, and everything that a run leaves behind."""

from dataclasses import replace

from tinylm.runs import callbacks
from tinylm.runs.recipes import shakespeare_char
from tinylm.runs.records import read_record


def tiny(**train):
    made = shakespeare_char()
    numbers = {
        "steps": 7,
        "warmup_steps": 2,
        "micro_batch_size": 3,
        "tokens_per_step": 3 * 31,
        "log_every": 2,
    }
    return replace(
        made,
        model=replace(made.model, n_layer=1, n_head=2, n_embd=22, context_length=31),
        train=replace(made.train, **(numbers | {"eval_every": 3} | train)),
        data=replace(made.data, corpus="toyworld-plays"),
    )


def interrupt_at(monkeypatch, call: int) -> None:
    calls, evaluate = [], callbacks.evaluate

    def interrupted(model, *args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return evaluate(model, *args, **kwargs)

    monkeypatch.setattr(callbacks, "evaluate", interrupted)


def files(folder):
    """Every file of a run with its bytes, the record's lines without what a clock measured."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.safetensors")}
    record = read_record(folder / "record.jsonl")
    clocks = ("seconds", "tokens_per_second")
    lines = [{k: v for k, v in line.items() if k not in clocks} for line in record.steps + record.evaluations]
    return found, lines
