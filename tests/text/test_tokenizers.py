import json

import numpy as np
import pytest
import torch

from tests.support.byte_pairs import gpt2
from tinylm.errors import CorpusMissing, DataError
from tinylm.text.tokenizers import (
    BPETokenizer,
    CharTokenizer,
    fingerprint,
    gpt2_tokenizer,
    tiktoken_gpt2,
    tokenizer_from_json,
    tokenizer_named,
)

TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\r\n\tnaïve – ß 🎭 end"
ADDED = ("<|im_start|>", "<|im_end|>", "<|pad|>")
PAIRS = {"kind": "bpe", "merges": "a b", "special": ["<|endoftext|>"]}
SAVED = {"kind": "characters", "characters": "ab", "lowercase": False, "unknown": None}


def test_order_of_the_vocabulary_is_the_order_of_the_ids_and_is_saved():
    tokenizer = CharTokenizer.train(TEXT)
    assert tokenizer == CharTokenizer.train(TEXT[::-1])
    assert list(tokenizer.characters) == sorted(set(TEXT))
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int64 and ids.shape == (len(TEXT),)
    assert ids.tolist() == [tokenizer.characters.index(c) for c in TEXT]
    assert tokenizer.decode(ids) == TEXT and tokenizer.decode(tokenizer.encode("")) == ""
    assert b"".join(map(tokenizer.token_bytes, ids)) == TEXT.encode()
    unsorted = tokenizer_from_json(json.loads(json.dumps(CharTokenizer("zay").to_json())))
    assert unsorted.encode("azzy").tolist() == [1, 0, 0, 2]
    folded = CharTokenizer.train("Hear Me", lowercase=True)
    assert folded.characters == " aehmr" and folded.decode(folded.encode("HEAR ME")) == "hear me"


def test_tokenizers_are_saved_as_plain_json_and_come_back_the_same():
    tokenizers = [
        *(CharTokenizer("abc"), CharTokenizer("acb"), CharTokenizer("abcd")),
        *(CharTokenizer("abc", lowercase=True), CharTokenizer("abc", unknown="c")),
        *(BPETokenizer("a b"), BPETokenizer("b a"), BPETokenizer("a b", ()), BPETokenizer("a b\nab c")),
        BPETokenizer.train([TEXT], 300).with_special(*ADDED),
    ]
    for made in tokenizers:
        again = tokenizer_from_json(json.loads(json.dumps(made.to_json())))
        assert again == made and again.encode("abc").tolist() == made.encode("abc").tolist()
        assert again.fingerprint == made.fingerprint == fingerprint(dict(reversed(made.to_json().items())))
    assert len({made.fingerprint for made in tokenizers}) == len(tokenizers)
    assert BPETokenizer("a b\n") == BPETokenizer("a b")
    assert CharTokenizer("ab").to_json() == SAVED  # otherwise no checkpoint could be read after an update
    assert json.loads(json.dumps(BPETokenizer("a b").to_json())) == PAIRS


@pytest.mark.parametrize("stranger", ["b", "🎭", "\udc80"])  # the last is half a character
def test_unknown_character_is_refused_with_its_name_and_position_or_replaced_where_that_was_chosen(stranger):
    with pytest.raises(DataError, match=rf"U\+{ord(stranger):04X}\) at position 3 .* 3 characters"):
        CharTokenizer("ac?").encode("aca" + stranger + "!")
    tokenizer = CharTokenizer("ac?", unknown="?")
    assert tokenizer.decode(tokenizer.encode("ac" + stranger + "a")) == "ac?a"


@pytest.mark.parametrize("tokenizer", [CharTokenizer("abc"), BPETokenizer("", ())], ids=["characters", "bpe"])
def test_decode_gives_replacements_for_what_is_no_character_and_refuses_what_is_no_id(tokenizer):
    c, a, b = (int(tokenizer.encode(letter)[0]) for letter in "cab")
    for ids in ([c, a, b], np.array([c, a, b], dtype=np.uint16), torch.tensor([c, a, b])):
        assert tokenizer.decode(ids) == "cab"
    assert tokenizer.decode(b) == tokenizer.decode(torch.tensor(b)) == "b"
    assert tokenizer.token_bytes(b) == b"b"
    assert tokenizer.decode([]) == tokenizer.decode(torch.empty(0)) == ""
    if tokenizer.unit == "token":
        half = tokenizer.encode("é")[:1]
        assert tokenizer.decode(half) == "\ufffd" and len(tokenizer.token_bytes(half)) == 1
    n = tokenizer.vocab_size
    for wrong, said in (
        ([n], f"id {n} .* 0 to {n - 1}"),
        ([-1], "id -1"),
        ([[0]], "not one"),
        ([0.0], "not one"),
    ):
        for read in (tokenizer.decode, tokenizer.token_bytes):
            with pytest.raises(DataError, match=said):
                read(wrong)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        *((odd, "kind None is not known here: use characters or bpe") for odd in (None, ["a"], {})),
        (SAVED | {"extra": 1}, "lacks or should not have .*'extra'"),
        ({"kind": "bpe", "merges": "a b"}, "lacks or should .*'special'"),
        *((SAVED | {"characters": odd}, "is no vocabulary") for odd in (None, "", "aa", "a\ud800")),
        (SAVED | {"characters": "aB", "lowercase": True}, "'aB' with lowercase=True"),
        *((SAVED | {"unknown": odd}, "unknown=.* is no vocabulary") for odd in ("ab", "c", True)),
        (PAIRS | {"merges": ["a"]}, "the merges .* are not text"),
        *(
            (PAIRS | {"merges": f"a b\n{odd}\n"}, f"^line 2 of 2 merges is {odd!r}: write two tokens, each")
            for odd in ("a", "", "a b", "bc d", "#version: 0.2")
        ),
        *(
            (PAIRS | {"special": odd}, "special tokens .* give each name once, and no empty one")
            for odd in (None, "<|a|>", ["a", "a"], ["a", ""], ["\ud83d"])
        ),
    ],
    ids=str,
)
def test_settings_that_make_no_tokenizer_are_refused_in_one_sentence(data, said):
    with pytest.raises(DataError, match=said) as caught:
        tokenizer_from_json(data)
    assert "\n" not in str(caught.value) and len(str(caught.value).encode()) < 300


