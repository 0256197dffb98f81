import json

import numpy as np
import pytest
import torch

from tinylm.errors import DataError
from tinylm.text.tokenizers import CharTokenizer, fingerprint, tokenizer_from_json

TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\r\n\tnaïve – ß 🎭 end"
STRANGERS = ["!", "é", "🎭", "b", "\udc80"]  # the last is half a character
ODD = [5, float("nan"), ["a"], {"a": 1}]
SAVED = {"kind": "characters", "characters": "ab", "lowercase": False, "unknown": None}


def test_encode_agrees_with_looking_up_one_character_at_a_time_and_decode_gives_the_text_back():
    tokenizer = CharTokenizer.train(TEXT)
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int64 and ids.shape == (len(TEXT),)
    assert ids.tolist() == [tokenizer.characters.index(c) for c in TEXT]
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.decode(tokenizer.encode("")) == ""


def test_vocabulary_is_sorted_by_code_point_whatever_the_order_of_the_text():
    assert CharTokenizer.train(TEXT) == CharTokenizer.train(TEXT[::-1])
    assert list(CharTokenizer.train(TEXT).characters) == sorted(set(TEXT))
    folded = CharTokenizer.train("Hear Me", lowercase=True)
    assert folded.characters == " aehmr"
    assert folded.decode(folded.encode("HEAR ME")) == "hear me"


def test_order_of_the_vocabulary_is_the_order_of_the_ids_and_is_saved():
    tokenizer = CharTokenizer("zay")
    assert tokenizer.encode("azzy").tolist() == [1, 0, 0, 2]
    for made in (tokenizer, CharTokenizer.train(TEXT, lowercase=True, unknown=" ")):
        again = tokenizer_from_json(json.loads(json.dumps(made.to_json())))
        assert again == made
        assert again.fingerprint == made.fingerprint == fingerprint(made.to_json())
    with pytest.raises(AttributeError):
        tokenizer.characters = "yaz"  # it cannot be changed after it was made


def test_fingerprint_changes_with_everything_that_changes_the_ids_and_never_with_the_version():
    tokenizers = [
        CharTokenizer("abc"),
        CharTokenizer("acb"),
        CharTokenizer("abcd"),
        CharTokenizer("abc", lowercase=True),
        CharTokenizer("abc", unknown="c"),
    ]
    assert len({t.fingerprint for t in tokenizers}) == len(tokenizers)
    shuffled = dict(reversed(tokenizers[0].to_json().items()))
    assert fingerprint(shuffled) == tokenizers[0].fingerprint
    assert CharTokenizer("ab").to_json() == SAVED  # the format of the first version


@pytest.mark.parametrize("stranger", STRANGERS)
def test_unknown_character_is_refused_with_its_name_and_position_or_replaced_where_that_was_chosen(stranger):
    with pytest.raises(DataError, match=rf"U\+{ord(stranger):04X}\) at position 3 .* 3 characters"):
        CharTokenizer("ac?").encode("aca" + stranger + "!")
    tokenizer = CharTokenizer("ac?", unknown="?")
    assert tokenizer.decode(tokenizer.encode("ac" + stranger + "a")) == "ac?a"


def test_decode_takes_arrays_tensors_lists_and_single_ids_and_refuses_what_means_no_character():
    tokenizer = CharTokenizer("abc")
    for ids in ([2, 0, 1], np.array([2, 0, 1], dtype=np.uint16), torch.tensor([2, 0, 1])):
        assert tokenizer.decode(ids) == "cab"
    assert tokenizer.decode(1) == tokenizer.decode(torch.tensor(1)) == "b"
    assert tokenizer.decode([]) == tokenizer.decode(torch.empty(0)) == ""
    for wrong, said in (([0, 3], "id 3 .* 0 to 2"), ([0, -1], "id -1"), ([[0, 1]], "row"), ([0.0], "row")):
        with pytest.raises(DataError, match=said):
            tokenizer.decode(wrong)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        *((odd, "kind None is not known here: use characters") for odd in (None, *ODD, {}, "characters")),
        *(({"kind": odd}, "is not known here") for odd in (None, *ODD, "syllables")),
        (SAVED | {"extra": 1}, "lacks or should not have .*'extra'"),
        ({"kind": "characters", "characters": "ab", "lowercase": False}, "lacks or should .*'unknown'"),
        *(
            (SAVED | {"characters": odd}, "the vocabulary .* is not one string of 1 or more char")
            for odd in (None, *ODD, {"a"}, "", "aa", "a\ud800")
        ),
        *((SAVED | {"lowercase": odd}, "lowercase=.* does not fit") for odd in (None, *ODD, 0, 1, "yes")),
        (SAVED | {"characters": "aB", "lowercase": True}, "lowercase=True.* does not fit .*'aB'"),
        *((SAVED | {"unknown": odd}, "unknown=.* does not fit") for odd in (*ODD, "", "ab", "c", True)),
    ],
    ids=str,
)
def test_settings_that_make_no_tokenizer_are_refused_in_one_sentence(data, said):
    with pytest.raises(DataError, match=said) as caught:
        tokenizer_from_json(data)
    assert "\n" not in str(caught.value) and len(str(caught.value).encode()) < 300
