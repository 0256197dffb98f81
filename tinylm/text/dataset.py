"""A dataset: a text as ids, cut into training and validation, with all that a run needs to know about it."""

from dataclasses import dataclass, field

import numpy as np

from tinylm.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class Dataset:
    """What is trained on, whatever the text is: characters of one file or a hundred shards of tokens."""

    name: str
    """The corpus, or the file or folder as it was asked for."""
    source: str
    """The kind of source: "pack", "cache", "network", "generated", "file" or "shards"."""
    tokenizer: Tokenizer
    train: np.ndarray = field(repr=False)
    """Ids, (N,): an array, a memmap or shards.Tokens."""
    validation: np.ndarray = field(repr=False)
    """Ids of the fixed validation text, (M,)."""
    bytes_per_token: float
    """UTF-8 bytes of the validation text over its tokens: what bits per byte needs."""
    fingerprint: str
    """sha256 that tells this data from any other; from the manifest where there is one."""
    unit: str = "token"
    """What one id is called in a sentence: "character" or "token"."""
    documents: np.ndarray | None = field(default=None, repr=False)
    """Where the documents of `validation` begin, (D,) rising from 0; None for running text."""
