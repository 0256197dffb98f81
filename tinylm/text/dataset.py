"""A dataset: a text as ids, cut into training and validation, with all that a run needs to know about it.

Taught in notebooks 04_training (characters) and 12_gpt2 (shards)."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from tinylm.errors import ConfigError, DataError, require_choice, require_number, short
from tinylm.text import corpora
from tinylm.text.shards import MANIFEST, Manifest, Tokens, open_tokens, read_manifest
from tinylm.text.tokenizers import CharTokenizer, Tokenizer, tokenizer_from_json

VALIDATION_SHARE = 0.1  # of one's own text, taken from the end
VERIFIED_AT_ONCE = 2**28  # ids: more than these are not read through before the first step
DECODED_AT_ONCE = 2**20  # ids


@dataclass(frozen=True)
class Dataset:
    """What is trained on, whatever the text is: characters of one file or a hundred shards of tokens."""

    name: str
    """The corpus, or the file or folder as it was asked for."""
    source: str
    """The kind of source: "pack", "cache", "network", "generated", "file" or "shards"."""
    tokenizer: Tokenizer
    train: np.ndarray | Tokens = field(repr=False)
    """Ids, (N,): an array, a memmap or shards.Tokens."""
    validation: np.ndarray | Tokens = field(repr=False)
    """Ids of the fixed validation text, (M,)."""
    bytes_per_token: float
    """UTF-8 bytes of the validation text over its tokens: what bits per byte needs."""
    fingerprint: str
    """sha256 that tells this data from any other; from the manifest where there is one."""
    unit: str = "token"
    """What one id is called in a sentence: "character" or "token"."""
    documents: np.ndarray | None = field(default=None, repr=False)
    """Where the documents of `validation` begin, (D,) rising from 0; None for running text."""


def load_dataset(
    corpus: str,
    *,
    tokenizer: str = "characters",
    lowercase: bool = False,
    train_share: float = 1.0,
    fallback: str | None = None,
) -> Dataset:
    """The dataset of a corpus of the registry, of a text file, or of a folder of shards.

    A path is what is no name of the registry and holds a separator, ends in .txt or exists; it counts from
    the working folder. Of one's own text the last tenth is for validation. A folder of shards holds a
    manifest.json, and then its last tenth is for validation, or two such folders, train and validation; its
    tokenizer is the manifest's, whatever `tokenizer` and `lowercase` say. `train_share` reads only the
    beginning of the training text; the alphabet is that of the whole text all the same, because a character
    that only another part has would otherwise have no id. `fallback` names a generated corpus that stands in
    for a missing one.
    Raises ConfigError, DataError and CorpusMissing.
    """
    require_choice("tokenizer", tokenizer, ["characters"])
    require_number("train_share", train_share, lambda share: 0 < share <= 1, "above 0 and at most 1")
    path = Path(corpus)
    is_path = len(path.parts) > 1 or path.suffix == ".txt" or path.exists()
    if corpus in corpora.CORPORA or not is_path:
        text = corpora.load(corpus, fallback=fallback)
    elif path.is_dir():
        return _from_shards(path, corpus, train_share)
    else:
        text = _own_text(path, corpus)
    return _from_text(text, lowercase, train_share)


def _from_text(text: corpora.Text, lowercase: bool, train_share: float) -> Dataset:
    tokenizer = CharTokenizer.train(text.train + text.validation, lowercase=lowercase)
    train = tokenizer.encode(text.train[: _kept(train_share, len(text.train))])
    validation = tokenizer.encode(text.validation)
    entry = corpora.CORPORA.get(text.name)
    documents = None
    if entry is not None and not entry.files:
        documents = _starts(
            [m.end() for m in re.finditer(re.escape(entry.separator), text.validation)], len(validation)
        )
    return Dataset(
        name=text.name,
        source=text.source,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        bytes_per_token=len(text.validation.encode()) / len(validation),
        fingerprint=_sha256(
            f"{text.train}{text.validation}", tokenizer.fingerprint, [len(train), len(validation)]
        ),
        unit=tokenizer.unit,
        documents=documents,
    )


def _own_text(path: Path, name: str) -> corpora.Text:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{short(name)} cannot be read ({error.strerror}): give the path of a text file"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{short(name)} is not UTF-8 text (byte {error.start:,} is {error.object[error.start]:#x}): "
            f"save it as UTF-8"
        ) from error
    cut = int(len(text) * (1 - VALIDATION_SHARE))
    if cut < 2 or len(text) - cut < 2:
        raise DataError(
            f"{short(name)} has {len(text)} characters, with a tenth kept for validation: give at least 20"
        )
    return corpora.Text(text[:cut], text[cut:], name=name, source="file")


def _from_shards(folder: Path, name: str, train_share: float) -> Dataset:
    parts = [folder / "train", folder / "validation"]
    folders = [folder] if (folder / MANIFEST).is_file() else parts
    if not all((part / MANIFEST).is_file() for part in folders):
        raise DataError(
            f"{short(name)} holds no {MANIFEST}, which says by what tokenizer its ids were made: "
            f"write shards with tinylm.text.shards.write_shards, or give the path of a text file"
        )
    manifests = [read_manifest(part) for part in folders]
    if len({manifest.tokenizer_sha256 for manifest in manifests}) > 1:
        raise DataError(
            f"{short(name)}: train and validation were made by two tokenizers: write them with one"
        )
    verify = sum(manifest.count for manifest in manifests) <= VERIFIED_AT_ONCE
    tokens = [open_tokens(part, verify=verify) for part in folders]
    if len(tokens) == 1:
        cut = int(len(tokens[0]) * (1 - VALIDATION_SHARE))
        tokens = [tokens[0][:cut], tokens[0][cut:]]
    train, validation = tokens
    if len(train) < 2 or len(validation) < 2:
        raise DataError(
            f"{short(name)} has {len(train)} ids to train on and {len(validation)} to validate: "
            f"give at least 2 of each"
        )
    train = train[: _kept(train_share, len(train))]
    tokenizer = tokenizer_from_json(manifests[0].tokenizer)
    return Dataset(
        name=name,
        source="shards",
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        bytes_per_token=_n_bytes(tokenizer, validation) / len(validation),
        fingerprint=_sha256(*(_facts(manifest) for manifest in manifests), [len(train), len(validation)]),
        unit=tokenizer.unit,
    )


def _kept(train_share: float, n: int) -> int:
    """How many of n tokens are trained on. Raises ConfigError where fewer than 2 are left."""
    kept = round(train_share * n)
    if kept < 2:
        raise ConfigError(
            f"train_share {train_share} leaves {kept} of {n:,} to train on: use {2 / n:.1g} or more"
        )
    return kept


def _starts(ends: list[int], n: int) -> np.ndarray:
    return np.array([0, *(end for end in ends if end < n)], dtype=np.int64)  # (D,)


def _n_bytes(tokenizer: Tokenizer, ids: np.ndarray | Tokens) -> int:
    pieces = (ids[begin : begin + DECODED_AT_ONCE] for begin in range(0, len(ids), DECODED_AT_ONCE))
    return sum(len(tokenizer.decode(np.asarray(piece)).encode()) for piece in pieces)


def _facts(manifest: Manifest) -> dict:
    return {key: value for key, value in asdict(manifest).items() if key not in ("source", "tokenizer")}


def _sha256(text: object, *facts: object) -> str:
    digest = hashlib.sha256(text.encode() if isinstance(text, str) else json.dumps(text).encode())
    for fact in facts:
        digest.update(json.dumps(fact).encode())
    return digest.hexdigest()
