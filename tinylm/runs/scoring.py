"""Scoring: which loss a recipe asks for, and what its model is asked while it learns.

A text of lines such as 12+34=46 asks questions: what follows the = is the answer, and whether all of it is
right can be counted. Taught in notebook 06_custom_losses."""

from contextlib import suppress

import numpy as np

from tinylm.errors import ConfigError, TinyLMError
from tinylm.model.losses import LossFn, answers, graded_loss, masked_loss, next_token_loss
from tinylm.runs.recipes import DataConfig
from tinylm.text.dataset import Dataset

MARK, END = "=", "\n"  # an answer stands between them


def has_answers(dataset: Dataset, data: DataConfig) -> bool:
    """Whether rows are lines and each line has an =. Raises ConfigError where answers are to be scored and
    it is not so."""
    n, without = 0, 0
    for part in (dataset.train, dataset.validation) if data.rows == "lines" else ():
        lines = np.asarray(part[: len(part) // dataset.line * dataset.line]).reshape(-1, dataset.line)
        marked = np.zeros(len(lines), dtype=bool)
        with suppress(TinyLMError):  # an alphabet without it
            marked = (lines == dataset.tokenizer.encode(MARK)).any(axis=1)
        n, without = n + len(lines), without + int((~marked).sum())
    if data.scored == "answers" and (not n or without):
        found = f"{without:,} of {n:,} lines have none" if n else f"rows are {data.rows!r}"
        raise ConfigError(f"scored 'answers' needs an {MARK} in each of rows 'lines', {found}: use 'all'")
    return n > 0 and not without


def loss_of(dataset: Dataset, data: DataConfig) -> LossFn:
    """The loss for training and evaluation; where there are answers, it also logs exact_match."""
    if not has_answers(dataset, data):
        return next_token_loss
    keep = answers(*(int(dataset.tokenizer.encode(text)[0]) for text in (MARK, END)))
    return masked_loss(keep, graded_loss(keep)) if data.scored == "answers" else graded_loss(keep)


def question_of(dataset: Dataset, data: DataConfig) -> str | None:
    """The first question that is held out, up to its =; None for a text that asks none."""
    if not has_answers(dataset, data):
        return None
    return dataset.tokenizer.decode(dataset.validation[: dataset.line]).partition(MARK)[0] + MARK
