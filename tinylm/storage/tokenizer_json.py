"""Tokenizer JSON: a tokenizer as Hugging Face's library `tokenizers` writes one, out and in.

Plain JSON both ways: what it cannot be is a sentence here, and a panic in that library. Used in 12_gpt2."""

from tinylm.errors import CheckpointError, short
from tinylm.storage.atomic import JSON
from tinylm.text.bpe import LETTERS
from tinylm.text.corpora import END_OF_TEXT
from tinylm.text.tokenizers import BPETokenizer, CharTokenizer, Tokenizer

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
WORDS_OF_GPT2 = {"normalizer": None, "pre_tokenizer": BYTES, "decoder": BYTES}
CHARACTERS = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
# Python makes a capital sigma at the end of a word "ς", Rust always "σ". The rest of folding is the same.
CASED, SKIPPED = r"[\p{Cased}&&[^\p{Case_Ignorable}]]", r"\p{Case_Ignorable}*"
LAST_SIGMA = f"(?<={CASED}{SKIPPED})Σ(?!{SKIPPED}{CASED})"
FOLDED = [{"type": "Replace", "pattern": {"Regex": LAST_SIGMA}, "content": "ς"}, {"type": "Lowercase"}]


def to_tokenizers(tokenizer: Tokenizer) -> JSON:
    """What `tokenizers` and AutoTokenizer read: on every text of whole characters their ids are ours.

    The special tokens are in the vocabulary, where no text leads to them, and not among `added_tokens`, whose
    names are found in any text. Raises CheckpointError for one that is also a token, or spelled in bytes."""
    made: JSON = {"version": "1.0", "added_tokens": []}
    if isinstance(tokenizer, CharTokenizer):
        made["normalizer"] = {"type": "Sequence", "normalizers": FOLDED} if tokenizer.lowercase else None
        model: JSON = {"type": "WordLevel", "vocab": {c: i for i, c in enumerate(tokenizer.characters)}}
        model["unk_token"] = tokenizer.unknown or "<unk>"  # which is no token: others are refused there too
        return made | {"pre_tokenizer": CHARACTERS, "decoder": {"type": "Fuse"}, "model": model}
    merges = tokenizer.merges.splitlines()
    names = [*LETTERS, *(merge.replace(" ", "") for merge in merges)]
    for name in tokenizer.special:
        if name in names or not (name.isascii() or set(name) - set(LETTERS)):
            raise CheckpointError(f"the special token {short(name)} is also text there: use another name")
    vocab = {name: i for i, name in enumerate([*names, *tokenizer.special])}
    return made | WORDS_OF_GPT2 | {"model": {"type": "BPE", "vocab": vocab, "merges": merges}}


def settings_of(tokenizer: Tokenizer) -> JSON:
    """tokenizer_config.json, by which AutoTokenizer knows the special tokens and yet finds none in a text."""
    ends = dict.fromkeys(("bos_token", "eos_token"), None if tokenizer.end_of_text is None else END_OF_TEXT)
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False} | ends
    special = [*getattr(tokenizer, "special", ())]
    return told | {"split_special_tokens": True, "additional_special_tokens": special}


def from_tokenizers(data: JSON, shown: str) -> Tokenizer:
    """Our tokenizer with the same ids. Raises CheckpointError for another kind in the folder `shown`.

    How it cuts text and which ids its tokens have is compared with what `to_tokenizers` would write."""
    try:
        model, added = data["model"], {token["content"]: token["id"] for token in data["added_tokens"]}
        vocab = model["vocab"] | added
        names = sorted(vocab, key=vocab.__getitem__)
        if model.get("type") == "WordLevel":
            unknown = model["unk_token"] if model["unk_token"] in vocab else None
            made = CharTokenizer("".join(names), lowercase=bool(data["normalizer"]), unknown=unknown)
        else:
            lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
            made = BPETokenizer("\n".join(lines), tuple(names[256 + len(lines) :]))
            model = {"type": "BPE"} | model | {"vocab": vocab, "merges": lines}
        theirs = {part: data[part] for part in ("normalizer", "pre_tokenizer")} | {"model": model}
        theirs["added word"] = [token for token in data["added_tokens"] if not token["special"]] or None
        ours = to_tokenizers(made)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{shown} has no tokenizer of GPT-2's kind ({error}): use one") from error
    if other := [part for part in theirs if _told(theirs[part]) != _told(ours.get(part))]:
        raise CheckpointError(f"{shown} has a tokenizer unlike GPT-2's, its {other[0]} is another: use one")
    return made


def _told(part: object) -> JSON:
    """What a part says beyond its defaults, and beyond what decides no id."""
    told = {"use_regex": True} | (part if isinstance(part, dict) else {"type": part})
    return {name: v for name, v in told.items() if v not in (None, False, "") and name != "trim_offsets"}
