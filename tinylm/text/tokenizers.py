"""Tokenizers: text to ids and back, exactly. Taught in notebooks 01_characters and 07_tokenizers."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self

import numpy as np

from tinylm.errors import DataError, short
from tinylm.text import bpe, corpora
from tinylm.text.corpora import END_OF_TEXT


class Tokenizer(Protocol):
    """What every tokenizer offers to the rest of the package."""

    kind: str  # its name in a saved tokenizer
    vocab_size: int
    unit: str  # what one id is called in a sentence: "character" or "token"
    end_of_text: int | None  # the id that ends each document

    def encode(self, text: str) -> np.ndarray: ...
    def decode(self, ids: Any) -> str: ...
    def token_bytes(self, token: int) -> bytes: ...

    @property
    def begin_of_text(self) -> int | None:
        """The id that begins each document: end_of_text, unless a tokenizer has one for the beginning."""
        return self.end_of_text

    def to_json(self) -> dict:
        """Return plain JSON from which `tokenizer_from_json` makes the same tokenizer."""
        return {"kind": self.kind} | asdict(self)

    @property
    def fingerprint(self) -> str:
        """The sha256 of `to_json()`. Two tokenizers give the same ids for every text if it is the same."""
        return fingerprint(self.to_json())


def fingerprint(data: dict) -> str:
    """Return the sha256 of a tokenizer's JSON in canonical form: sorted keys, no spaces, ASCII."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def checked_ids(ids: Any, vocab_size: int) -> np.ndarray:
    """Return one sequence of ids, (T,), from an array, a tensor, a list or a single id.

    Raises DataError for more than one sequence, for anything but integers, and for an id outside the
    vocabulary."""
    row = np.atleast_1d(ids.cpu() if hasattr(ids, "cpu") else ids)
    if row.ndim > 1 or (row.size and row.dtype.kind not in "iu"):
        wrong = f"ids of shape {row.shape} and type {row.dtype} are not one sequence of integers"
        raise DataError(f"{wrong}: give one sequence at a time")
    if row.size and not 0 <= row.min() <= row.max() < vocab_size:
        wrong = row.min() if row.min() < 0 else row.max()
        raise DataError(f"id {wrong} is outside the tokenizer's {vocab_size}: use 0 to {vocab_size - 1}")
    return row


@dataclass(frozen=True)
class CharTokenizer(Tokenizer):
    """One id per character: the id is the character's position in the string `characters`.

    With `lowercase` the text is folded to lower case before it is encoded, so decoding gives `text.lower()`.
    `unknown` replaces the characters outside the vocabulary; if it is None they raise an error.

    Raises DataError unless the vocabulary is one string of distinct characters. A set would not do: its order
    changes from run to run, and the order is the ids."""

    characters: str
    _: KW_ONLY
    lowercase: bool = False
    unknown: str | None = None

    kind, unit = "characters", "character"
    end_of_text = None

    def __post_init__(self) -> None:
        text = self.characters
        distinct = isinstance(text, str) and text == bpe.as_unicode(text) and 0 < len(set(text)) == len(text)
        folds = self.lowercase is False or (self.lowercase is True and distinct and text == text.lower())
        if not distinct or not folds or self.unknown not in [None, *text]:
            wrong = f"{short(text)} with lowercase={short(self.lowercase)}, unknown={short(self.unknown)}"
            what = "no vocabulary of distinct characters"
            raise DataError(f"{wrong} is {what}: make it with CharTokenizer.train")

    @classmethod
    def train(cls, text: str, *, lowercase: bool = False, unknown: str | None = None) -> Self:
        """Return the tokenizer of every character in `text`, sorted by code point."""
        distinct = set(text.lower() if lowercase else text)
        return cls("".join(sorted(distinct)), lowercase=lowercase, unknown=unknown)

    @property
    def vocab_size(self) -> int:
        """The number of ids, V: they run from 0 to V - 1."""
        return len(self.characters)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters)}

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of `text`, int64, (T,): one look-up per character.

        Raises DataError for the first character outside the vocabulary, unless `unknown` is set."""
        if self.lowercase:
            text = text.lower()
        other = -1 if self.unknown is None else self._ids[self.unknown]
        found = (self._ids.get(character, other) for character in text)
        ids = np.fromiter(found, dtype=np.int64, count=len(text))  # (T,)
        if ids.size and ids.min() < 0:
            position = int(np.argmax(ids < 0))
            what = f"{text[position]!r} (U+{ord(text[position]):04X}) at position {position}"
            known = f"the {self.vocab_size} characters of the vocabulary"
            raise DataError(f"{what} is not among {known}: leave it out, or use another tokenizer")
        return ids

    def decode(self, ids: Any) -> str:
        """Return the text of one sequence of ids. Raises as `checked_ids`."""
        row = checked_ids(ids, self.vocab_size)
        return "".join(self.characters[i] for i in row.astype(np.int64).tolist())

    def token_bytes(self, token: int) -> bytes:
        """Return the UTF-8 bytes of one id's character. Raises as `checked_ids`."""
        return self.decode(token).encode("utf-8")


