"""Tokenizers: text to ids and back, exactly.

The vocabulary is a string: its order is the order of the ids, and it is saved with them. A set, whose
order changes from run to run, is refused. Taught in notebook 01_characters."""

import hashlib
import json
from collections import Counter
from dataclasses import KW_ONLY, dataclass, fields
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


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")  # (T,)


@dataclass(frozen=True)
class CharTokenizer:
    """One id per character: the id of a character is its place in `characters`.

    `lowercase` folds the text before it is encoded, so a round trip gives `text.lower()`.
    `unknown` replaces the characters outside the vocabulary; with None they are refused.
    Raises DataError for a vocabulary that is not a string of distinct characters.
    """

    characters: str
    _: KW_ONLY
    lowercase: bool = False
    unknown: str | None = None

    unit = "character"
    end_of_text = None

    def __post_init__(self) -> None:
        if not isinstance(self.characters, str):
            kind = type(self.characters).__name__
            raise DataError(f"the vocabulary is a {kind}, which may lose its order: give a string")
        if not self.characters:
            raise DataError("the vocabulary has 0 characters: give at least 1")
        character, times = Counter(self.characters).most_common(1)[0]
        if times > 1:
            raise DataError(f"the vocabulary holds {character!r} {times} times: give each character 1 id")
        if halves := [c for c in self.characters if "\ud800" <= c <= "\udfff"]:
            raise DataError(f"the vocabulary holds {halves[0]!r}, half a character: read the text as UTF-8")
        if self.lowercase is not True and self.lowercase is not False:
            raise DataError(f"lowercase={short(self.lowercase)} is neither True nor False: use one of them")
        if self.lowercase and (folded := [c for c in self.characters if c.lower() != c]):
            raise DataError(f"lowercase text never holds {folded[0]!r}: leave it out, or set lowercase=False")
        if self.unknown is not None and self.unknown not in list(self.characters):
            raise DataError(
                f"unknown={short(self.unknown)} is not one of the {self.vocab_size} characters of the "
                f"vocabulary: choose one that is, for example {self.characters[-1]!r}"
            )

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
        """The text of one row of ids: an array, a tensor, a list or a single id.

        Raises DataError for ids outside 0 .. V - 1 (a negative id is no shorthand for the end).
        """
        row = np.asarray(ids.cpu() if hasattr(ids, "cpu") else ids)
        if row.size == 0:
            return ""
        if row.ndim > 1 or not np.issubdtype(row.dtype, np.integer):
            raise DataError(
                f"ids of shape {row.shape} and type {row.dtype} are not one row: decode one at a time"
            )
        wrong = row[(row < 0) | (row >= self.vocab_size)]
        if wrong.size:
            raise DataError(f"id {wrong.flat[0]} is no character: ids run from 0 to {self.vocab_size - 1}")
        return self._points[row].tobytes().decode("utf-32-le")

    def to_json(self) -> dict:
        """Everything needed to make the same tokenizer again, as plain JSON."""
        settings = {"characters": self.characters, "lowercase": self.lowercase, "unknown": self.unknown}
        return {"kind": "characters"} | settings

    @property
    def fingerprint(self) -> str:
        """The sha256 of `to_json()`: two tokenizers agree on every text exactly when it is the same."""
        return fingerprint(self.to_json())


KINDS = {"characters": CharTokenizer}  # by the name of their kind in a saved tokenizer


def tokenizer_from_json(data: Any) -> Tokenizer:
    """The tokenizer that `to_json` described. Raises DataError for what no tokenizer wrote."""
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataError(f"a tokenizer of kind {short(kind)} is not known here: use {' or '.join(KINDS)}")
    settings = {name: value for name, value in data.items() if name != "kind"}
    if odd := {field.name for field in fields(KINDS[kind])} ^ settings.keys():
        raise DataError(f"a saved tokenizer lacks or should not have {short(sorted(odd))}: save it again")
    return KINDS[kind](**settings)
