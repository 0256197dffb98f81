"""A dataset: a text as ids, cut into training and validation, with all that a run needs to know about it.

Taught in notebooks 04_training (characters), 08_tinystories (documents) and 12_gpt2 (shards)."""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinylm.errors import ConfigError, DataError, require_choice, require_number, short
from tinylm.text import corpora, documents, tokenizers
from tinylm.text.prepare import prepared, tokenizer_of
from tinylm.text.shards import MANIFEST, open_tokens, read_manifest
from tinylm.text.tokenizers import CharTokenizer, Tokenizer, checked_ids, tokenizer_named
from tinylm.text.tokens import Tokens, in_pieces

VERIFIED_IDS = 2**28  # more than these are not read through before the first step: minutes for ten billion


@dataclass(frozen=True)
class Dataset:
    """What is trained on, whatever the text is: characters of one file or a hundred shards of tokens."""

    name: str  # the corpus, or the file or folder as it was asked for
    source: str  # "pack", "cache", "network", "generated", "file", "shards" or "prepared"
    tokenizer: Tokenizer
    train: np.ndarray | Tokens = field(repr=False)  # ids, (N,): an array, a memmap or shards.Tokens
    validation: np.ndarray | Tokens = field(repr=False)  # ids of the fixed validation text, (M,)
    bytes_per_token: float  # UTF-8 bytes of the validation text over its tokens, for bits per byte
    fingerprint: str  # sha256 that tells this data from any other; from the manifest where there is one
    unit: str = "token"  # what one id is called in a sentence: "character" or "token"
    documents: np.ndarray | None = field(default=None, repr=False)
    """Where the documents of `validation` begin, (D,) rising from 0; None for running text."""
    line: int = 1  # A row of a batch begins at multiples of so many ids: where each row is made of lines.
    holds: str = "whole"  # of the corpus; or "part" or "stand-in", which whatever rests on it must say
    what: str = ""  # what the part or the stand-in is, in words

    @property
    def described(self) -> str:
        """Name and source for a sentence, and what it holds where that is not the whole."""
        part = "" if self.holds == "whole" else f"a {self.holds}: {self.what}, "
        return f"{self.name} ({part}{self.source})"


def load_dataset(
    corpus: str,
    *,
    tokenizer: str = "characters",
    lowercase: bool = False,
    train_share: float = 1.0,
    rows: str = "windows",
    fallback: str | None = None,
) -> Dataset:
    """The dataset of a corpus of the registry, of a UTF-8 text file, or of a folder of shards.

    A path is what is no name of the registry and holds a separator, ends in .txt or exists; it counts from
    the working folder. A folder of shards holds a manifest.json, or two folders, train and validation, that
    do; its tokenizer is the manifest's: `tokenizer` names that one or is left as it is. Where nothing else is
    set aside for validation, the last tenth is. `train_share` reads only the beginning of the training text.
    `tokenizer` is "characters", or as for tokenizer_named. An alphabet is that of all of the text, because a
    character that only another part has would otherwise have no id; "bpe-4096" is trained on the training
    text. Its tokens are of documents: each is followed by the end of text, and what stands between them in
    the file is left out. They come from the folder of `prepare` where that rests on the same files.
    With rows="lines" all lines of the text must be of one length, which is the dataset's `line`.
    `fallback` names a generated corpus that stands in for one that no source has.
    Raises ConfigError, DataError and CorpusMissing."""
    characters = tokenizer == "characters"
    require_choice("rows", rows, ["windows", "lines"] if characters else ["windows"])
    require_choice("lowercase", lowercase, [False, True] if characters else [False])
    require_number("train_share", train_share, lambda share: 0 < share <= 1, "above 0 and at most 1")
    path = os.path.expanduser(corpus)
    is_path = "/" in corpus or os.sep in corpus or corpus.lower().endswith(".txt") or os.path.exists(path)
    if corpus in corpora.CORPORA or not is_path:
        entry = corpora.corpus_here(corpus)
        if ".bin" in entry.endings and corpora.locate(corpus):
            return _from_published(corpus, entry, train_share, tokenizer)
        if not characters and (ready := prepared(corpus, tokenizer)):
            return _from_shards(ready, corpus, train_share, tokenizer, source="prepared")
        text = corpora.load(corpus, fallback=fallback, tokenizer=tokenizer)
    elif os.path.isdir(path) or path.endswith(".bin"):  # one .bin file has no tokenizer either
        require_choice("rows of shards", rows, ["windows"])
        return _from_shards(Path(path), corpus, train_share, tokenizer)
    else:
        text = _own_text(path, corpus, tokenizer)
    if characters:
        return _from_characters(text, lowercase, train_share, rows)
    return _from_documents(text, tokenizer, train_share)


