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

    data: the settings as a checkpoint stores them, which `stored_data` reads.
    keep: which targets are scored, for `Batches` and `evaluate`; None scores all of them.
    begins (D,): where the rows of a training batch begin; None lets them begin anywhere.
    prompt: the first question that is held out, up to its =; None for running text.
    Raises ConfigError if the text does not have what the settings ask for."""

    def __init__(self, data: DataConfig, dataset: Dataset) -> None:
        self.data, self.dataset, self.tokenizer = _to_store(data, dataset), dataset, dataset.tokenizer
        self.loss_fn: LossFn = next_token_loss
        self.keep: Keep | None = None
        self.begins: np.ndarray | None = None
        self.prompt: str | None = None
        end = self.tokenizer.end_of_text
        if end is None and (data.recall != 1 or data.rows == "documents"):
            asked = f"rows {data.rows!r} with recall {data.recall:g} need documents"
            raise ConfigError(f"{asked}, and {dataset.name} is read as 1 text: use the tokenizer bpe-4096")
        if data.rows == "documents":  # each row begins with the id that ended the document before
            ends = [at + np.flatnonzero(piece == end) for at, piece in in_pieces(dataset.train)]
            self.begins = np.concatenate(ends)
        if data.scored == "answers" and data.rows != "lines":
            raise ConfigError(
                f"scored 'answers' needs rows 'lines', rows are {data.rows!r}: use scored 'all'"
            )
        if data.rows == "lines":  # then the loss also gives the metric exact_match
            _check_questions(dataset)
            mark, line_end = (int(self.tokenizer.encode(text)[0]) for text in (MARK, END))
            keep = answers(mark, line_end)
            self.loss_fn = graded_loss(keep)
            self.keep = keep if data.scored == "answers" else None
            first = self.tokenizer.decode(dataset.validation[: dataset.line])
            self.prompt = first.partition(MARK)[0] + MARK

    @classmethod
    def from_checkpoint(cls, opened: weights.Checkpoint) -> Self:
        """Read the text that a checkpoint was trained on, as its provenance says.

        Raises CheckpointError if the text or its tokenizer is not what it was."""
        data, made = stored_data(opened), opened.provenance
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


def _to_store(data: DataConfig, dataset: Dataset) -> DataConfig:
    """Return the settings as a checkpoint stores them: the corpus that was really read, and no user's name.

    A path counts from the repository. A tokenizer's file is the checkpoint's own, which carries it."""
    corpus = dataset.name
    if data.corpus not in corpora.CORPORA:
        corpus = paths.relative_path(os.path.expanduser(data.corpus), paths.HOME)
    tokenizer = weights.TOKENIZER if data.tokenizer.endswith(".json") else data.tokenizer
    return replace(data, corpus=corpus, tokenizer=tokenizer)


def stored_data(opened: weights.Checkpoint) -> DataConfig:
    """Return the settings by which a checkpoint's text is read from any folder: the way back of `_to_store`.

    A checkpoint that no run made, such as an imported one, is read by its own tokenizer. Raises ConfigError
    for settings that nothing has, TypeError for what are none, CheckpointError where it names no corpus."""
    if "data" in opened.provenance:
        data = DataConfig.from_json(opened.provenance["data"])
    else:
        own = "characters" if opened.tokenizer.unit == "character" else weights.TOKENIZER
        lowercase = getattr(opened.tokenizer, "lowercase", False)
        data = DataConfig(corpus=opened.corpus, tokenizer=own, lowercase=lowercase)
    is_named = data.corpus in corpora.CORPORA
    corpus = data.corpus if is_named else str(paths.HOME / data.corpus)
    tokenizer = data.tokenizer
    if tokenizer == weights.TOKENIZER:
        tokenizer = f"{opened.name}/{weights.TOKENIZER}"
    return replace(data, corpus=corpus, tokenizer=tokenizer)


def _check_questions(dataset: Dataset) -> None:
    """Raise ConfigError if one of the lines asks nothing, so that nothing in it is an answer."""
    mark = dataset.tokenizer.characters.find(MARK)  # lines are of characters; -1 is no id
    for part in (dataset.train, dataset.validation):
        lines = np.asarray(part[: len(part) // dataset.line * dataset.line]).reshape(-1, dataset.line)
        if without := int((lines != mark).all(axis=1).sum()):
            found = f"{without:,} of {len(lines):,} lines of {dataset.name} have none"
            raise ConfigError(f"rows 'lines' need an {MARK} in each line, {found}: use rows 'windows'")
