"""Task: the text that a run reads, which of its tokens the loss scores, and the question its model is asked.

A text of lines such as 12+34=46 asks questions: what follows the = is the answer, and how many answers are
right can be counted. Taught in notebook 06_custom_losses."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from tinylm.errors import CheckpointError, ConfigError
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.model.gpt import GPT
from tinylm.model.losses import LossFn, answers, graded_loss, next_token_loss
from tinylm.runs import paths
from tinylm.runs.recipes import DataConfig
from tinylm.storage import weights
from tinylm.text import corpora
from tinylm.text.batches import Keep
from tinylm.text.dataset import Dataset, load_dataset
from tinylm.text.recall import Recall
from tinylm.text.tokens import in_pieces

RARE = 0.01  # of all tokens: only words of grammar are more frequent
MARK, END = "=", "\n"  # an answer stands between them


def read_dataset(data: DataConfig, *, fallback: bool = False) -> Dataset:
    """Read the text that these settings ask for. It is called by its file's name, which may be published.

    With `fallback`, a missing corpus is replaced by the generated one, and one printed line says so. Raises
    CorpusMissing and DataError."""
    dataset = load_dataset(
        data.corpus,
        tokenizer=data.tokenizer,
        lowercase=data.lowercase,
        train_share=data.train_share,
        rows="lines" if data.rows == "lines" else "windows",
        fallback=data.fallback if fallback else None,
    )
    if data.corpus in corpora.CORPORA:
        return dataset
    return replace(dataset, name=Path(data.corpus).expanduser().resolve().name)


class Task:
    """What a run asks of its model. Everything in it follows from the settings and the text.

    data: the settings as a checkpoint stores them (`_stored`).
    keep: which targets are scored, for `Batches` and `evaluate`; None scores all of them.
    begins (D,): where the rows of a training batch begin; None lets them begin anywhere.
    prompt: the first question that is held out, up to its =; None for running text.
    Raises ConfigError if the text does not have what the settings ask for."""

    def __init__(self, data: DataConfig, dataset: Dataset) -> None:
        self.data, self.dataset, self.tokenizer = _stored(data, dataset), dataset, dataset.tokenizer
        self.loss_fn: LossFn = next_token_loss
        self.keep: Keep | None = None
        self.begins: np.ndarray | None = None
        self.prompt: str | None = None
        end = self.tokenizer.end_of_text
        if end is None and (data.recall != 1 or data.rows == "documents"):
            asked = f"rows {data.rows!r}" if data.rows == "documents" else f"recall {data.recall}"
            raise ConfigError(f"{asked} needs documents and {dataset.name} is read as 1 text: use bpe-4096")
        if data.rows == "documents":  # each row begins with the id that ended the document before
            ends = [at + np.flatnonzero(piece == end) for at, piece in in_pieces(dataset.train)]
            self.begins = np.concatenate(ends)
        if _has_answers(dataset, data):  # then the loss also gives the metric exact_match
            mark, line_end = (int(self.tokenizer.encode(text)[0]) for text in (MARK, END))
            keep = answers(mark, line_end)
            self.loss_fn = graded_loss(keep)
            self.keep = keep if data.scored == "answers" else None
            first = self.tokenizer.decode(dataset.validation[: dataset.line])
            self.prompt = first.partition(MARK)[0] + MARK

    @classmethod
    def from_checkpoint(cls, opened: weights.Checkpoint) -> Self:
        """Read the text that a checkpoint was trained on, as its provenance says.

        A checkpoint without one, such as an imported one, is read by its own tokenizer. Raises
        CheckpointError if the text or its tokenizer is not what it was."""
        made = opened.provenance
        if "data" in made:
            data = stored_data(opened)
        else:
            lowercase = getattr(opened.tokenizer, "lowercase", False)
            is_characters = opened.tokenizer.unit == "character"
            own = "characters" if is_characters else f"{opened.name}/{weights.TOKENIZER}"
            data = DataConfig(corpus=_here(opened.corpus), tokenizer=own, lowercase=lowercase)
        task = cls(data, read_dataset(data))
        dataset = task.dataset
        known = made.get("dataset", {}).get("fingerprint", dataset.fingerprint)
        if known != dataset.fingerprint or opened.tokenizer.fingerprint != task.tokenizer.fingerprint:
            changed = f"{dataset.name} has changed since {opened.name} was trained on it"
            raise CheckpointError(f"{changed}: restore its text, or train again")
        return task

    def recall(self, n_rows: int) -> Recall | None:
        """Return the weights of a training of so many rows, for `Batches`; None counts every token alike."""
        if self.data.recall == 1:
            return None
        tokens, end, V = self.dataset.train, self.tokenizer.end_of_text, self.tokenizer.vocab_size
        counts = sum(np.bincount(piece, minlength=V) for _, piece in in_pieces(tokens))  # (V,)
        rare = torch.from_numpy(counts < RARE * len(tokens))  # (V,)
        rare[end] = False  # each row of a document begins with it, so it would always be recalled
        return Recall(rare, end=end, weight=self.data.recall, n_rows=n_rows)

    def measure(self, model: GPT, **settings: Any) -> Evaluation:
        """Return the loss on the validation text; `settings` are evaluate's.

        A part of the text, such as its answers, has no bits per byte."""
        return evaluate(
            model,
            self.dataset.validation,
            documents=self.dataset.documents,
            from_beginning=self.data.rows == "documents",
            keep=self.keep,
            bytes_per_token=self.dataset.bytes_per_token if self.keep is None else None,
            loss_fn=self.loss_fn,
            **settings,
        )


def stored_data(opened: weights.Checkpoint) -> DataConfig:
    """Return the settings by which a checkpoint's text is read here.

    Raises ConfigError for settings that nothing has, KeyError and TypeError where there are none."""
    data = DataConfig.from_json(opened.provenance["data"])
    tokenizer = data.tokenizer
    if tokenizer == weights.TOKENIZER:
        tokenizer = f"{opened.name}/{weights.TOKENIZER}"
    return replace(data, corpus=_here(data.corpus), tokenizer=tokenizer)


def _stored(data: DataConfig, dataset: Dataset) -> DataConfig:
    """Return the settings as a checkpoint stores them: the corpus that was really read, and no user's name.

    A path counts from the repository. A tokenizer's file is the checkpoint's own, which carries it."""
    corpus = dataset.name
    if data.corpus not in corpora.CORPORA:
        corpus = paths.relative_path(os.path.expanduser(data.corpus), paths.HOME)
    tokenizer = weights.TOKENIZER if data.tokenizer.endswith(".json") else data.tokenizer
    return replace(data, corpus=corpus, tokenizer=tokenizer)


def _here(corpus: str) -> str:
    """Return a corpus as it is read from any folder, which may hold another file of that name."""
    return corpus if corpus in corpora.CORPORA else str(paths.HOME / corpus)


def _has_answers(dataset: Dataset, data: DataConfig) -> bool:
    """Return whether each row is made of lines with an = in each.

    Raises ConfigError if answers are to be scored and a line has none."""
    n, without = 0, 0
    if data.rows == "lines":
        mark = dataset.tokenizer.characters.find(MARK)  # lines are of characters; -1 is no id
        for part in (dataset.train, dataset.validation):
            lines = np.asarray(part[: len(part) // dataset.line * dataset.line]).reshape(-1, dataset.line)
            n += len(lines)
            without += int((lines != mark).all(axis=1).sum())
    if data.scored == "answers" and (n == 0 or without > 0):
        found = f"rows are {data.rows!r} and {without:,} of {n:,} lines have none"
        raise ConfigError(f"scored 'answers' needs rows 'lines' with an {MARK} in each, {found}: use 'all'")
    return n > 0 and without == 0