def _dataset(tokenizer: Tokenizer, share: float, *, train: Any, validation: Any, **others: Any) -> Dataset:
    """The dataset of these ids; bytes and documents are counted in them. Raises ConfigError where fewer than
    2 are left to train on."""
    if (kept := round(share * len(train))) < 2:
        left = f"train_share {share} leaves {kept} of {len(train):,}"
        raise ConfigError(f"{left}: use {2 / len(train):.1g} or more")
    counts, end = np.zeros(tokenizer.vocab_size, dtype=np.int64), tokenizer.end_of_text
    begins = int(np.asarray(validation[:1])[0] == end)  # llm.c's shards have it before each document
    ends = [0][begins:]
    for at, piece in in_pieces(validation):
        counts += np.bincount(checked_ids(piece, len(counts)), minlength=len(counts))
        ends += (np.flatnonzero(piece == end) + at + 1 - begins).tolist()
    bytes_of = getattr(tokenizer, "token_bytes", lambda token: tokenizer.decode(token).encode())
    n_bytes = sum(int(counts[token]) * len(bytes_of(token)) for token in counts.nonzero()[0] if token != end)
    return Dataset(
        tokenizer=tokenizer,
        train=train[:kept],
        validation=validation,
        bytes_per_token=n_bytes / len(validation),
        unit=tokenizer.unit,
        **{"documents": None if end is None else _starts(ends, len(validation))} | others,
    )


def _starts(ends: list[int], n: int) -> np.ndarray:
    """Where documents begin, (D,), from 0 and where they end: the last one may be cut short."""
    return np.array([end for end in ends if end < n], dtype=np.int64)


def _own_text(path: str, name: str, tokenizer: str) -> corpora.Text:
    if not os.path.isfile(path):
        raise DataError(f"there is no file {short(name)}: give the path of a text file, or a corpus by name")
    if tokenizer != "characters" and (
        path.lower().endswith((".jsonl", ".parquet")) or os.path.getsize(path) > corpora.LARGE
    ):
        way_out = f"`python -m tinylm prepare {Path(path).name} --tokenizer {tokenizer}`"
        raise DataError(f"{short(name)} is not read at once: {way_out} says which folder to give instead")
    text = documents.decoded(Path(path).read_bytes(), short(name))
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")  # as Windows begins a file and ends lines
    return corpora.Text(*corpora.split(text, name), name=name, source="file")


def _line_length(text: corpora.Text) -> int:
    """Characters of each line with its end. Raises DataError where two differ."""
    lengths = sorted({len(line) + 1 for line in (text.train + text.validation).rstrip("\n").split("\n")})
    if len(lengths) > 1:
        unlike = f"{short(text.name)} has lines of {lengths[0]:,} and of {lengths[-1]:,} characters"
        way_out = "fill them up with spaces, or use rows 'windows'"
        raise DataError(f"{unlike}, so a row cannot be a line: {way_out}")
    return lengths[0]


def _from_characters(text: corpora.Text, lowercase: bool, train_share: float, rows: str) -> Dataset:
    line = 1
    if rows == "lines":
        if lowercase:  # it may change a text's length
            text = replace(text, train=text.train.lower(), validation=text.validation.lower())
        line = _line_length(text)
        cut = len(text.train) // line * line  # the cut between the parts goes to the beginning of a line
        if not cut:
            n = len(text.train + text.validation)
            raise DataError(f"{short(text.name)} has 1 line of {n} characters: give more lines")
        text = replace(text, train=text.train[:cut], validation=text.train[cut:] + text.validation)
    whole, separator, starts = text.train + text.validation, _entry(text.name).separator, None
    tokenizer = CharTokenizer.train(whole, lowercase=lowercase)
    if separator:
        ends = [found.end() for found in re.finditer(re.escape(separator), text.validation)]
        starts = _starts([0, *ends], len(text.validation))
    identity = json.dumps([tokenizer.fingerprint, len(text.train), train_share])
    about = {"fingerprint": hashlib.sha256((whole + identity).encode()).hexdigest(), "documents": starts}
    ids = {"train": tokenizer.encode(text.train), "validation": tokenizer.encode(text.validation)}
    return _dataset(tokenizer, train_share, line=line, **asdict(text) | ids | about)


