"""Tokenizer JSON: a tokenizer as Hugging Face's library `tokenizers` writes one, out and in.

Both ways are plain JSON. What a file says is compared part by part with what we would write. Encoding a probe
text with both would be shorter, but no probe can show that there is no rule for some other word. A file of
another BPE on bytes is kept as it is (text/published). Used in 12_gpt2 and 14_modern_blocks."""

import json
from typing import Any

from tinylm.errors import CheckpointError, DataError, short
from tinylm.storage.atomic import JSON
from tinylm.text.bpe import LETTERS
from tinylm.text.published import PublishedTokenizer
from tinylm.text.tokenizers import BPETokenizer, CharTokenizer, Tokenizer

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
WORDS_OF_GPT2 = {"normalizer": None, "pre_tokenizer": BYTES, "decoder": BYTES}
CHARACTERS = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
# Python lowers a capital sigma at the end of a word to "ς", Rust always to "σ". All else is folded alike.
CASED, SKIPPED = r"[\p{Cased}&&[^\p{Case_Ignorable}]]", r"\p{Case_Ignorable}*"
LAST_SIGMA = f"(?<={CASED}{SKIPPED})Σ(?!{SKIPPED}{CASED})"
FOLDED = [{"type": "Replace", "pattern": {"Regex": LAST_SIGMA}, "content": "ς"}, {"type": "Lowercase"}]
ALONE = [{"Sequence": {"id": "A", "type_id": 0}}]  # a template of the text with nothing around it
COMPARED = ("normalizer", "pre_tokenizer", "post_processor", "truncation", "padding")


def to_tokenizers(tokenizer: Tokenizer) -> JSON:
    """Return what `tokenizers` and AutoTokenizer read. On every text of whole characters their ids are ours.

    One exception: a character outside a character model's vocabulary, which our `encode` refuses, is left
    out there. With an `unknown` character both replace it. The model is written as BPE without merges, which
    works like this; a WordLevel model would raise an exception.

    The special tokens are in the vocabulary, where no text leads to them, and not among `added_tokens`, whose
    names are found in any text. Raises CheckpointError for one that is also a token, or spelled in bytes.
    A published tokenizer is written as it was published."""
    if isinstance(tokenizer, PublishedTokenizer):
        return json.loads(tokenizer.published)
    made: JSON = {"version": "1.0", "added_tokens": []}
    if isinstance(tokenizer, CharTokenizer):
        made["normalizer"] = {"type": "Sequence", "normalizers": FOLDED} if tokenizer.lowercase else None
        vocab = {character: i for i, character in enumerate(tokenizer.characters)}
        model = {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": tokenizer.unknown}
        return made | {"pre_tokenizer": CHARACTERS, "decoder": {"type": "Fuse"}, "model": model}
    merges = tokenizer.merges.splitlines()
    names = [*LETTERS, *(merge.replace(" ", "") for merge in merges)]
    for name in tokenizer.special:
        if name in names or not (name.isascii() or set(name) - set(LETTERS)):
            raise CheckpointError(f"the special token {short(name)} is also text there: use another name")
    vocab = {name: i for i, name in enumerate([*names, *tokenizer.special])}
    return made | WORDS_OF_GPT2 | {"model": {"type": "BPE", "vocab": vocab, "merges": merges}}


def settings_of(tokenizer: Tokenizer) -> JSON:
    """Return tokenizer_config.json, with which AutoTokenizer finds no special token in a text."""
    ends = {"bos_token": tokenizer.begin_of_text, "eos_token": tokenizer.end_of_text}
    ends = {name: None if i is None else tokenizer.decode([i]) for name, i in ends.items()}
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False} | ends
    special = [*getattr(tokenizer, "special", ())]
    return told | {"split_special_tokens": True, "additional_special_tokens": special}


def from_tokenizers(data: JSON, shown: str, vocab_size: int) -> Tokenizer:
    """Return our tokenizer with the same ids. Raises CheckpointError for another kind in the folder `shown`.

    Everything that decides an id must be as `to_tokenizers` writes it. Otherwise it is a published tokenizer,
    for a model of this vocab_size: nothing is dropped silently."""
    try:
        made, unlike = _like_ours(data)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        unlike = [f"{type(error).__name__} in its parts ({error})"]
    if not unlike:
        return made
    try:
        return PublishedTokenizer(json.dumps(data, ensure_ascii=False), vocab_size)
    except DataError as error:
        raise CheckpointError(f"{shown} has a tokenizer that cannot be used here: {error}") from error


def _like_ours(data: JSON) -> tuple[Tokenizer, list[str]]:
    """Return our tokenizer with the tokens of this one, and the parts in which they differ."""
    model, added = data["model"], {token["content"]: token["id"] for token in data["added_tokens"]}
    vocab = model["vocab"] | added
    names = sorted(vocab, key=vocab.__getitem__)
    lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if data["pre_tokenizer"] == CHARACTERS:
        folds, unknown = bool(data["normalizer"]), model.get("unk_token")
        made: Tokenizer = CharTokenizer("".join(names), lowercase=folds, unknown=unknown)
    else:
        made = BPETokenizer("\n".join(lines), tuple(names[256 + len(lines) :]))
    theirs = {part: data.get(part) for part in COMPARED}
    theirs["model"] = {"type": "BPE"} | model | {"vocab": vocab, "merges": lines}
    theirs["added word"] = [token for token in data["added_tokens"] if not token["special"]] or None
    ours = to_tokenizers(made)
    after = _told(theirs["post_processor"])
    if after.get("type") == "ByteLevel" or after.get("single") == ALONE:  # GPT-2's own, or transformers'
        del theirs["post_processor"]  # either adds no token
    return made, [part for part in theirs if _told(theirs[part]) != _told(ours.get(part))]


def _told(part: Any) -> JSON:
    """Return what a part says beyond its defaults, and beyond what decides no id."""
    told = {"use_regex": True} | (part if isinstance(part, dict) else {"type": part})
    return {name: v for name, v in told.items() if v not in (None, False, "") and name != "trim_offsets"}
