"""What a run does along the way; that it is done at the right moments is tested with the loop and runs."""

import math
from dataclasses import replace
from types import SimpleNamespace

from tests.support.tiny_run import evaluation, tiny
from tinylm.inference.evaluate import Evaluation
from tinylm.runs import run
from tinylm.runs.build import build_experiment
from tinylm.runs.records import RunRecord
from tinylm.runs.run import Run, format_evaluation, opening
from tinylm.text.tokenizers import CharTokenizer
from tinylm.training.loop import train


def test_format_evaluation_carries_the_error_with_its_unit_and_leaves_it_out_when_there_is_none():
    words = format_evaluation(Evaluation(math.log(4), 0.0123, 10, unit="7 documents"), "token")
    assert words.startswith(
        "validation loss 1.3863 ± 0.0123 nats per token, perplexity 4.00, 2.000 bits per token"
    )
    assert words.endswith("(± over 7 documents)")
    assert "±" not in format_evaluation(Evaluation(1.0, math.nan, 10), "character")


def test_opening_is_a_line_end_or_the_first_token_of_an_alphabet_without_one():
    assert opening(CharTokenizer("\nab")) == "\n"
    assert opening(CharTokenizer("bcd")) == "b"


def test_evaluation_takes_the_settings_of_training_and_dataset(mine, monkeypatch):
    asked = []
    monkeypatch.setattr(run, "evaluate", lambda *a, **more: asked.append(more) or evaluation(1.0))
    for settings in ({}, {"eval_tokens": 500, "eval_dtype": "float32"}):
        experiment = build_experiment(tiny(steps=1, warmup_steps=0, **settings))
        made = Run(experiment, mine, RunRecord(None, {}))
        train(
            experiment.model,
            experiment.batches,
            experiment.recipe.train,
            evaluate=made.evaluate,
            callbacks=[made],
        )
    assert [more["max_tokens"] for more in asked] == [None, 500]
    state = SimpleNamespace(
        model=None,
        world=None,
        config=replace(experiment.recipe.train, eval_dtype="auto"),
        precision=SimpleNamespace(device="a GPU", dtype="bfloat16"),
    )
    made.evaluate(state)
    made.evaluate(SimpleNamespace(**vars(state) | {"config": experiment.recipe.train}))
    assert [more["dtype"] for more in asked] == ["float32"] * 2 + ["bfloat16", "float32"]
    assert asked[0]["documents"] is experiment.dataset.documents or len(asked[0]["documents"])
    assert asked[0]["bytes_per_token"] == 1.0
