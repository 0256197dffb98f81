"""Published tokenizers: a tokenizer.json that another project made, such as SmolLM2's, Llama 3's or Qwen's.

They are byte pair encodings like GPT-2's, but each cuts a text into words in its own way: SmolLM2 makes every
digit a word, Llama 3 up to three of them. The library `tokenizers` encodes. Used in 14_modern_blocks."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tinylm.errors import DataError, short
from tinylm.text import bpe
from tinylm.text.corpora import END_OF_TEXT
from tinylm.text.tokenizers import Tokenizer, checked_ids

BEGINS, ENDS = ("<|begin_of_text|>",), (END_OF_TEXT, "<|end_of_text|>")  # the second of each is Llama 3's
# What a part must say so that no text is lost or changed, apart from Unicode's form NFC.
PARTS = {"ByteLevel": {"add_prefix_space": False}, "Digits": {}, "Split": {"behavior": "Isolated"}}
NORMALIZERS = (None, {"type": "NFC"})
UNUSED = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")


@dataclass(frozen=True)
class PublishedTokenizer(Tokenizer):
    """Byte pair encoding as a tokenizer.json of the library `tokenizers` describes it: every text has ids.

    `published` is the text of that file. Its added tokens are special tokens: no text is ever encoded to one,
    and `encode` adds none to a text. `vocab_size` may be larger than the number of tokens, as Qwen's model
    has it. The last ids then belong to no token. Where the file asks for Unicode's form NFC, as Qwen's does,
    decoding gives the text in that form.

    Raises DataError for a tokenizer of another kind, and for parts that don't belong together."""

    published: str
    vocab_size: int

    kind, unit = "published", "token"

    def __post_init__(self) -> None:
        try:
            data = self._data
            steps = data["pre_tokenizer"].get("pretokenizers", [data["pre_tokenizer"]])
            lossless = [PARTS[step["type"]].items() <= step.items() for step in steps]
            model, found = data["model"], {part: data.get(part) for part in ("truncation", "padding")}
            found |= {part: model.get(part) for part in UNUSED}
            if odd := [part for part, value in found.items() if value]:
                raise ValueError(f"it has {odd[0]}")
            if data.get("normalizer") not in NORMALIZERS or not all(lossless):
                raise ValueError("it changes the text")
            if model.get("type", "BPE") != "BPE" or {data["decoder"]["type"], steps[-1]["type"]} != {
                "ByteLevel"
            }:
                raise ValueError("it is no BPE on bytes")
            if odd := [name for name in model["vocab"].keys() - self.special if {*name} - {*bpe.LETTERS}]:
                raise ValueError(f"its token {short(odd[0])} is not written in GPT-2's letters for bytes")
            n, most = len(self._bytes), max(self._bytes, default=-1) + 1
            if len({*bpe.LETTERS} & model["vocab"].keys()) < 256 or not n == most <= self.vocab_size:
                raise ValueError(f"it has {n} tokens, ids up to {most - 1}, and the model {self.vocab_size}")
            _ = self._library
        except Exception as error:  # the library knows no other class
            wrong = f"{type(error).__name__}: {short(str(error), most=200)}"
            raise DataError(f"this tokenizer.json is no BPE that keeps every text ({wrong})") from error

    @cached_property
    def _data(self) -> Any:
        return json.loads(self.published)

    @cached_property
    def special(self) -> dict[str, int]:
        """The ids of the special tokens by their names."""
        return {token["content"]: token["id"] for token in self._data["added_tokens"]}

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        """id -> bytes; the bytes of a special token are its name."""
        letters = {ord(letter): byte for letter, byte in zip(bpe.LETTERS, bpe.BYTES, strict=True)}
        plain = {i: name for name, i in self._data["model"]["vocab"].items() if name not in self.special}
        found = {i: name.translate(letters).encode("latin-1") for i, name in plain.items()}
        return found | {i: name.encode("utf-8") for name, i in self.special.items()}

    @cached_property
    def _library(self) -> Any:
        from tokenizers import Tokenizer as Library

        return Library.from_str(json.dumps(self._data | {"added_tokens": []}))

    @property
    def end_of_text(self) -> int | None:
        """The id that ends each document; None if there is none."""
        return next((self.special[name] for name in ENDS if name in self.special), None)

    @property
    def begin_of_text(self) -> int | None:
        """The id that begins each document: that of end_of_text, unless there is one for the beginning."""
        return next((self.special[name] for name in BEGINS if name in self.special), self.end_of_text)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of `text`, int64, (T,). The name of a special token in it is text like any other."""
        found = self._library.encode(bpe.as_unicode(text), add_special_tokens=False)
        return np.array(found.ids, dtype=np.int64)

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of one id, none for an id without a token. Raises as `checked_ids`."""
        return self._bytes.get(checked_ids(token, self.vocab_size).item(), b"")

    def decode(self, ids: Any) -> str:
        """Return the text of one sequence of ids, as BPETokenizer does. Raises as `checked_ids`."""
        row = checked_ids(ids, self.vocab_size).tolist()
        return b"".join(self._bytes.get(i, b"") for i in row).decode("utf-8", errors="replace")
