"""Scoring: which loss a recipe asks for, and what its model is asked while it learns.

A text of lines such as 12+34=46 asks questions: what follows the = is the answer, and whether all of it is
right can be counted. Taught in notebook 06_custom_losses."""

from contextlib import suppress

from tinylm.errors import ConfigError, TinyLMError
from tinylm.model.losses import LossFn, answers, graded_loss, masked_loss, next_token_loss
from tinylm.runs.recipes import DataConfig
from tinylm.text.dataset import Dataset
from tinylm.text.tokenizers import Tokenizer

MARK, END = "=", "\n"  # an answer stands between them


def has_answers(tokenizer: Tokenizer, data: DataConfig) -> bool:
    """Whether a text is read as questions and answers: where that is asked for, or its rows are lines with =.

    Raises ConfigError where answers are to be scored and the text has no =."""
    has_mark = False
    with suppress(TinyLMError):
        has_mark = len(tokenizer.encode(MARK)) == len(tokenizer.encode(END)) == 1
    if data.scored == "answers" and not has_mark:
        raise ConfigError(f"scored is 'answers' and 0 lines of {data.corpus} have an {MARK}: use 'all'")
    return has_mark and (data.rows == "lines" or data.scored == "answers")


def loss_of(tokenizer: Tokenizer, data: DataConfig) -> LossFn:
    """The loss for training and evaluation; where there are answers, it also logs exact_match."""
    if not has_answers(tokenizer, data):
        return next_token_loss
    keep = answers(*(int(tokenizer.encode(text)[0]) for text in (MARK, END)))
    return masked_loss(keep, graded_loss(keep)) if data.scored == "answers" else graded_loss(keep)


def question_of(dataset: Dataset, data: DataConfig) -> str | None:
    """The first question that is held out, up to its =; None for a text that asks none."""
    if not has_answers(dataset.tokenizer, data):
        return None
    return dataset.tokenizer.decode(dataset.validation[:1000]).partition(MARK)[0].split(END)[-1] + MARK
