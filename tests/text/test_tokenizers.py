import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tinylm.errors import DataError
from tinylm.text.tokenizers import CharTokenizer, fingerprint, tokenizer_from_json

TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\r\n\tnaïve – ß 🎭 end"


def test_round_trip_gives_the_same_text_exactly():
    tokenizer = CharTokenizer.train(TEXT)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert tokenizer.decode(tokenizer.encode("")) == ""


def test_half_a_character_is_refused_in_a_vocabulary_and_in_a_text():
    with pytest.raises(DataError, match=r"the vocabulary 'a.+udc80b' is not one string, .* each complete"):
        CharTokenizer("a\udc80b")
    with pytest.raises(DataError, match=r"'\\udc80' \(U\+DC80\) at position 1"):
        CharTokenizer("ab").encode("a\udc80")
    assert CharTokenizer("ab?", unknown="?").encode("a\udc80").tolist() == [0, 2]


def test_encode_agrees_with_looking_up_one_character_at_a_time():
    tokenizer = CharTokenizer.train(TEXT)
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int64 and ids.shape == (len(TEXT),)
    assert ids.tolist() == [tokenizer.characters.index(c) for c in TEXT]


def test_vocabulary_is_sorted_by_code_point_whatever_the_order_of_the_text():
    forwards, backwards = CharTokenizer.train(TEXT), CharTokenizer.train(TEXT[::-1])
    assert forwards == backwards
    assert list(forwards.characters) == sorted(set(TEXT))
    assert forwards.fingerprint == backwards.fingerprint


def test_vocabulary_is_the_same_in_processes_that_hash_strings_differently():
    code = (
        f"from tinylm.text.tokenizers import CharTokenizer as C; print(ascii(C.train({TEXT!r}).characters))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-X", "utf8", "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


@pytest.mark.parametrize("odd", [{"a", "b"}, frozenset("ab"), ["a", "b"], dict.fromkeys("ab"), "", "abb"])
def test_vocabulary_that_is_no_string_of_distinct_characters_is_refused(odd):
    with pytest.raises(DataError, match="in the order of the ids, of at least 1 character"):
        CharTokenizer(odd)


def test_order_of_the_vocabulary_is_the_order_of_the_ids():
    tokenizer = CharTokenizer("zay")
    assert tokenizer.encode("azzy").tolist() == [1, 0, 0, 2]
    assert tokenizer_from_json(tokenizer.to_json()).encode("azzy").tolist() == [1, 0, 0, 2]


def test_saved_tokenizer_comes_back_the_same():
    for tokenizer in (CharTokenizer.train(TEXT), CharTokenizer.train(TEXT, lowercase=True, unknown=" ")):
        again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
        assert again == tokenizer
        assert again.fingerprint == tokenizer.fingerprint == fingerprint(tokenizer.to_json())


def test_fingerprint_changes_with_everything_that_changes_the_ids():
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


def test_tokenizer_cannot_be_changed_after_it_was_made():
    with pytest.raises(AttributeError):
        CharTokenizer("abc").characters = "bca"


@pytest.mark.parametrize("stranger", ["!", "é", "🎭", "b"])
def test_unknown_character_is_refused_with_its_name_and_position(stranger):
    tokenizer = CharTokenizer("ac")
    with pytest.raises(DataError, match=rf"U\+{ord(stranger):04X}\) at position 3 .* 2 characters"):
        tokenizer.encode("aca" + stranger + "!")


@pytest.mark.parametrize("stranger", ["!", "é", "🎭", "b"])
def test_unknown_character_is_replaced_where_that_was_chosen(stranger):
    tokenizer = CharTokenizer("ac?", unknown="?")
    assert tokenizer.decode(tokenizer.encode("ac" + stranger + "a")) == "ac?a"


def test_lowercase_folds_the_text_in_training_and_in_encoding():
    tokenizer = CharTokenizer.train("Hear Me", lowercase=True)
    assert tokenizer.characters == " aehmr"
    assert tokenizer.decode(tokenizer.encode("HEAR ME")) == "hear me"


def test_setting_that_does_not_fit_the_vocabulary_is_refused():
    with pytest.raises(DataError, match="lowercase=True does not fit 'aB'"):
        CharTokenizer("aB", lowercase=True)
    with pytest.raises(DataError, match=r"unknown='\?' is none of the 3 characters"):
        CharTokenizer("abc", unknown="?")


def test_decode_takes_arrays_tensors_lists_and_single_ids():
    tokenizer = CharTokenizer("abc")
    for ids in ([2, 0, 1], np.array([2, 0, 1], dtype=np.uint16), torch.tensor([2, 0, 1])):
        assert tokenizer.decode(ids) == "cab"
    assert tokenizer.decode(1) == tokenizer.decode(torch.tensor(1)) == "b"
    assert tokenizer.decode([]) == tokenizer.decode(torch.empty(0)) == ""


def test_ids_that_mean_no_character_are_refused():
    tokenizer = CharTokenizer("abc")
    for wrong in (3, -1):
        with pytest.raises(DataError, match=f"id {wrong} is outside .* 0 to 2"):
            tokenizer.decode([0, wrong])
    for wrong in ([[0, 1]], [0.0, 1.0], torch.zeros(1, 2, dtype=torch.int64)):
        with pytest.raises(DataError, match="row"):
            tokenizer.decode(wrong)


SAVED = CharTokenizer("ab").to_json()
ODD = [5, float("nan"), ["a"], {"a": 1}]


@pytest.mark.parametrize(
    "data",
    [
        *(None, *ODD, {}, "characters"),
        *({"kind": odd} for odd in (None, *ODD)),
        *(SAVED | {"characters": odd} for odd in (None, *ODD, "", "aa", "\ud800")),
        *(SAVED | {"lowercase": odd} for odd in (None, *ODD, 0, 1, "yes")),
        *(SAVED | {"unknown": odd} for odd in (*ODD, "", "ab", "c", True)),
    ],
    ids=str,
)
def test_saved_tokenizer_that_no_tokenizer_wrote_is_refused_in_one_sentence(data):
    with pytest.raises(DataError) as caught:
        tokenizer_from_json(data)
    assert "\n" not in str(caught.value) and len(str(caught.value).encode()) < 300


def test_saved_tokenizer_of_another_kind_or_with_other_fields_is_refused_by_name():
    saved = CharTokenizer("ab").to_json()
    assert tokenizer_from_json(saved) == CharTokenizer("ab")  # the format of the first version
    assert saved == {"kind": "characters", "characters": "ab", "lowercase": False, "unknown": None}
    with pytest.raises(DataError, match="'syllables'"):
        tokenizer_from_json({"kind": "syllables"})
    with pytest.raises(DataError, match=r"lacks or should not have .*'extra'"):
        tokenizer_from_json(saved | {"extra": 1})
    del saved["unknown"]
    with pytest.raises(DataError, match=r"lacks or should not have .*'unknown'"):
        tokenizer_from_json(saved)
