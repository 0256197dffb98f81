"""Published tokenizers: the ids of `tokenizers` on any text, whatever project wrote the file."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.byte_pairs import TEXTS, any_text
from tests.support.published import KINDS, LLAMA, SMOL, published, with_values
from tinylm.errors import DataError
from tinylm.inference.generate import prompt_ids
from tinylm.text import bpe
from tinylm.text.published import PublishedTokenizer
from tinylm.text.tokenizers import tokenizer_from_json

BEGIN_AND_END = {"SmolLM2": (SMOL[0], SMOL[0]), "Llama 3": LLAMA[:2], "Qwen": ("<|endoftext|>",) * 2}
each_kind = pytest.mark.parametrize("kind", KINDS)


def opened(kind, more=0):
    data, size, _ = published(kind)
    return PublishedTokenizer(json.dumps(data), size + more)


OURS = {kind: opened(kind) for kind in KINDS}


@each_kind
@any_text
@given(text=TEXTS)
def test_ids_of_any_text_are_the_librarys_and_are_decoded_to_the_text(kind, text):
    text, ours = bpe.as_unicode(text), OURS[kind]
    if not any(name in text for name in ours.special):
        theirs = published(kind)[2].encode(text, add_special_tokens=False)
        assert ours.encode(text).tolist() == theirs.ids
    kept = unicodedata.normalize("NFC", text) if kind == "Qwen" else text
    same_unicode = all(unicodedata.category(c) != "Cn" for c in text)  # Python's table is another than Rust's
    if kind != "Qwen" or same_unicode:
        assert ours.decode(ours.encode(text)) == kept


@each_kind
@any_text
@given(data=st.data())
def test_any_row_of_ids_is_decoded_as_the_library_does(kind, data):
    library = published(kind)[2]
    ids = data.draw(st.lists(st.integers(0, OURS[kind].vocab_size - 1)))
    assert OURS[kind].decode(ids) == b"".join(map(OURS[kind].token_bytes, ids)).decode("utf-8", "replace")
    plain = [i for i in ids if i not in OURS[kind].special.values()]
    assert OURS[kind].decode(plain) == library.decode(plain, skip_special_tokens=False)


@each_kind
def test_name_of_an_added_token_in_a_text_is_text(kind):
    ours = OURS[kind]
    text = "".join(f"the {name} cat{name}" for name in ours.special)
    ids = ours.encode(text)
    assert not {*ids.tolist()} & {*ours.special.values()} and ours.decode(ids) == text
    assert [ours.decode([i]) for i in ours.special.values()] == [*ours.special]


@each_kind
def test_prompt_begins_as_the_models_documents_do(kind):
    ours, (begin, end) = OURS[kind], BEGIN_AND_END[kind]
    assert ours.end_of_text == ours.special[end]
    assert prompt_ids(ours, "The cat") == [ours.special[begin], *ours.encode("The cat").tolist()]
    if kind == "Llama 3":  # whose file asks for the beginning
        assert prompt_ids(ours, "The cat") == published(kind)[2].encode("The cat").ids


@each_kind
def test_same_tokenizer_from_its_json_and_ids_beyond_the_tokens_have_no_text(kind):
    ours = opened(kind, more=7)
    again = tokenizer_from_json(json.loads(json.dumps(ours.to_json())))
    assert again == ours and again.fingerprint == ours.fingerprint != OURS[kind].fingerprint
    last = ours.vocab_size - 1
    assert ours.token_bytes(last) == b"" and ours.decode([*ours.encode("a cat"), last]) == "a cat"
    with pytest.raises(DataError, match=f"id {last + 1} is outside the tokenizer's {last + 1}"):
        ours.decode([last + 1])


def edited(kind="SmolLM2", **changes):
    return with_values(published(kind)[0], **changes)


VOCAB, N = published("SmolLM2")[0]["model"]["vocab"], published("SmolLM2")[1]
SPLIT = {"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": "Removed", "invert": False}
BYTES = published("SmolLM2")[0]["pre_tokenizer"]["pretokenizers"][-1]
REFUSED = {
    "no json": ("{", "JSONDecodeError"),
    "no object": ("[]", "TypeError"),
    "words found whole": (edited(model={"type": "WordPiece", "vocab": VOCAB}), "it is no BPE on bytes"),
    "no bytes": (edited(decoder={"type": "Metaspace"}), "it is no BPE on bytes"),
    "a missing byte": (edited(model__vocab={n: i for n, i in VOCAB.items() if n != "Ġ"}), f"{N - 1} tokens"),
    "one id twice": (edited(model__vocab=VOCAB | {"a": VOCAB["b"]}), f"{N - 1} tokens, ids up to {N - 1}"),
    "lower case": (edited(normalizer={"type": "Lowercase"}), "it changes the text"),
    "white space removed": (edited(pre_tokenizer__pretokenizers=[SPLIT, BYTES]), "it changes the text"),
    "a space before": (edited(pre_tokenizer=BYTES | {"add_prefix_space": True}), "it changes the text"),
    "another way of cutting": (edited(pre_tokenizer={"type": "BertPreTokenizer"}), "KeyError: .*Bert"),
    "a text cut off": (edited(truncation={"max_length": 5}), "it has truncation"),
    "merges left out at random": (edited(model__dropout=0.1), "it has dropout"),
    "merges of nothing": (edited(model__merges=[["zz", "q"]]), "Token `zz` out of vocabulary"),
    "a broken pattern": (
        edited(
            "Llama 3",
            pre_tokenizer__pretokenizers=[
                SPLIT | {"behavior": "Isolated", "pattern": {"Regex": "(("}},
                BYTES,
            ],
        ),
        "Oniguruma error",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_file_of_another_kind_is_refused_in_one_sentence(what):
    data, said = REFUSED[what]
    with pytest.raises(DataError, match=said) as caught:
        PublishedTokenizer(data if isinstance(data, str) else json.dumps(data), N + 10)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 350


def test_tokenizer_with_more_tokens_than_its_model_is_refused_with_both_numbers():
    with pytest.raises(DataError, match=f"it has {N} tokens, ids up to {N - 1}, and the model {N - 1}"):
        opened("SmolLM2", more=-1)
