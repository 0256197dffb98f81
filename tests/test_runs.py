"""Tests of tinylm.runs."""

import math
import re
from dataclasses import replace

import pytest
import torch

from tinylm import checkpoints, runs
from tinylm.checkpoints import open_checkpoint
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.names import NameRefused
from tinylm.recipes import shakespeare_char
from tinylm.runs import RunError, in_words, new_folder, run
from tinylm.text import corpora
from tinylm.training.config import TrainConfigError
from tinylm.training.records import read_record


@pytest.fixture(autouse=True)
def mine(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "MINE", tmp_path / "mine")
    monkeypatch.setattr(runs, "measure_speed", lambda model, **_: 12345.0)
    monkeypatch.setattr(corpora, "GENERATED_CHARACTERS", 20_000)
    monkeypatch.chdir(tmp_path)
    corpora._generated.cache_clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for a model this small a second thread only costs
    yield tmp_path / "mine"
    torch.set_num_threads(threads)
    corpora._generated.cache_clear()


def tiny(**train):
    made = shakespeare_char()
    numbers = {
        "steps": 7,
        "warmup_steps": 2,
        "micro_batch_size": 3,
        "tokens_per_step": 3 * 31,
        "log_every": 2,
    }
    return replace(
        made,
        model=replace(made.model, n_layer=1, n_head=2, n_embd=22, context_length=31),
        train=replace(made.train, **(numbers | {"eval_every": 3} | train)),
        data=replace(made.data, corpus="toyworld-plays"),
    )


def test_runs_are_numbered_from_the_recipes_name_and_nothing_is_made_by_asking(mine):
    assert new_folder("small") == mine / "small-1"
    assert new_folder("small") == mine / "small-1"
    (mine / "small-1").mkdir(parents=True)
    (mine / "small-2").mkdir()
    assert new_folder("small") == mine / "small-3"


def test_a_name_that_is_taken_is_refused_with_the_way_out(mine):
    (mine / "old").mkdir(parents=True)
    with pytest.raises(RunError, match="the run old exists already: choose another --run name"):
        new_folder("small", "old")
    assert new_folder("small", "new") == mine / "new"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "-x", ".hidden", "x" * 300])
def test_a_name_that_could_lead_elsewhere_is_refused(name):
    with pytest.raises(NameRefused, match="cannot name a run"):
        new_folder("small", name)


def test_a_run_leaves_its_record_and_its_last_weights(mine, capsys):
    finished = run(tiny(), name="one", command="python -m tinylm train shakespeare_char")
    assert finished == runs.Finished(mine / "one", False)
    record = read_record(mine / "one" / "record.jsonl")
    assert record.header["recipe"] == "shakespeare_char"
    assert record.header["command"] == "python -m tinylm train shakespeare_char"
    assert record.header["data"] == "toyworld-plays"
    assert record.header["tokens"] == 7 * 3 * 31
    assert record.header["forecast_seconds"] == pytest.approx(7 * 3 * 31 / 12345)
    assert [line["step"] for line in record.steps] == [0, 2, 4, 6]
    assert [line["step"] for line in record.evaluations] == [3, 6, 7]
    assert (record.end["interrupted"], record.end["tokens"]) == (False, 7 * 3 * 31)
    opened = open_checkpoint("one")
    assert (opened.notes["step"], opened.corpus) == (7, "toyworld-plays")
    last = record.evaluations[-1]
    assert opened.notes["loss"] == last["loss"]
    measured, text = runs.validate(opened)
    assert measured.loss == pytest.approx(last["loss"], rel=1e-6)
    assert measured.n_tokens == last["n_tokens"] == len(text.validation) - 1
    assert last["bits_per_byte"] == pytest.approx(measured.bits_per_token, rel=1e-6)
    printed = capsys.readouterr().out
    assert printed.index("forecast") < printed.index("step 3: validation loss") < printed.index("took ")
    assert re.search(r"took .*, \d+\.\d\d times its forecast \(less than a second\)\n", printed)
    assert str(mine) not in printed


def test_the_same_recipe_gives_the_same_weights_bit_for_bit():
    first, second = (open_checkpoint(run(tiny(), command="").folder).model for _ in range(2))
    for mine, yours in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, yours)


def interrupt_at(monkeypatch, call: int) -> None:
    calls = []

    def interrupted(model, *args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return evaluate(model, *args, **kwargs)

    monkeypatch.setattr(runs, "evaluate", interrupted)


@pytest.mark.parametrize("call, step", [(1, 3), (2, 6)])
def test_ctrl_c_keeps_the_weights_of_that_moment_and_closes_the_record(mine, monkeypatch, capsys, call, step):
    interrupt_at(monkeypatch, call)
    assert run(tiny(), name="cut", command="").interrupted
    assert open_checkpoint("cut").notes["step"] == step
    end = read_record(mine / "cut" / "record.jsonl").end
    assert (end["interrupted"], end["tokens"]) == (True, step * 3 * 31)
    assert f"ended early, after {step} steps" in capsys.readouterr().out


def test_a_run_that_diverges_keeps_its_last_good_checkpoint_and_has_no_end(mine, monkeypatch):
    losses = iter([2.0, math.inf])
    monkeypatch.setattr(runs, "evaluate", lambda *_, **__: Evaluation(next(losses), 0.1, 10))
    with pytest.raises(RunError, match="the validation loss is inf after step 6"):
        run(tiny(), name="far", command="")
    assert open_checkpoint("far").notes["step"] == 3
    assert read_record(mine / "far" / "record.jsonl").end is None


def test_a_refused_run_leaves_nothing_behind(mine):
    with pytest.raises(TrainConfigError, match="tokens_per_step 94 is not a multiple"):
        run(tiny(tokens_per_step=94), command="")
    assert not mine.exists()


def test_an_evaluation_in_words_carries_its_error_and_leaves_it_out_when_there_is_none():
    words = in_words(Evaluation(math.log(4), 0.0123, 10))
    assert "1.3863 ± 0.0123 nats per character" in words
    assert "perplexity 4.00, 2.000 bits per character" in words
    assert "±" not in in_words(Evaluation(1.0, math.nan, 10))
