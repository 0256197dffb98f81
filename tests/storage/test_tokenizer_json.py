"""Tokenizers in the form of Hugging Face's library: its ids are ours on any text."""

import json
import re
from dataclasses import replace

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from tests.support.byte_pairs import TEXTS, any_text, both, trained
from tests.support.hugging_face import auto_tokenizer
from tests.support.published import with_values
from tinylm.errors import CheckpointError, DataError
from tinylm.storage.tokenizer_json import from_tokenizers, to_tokenizers
from tinylm.text import bpe
from tinylm.text.corpora import END_OF_TEXT
from tinylm.text.published import PublishedTokenizer
from tinylm.text.tokenizers import BPETokenizer, CharTokenizer

NAMES = (END_OF_TEXT, "<|user|>", "two words", "<é漢>")
SPECIAL = BPETokenizer.train("the cat sat on the mat", 277, special=NAMES)
ODD = "ΟΔΟΣ ΑΣ. Σ ΑΣ' ΑΣΑ Α.Σ. Σ́Α ΑΣ\u00adΑ AΣ\u0301 aʰΣ İ ẞ ǅ Ω\u212a\r\n\t\u2028\u0085 🎭"
CHARACTERS = {
    f"{'folded' if lowercase else 'as is'}, unknown {unknown}": CharTokenizer.train(
        ODD + ODD.lower(), lowercase=lowercase, unknown=unknown
    )
    for lowercase in (False, True)
    for unknown in (None, "α")
}


@both
@any_text
@given(text=TEXTS)
def test_ids_of_autotokenizer_are_ours_on_any_text_of_whole_characters_and_so_is_the_text(pair, text):
    ours, text = pair()[0], bpe.as_unicode(text)
    theirs, ids = auto_tokenizer(ours), ours.encode(text).tolist()
    assert theirs(text)["input_ids"] == ids
    assert theirs.decode(ids) == text


@any_text
@given(ids=st.lists(st.integers(0, SPECIAL.vocab_size - 1)))
def test_any_row_of_ids_is_decoded_alike_broken_characters_and_special_tokens_too(ids):
    assert auto_tokenizer(SPECIAL).decode(ids) == SPECIAL.decode(ids)


def test_special_tokens_are_known_and_their_names_in_a_text_are_text():
    text = f"the{END_OF_TEXT}cat<|user|>two words<é漢>"
    theirs, ids = auto_tokenizer(SPECIAL), SPECIAL.encode(text).tolist()
    assert max(ids) < SPECIAL.id_of(END_OF_TEXT) == theirs.eos_token_id == theirs.bos_token_id
    assert theirs(text)["input_ids"] == ids and len(theirs) == SPECIAL.vocab_size
    assert tokenizers.Tokenizer.from_str(json.dumps(to_tokenizers(SPECIAL))).encode(text).ids == ids
    special = [SPECIAL.id_of(name) for name in NAMES]
    assert theirs.convert_tokens_to_ids(list(NAMES)) == special
    assert theirs.decode([*ids, *special], skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", CHARACTERS)
@any_text
@given(data=st.data())
def test_ids_of_characters_are_ours_folded_and_unknown_too_and_others_are_refused_or_left_out(kind, data):
    ours = CHARACTERS[kind]
    more = "漢b" if data.draw(st.integers(0, 9)) == 0 or ours.unknown else ""
    text = data.draw(st.text(ODD + ODD.lower() + more))
    theirs = auto_tokenizer(ours)
    try:
        ids = ours.encode(text).tolist()
    except DataError:
        known = "".join(c for c in (text.lower() if ours.lowercase else text) if c in ours.characters)
        ids = replace(ours, lowercase=False).encode(known).tolist()
    assert theirs(text)["input_ids"] == ids
    assert theirs.decode(ids) == ours.decode(ids)


@pytest.mark.parametrize("ours", [SPECIAL, *CHARACTERS.values()], ids=["bpe", *CHARACTERS])
def test_what_was_written_or_saved_again_by_transformers_is_read_as_the_same_tokenizer(tmp_path, ours):
    assert from_tokenizers(json.loads(json.dumps(to_tokenizers(ours))), "here", ours.vocab_size) == ours
    auto_tokenizer(ours).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert from_tokenizers(saved, "here", ours.vocab_size) == ours


@both
def test_gpt2s_own_file_of_2019_is_read(pair):
    """It says less: no type of model, no words by regex; its merges are lines; its special token is added."""
    ours = pair()[0]
    data = to_tokenizers(ours)
    model = {name: data["model"][name] for name in ("vocab", "merges")} | {"dropout": None, "unk_token": None}
    model |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False}
    words = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}  # which decides no id
    end = {"id": ours.end_of_text, "special": True, "content": END_OF_TEXT, "normalized": True}
    offsets = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}  # nor does this
    given = data | {"model": model, "pre_tokenizer": words, "added_tokens": [end], "post_processor": offsets}
    assert from_tokenizers(given, "here", ours.vocab_size) == ours


