"""What a run does along the way; that it is done at the right moments is tested with the loop and runs."""

import math

from tinylm.inference.evaluate import Evaluation
from tinylm.runs.callbacks import in_words


def test_an_evaluation_in_words_carries_its_error_and_leaves_it_out_when_there_is_none():
    words = in_words(Evaluation(math.log(4), 0.0123, 10))
    assert "1.3863 ± 0.0123 nats per character" in words
    assert "perplexity 4.00, 2.000 bits per character" in words
    assert "±" not in in_words(Evaluation(1.0, math.nan, 10))
