"""Tokenizers as published models have them, made by transformers or tokenizers themselves from our merges."""

import base64
import copy
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from tests.support.byte_pairs import trained
from tests.support.hugging_face import transformers
from tinylm.text import bpe

SMOL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>")  # the first ids
LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")


def _vocab(first=0):
    """Return the names and the merges of our trained tokenizer, its ids counted from `first` on."""
    merges = [tuple(line.split(" ")) for line in trained()[0].merges.splitlines()]
    names = [*bpe.LETTERS, *("".join(pair) for pair in merges)]
    return {name: i for i, name in enumerate(names, start=first)}, merges


def smollm2(folder):
    """As SmolLM2's: single digits, special tokens in the vocabulary, as its first ids."""
    vocab, merges = _vocab(len(SMOL))
    made = Tokenizer(models.BPE({name: i for i, name in enumerate(SMOL)} | vocab, merges))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in SMOL])
    made.save(str(folder / "tokenizer.json"))


def llama3(folder):
    """As Llama 3's, converted by transformers: its words, whole words as tokens, and a beginning of text."""
    from transformers.convert_slow_tokenizer import TikTokenConverter

    ours = trained()[0]
    ranks = [(base64.b64encode(ours.token_bytes(i)).decode(), i) for i in range(ours.vocab_size - 1)]
    (folder / "tokenizer.model").write_text("\n".join(f"{token} {i}" for token, i in ranks), encoding="utf-8")
    converter = TikTokenConverter(str(folder / "tokenizer.model"), extra_special_tokens=list(LLAMA))
    made, begin = converter.converted(), LLAMA[0]
    template = {"single": f"{begin} $A", "special_tokens": [(begin, ours.vocab_size - 1)]}
    after = [processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(**template)]
    made.post_processor = processors.Sequence(after)
    made.save(str(folder / "tokenizer.json"))


def qwen(folder):
    """As Qwen's, by transformers' own class: NFC, its words, and two added tokens that are not special."""
    vocab, merges = _vocab()
    made = transformers.Qwen2Tokenizer(vocab, merges)
    made.add_tokens(["<think>", "</think>"])
    made.save_pretrained(folder)


KINDS = {"SmolLM2": smollm2, "Llama 3": llama3, "Qwen": qwen}


@cache
def published(kind):
    """Return the tokenizer.json of this kind as JSON, its number of tokens, and `tokenizers`' own of it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        KINDS[kind](folder)
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    library = Tokenizer.from_str(text)
    return json.loads(text), library.get_vocab_size(with_added_tokens=True), library


def with_values(data, **changes):
    """Return a copy with other values, named by their path: model__vocab is ["model"]["vocab"]."""
    data = copy.deepcopy(data)
    for path, value in changes.items():
        *parts, last = path.split("__")
        place = data
        for part in parts:
            place = place[part]
        place[last] = value
    return data
