"""Tests of tinylm.runs.build."""

from dataclasses import replace

import pytest
import torch

from tinylm.errors import ConfigError, CorpusMissing
from tinylm.runs import build
from tinylm.runs.build import prepare
from tinylm.runs.recipes import shakespeare_char
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


def tiny(**model):
    made = shakespeare_char()
    model = {"n_layer": 1, "n_head": 2, "n_embd": 22, "context_length": 31} | model
    return replace(
        made,
        model=replace(made.model, **model),
        train=replace(made.train, micro_batch_size=5, tokens_per_step=5 * model["context_length"]),
        data=replace(made.data, corpus="toyworld-plays"),
    )


def test_a_prepared_recipe_fits_together():
    ready = prepare(tiny())
    assert ready.model.config == ready.recipe.model
    assert ready.recipe.model.vocab_size == ready.tokenizer.vocab_size
    tokens, targets = ready.batches.batch(0)
    assert tokens.shape == targets.shape == (5, 31)
    assert ready.model(tokens).shape == (5, 31, ready.tokenizer.vocab_size)
    assert ready.tokenizer.decode(ready.validation) == load("toyworld-plays").validation.lower()


def test_training_reads_the_training_text_and_no_character_of_the_validation_text():
    ready = prepare(tiny())
    trained_on = ready.tokenizer.decode(ready.batches.tokens)
    assert trained_on == load("toyworld-plays").train.lower()
    assert load("toyworld-plays").validation.lower()[:500] not in trained_on


def test_a_character_that_only_the_validation_text_has_gets_an_id(monkeypatch):
    text = corpora.Text("abc" * 99, "abcd" * 99, name="small", source="generated")
    monkeypatch.setattr(build, "load", lambda *_, **__: text)
    assert prepare(tiny()).tokenizer.characters == "abcd"


def test_a_share_of_the_training_text_is_its_beginning_and_the_rest_stays_as_it_is():
    made = tiny()
    whole, part = prepare(made), prepare(replace(made, data=replace(made.data, train_share=0.3)))
    assert len(part.text.train) == round(0.3 * len(whole.text.train))
    assert whole.text.train.startswith(part.text.train)
    assert part.tokenizer.decode(part.batches.tokens) == part.text.train.lower()
    assert torch.equal(torch.tensor(part.validation), torch.tensor(whole.validation))
    assert part.tokenizer.characters == whole.tokenizer.characters


def test_a_character_of_the_part_that_is_not_read_keeps_its_id(monkeypatch):
    text = corpora.Text("abc" * 99 + "x", "abc" * 99, name="small", source="generated")
    monkeypatch.setattr(build, "load", lambda *_, **__: text)
    made = tiny()
    assert prepare(replace(made, data=replace(made.data, train_share=0.5))).tokenizer.characters == "abcx"


def test_lower_case_is_the_recipes_choice():
    made = tiny()
    folded, kept = prepare(made), prepare(replace(made, data=replace(made.data, lowercase=False)))
    assert not any(character.isupper() for character in folded.tokenizer.characters)
    assert any(character.isupper() for character in kept.tokenizer.characters)
    assert folded.tokenizer.vocab_size < kept.tokenizer.vocab_size


def test_the_same_recipe_prepares_the_same_weights_and_batches_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second = prepare(tiny()), prepare(tiny())
    assert torch.equal(torch.get_rng_state(), before)
    for mine, yours in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(mine, yours)
    assert torch.equal(first.batches.batch(3)[0], second.batches.batch(3)[0])
    made = tiny()
    other = prepare(replace(made, train=replace(made.train, seed=2)))
    assert not torch.equal(other.model.token_embedding.weight, first.model.token_embedding.weight)
    assert not torch.equal(other.batches.batch(3)[0], first.batches.batch(3)[0])


def test_a_missing_corpus_is_replaced_only_when_that_is_asked_for(capsys):
    made = tiny()
    made = replace(made, data=replace(made.data, corpus="tinyshakespeare"))
    with pytest.raises(CorpusMissing):
        prepare(made)
    assert capsys.readouterr().out == ""
    assert prepare(made, fallback=True).text.name == "toyworld-plays"
    assert capsys.readouterr().out.count("\n") == 1


def test_a_context_longer_than_the_text_is_refused_with_both_numbers():
    characters = len(load("toyworld-plays").validation)
    with pytest.raises(
        ConfigError, match=f"context_length {characters} is longer .* {characters} characters"
    ):
        prepare(tiny(context_length=characters))
