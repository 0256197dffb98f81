"""Tokenizers: text to ids and back, exactly. Taught in notebook 01_characters."""

import hashlib
import json
from dataclasses import KW_ONLY, asdict, dataclass, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from tinylm.errors import DataError, short


class Tokenizer(Protocol):
    """What the other floors may ask of any tokenizer."""

    vocab_size: int
    unit: str  # what one id is called in a sentence: "character" or "token"
    end_of_text: int | None  # the id that ends each document
    fingerprint: str

    def encode(self, text: str) -> np.ndarray: ...
    def decode(self, ids: Any) -> str: ...
    def to_json(self) -> dict: ...


def fingerprint(data: dict) -> str:
    """The sha256 of a tokenizer's JSON, written one way only: sorted keys, no spaces, ASCII."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def checked_ids(ids: Any, vocab_size: int) -> np.ndarray:
    """One row of ids, (T,), from an array, a tensor, a list or a single id. Raises DataError otherwise."""
    row = np.atleast_1d(ids.cpu() if hasattr(ids, "cpu") else ids)
    if row.ndim > 1 or (row.size and row.dtype.kind not in "iu"):
        raise DataError(f"ids of shape {row.shape} and type {row.dtype} are not one row: give one at a time")
    if row.size and not 0 <= row.min() <= row.max() < vocab_size:
        wrong = row.min() if row.min() < 0 else row.max()
        raise DataError(f"id {wrong} is outside the tokenizer's {vocab_size}: use 0 to {vocab_size - 1}")
    return row


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")  # (T,)


@dataclass(frozen=True)
class CharTokenizer:
    """One id per character: the id of a character is its place in the string `characters`.

    `lowercase` folds the text before it is encoded, so a round trip gives `text.lower()`.
    `unknown` replaces the characters outside the vocabulary; with None they are refused.
    Raises DataError for a vocabulary that is not a string of distinct characters: a set changes its order."""

    characters: str
    _: KW_ONLY
    lowercase: bool = False
    unknown: str | None = None

    unit = "character"
    end_of_text = None

    def __post_init__(self) -> None:
        text = self.characters
        distinct = isinstance(text, str) and 0 < len(set(text)) == len(text)
        if not distinct or any("\ud800" <= character <= "\udfff" for character in text):
            whole = "one string of 1 or more characters, each complete and there once"
            raise DataError(f"the vocabulary {short(text)} is not {whole}: make it with CharTokenizer.train")
        folds = self.lowercase is False or (self.lowercase is True and text == text.lower())
        if not folds or self.unknown not in [None, *text]:
            chosen = f"lowercase={short(self.lowercase)}, unknown={short(self.unknown)}"
            raise DataError(f"{chosen} does not fit the vocabulary {short(text)}: use False and None")

    @classmethod
    def train(cls, text: str, *, lowercase: bool = False, unknown: str | None = None) -> "CharTokenizer":
        """The tokenizer of every character of `text`, sorted by code point: the same text, the same ids."""
        distinct = set(text.lower() if lowercase else text)
        return cls("".join(sorted(distinct)), lowercase=lowercase, unknown=unknown)

    @property
    def vocab_size(self) -> int:
        """The number of ids, V: they run from 0 to V - 1."""
        return len(self.characters)

    @cached_property
    def _points(self) -> np.ndarray:
        return _code_points(self.characters)  # (V,) id -> code point

    @cached_property
    def _table(self) -> np.ndarray:
        """Code point -> id. The last row stands for every code point above the vocabulary's highest."""
        missing = -1 if self.unknown is None else self.characters.index(self.unknown)
        table = np.full(int(self._points.max()) + 2, missing, dtype=np.int64)
        table[self._points] = np.arange(self.vocab_size)
        return table

    def encode(self, text: str) -> np.ndarray:
        """The ids of `text`, int64, shape (T,): one table look-up per character.

        Raises DataError for the first character outside the vocabulary, unless `unknown` is set.
        """
        if self.lowercase:
            text = text.lower()
        ids = self._table.take(_code_points(text), mode="clip")  # (T,)
        if self.unknown is None and ids.size and ids.min() < 0:
            position = int(np.argmax(ids < 0))
            character = text[position]
            raise DataError(
                f"{character!r} (U+{ord(character):04X}) at position {position} is not among the "
                f"{self.vocab_size} characters of the vocabulary: leave it out, or use another tokenizer"
            )
        return ids

    def decode(self, ids: Any) -> str:
        """The text of one row of ids: an array, a tensor, a list or a single id. Errors as `checked_ids`."""
        row = checked_ids(ids, self.vocab_size)
        return self._points[row].tobytes().decode("utf-32-le") if row.size else ""

    def to_json(self) -> dict:
        """Everything needed to make the same tokenizer again, as plain JSON."""
        return {"kind": "characters"} | asdict(self)

    @property
    def fingerprint(self) -> str:
        """The sha256 of `to_json()`: two tokenizers agree on every text exactly when it is the same."""
        return fingerprint(self.to_json())


KINDS = {"characters": CharTokenizer}  # by the name of their kind in a saved tokenizer


def tokenizer_from_json(data: Any) -> Tokenizer:
    """The tokenizer that `to_json` described. Raises DataError for what no tokenizer wrote."""
    settings = dict(data) if isinstance(data, dict) else {}
    if (kind := settings.pop("kind", None)) not in list(KINDS):
        raise DataError(f"a tokenizer of kind {short(kind)} is not known here: use {' or '.join(KINDS)}")
    if odd := {field.name for field in fields(KINDS[kind])} ^ settings.keys():
        raise DataError(f"a saved tokenizer lacks or should not have {short(sorted(odd))}: save it again")
    return KINDS[kind](**settings)
