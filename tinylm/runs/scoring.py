"""Scoring: how good a finished model is, by its loss on held-out text or by choosing among endings.

Taught in notebook 13_evaluation."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from tinylm.device import best_device
from tinylm.errors import require_choice, require_count
from tinylm.inference.choices import score_choices
from tinylm.inference.evaluate import Evaluation
from tinylm.runs import paths
from tinylm.runs.cards import measurement
from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.task import Task
from tinylm.text import corpora
from tinylm.text.choices import draw, read_hellaswag, toyworld_choices
from tinylm.text.dataset import Dataset

SEED = 1  # of the items that are drawn


def validate(name: str | Path) -> tuple[Evaluation, Dataset]:
    """Return a model's loss on the validation text of its own corpus, and that dataset.

    Raises CheckpointError if there is no such model, or the text is not what it was."""
    opened = paths.open_checkpoint(name)
    task = Task.from_checkpoint(opened)
    return task.measure(opened.model.to(best_device()), dtype="auto"), task.dataset


def score(name: str | Path, on: str, n: int | None = None) -> list[dict[str, Any]]:
    """Measure how often a model finds the right ending likeliest, in the items of "hellaswag" or "toyworld".

    With n, so many items are drawn by a seed, the same ones each time: the published file is ordered by where
    its texts are from. Prints and returns a line of a record for each way to count. If the model is of one of
    your runs, the lines are also kept beside its record, in a file for each checkpoint and number of items;
    where the disk refuses that, a line says so. Raises CheckpointError, CorpusMissing, and InputError for
    items that do not fit the model's context."""
    require_choice("what --items are of", on, ("hellaswag", "toyworld"))
    require_count("items", 1 if n is None else n)
    opened, what = paths.open_checkpoint(name), ""
    if on == "toyworld":
        items = toyworld_choices(n or 1_000, seed=SEED)
    else:
        items = read_hellaswag(*corpora.fetch(on).values())
        what = corpora.corpus_here(on).what  # in words, if it is not the published file
        if n is not None:  # the first ones are no random sample: the file is ordered
            items = draw(items, n, seed=SEED)
    scores = score_choices(opened.model.to(best_device()), opened.tokenizer, items)
    folder = Path(opened.name).resolve()
    run = folder.parents[1] if (folder.parents[1] / "record.jsonl").is_file() else None
    model, step = run.name if run else folder.name, {"step": opened.notes.get("step")}
    lines = [measurement(model, on, scores.accuracy(per), what) | step for per in ("ending", "character")]
    print(*(line["described"] for line in lines), sep="\n", flush=True)
    if run is None:
        return lines
    kept = run / f"{on}_{folder.name}_{len(items)}.jsonl"  # the same items have the same score
    command = f"python -m tinylm evaluate {model} --on {on} --items {len(items)}"
    try:
        kept.unlink(missing_ok=True)
        record = RunRecord(kept, record_header("evaluation", command=command))
        for line in lines:
            record.write("measurement", **line)
    except OSError as error:  # a full disk, a folder that is another's
        with suppress(OSError):
            kept.unlink(missing_ok=True)  # half a record would be in the card's way
        print(f"the score is not kept beside the record of {model}: {error.strerror}")
    return lines
