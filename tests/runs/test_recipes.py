"""Recipes: each can be trained as it stands, and what may be changed about it."""

import pytest

from tinylm.model.config import parameter_counts
from tinylm.runs.recipes import RECIPES, recipe, shortened
from tinylm.text.corpora import CORPORA


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_carries_its_own_name_a_known_corpus_and_a_whole_number_of_micro_batches(name):
    made = recipe(name)
    assert made.name == name
    assert made.data.corpus in CORPORA and not CORPORA[made.data.fallback].files
    assert made.train.grad_accum_steps(made.model.context_length) >= 1
    assert "Shakespeare" not in made.about  # it is also said of a text of one's own


def test_shakespeare_char_checkpoint_is_at_most_four_megabytes():
    assert 4 * parameter_counts(recipe("shakespeare_char").model)["total"] < 3.9e6


def test_warm_up_is_shortened_in_proportion_and_never_lengthened():
    made = recipe("shakespeare_char")
    half = shortened(made, made.train.steps // 2).train
    assert (half.steps, half.warmup_steps) == (made.train.steps // 2, made.train.warmup_steps // 2)
    assert shortened(made, 2 * made.train.steps) == made
    assert shortened(made, 1).train.warmup_steps < 1


def test_shakespeare_fast_changes_choices_and_never_the_size_the_data_or_the_tokens_of_a_step():
    base, fast = recipe("shakespeare_baseline"), recipe("shakespeare_fast")
    assert (fast.data, fast.train.tokens_per_step) == (base.data, base.train.tokens_per_step)
    for name in ("n_layer", "n_head", "n_embd"):
        assert getattr(fast.model, name) == getattr(base.model, name)
    counts = [parameter_counts(r.model)["total"] for r in (base, fast)]
    assert abs(counts[1] / counts[0] - 1) < 0.05
    assert fast.train.steps * 1.4 > base.train.steps  # at most 1.4 times the baseline's time for a step
