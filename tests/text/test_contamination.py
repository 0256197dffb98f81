import random
import tracemalloc
from unicodedata import normalize

import numpy as np
import pytest

from tinylm.errors import ConfigError, InputError
from tinylm.text.contamination import overlap

LEAK = "The otter counted seven copper kettles, then eleven; the ferry never came back before dark that year."


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_overlap_is_the_share_of_rows_found_by_looking_for_each(n):
    rng = random.Random(n)
    made = [[rng.choice("abcde") for _ in range(rng.randrange(1, 17))] for _ in range(61)]
    texts, training = made[:31], [f" {' '.join(words)} " for words in made[31:]]

    def share(words):
        rows = [words[i : i + n] for i in range(max(1, len(words) - n + 1))]
        return sum(any(f" {' '.join(row)} " in text for text in training) for row in rows) / len(rows)

    found = overlap([" ".join(words) for words in texts], training, n)
    assert np.array_equal(found, [share(words) for words in texts])
    assert n == 7 or 0 < found.mean() < 1 or found.min() == 1


def test_overlap_ignores_case_punctuation_and_spaces_but_not_words_nor_where_documents_end():
    words = LEAK.split()
    same = LEAK.upper().replace(" ", " -\n").replace(";", "?!")
    assert overlap([LEAK], [same]) == [1.0]
    assert overlap([LEAK], [LEAK.replace("otter", "badger")]) == [3 / 5]  # 17 words, 5 rows
    assert overlap([LEAK], [" ".join(words[:12]), " ".join(words[12:])]) == [0.0]
    assert overlap(["don’t, it's"], ["Don't it’s"]) == [1.0]
    assert overlap(["snake_case word"], ["snake case_word"]) == [1.0]


def test_one_word_written_in_two_ways_is_one():
    plain = "the café's first copper kettle ﬁts"
    soft = plain.replace("copper", "cop\u00adper\u200b")
    for other in (normalize("NFD", plain), plain.replace("ﬁ", "fi"), soft):
        assert other != plain
        assert overlap([plain], [other]) == overlap([other], [plain]) == [1.0]
    assert overlap([plain], [plain.replace("é", "e")]) == [0.0]


def test_overlap_refuses_a_text_without_words_and_rows_of_none():
    with pytest.raises(InputError, match="1 of 2 texts have no word, as number 1: leave it out"):
        overlap(["a", "--- ?"], ["a"])
    for wrong in ((LEAK, [LEAK]), ([LEAK], LEAK)):
        with pytest.raises(InputError, match="several texts each, and 1 is a text: put it into"):
            overlap(*wrong)
    read = iter([LEAK])
    assert overlap([LEAK], read) == [1.0]
    for nothing in (read, [], ["", "--- ?\n"]):
        with pytest.raises(InputError, match="the training text has 0 words: hand it in again"):
            overlap([LEAK], nothing)
    with pytest.raises(ConfigError, match="n is 0: it must be at least 1"):
        overlap(["a"], ["a"], n=0)


def test_memory_grows_with_the_texts_and_not_with_what_they_are_looked_for_in():
    def documents(n):
        rng = random.Random(5)
        return (" ".join(str(rng.randrange(10**9)) for _ in range(1_000)) for _ in range(n))

    peaks = []
    for n in (3, 31):
        tracemalloc.start()
        assert overlap([LEAK], documents(n)) == [0.0]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