def _from_documents(text: corpora.Text, name: str, train_share: float) -> Dataset:
    separator = _entry(text.name).separator or corpora.END_OF_TEXT
    parts = [documents.split(part, separator) for part in (text.train, text.validation)]
    if not all(parts):
        raise DataError(f"{short(text.name)} has no document to train on or none to validate: give more text")
    tokenizer = tokenizer_of(name, parts[0])
    train, validation = (np.concatenate([*tokenizer.encode_documents(part)]) for part in parts)
    whole = hashlib.sha256(f"{len(text.train)} {text.train}{text.validation}".encode()).hexdigest()
    about = {"train": train, "validation": validation}
    about["fingerprint"] = _identity(text.name, whole, tokenizer, train_share)
    return _dataset(tokenizer, train_share, **asdict(text) | about)


def _entry(name: str) -> corpora.Corpus:
    """Its entry in the registry; for a text of one's own, that of one running text."""
    return corpora.corpus_here(name) if name in corpora.CORPORA else corpora.Corpus()


def _identity(name: str, whole: str, tokenizer: Tokenizer, train_share: float) -> str:
    """The fingerprint of documents: the same in memory and prepared, where they rest on the same files."""
    text = [file.sha256 or f"{file.url} {file.size}" for file in _entry(name).files] or whole
    about = {"text": text, "tokenizer": tokenizer.fingerprint, "train_share": train_share}
    return tokenizers.fingerprint(about)


def _from_published(name: str, entry: corpora.Corpus, train_share: float, named: str) -> Dataset:
    """The dataset of llm.c's shards of GPT-2's ids, as they were published."""
    require_choice("tokenizer", named, ["gpt2"])
    paths, tokenizer = corpora.fetch(name), tokenizer_named("gpt2")
    rows = [Tokens([open_tokens(paths[file]) for file in files]) for files in entry.parts.values()]
    train, validation = rows if len(rows) == 2 else corpora.split(rows[0], name)
    said = {"name": name, "source": corpora.locate(name).split()[0], "holds": entry.holds, "what": entry.what}
    said["fingerprint"] = _identity(name, "", tokenizer, train_share)
    return _dataset(tokenizer, train_share, train=train, validation=validation, **said)


def _from_shards(folder: Path, name: str, train_share: float, named: str, source: str = "shards") -> Dataset:
    folders = [folder] if (folder / MANIFEST).is_file() else [folder / "train", folder / "validation"]
    if not all((part / MANIFEST).is_file() for part in folders):
        why = f"{short(name)} has no {MANIFEST} to say by which tokenizer its ids were made"
        way_out = "write it with tinylm.text.shards.write_manifest, or give the path of a text file"
        raise DataError(f"{why}: {way_out}")
    manifests = [read_manifest(part) for part in folders]
    hashes = {manifest["tokenizer_sha256"][:16] for manifest in manifests}
    if len(hashes) > 1:
        raise DataError(f"{short(name)} was made by two tokenizers, {' and '.join(hashes)}: use one")
    tokenizer, about = tokenizers.tokenizer_from_json(manifests[0]["tokenizer"]), manifests[0]["source"]
    about = about if isinstance(about, dict) else {}
    fits = named in ("characters", about.get("tokenizer"))
    if not (fits or (named[:4] != "bpe-" and tokenizer_named(named).fingerprint == tokenizer.fingerprint)):
        way_out = f"leave it out, or use shards made by {named}"
        raise DataError(f"{short(name)} was made by another tokenizer than {named}: {way_out}")
    verify = sum(manifest["count"] for manifest in manifests) <= VERIFIED_IDS
    tokens = [open_tokens(part, verify=verify) for part in folders]
    train, validation = tokens if len(tokens) == 2 else corpora.split(tokens[0], name)
    identity = json.dumps([[manifest["shards"] for manifest in manifests], *hashes, train_share])
    identity = hashlib.sha256(identity.encode()).hexdigest()
    if source == "prepared":
        identity = _identity(name, identity, tokenizer, train_share)
    said = {"name": name, "source": source, "fingerprint": identity}
    said |= {"holds": str(about.get("holds", "whole")), "what": str(about.get("what", ""))}
    return _dataset(tokenizer, train_share, train=train, validation=validation, **said)
