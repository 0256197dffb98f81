"""Scoring: what a run reads, which loss its recipe asks for, and what its model is asked while it learns.

A text of lines such as 12+34=46 asks questions: what follows the = is the answer, and whether all of it is
right can be counted. Taught in notebook 06_custom_losses."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinylm.device import best_device
from tinylm.errors import ConfigError, require_choice, require_count
from tinylm.inference.choices import score_choices
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.model.gpt import GPT
from tinylm.model.losses import LossFn, answers, graded_loss, next_token_loss
from tinylm.runs import paths
from tinylm.runs.cards import measurement
from tinylm.runs.recipes import DataConfig
from tinylm.runs.records import RunRecord, record_header
from tinylm.storage import weights
from tinylm.text import corpora
from tinylm.text.batches import Keep
from tinylm.text.choices import read_hellaswag, toyworld_choices
from tinylm.text.dataset import Dataset, load_dataset
from tinylm.text.tokens import in_pieces

RARE = 0.01  # of all tokens: words of grammar are more frequent
MARK, END = "=", "\n"  # an answer stands between them


class Task:
    """The text of a run as its model reads it, the loss that scores it, and the question that it asks.

    `data` is what a checkpoint stores: the corpus that was really read, a path as it leads there from the
    repository, which names no user, and for a tokenizer's file that of the checkpoint, which carries it.
    `dataset` is called by the file alone: its name may be published. With `fallback`, a missing corpus is
    replaced by the generated one, and one printed line says so."""

    def __init__(self, data: DataConfig, *, fallback: bool = False) -> None:
        reading = asdict(data) | {"fallback": data.fallback if fallback else None}
        scored, recall, rows = (reading.pop(name) for name in ("scored", "recall", "rows"))
        dataset = load_dataset(**reading, rows="windows" if rows == "documents" else rows)
        corpus = dataset.name
        if corpus not in corpora.CORPORA:
            path = os.path.expanduser(corpus)
            corpus = paths.relative_path(path, paths.HOME)
            dataset = replace(dataset, name=Path(path).resolve().name)
        self.dataset, self.tokenizer = dataset, dataset.tokenizer
        named = weights.TOKENIZER if data.tokenizer.endswith(".json") else data.tokenizer
        self.data = replace(data, corpus=corpus, tokenizer=named)
        self.loss_fn: LossFn = next_token_loss
        self.keep: Keep | None = None  # which targets are scored, where not all are
        self.rare: torch.Tensor | None = (
            None  # (V,) the ids that may be recalled, where the recipe asks for it
        )
        self.begins: np.ndarray | None = None  # of the documents to train on, where rows begin there
        end = self.tokenizer.end_of_text
        if end is None and (recall != 1 or rows == "documents"):
            asked = f"rows {rows!r}" if rows == "documents" else f"recall {recall}"
            raise ConfigError(f"{asked} needs documents and {dataset.name} is read as 1 text: use bpe-4096")
        if rows == "documents":  # each row begins with the id that ended the document before
            ends = [at + np.flatnonzero(piece == end) for at, piece in in_pieces(dataset.train)]
            self.begins = np.concatenate(ends)
        if recall != 1:
            n = self.tokenizer.vocab_size
            counts = sum(np.bincount(piece, minlength=n) for _, piece in in_pieces(dataset.train))  # (V,)
            rare = torch.from_numpy(counts < RARE * len(dataset.train))
            rare[end] = False  # each row of a document begins with it, so that it would always be recalled
            self.rare = rare
        self.prompt: str | None = None  # the first question that is held out, up to its =
        if has_answers(dataset, data):  # then the loss function also logs exact_match
            keep = answers(*(int(self.tokenizer.encode(text)[0]) for text in (MARK, END)))
            self.loss_fn = graded_loss(keep)
            self.keep = keep if scored == "answers" else None
            self.prompt = self.tokenizer.decode(dataset.validation[: dataset.line]).partition(MARK)[0] + MARK

    def measure(self, model: GPT, **settings: Any) -> Evaluation:
        """The loss on the validation text; a part of the text, such as the answers, has no bits per byte."""
        return evaluate(
            model,
            self.dataset.validation,
            documents=self.dataset.documents,
            from_beginning=self.data.rows == "documents",
            keep=self.keep,
            bytes_per_token=None if self.keep else self.dataset.bytes_per_token,
            loss_fn=self.loss_fn,
            **settings,
        )


def stored(data: DataConfig, checkpoint: str | Path) -> DataConfig:
    """The settings that a Task has kept in a checkpoint, as they are read again: wherever we are, the path of
    one's own text counts from the repository, because another folder may hold another file of that name."""
    own = data.tokenizer == weights.TOKENIZER
    tokenizer = str(Path(checkpoint) / weights.TOKENIZER) if own else data.tokenizer
    corpus = data.corpus if data.corpus in corpora.CORPORA else str(paths.HOME / data.corpus)
    return replace(data, corpus=corpus, tokenizer=tokenizer)


def score(name: str | Path, on: str, n: int | None = None) -> list[dict[str, Any]]:
    """How often a model finds the right ending likeliest, of the first n items of "hellaswag" or "toyworld".

    A record's line for each way to count, which is printed. One of your runs then keeps them for its card, in
    a file beside its record for each checkpoint and number of items. Raises CheckpointError, CorpusMissing,
    and InputError for items that do not fit the model's context."""
    require_choice("what --items are of", on, ("hellaswag", "toyworld"))
    require_count("items", 1 if n is None else n)
    opened, files = paths.open_checkpoint(name), {} if on == "toyworld" else corpora.fetch(on)
    items = read_hellaswag(*files.values())[:n] if files else toyworld_choices(n or 1_000, seed=1)
    what = corpora.corpus_here(on).what if files else ""  # where it is not the published file
    scores = score_choices(opened.model.to(best_device()), opened.tokenizer, items)
    step, folder = {"step": opened.notes.get("step")}, Path(opened.name).resolve()
    run = folder.parents[1] if (folder.parents[1] / "record.jsonl").is_file() else None
    model = run.name if run else folder.name
    lines = [measurement(model, on, scores.accuracy(per), what) | step for per in ("ending", "character")]
    print(*(line["described"] for line in lines), sep="\n", flush=True)
    if run:
        asked = model if str(name) == model else f"{model}/{paths.KEPT}/{folder.name}"
        command = f"python -m tinylm evaluate {asked} --on {on}" + (f" --items {n}" if n else "")
        draft = run / f"{on}_{folder.name}_{len(items)}.part"
        draft.unlink(missing_ok=True)
        record = RunRecord(draft, record_header("evaluation", command=command))
        for kind, line in [*(("measurement", line) for line in lines), ("end", {})]:
            record.write(kind, **line)
        draft.replace(draft.with_suffix(".jsonl"))
    return lines


def has_answers(dataset: Dataset, data: DataConfig) -> bool:
    """Whether rows are lines and each line has an =. Raises ConfigError where answers are to be scored and
    it is not so."""
    n, without = 0, 0
    for part in (dataset.train, dataset.validation) if data.rows == "lines" else ():
        lines = np.asarray(part[: len(part) // dataset.line * dataset.line]).reshape(-1, dataset.line)
        mark = dataset.tokenizer.characters.find(MARK)  # lines are of characters; -1 is no id
        n, without = n + len(lines), without + int((lines != mark).all(axis=1).sum())
    if data.scored == "answers" and (not n or without):
        found = f"{without:,} of {n:,} lines have none" if n else f"rows are {data.rows!r}"
        raise ConfigError(f"scored 'answers' needs an {MARK} in each of rows 'lines', {found}: use 'all'")
    return n > 0 and not without