def test_special_tokens_follow_the_merges_and_no_text_is_ever_encoded_to_one():
    tokenizer = BPETokenizer.train([TEXT + "<|endoftext|>" * 9], 280)
    chat = tokenizer.with_special(*ADDED)
    assert tokenizer.vocab_size == 280 and tokenizer.end_of_text == tokenizer.id_of("<|endoftext|>") == 279
    assert chat.vocab_size == 283 and [chat.id_of(name) for name in ADDED] == [280, 281, 282]
    for name in chat.special:
        text = f"a{name}{name} b"
        for ids in (chat.encode(text), *(document[:-1] for document in chat.encode_documents([text]))):
            assert ids.max() < 279 and chat.decode(ids) == text
            assert ids.tolist() == tokenizer.encode(text).tolist()
        assert chat.decode([chat.id_of(name)]) == name == chat.token_bytes(chat.id_of(name)).decode()
    with pytest.raises(DataError, match=r"'<\|im_stat\|>' is no special token here: there are \('<\|endof"):
        tokenizer.id_of("<|im_stat|>")


def test_vocabulary_is_as_large_as_asked_or_as_the_text_allows_and_never_too_small():
    assert [BPETokenizer.train([TEXT], n).vocab_size for n in (257, 258, 300)] == [257, 258, 300]
    assert BPETokenizer.train(["ab"], 300).vocab_size == 258 == BPETokenizer.train("ab", 300).vocab_size
    assert BPETokenizer.train([], 256, special=()).merges == ""
    with pytest.raises(DataError, match=r"of 259 has no room for 256 bytes and 4 special .* use 260 or more"):
        BPETokenizer.train([TEXT], 259, special=("<|endoftext|>", *ADDED))


def test_gpt2s_own_tokens_have_their_numbers():
    ours, theirs = gpt2()
    assert ours.vocab_size == theirs.n_vocab == 50257 and ours.end_of_text == theirs.eot_token == 50256
    assert (added := ours.with_special(*ADDED)).vocab_size == 50260 and added.id_of("<|pad|>") == 50259
    assert [ours.token_bytes(i) for i in range(50257)] == list(map(theirs.decode_bytes, zip(range(50257))))


def test_tokenizer_is_found_by_its_name_or_by_the_path_of_its_file(tmp_path):
    texts = [TEXT, "z"]
    assert tokenizer_named("characters", texts) == CharTokenizer.train(TEXT + "z")
    assert tokenizer_named("bpe-300", texts) == BPETokenizer.train(texts, 300)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(PAIRS), encoding="utf-8", newline="\n")
    assert tokenizer_named(str(path)) == BPETokenizer("a b")
    for name, said in (("gpt3", "no tokenizer 'gpt3' here: use"), ("bpe-", "no tok"), ("bpe-100", "no room")):
        with pytest.raises(DataError, match=said):
            tokenizer_named(name, texts)
    with pytest.raises(DataError, match="with texts to train on"):
        tokenizer_named("bpe-4096")
    for data in (b"\xff{", b"[" * 100_000):
        path.write_bytes(data)
        with pytest.raises(DataError, match="cannot be read as JSON: give a saved"):
            tokenizer_named(str(path))


def test_gpt2s_vocabulary_that_no_source_has_is_said_with_the_command_that_gets_it(
    nothing_at_hand, monkeypatch
):
    monkeypatch.delenv("TINYLM_DATA", raising=False)
    for make in (gpt2_tokenizer, tiktoken_gpt2, lambda: tokenizer_named("gpt2")):
        with pytest.raises(CorpusMissing, match="`python -m tinylm fetch gpt2-bpe` gets it"):
            make()