@dataclass(frozen=True)
class BPETokenizer(Tokenizer):
    """Byte pair encoding as in GPT-2, encoded by tiktoken: every text has ids.

    `merges` has a line for each merge, as "Ġ t", in the order in which training found them: GPT-2's vocab.bpe
    without its first line. The ids of the `special` tokens follow. No text is ever encoded to a special
    token; its id comes from `id_of`. Raises DataError for merges and special tokens that cannot be right.

    For merges in an order that no training finds, tiktoken may give a token that merging pair by pair never
    reaches."""

    merges: str
    special: tuple[str, ...] = (END_OF_TEXT,)

    kind, unit = "bpe", "token"

    def __post_init__(self) -> None:
        # JSON has made a list of it.
        names = self.special if isinstance(self.special, list | tuple) else [None]
        is_name = [isinstance(name, str) and name and name == bpe.as_unicode(name) for name in names]
        if not isinstance(self.merges, str) or not all(is_name) or len(set(names)) < len(names):
            wrong = f"the merges {short(self.merges)} or special tokens {short(self.special)} are not text"
            raise DataError(f"{wrong}: give each name once, and no empty one")
        object.__setattr__(self, "special", tuple(names))
        object.__setattr__(self, "merges", self.merges.removesuffix("\n"))
        bpe.tokens_of(self.merges)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, *, special: Sequence[str] = (END_OF_TEXT,)) -> Self:
        """Train a tokenizer on these texts: 256 bytes, as many merges as there is room for, special tokens.

        The vocabulary is smaller than `vocab_size` if the texts have no pair left to merge. Raises DataError
        for a `vocab_size` without room for the bytes and the special tokens."""
        if (n_merges := vocab_size - 256 - len(special)) < 0:
            full = f"a vocabulary of {vocab_size} has no room for 256 bytes and {len(special)} special tokens"
            raise DataError(f"{full}: use {vocab_size - n_merges} or more")
        merges = bpe.train_merges([texts] if isinstance(texts, str) else texts, n_merges)
        return cls("\n".join(merges), tuple(special))

    def with_special(self, *names: str) -> "BPETokenizer":
        """Return the same tokenizer with more special tokens, whose ids follow."""
        return replace(self, special=(*self.special, *names))

    @cached_property
    def _bytes(self) -> tuple[bytes, ...]:
        """id -> bytes; the bytes of a special token are its name."""
        return bpe.tokens_of(self.merges) + tuple(name.encode("utf-8") for name in self.special)

    @property
    def vocab_size(self) -> int:
        """The number of ids, V: bytes, merges and special tokens."""
        return len(self._bytes)

    @property
    def end_of_text(self) -> int | None:
        """The id that ends each document; None if it is not among the special tokens."""
        return self.id_of(END_OF_TEXT) if END_OF_TEXT in self.special else None

    def id_of(self, name: str) -> int:
        """Return the id of a special token. Raises DataError for a name that is none."""
        if name not in self.special:
            raise DataError(f"{short(name)} is no special token here: there are {short(self.special)}")
        return self.vocab_size - len(self.special) + self.special.index(name)

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of one id, which are often not whole characters. Raises as `checked_ids`."""
        return self._bytes[checked_ids(token, self.vocab_size).item()]

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of `text`, int64, (T,): tiktoken's, for every text.

        The name of a special token in the text is text like any other."""
        pieces = [self._tiktoken.encode_ordinary(piece) for piece in bpe.in_pieces(text)]
        return np.concatenate([np.array(ids, dtype=np.int64) for ids in pieces])  # (T,)

    def encode_documents(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """Yield the ids of each text as `encode` gives them, int64, (T,), followed by the end of text."""
        end = [] if self.end_of_text is None else [self.end_of_text]
        for text in texts:
            yield np.append(self.encode(text), np.array(end, dtype=np.int64))

    @cached_property
    def _tiktoken(self) -> Any:
        import tiktoken

        ranks = {token: i for i, token in enumerate(bpe.tokens_of(self.merges))}
        return tiktoken.Encoding("tinylm", pat_str=bpe.FAST_SPLIT, mergeable_ranks=ranks, special_tokens={})

    def decode(self, ids: Any) -> str:
        """Return the text of one sequence of ids. Raises as `checked_ids`.

        Bytes that form no character become U+FFFD, and special tokens their names."""
        row = checked_ids(ids, self.vocab_size).tolist()
        return b"".join(map(self._bytes.__getitem__, row)).decode("utf-8", errors="replace")


def gpt2_tokenizer() -> BPETokenizer:
    """Return the tokenizer of GPT-2's own 50,000 merges, from the files of "gpt2-bpe".

    Raises CorpusMissing if no source has them."""
    text = corpora.fetch("gpt2-bpe")["vocab.bpe"].read_text(encoding="utf-8")
    return BPETokenizer(text.partition("\n")[2])  # the first line says the version


def tiktoken_gpt2() -> Any:
    """Return tiktoken's own "gpt2" without the network, to compare with.

    tiktoken looks for the files in a cache folder, where it has names of its own for them. Raises
    CorpusMissing if no source has them."""
    from unittest.mock import patch  # sets a variable of the environment and restores it

    import tiktoken

    files = corpora.fetch("gpt2-bpe")
    with TemporaryDirectory() as folder, patch.dict(os.environ, TIKTOKEN_CACHE_DIR=folder):
        for file in corpora.CORPORA["gpt2-bpe"].files:
            shutil.copyfile(files[file.name], Path(folder, hashlib.sha1(file.url.encode()).hexdigest()))
        return tiktoken.get_encoding("gpt2")


def tokenizer_named(name: str, texts: Iterable[str] | None = None) -> Tokenizer:
    """Return a tokenizer by its name: "characters" and "bpe-4096" are trained on the texts, "gpt2" and the
    path of a saved tokenizer.json are read.

    Raises DataError for another name, for no texts, and for a file that is no tokenizer."""
    if name == "gpt2":
        return gpt2_tokenizer()
    if name.endswith(".json"):
        try:
            saved = json.loads(Path(name).expanduser().read_bytes())
        except (OSError, ValueError, RecursionError, MemoryError) as error:  # MemoryError: nested too deep
            raise DataError(f"{short(name)} cannot be read as JSON: give a saved tokenizer.json") from error
        return tokenizer_from_json(saved)
    size = re.fullmatch(r"bpe-([0-9]{1,7})", name)
    if texts is None or not (size or name == "characters"):
        ways = "characters or bpe-4096 with texts to train on, gpt2, or the path of a tokenizer.json"
        raise DataError(f"there is no tokenizer {short(name)} here: use {ways}")
    return BPETokenizer.train(texts, int(size[1])) if size else CharTokenizer.train("".join(texts))


def tokenizer_from_json(data: Any) -> Tokenizer:
    """Return the tokenizer that `to_json` described. Raises DataError for what no tokenizer wrote."""
    from tinylm.text.published import PublishedTokenizer  # which is made of Tokenizer

    kinds = {made.kind: made for made in (CharTokenizer, BPETokenizer, PublishedTokenizer)}
    settings = dict(data) if isinstance(data, dict) else {}
    if (kind := settings.pop("kind", None)) not in list(kinds):
        raise DataError(f"a tokenizer of kind {short(kind)} is not known here: use {' or '.join(kinds)}")
    if odd := {field.name for field in fields(kinds[kind])} ^ settings.keys():
        raise DataError(f"a saved tokenizer lacks or should not have {short(sorted(odd))}: save it again")
    return kinds[kind](**settings)
