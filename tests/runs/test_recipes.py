"""Recipes: each can be trained as it stands, and what may be changed about it."""

from dataclasses import replace

import pytest

from tinylm.errors import ConfigError
from tinylm.model.cost import active_parameters, parameter_counts
from tinylm.runs.recipes import RECIPES, read_recipes, recipe
from tinylm.storage.layouts import LAYOUTS
from tinylm.text.corpora import CORPORA

EACH = [(name, scale) for name, made in RECIPES.items() for scale in (None, *made.scales)]


@pytest.mark.parametrize("name, scale", EACH)
def test_recipe_carries_its_own_name_a_known_corpus_and_a_whole_number_of_micro_batches(name, scale):
    made = recipe(name, scale)
    assert (made.name, made.scale) == (name, scale or RECIPES[name].scale)
    assert made.data.corpus in CORPORA and not CORPORA[made.data.fallback].files
    assert made.train.grad_accum_steps(made.model.context_length) >= 1
    assert "Shakespeare" not in made.about  # it is also said of a text of one's own


def test_shakespeare_char_checkpoint_is_at_most_four_megabytes():
    assert 4 * parameter_counts(recipe("shakespeare_char").model)["total"] < 3.9e6


def test_tinystories_51m_is_the_published_one_counted_in_updates():
    made = recipe("tinystories_51m")
    model, train = made.model, made.train
    assert parameter_counts(model)["total"] == 51_082_752
    assert train.grad_accum_steps(model.context_length) == 32 and train.steps == 40_000 // 32
    assert train.warmup_steps == 2_000 // 32 and train.steps * train.tokens_per_step == 327_680_000
    assert train.min_learning_rate < train.learning_rate


def test_gpt2_124m_is_gpt2_on_ten_billion_tokens_and_any_power_of_two_of_cards_shares_its_batch():
    made = recipe("gpt2_124m")
    model, train = made.model, made.train
    assert parameter_counts(model)["total"] == 124_439_808
    assert train.steps * train.tokens_per_step == 9_999_745_024
    assert [train.grad_accum_steps(1024, ranks) for ranks in (1, 2, 4, 8, 16, 32)] == [32, 16, 8, 4, 2, 1]
    assert 10 * train.min_learning_rate == pytest.approx(train.learning_rate)
    published = replace(train, steps=76_291)
    assert round(published.steps * published.tokens_per_step / 1e9, 3) == 39.998
    assert published.grad_accum_steps(512, 8) == 8


def test_lightlm_is_thirty_thin_layers_below_150m_on_the_tokens_of_gpt2_124m_and_of_its_size_where_small():
    assert recipe("lightlm").model.n_layer == 30 and recipe("lightlm").model.kv_heads == 3
    for scale, most in (("small", 1.001), ("medium", 1.01), ("full", 150e6 / 124_439_808)):
        modern, base = recipe("lightlm", scale), recipe("gpt2_124m", scale)
        assert (modern.train, modern.data) == (base.train, base.data)
        assert 0.99 < parameter_counts(modern.model)["total"] / parameter_counts(base.model)["total"] < most


@pytest.mark.parametrize("scale, held", [("small", 1.52), ("medium", 2.77), ("full", 2.92)])
def test_lightlm_moe_uses_as_many_parameters_as_lightlm_for_a_token_holds_more_and_is_exported(scale, held):
    sparse, dense = recipe("lightlm_moe", scale), recipe("lightlm", scale)
    assert (sparse.train, sparse.data) == (dense.train, dense.data)
    size = parameter_counts(dense.model)["total"]
    assert 0.99 < active_parameters(sparse.model) / size < 1.01
    assert parameter_counts(sparse.model)["total"] / size == pytest.approx(held, abs=0.01)
    assert LAYOUTS["glm4_moe"].differences(sparse.model) == []


SCALES = ("small", "medium", "full")
FASTER = [("shakespeare_baseline", "shakespeare_fast", None, (1 / 1.4, 1))]  # a step takes at most 1.4 times
FASTER += [("tinystories_51m", "tinystories_fast", scale, (1, 1)) for scale in SCALES]
FASTER += [("gpt2_124m", "gpt2_124m_fast", scale, (0.59, 0.6)) for scale in SCALES]


@pytest.mark.parametrize("base, fast, scale, share", FASTER)
def test_fast_recipe_has_the_text_the_size_and_the_tokens_of_a_step_of_its_base(base, fast, scale, share):
    base, fast = recipe(base, scale), recipe(fast, scale)
    assert (fast.data, fast.train.tokens_per_step) == (base.data, base.train.tokens_per_step)
    counts = [parameter_counts(r.model)["total"] for r in (base, fast)]
    assert abs(counts[1] / counts[0] - 1) < 0.05
    assert share[0] <= fast.train.steps / base.train.steps <= share[1]


def test_full_scale_is_the_recipe_as_it_stands_and_a_scale_that_is_not_there_is_refused():
    assert recipe("tinystories_51m", "full") == recipe("tinystories_51m") == RECIPES["tinystories_51m"]
    for name, scale, words in (
        ("tinystories_51m", "tiny", "scale is 'tiny': use 'small' or 'medium' or 'full'"),
        ("shakespeare_char", "small", "scale is 'small': use 'full'"),
    ):
        with pytest.raises(ConfigError, match=words):
            recipe(name, scale)


OWN = """
[wide]
about = "a wide one"
[wide.model]
n_embd = 8
[wide.train]
steps = 7
warmup_steps = 2
[wide.small.model]
n_layer = 1
[deep]
base = "wide"
[deep.train]
steps = 11
"""


def test_recipe_takes_from_its_base_all_that_it_does_not_set_except_its_scales(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    own = read_recipes(tmp_path / "own.toml")
    assert (own["deep"].model, own["deep"].about) == (own["wide"].model, "a wide one")
    assert (own["deep"].train.steps, own["deep"].train.warmup_steps, own["wide"].train.steps) == (11, 2, 7)
    assert own["wide"].scales == {"small": {"model": {"n_layer": 1}}} and own["deep"].scales == {}