def edited(**changes):
    return with_values(to_tokenizers(SPECIAL), **changes)


VOCAB = to_tokenizers(SPECIAL)["model"]["vocab"]
TOKEN = {"id": SPECIAL.vocab_size, "content": "<|cat|>", "special": True}
BEGIN = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
BEGIN |= {
    "single": [{"SpecialToken": {"id": "<|user|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
}
BEGIN["special_tokens"]["<|user|>"] = {
    "id": "<|user|>",
    "ids": [SPECIAL.id_of("<|user|>")],
    "tokens": ["<|user|>"],
}
ADDED = [TOKEN | {"content": name, "id": SPECIAL.id_of(name)} for name in NAMES]
PUBLISHED = {
    "a word is added": edited(added_tokens=[*ADDED, TOKEN | {"special": False}]),
    "another order of ids": edited(added_tokens=ADDED, model__vocab=VOCAB | {"!": 1, '"': 0}),
    "tokens found whole": edited(added_tokens=ADDED, model__ignore_merges=True),
    "composed characters": edited(added_tokens=ADDED, normalizer={"type": "NFC"}),
    "a token at the beginning": edited(added_tokens=ADDED, post_processor=BEGIN),
}


@pytest.mark.parametrize("what", PUBLISHED)
def test_bpe_on_bytes_that_is_not_quite_gpt2s_is_kept_as_it_was_published(what):
    data, size = PUBLISHED[what], SPECIAL.vocab_size + 1
    made = from_tokenizers(data, "here", size)
    assert made == PublishedTokenizer(json.dumps(data, ensure_ascii=False), size)
    assert to_tokenizers(made) == data


REFUSED = {
    "a token twice": (edited(added_tokens=[*ADDED, TOKEN | {"content": "cat"}]), "tokens, ids up to"),
    "a token that is no bytes": (edited(model__ignore_merges=True), "its token .* is not written in GPT-2"),
    "ids that are no numbers": (edited(added_tokens=ADDED, model__vocab=VOCAB | {"!": "0"}), "TypeError"),
    "merges of nothing": (edited(added_tokens=ADDED, model__merges=["x y z"]), "Merges text file invalid"),
    "a space before": (edited(pre_tokenizer__add_prefix_space=True), "it changes the text"),
    "folded text": (edited(normalizer={"type": "Lowercase"}), "it changes the text"),
    "a text filled up": (edited(padding={"strategy": "BatchLongest"}), "it has padding"),
    "no model": ({"added_tokens": []}, "KeyError: .*pre_tokenizer"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_tokenizer_of_another_kind_is_refused_in_one_sentence(what):
    data, said = REFUSED[what]
    with pytest.raises(CheckpointError, match=said) as caught:
        from_tokenizers(data, "here", SPECIAL.vocab_size)
    sentence = str(caught.value)
    assert sentence.startswith("here has ") and "\n" not in sentence and len(sentence) < 330


@pytest.mark.parametrize("name", ["Ġthe", "a", "é", "Ġ"])
def test_special_token_that_would_be_text_there_is_not_written(name):
    with pytest.raises(CheckpointError, match=re.escape(f"the special token {name!r} is also text there")):
        to_tokenizers(trained()[0].with_special(name))
