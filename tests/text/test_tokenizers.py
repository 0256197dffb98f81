import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tinylm.errors import DataError, TinyLMError
from tinylm.text.tokenizers import CharTokenizer, fingerprint, tokenizer_from_json

TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\r\n\tnaïve – ß 🎭 end"


def test_decoding_what_was_encoded_gives_the_same_text_exactly():
    tokenizer = CharTokenizer.train(TEXT)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert tokenizer.decode(tokenizer.encode("")) == ""


def test_a_lone_surrogate_survives_the_round_trip():
    text = "a\udc80b"
    tokenizer = CharTokenizer.train(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json()))) == tokenizer


def test_encoding_agrees_with_looking_up_one_character_at_a_time():
    tokenizer = CharTokenizer.train(TEXT)
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int64 and ids.shape == (len(TEXT),)
    assert ids.tolist() == [tokenizer.characters.index(c) for c in TEXT]


def test_the_vocabulary_is_sorted_by_code_point_whatever_the_order_of_the_text():
    forwards, backwards = CharTokenizer.train(TEXT), CharTokenizer.train(TEXT[::-1])
    assert forwards == backwards
    assert list(forwards.characters) == sorted(set(TEXT))
    assert forwards.fingerprint == backwards.fingerprint


def test_the_vocabulary_is_the_same_in_processes_that_hash_strings_differently():
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


@pytest.mark.parametrize("unordered", [{"a", "b"}, frozenset("ab"), ["a", "b"], dict.fromkeys("ab")])
def test_a_vocabulary_that_is_not_a_string_is_refused(unordered):
    with pytest.raises(DataError, match="order"):
        CharTokenizer(unordered)


def test_the_order_that_was_given_is_the_order_of_the_ids():
    tokenizer = CharTokenizer("zay")
    assert tokenizer.encode("azzy").tolist() == [1, 0, 0, 2]
    assert tokenizer_from_json(tokenizer.to_json()).encode("azzy").tolist() == [1, 0, 0, 2]


def test_a_saved_tokenizer_comes_back_the_same():
    for tokenizer in (CharTokenizer.train(TEXT), CharTokenizer.train(TEXT, lowercase=True, unknown=" ")):
        again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
        assert again == tokenizer
        assert again.fingerprint == tokenizer.fingerprint == fingerprint(tokenizer.to_json())


def test_the_fingerprint_changes_with_everything_that_changes_the_ids():
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


def test_a_tokenizer_cannot_be_changed_after_it_was_made():
    with pytest.raises(AttributeError):
        CharTokenizer("abc").characters = "bca"


@pytest.mark.parametrize("stranger", ["!", "é", "🎭", "b"])
def test_an_unknown_character_is_refused_with_its_name_and_position(stranger):
    tokenizer = CharTokenizer("ac")
    with pytest.raises(DataError, match=rf"U\+{ord(stranger):04X}\) at position 3 .* 2 characters"):
        tokenizer.encode("aca" + stranger + "!")


@pytest.mark.parametrize("stranger", ["!", "é", "🎭", "b"])
def test_an_unknown_character_is_replaced_where_that_was_chosen(stranger):
    tokenizer = CharTokenizer("ac?", unknown="?")
    assert tokenizer.decode(tokenizer.encode("ac" + stranger + "a")) == "ac?a"


def test_a_replacement_outside_the_vocabulary_is_refused():
    for unknown in ("?", "", "ab"):
        with pytest.raises(DataError, match="is not one of the 3 characters"):
            CharTokenizer("abc", unknown=unknown)


def test_lowercase_folds_the_text_in_training_and_in_encoding():
    tokenizer = CharTokenizer.train("Hear Me", lowercase=True)
    assert tokenizer.characters == " aehmr"
    assert tokenizer.decode(tokenizer.encode("HEAR ME")) == "hear me"


def test_an_impossible_vocabulary_is_refused():
    with pytest.raises(DataError, match="0 characters"):
        CharTokenizer.train("")
    with pytest.raises(DataError, match="'b' 3 times"):
        CharTokenizer("abbcb")
    with pytest.raises(DataError, match="'B'"):
        CharTokenizer("aB", lowercase=True)


def test_arrays_tensors_lists_and_single_ids_are_decoded_alike():
    tokenizer = CharTokenizer("abc")
    for ids in ([2, 0, 1], np.array([2, 0, 1], dtype=np.uint16), torch.tensor([2, 0, 1])):
        assert tokenizer.decode(ids) == "cab"
    assert tokenizer.decode(1) == tokenizer.decode(torch.tensor(1)) == "b"
    assert tokenizer.decode([]) == tokenizer.decode(torch.empty(0)) == ""


def test_ids_that_mean_no_character_are_refused():
    tokenizer = CharTokenizer("abc")
    for wrong in (3, -1):
        with pytest.raises(DataError, match=f"id {wrong} .* 0 to 2"):
            tokenizer.decode([0, wrong])
    for wrong in ([[0, 1]], [0.0, 1.0], torch.zeros(1, 2, dtype=torch.int64)):
        with pytest.raises(DataError, match="row"):
            tokenizer.decode(wrong)


def test_a_saved_tokenizer_that_is_not_understood_is_refused_by_name():
    with pytest.raises(DataError, match="'syllables'"):
        tokenizer_from_json({"kind": "syllables"})
    with pytest.raises(DataError, match="mend unknown"):
        tokenizer_from_json({"kind": "characters", "characters": "ab", "lowercase": False})
    with pytest.raises(DataError, match="mend extra"):
        tokenizer_from_json(CharTokenizer("ab").to_json() | {"extra": 1})


def test_what_a_person_can_mend_is_a_tinylm_error():
    assert issubclass(DataError, DataError) and issubclass(DataError, TinyLMError)
