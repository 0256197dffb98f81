"""A dataset: a text as ids, cut into training and validation, with all that a run needs to know about it.

Taught in notebooks 04_training (characters), 08_tinystories (documents) and 12_gpt2 (shards)."""

import hashlib
import json
import os
import re
import shlex
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tinylm.errors import ConfigError, DataError, require_choice, short
from tinylm.text import corpora, documents, tokenizers
from tinylm.text.corpora import END_OF_TEXT
from tinylm.text.prepare import prepared, tokenizer_of
from tinylm.text.shards import MANIFEST, open_tokens, read_manifest
from tinylm.text.tokenizers import CharTokenizer, Tokenizer, checked_ids, tokenizer_named
from tinylm.text.tokens import Tokens, in_pieces

VERIFIED_IDS = 2**28  # larger shards are not checked before the first step: ten billion ids take minutes
BORDER = re.compile(rf"^[ \t]*{re.escape(END_OF_TEXT)}[ \t]*$", re.MULTILINE)  # on a line of its own
Ids = np.ndarray | Tokens  # (N,): in memory, a memmap, or several files as one


@dataclass(frozen=True)
class Dataset:
    """What a model is trained on: the characters of one file or a hundred shards of tokens."""

    name: str  # the corpus, or the file or folder as the user typed it
    source: str  # "pack", "cache", "network", "generated", "file", "shards" or "prepared"
    tokenizer: Tokenizer
    train: Ids = field(repr=False)
    validation: Ids = field(repr=False)  # always the same part of the text
    fingerprint: str  # sha256 that tells this data from any other
    holds: str = "whole"  # of the corpus; or "part" or "stand-in", and then every result must say so
    what: str = ""  # what the part or the stand-in is, in words
    separator: str = END_OF_TEXT  # of the documents in a text of characters
    line: int = 1  # a row of a batch begins at a multiple of this: the length of a line if rows are lines

    @property
    def described(self) -> str:
        """Name and source for a sentence, and how the text differs from the corpus of that name."""
        said = [self.source] if self.holds == "whole" else [f"a {self.holds}: {self.what}", self.source]
        if getattr(self.tokenizer, "lowercase", False):
            said.append("folded to lower case")
        return f"{self.name} ({', '.join(said)})"

    @property
    def unit(self) -> str:
        """What one id is called in a sentence: "character" or "token"."""
        return self.tokenizer.unit

    @cached_property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of the validation text over its tokens, for bits per byte; an end of text has none.

        Raises DataError for an id outside the vocabulary."""
        counts = np.zeros(self.tokenizer.vocab_size, dtype=np.int64)  # (V,)
        for _, ids in in_pieces(self.validation):
            counts += np.bincount(checked_ids(ids, len(counts)), minlength=len(counts))
        used = [token for token in counts.nonzero()[0] if token != self.tokenizer.end_of_text]
        n_bytes = sum(int(counts[token]) * len(self.tokenizer.token_bytes(token)) for token in used)
        return n_bytes / len(self.validation)

    @cached_property
    def documents(self) -> np.ndarray | None:
        """Where the documents of `validation` begin, (D,) rising from 0; None if there are fewer than two."""
        end = self.tokenizer.end_of_text
        if end is not None:
            ends = [begin + np.flatnonzero(ids == end) for begin, ids in in_pieces(self.validation)]
            ends = np.concatenate(ends)
            if ends[:1] != 0:  # llm.c's shards have the end of text before each document, ours after it
                ends += 1
        else:
            border = BORDER if self.separator == END_OF_TEXT else re.compile(re.escape(self.separator))
            text = self.tokenizer.decode(self.validation)
            ends = np.array([found.end() for found in border.finditer(text)])
        begins = np.union1d(0, ends[ends < len(self.validation)])
        return begins if len(begins) > 1 else None


def load_dataset(
    corpus: str,
    *,
    tokenizer: str = "characters",
    lowercase: bool = False,
    train_share: float = 1.0,
    rows: str = "windows",
    fallback: str | None = None,
) -> Dataset:
    """Load a corpus of the registry, a UTF-8 text file of one's own, or a folder of shards.

    A name outside the registry is a path if it has a separator, ends in .txt or exists; it counts from the
    working folder. If nothing else is set aside for validation, the last tenth of the text is. `train_share`
    keeps only the beginning of the training text.

    `tokenizer` is "characters", or a name for tokenizer_named. The alphabet is that of the whole text,
    otherwise a character that occurs only in the validation part would have no id. "bpe-4096" is trained on
    the training text. Tokens are those of documents: the end of text follows each, and what separates them in
    the file is left out. They come from the folder of `prepare` if that was made from the same files. A
    folder of shards has its own tokenizer: `tokenizer` names that one or keeps its default.

    A text of several documents (books, say) has <|endoftext|> on a line of its own between them. Then a loss
    has its standard error over documents. A character model still reads the line as text like any other.

    With rows="lines" all lines of the text must have one length, which becomes the dataset's `line`.
    `fallback` names a generated corpus to use instead of one that no source has.

    Raises ConfigError for settings that do not fit each other, DataError for a text or shards that cannot be
    used, and CorpusMissing."""
    characters = tokenizer == "characters"
    require_choice("rows", rows, ["windows", "lines"])
    require_choice("lowercase", lowercase, [False, True])
    if not 0 < train_share <= 1:
        raise ConfigError(f"train_share is {train_share}: it must be above 0 and at most 1")
    if not characters and (lowercase or rows == "lines"):
        why = f"lowercase and rows 'lines' are for characters, and the tokenizer is {short(tokenizer)}"
        raise ConfigError(f"{why}: use --data.no-lowercase --data.rows windows")
    path = os.path.expanduser(corpus)
    is_path = "/" in corpus or os.sep in corpus or corpus.lower().endswith(".txt") or os.path.exists(path)
    is_named = corpus in corpora.CORPORA or not is_path
    if is_named and ".bin" in corpora.corpus_here(corpus).endings and corpora.locate(corpus):
        data = _of_published(corpus, tokenizer, train_share)
    elif is_named and not characters and (folder := prepared(corpus, tokenizer)):
        data = _of_shards(folder, corpus, tokenizer, train_share, source="prepared")
    elif not is_named and (os.path.isdir(path) or path.endswith(".bin")):
        require_choice("rows of shards", rows, ["windows"])
        data = _of_shards(Path(path), corpus, tokenizer, train_share)
    else:
        if is_named:
            text = corpora.load(corpus, fallback=fallback, tokenizer=tokenizer)
        else:
            text = _own_text(path, corpus, tokenizer)
        if characters:
            data = _of_characters(text, lowercase, rows, train_share)
        else:
            data = _of_documents(text, tokenizer, train_share)
    return replace(data, train=data.train[: round(train_share * len(data.train))])


def _own_text(path: str, name: str, tokenizer: str) -> corpora.Text:
    """The text of a user's own file, as it would be on any system. Raises DataError."""
    if not os.path.isfile(path):
        raise DataError(f"there is no file {short(name)}: give the path of a text file, or a corpus by name")
    is_prepared = path.lower().endswith((".jsonl", ".parquet")) or os.path.getsize(path) > corpora.LARGE
    if tokenizer != "characters" and is_prepared:
        command = f"`python -m tinylm prepare {shlex.quote(name)} --tokenizer {tokenizer}`"
        raise DataError(f"{short(name)} is not read into memory: {command} says which folder to give instead")
    text = documents.decoded(Path(path).read_bytes(), short(name))
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")  # as Windows begins a file and ends its lines
    train, validation = corpora.split(text, name)
    return corpora.Text(train, validation, name=name, source="file")


