"""An experiment: its parts fit together, and nothing of the validation text is trained on."""

import json

import numpy as np
import pytest
import torch

from tests.support.tiny_run import tiny
from tinylm.errors import ConfigError, CorpusMissing
from tinylm.runs.build import build_experiment
from tinylm.text import corpora
from tinylm.text.corpora import load


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "pack"))
    monkeypatch.setenv("TINYLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYLM_OFFLINE", "1")
    monkeypatch.setattr(corpora, "GENERATED_CHARACTERS", 20_000)
    corpora._generated.cache_clear()
    yield
    corpora._generated.cache_clear()


def test_experiment_fits_together():
    ready = build_experiment(tiny())
    assert ready.model.config == ready.recipe.model
    assert ready.recipe.model.vocab_size == ready.dataset.tokenizer.vocab_size
    tokens, targets = ready.batches.batch(0)
    assert tokens.shape == targets.shape == (3, 31)
    assert ready.model(tokens).shape == (3, 31, ready.dataset.tokenizer.vocab_size)


def test_training_reads_the_training_text_and_no_character_of_the_validation_text():
    ready, text = build_experiment(tiny()), load("toyworld-plays")
    decode = ready.dataset.tokenizer.decode
    trained_on = decode(ready.batches.tokens)
    assert trained_on == text.train.lower()
    assert decode(ready.dataset.validation) == text.validation.lower()
    assert text.validation.lower()[:500] not in trained_on


def test_data_settings_reach_the_dataset():
    full = build_experiment(tiny())
    part, kept = (build_experiment(tiny(data=data)) for data in ({"train_share": 0.3}, {"lowercase": False}))
    n = round(0.3 * len(full.dataset.train))
    assert np.array_equal(part.batches.tokens, full.batches.tokens[:n])
    assert np.array_equal(part.dataset.validation, full.dataset.validation)
    assert kept.dataset.tokenizer.vocab_size > full.dataset.tokenizer.vocab_size


def test_same_recipe_builds_the_same_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second, other = build_experiment(tiny()), build_experiment(tiny()), build_experiment(tiny(seed=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.provenance == second.provenance != other.provenance
    for mine, yours in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(mine, yours)
    assert torch.equal(first.batches.batch(3)[0], second.batches.batch(3)[0])
    assert not torch.equal(other.model.token_embedding.weight, first.model.token_embedding.weight)
    assert not torch.equal(other.batches.batch(3)[0], first.batches.batch(3)[0])


def test_provenance_is_plain_json_and_knows_every_part():
    made = build_experiment(tiny()).provenance
    assert json.loads(json.dumps(made)) == made
    assert set(made) == set(["recipe", "about", "data", "dataset", "tokenizer", "model", "train", "batches"])


def test_missing_corpus_is_replaced_only_when_that_is_asked_for(capsys):
    made = tiny(data={"corpus": "tinyshakespeare"})
    with pytest.raises(CorpusMissing):
        build_experiment(made)
    assert capsys.readouterr().out == ""
    ready = build_experiment(made, fallback=True)
    assert ready.dataset.name == ready.recipe.data.corpus == "toyworld-plays"
    assert capsys.readouterr().out.count("\n") == 1


def test_context_longer_than_the_text_is_refused_with_both_numbers():
    n = len(load("toyworld-plays").validation)
    with pytest.raises(ConfigError, match=rf"context_length {n} is longer .* {n:,} characters: use {n - 1}"):
        build_experiment(tiny(model={"context_length": n}))