def _of_characters(text: corpora.Text, lowercase: bool, rows: str, train_share: float) -> Dataset:
    train, validation, line = text.train, text.validation, 1
    if rows == "lines":
        if lowercase:  # before the lines are measured: it may change their length
            train, validation = train.lower(), validation.lower()
        line = _line_length(train + validation, text.name)
        cut = len(train) // line * line  # the two parts meet at the end of a line
        train, validation = train[:cut], train[cut:] + validation
    tokenizer = CharTokenizer.train(train + validation, lowercase=lowercase)
    identity = _sha256(train + validation + json.dumps([tokenizer.fingerprint, len(train), train_share]))
    ids = tokenizer.encode(train), tokenizer.encode(validation)
    separator = _entry(text.name).separator or END_OF_TEXT
    return Dataset(text.name, text.source, tokenizer, *ids, identity, text.holds, text.what, separator, line)


def _line_length(text: str, name: str) -> int:
    """Characters of each line with its end. Raises DataError if two lines differ or there is only one."""
    lines = text.rstrip("\n").split("\n")
    lengths = sorted({len(line) + 1 for line in lines})
    if len(lengths) > 1 or len(lines) < 2:
        unlike = f"{short(name)} has {len(lines)} lines of {lengths[0]:,} to {lengths[-1]:,} characters"
        raise DataError(f"{unlike}, so a row cannot be a line: pad them with spaces, or use rows 'windows'")
    return lengths[0]


def _of_documents(text: corpora.Text, named: str, train_share: float) -> Dataset:
    separator = _entry(text.name).separator or END_OF_TEXT
    train, validation = documents.split(text.train, separator), documents.split(text.validation, separator)
    if not (train and validation):
        raise DataError(f"{short(text.name)} has no document to train on or none to validate: give more text")
    tokenizer = tokenizer_of(named, train)
    whole = _sha256(f"{len(text.train)} {text.train}{text.validation}")
    identity = _identity(text.name, whole, tokenizer, train_share)
    train, validation = (np.concatenate([*tokenizer.encode_documents(part)]) for part in (train, validation))
    return Dataset(text.name, text.source, tokenizer, train, validation, identity, text.holds, text.what)


def _of_published(name: str, named: str, train_share: float) -> Dataset:
    """The dataset of llm.c's shards of GPT-2's ids, as they were published."""
    require_choice("tokenizer", named, ["gpt2"])
    entry, paths, tokenizer = corpora.corpus_here(name), corpora.fetch(name), tokenizer_named("gpt2")
    parts = [Tokens([open_tokens(paths[file]) for file in files]) for files in entry.parts.values()]
    train, validation = parts if len(parts) == 2 else corpora.split(parts[0], name)
    source = corpora.locate(name).split()[0]
    identity = _identity(name, "", tokenizer, train_share)
    return Dataset(name, source, tokenizer, train, validation, identity, entry.holds, entry.what)


def _of_shards(folder: Path, name: str, named: str, train_share: float, source: str = "shards") -> Dataset:
    """The dataset of a folder with a manifest.json, or of two folders in it, train and validation."""
    parts = [folder] if (folder / MANIFEST).is_file() else [folder / "train", folder / "validation"]
    if not all((part / MANIFEST).is_file() for part in parts):
        asked = f" --tokenizer {'bpe-4096' if named == 'characters' else named}"
        way_out = f"`python -m tinylm prepare {shlex.quote(name)}{asked}` writes one; characters need 1 file"
        raise DataError(f"{short(name)} has no {MANIFEST} to say which tokenizer made its ids: {way_out}")
    manifests = [read_manifest(part) for part in parts]
    hashes = {manifest["tokenizer_sha256"][:16] for manifest in manifests}
    if len(hashes) > 1:
        raise DataError(f"{short(name)} was made by two tokenizers, {' and '.join(hashes)}: use one")
    tokenizer, about = tokenizers.tokenizer_from_json(manifests[0]["tokenizer"]), manifests[0]["source"]
    about = about if isinstance(about, dict) else {}
    fits = named in ("characters", about.get("tokenizer"))
    if not (fits or (named[:4] != "bpe-" and tokenizer_named(named).fingerprint == tokenizer.fingerprint)):
        way_out = f"use --data.tokenizer {about.get('tokenizer')}, or shards made by {named}"
        raise DataError(f"{short(name)} was made by another tokenizer than {named}: {way_out}")
    verify = sum(manifest["count"] for manifest in manifests) <= VERIFIED_IDS
    ids = [open_tokens(part, verify=verify) for part in parts]
    train, validation = ids if len(ids) == 2 else corpora.split(ids[0], name)
    identity = _sha256(json.dumps([[manifest["shards"] for manifest in manifests], *hashes, train_share]))
    if source == "prepared":
        identity = _identity(name, identity, tokenizer, train_share)
    holds, what = str(about.get("holds", "whole")), str(about.get("what", ""))
    return Dataset(name, source, tokenizer, train, validation, identity, holds, what)


def _entry(name: str) -> corpora.Corpus:
    """Its entry in the registry; for a text of one's own, an empty entry."""
    return corpora.corpus_here(name) if name in corpora.CORPORA else corpora.Corpus()


def _identity(name: str, whole: str, tokenizer: Tokenizer, train_share: float) -> str:
    """The fingerprint of documents: the same in memory and prepared, if they rest on the same files.

    `whole` is the sha256 of a text that has no files in the registry."""
    text = [file.sha256 or f"{file.url} {file.size}" for file in _entry(name).files] or whole
    about = {"text": text, "tokenizer": tokenizer.fingerprint, "train_share": train_share}
    return tokenizers.fingerprint(about)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
