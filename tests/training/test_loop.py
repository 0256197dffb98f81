"""The loop's laws: determinism, evaluations, stopping, resuming, and what happens when a run breaks."""

import dataclasses
import math
import signal

import numpy as np
import pytest
import torch

from tests.support.tiny import QUIET, B, C, T, Tiny, V, make_batches, make_config, same, weights
from tinylm.device import Precision
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import next_token_loss
from tinylm.runs.records import RunRecord, read_record
from tinylm.text.batches import Batches
from tinylm.training import step as step_room
from tinylm.training.loop import TrainingError, train
from tinylm.training.optim import learning_rate
from tinylm.training.progress import Progress


def test_the_schedule_moves_once_a_step_whatever_the_number_of_micro_batches():
    expected = [
        learning_rate(s, schedule="cosine", peak=0.03, minimum=0.003, warmup_steps=3, steps=10)
        for s in range(10)
    ]
    for micro_steps in (1, 3):
        rates, model, config = [], Tiny(), make_config(tokens_per_step=micro_steps * B * T)
        train(
            model,
            make_batches(),
            config,
            on_step=[lambda r, rates=rates: rates.append(r.learning_rate)],
            **QUIET,
        )
        assert rates == expected


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(dropout):
    def trained(noise, **changes):
        torch.rand(noise)  # how the caller's own random numbers stand must not matter
        model = Tiny(dropout)
        train(model, make_batches(seed=changes.get("seed", 5)), make_config(**changes), **QUIET)
        return weights(model)

    with torch.random.fork_rng():
        first = trained(1)
        assert same(first, trained(17))
        assert not same(first, trained(1, seed=6))


def test_training_with_dropout_leaves_the_callers_random_numbers_alone():
    model, before = Tiny(0.3), torch.get_rng_state()
    train(model, make_batches(), make_config(), **QUIET)
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_happens_every_so_many_steps_and_at_the_end_in_eval_mode():
    seen = []

    def evaluate(model):
        seen.append(model.training)
        return 1.5

    model = Tiny().eval()
    history = train(model, make_batches(), make_config(eval_every=4), evaluate=evaluate, **QUIET)
    assert [finished for finished, _ in history.evaluations] == [4, 8, 10]
    assert seen == [False] * 3 and not model.training
    modes = []
    train(
        Tiny(),
        make_batches(),
        make_config(eval_every=2),
        evaluate=evaluate,
        on_step=[lambda result: modes.append(result.step)],
        **QUIET,
    )
    assert modes == list(range(10))


def test_every_step_after_an_evaluation_is_in_training_mode():
    model, modes = Tiny(), []
    model.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    train(model, make_batches(), make_config(eval_every=1), evaluate=lambda m: 0.0, **QUIET)
    assert modes == [True] * 10


def test_logged_steps_are_floats_and_the_last_step_is_always_logged():
    history = train(Tiny(), make_batches(), make_config(), **QUIET)
    assert [result.step for result in history.steps] == [0, 4, 8, 9]
    assert all(isinstance(x, float) for r in history.steps for x in dataclasses.astuple(r)[1:])
    assert history.tokens == 10 * B * T and history.seconds > 0


def test_batches_of_another_size_than_configured_are_refused_with_both_numbers():
    with pytest.raises(TrainingError, match="batches of 5 do not match micro_batch_size 3"):
        train(Tiny(), make_batches(batch_size=5), make_config(), **QUIET)


def test_a_global_batch_that_does_not_fit_is_refused_before_anything_moves():
    model = Tiny()
    before = weights(model)
    with pytest.raises(ValueError, match="tokens_per_step 22 is not a multiple"):
        train(model, make_batches(), make_config(tokens_per_step=22), **QUIET)
    assert same(before, weights(model))


def test_a_run_writes_its_record(tmp_path):
    @dataclasses.dataclass
    class Score:
        loss: float
        standard_error: float

    with RunRecord(tmp_path / "record.jsonl", {"recipe": "tiny"}) as record:
        history = train(
            Tiny(),
            make_batches(),
            make_config(eval_every=5),
            evaluate=lambda m: Score(2.5, 0.1),
            record=record,
            **QUIET,
        )
    read = read_record(tmp_path / "record.jsonl")
    assert [line["step"] for line in read.steps] == [0, 4, 8, 9]
    assert [line["loss"] for line in read.steps] == [result.loss for result in history.steps]
    assert [(line["step"], line["loss"], line["standard_error"]) for line in read.evaluations] == [
        (5, 2.5, 0.1),
        (10, 2.5, 0.1),
    ]


def test_a_model_learns_a_pattern():
    tokens = np.tile(np.arange(V), 100)
    batches = Batches(tokens, context_length=T, batch_size=B, seed=5)
    history = train(Tiny(), batches, make_config(steps=200, learning_rate=0.1), **QUIET)
    assert history.steps[0].loss == pytest.approx(math.log(V), abs=0.7)
    assert history.steps[-1].loss < 0.1


def test_the_progress_bar_appears_only_when_asked_for(capsys):
    train(Tiny(), make_batches(), make_config(), progress=False)
    assert capsys.readouterr() == ("", "")
    train(Tiny(), make_batches(), make_config(), progress=True)
    assert "10/10" in capsys.readouterr().err


def test_the_config_chooses_the_optimiser():
    config = ModelConfig(vocab_size=V, context_length=T, n_layer=1, n_head=1, n_embd=C)
    ends = []
    for name in ("adamw", "muon"):
        model = GPT(config)
        train(model, make_batches(), make_config(optimizer=name), **QUIET)
        ends.append(model.blocks[0].mlp.up.weight.detach())
    assert not torch.allclose(*ends)


def losses(*values):
    """An evaluation that gives these numbers, one after the other."""
    left = list(values)
    return lambda model: left.pop(0)


def spoil_the_loss(monkeypatch, at, factor):
    """The loss of that step, and of no other, is multiplied by nan or infinity."""

    def broken(model, tokens, targets):
        calls.append(1)
        nats, metrics = next_token_loss(model, tokens, targets)
        return nats * (factor if len(calls) == at + 1 else 1), metrics

    calls = []
    monkeypatch.setattr(step_room, "next_token_loss", broken)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_a_number_stops_the_run_at_once_and_says_where(bad, monkeypatch):
    spoil_the_loss(monkeypatch, 7, bad)  # which is no logged step
    with pytest.raises(
        TrainingError, match=rf"the loss is {bad} at step 7 with learning rate 0\.0\d+ \(step 4 "
    ):
        train(Tiny(), make_batches(), make_config(), **QUIET)


def test_a_run_that_breaks_names_its_last_good_checkpoint_and_saves_no_other(monkeypatch):
    spoil_the_loss(monkeypatch, 7, math.nan)
    saved = []

    def save(state):
        saved.append(state.progress.step)
        return f"number {saved[-1]}"

    config, options = make_config(eval_every=5), {"evaluate": lambda m: 1.0, "save": save}
    with pytest.raises(
        TrainingError, match=r"the last good checkpoint is number 5\): use a peak rate of 0\.01"
    ):
        train(Tiny(), make_batches(), config, **options, **QUIET)
    assert saved == [0, 5]


def test_a_resumed_run_that_breaks_at_once_names_the_checkpoint_it_went_on_from(monkeypatch):
    class Earlier:
        name = "step_00000004"

        def restore(self, state):
            state.progress.step = 4

    spoil_the_loss(monkeypatch, 1, math.nan)  # of the steps done here
    with pytest.raises(TrainingError, match=r"at step 5 .* \(the last good checkpoint is step_00000004\)"):
        train(Tiny(), make_batches(), make_config(), resume=Earlier(), save=lambda state: "x", **QUIET)


@pytest.mark.parametrize("look", ["save", "evaluate"])
def test_steps_nobody_waited_for_are_looked_at_before_a_save_and_before_an_evaluation(monkeypatch, look):
    monkeypatch.setattr(Precision, "is_synchronous", property(lambda self: False))
    spoil_the_loss(monkeypatch, 2, math.nan)
    seen = []
    options = {
        "save": {"save": lambda state: seen.append(state.progress.step), "save_seconds": 0},
        "evaluate": {"evaluate": lambda model: seen.append(0) or 1.0},
    }[look]
    config = make_config(log_every=100, eval_every=1 if look == "evaluate" else 0)
    with pytest.raises(TrainingError, match=r"the loss is nan \(by now .* holds nan\) at step 2 "):
        train(Tiny(), make_batches(), config, **options, **QUIET)
    assert seen == ([0, 1, 2] if look == "save" else [0, 0])


def test_a_validation_loss_that_is_not_a_number_stops_the_run_before_it_is_saved():
    saved = []
    with pytest.raises(
        TrainingError, match=r"the validation loss is inf at step 4 with learning rate 0\.03 "
    ):
        train(
            Tiny(),
            make_batches(),
            make_config(eval_every=2),
            evaluate=losses(2.0, math.inf),
            save=lambda state: saved.append(state.progress.step),
            **QUIET,
        )
    assert saved == [0, 2]


@pytest.mark.parametrize(
    "changes, options, expected",
    [
        ({"eval_every": 4}, {}, [0, 4, 8, 10]),
        ({}, {}, [0, 10]),
        ({"eval_every": 4}, {"save_seconds": 0}, [*range(11)]),
    ],
)
def test_a_state_is_saved_before_the_first_step_after_each_evaluation_in_time_and_at_the_end(
    changes, options, expected
):
    saved = []

    def save(state):
        saved.append(state.progress.step)
        assert state.progress.tokens == saved[-1] * B * T
        assert [step for step, _ in state.progress.losses] == [
            s for s in (4, 8, 10) if changes and s <= saved[-1]
        ]

    evaluate = (lambda m: 1.0) if changes else None
    train(Tiny(), make_batches(), make_config(**changes), evaluate=evaluate, save=save, **options, **QUIET)
    assert saved == expected


@pytest.mark.parametrize(
    "values, finished", [((3, 2, 2.5, 1.9, 2, 1.9, 1, 1), 6), ((3, 2, 2.5, 1.9, 2, 1.8, 1, 1), 8)]
)
def test_a_run_stops_when_patience_evaluations_in_a_row_have_not_lowered_the_best_loss(values, finished):
    config = make_config(steps=8, eval_every=1, patience=2)
    history = train(Tiny(), make_batches(), config, evaluate=losses(*values), **QUIET)
    assert [step for step, _ in history.evaluations] == [*range(1, finished + 1)]
    assert history.stopped_early == (finished < 8)
    patient = dataclasses.replace(config, patience=0)
    history = train(Tiny(), make_batches(), patient, evaluate=losses(*values), **QUIET)
    assert not history.stopped_early and len(history.evaluations) == 8


@dataclasses.dataclass
class NoLoss:
    accuracy: float = 1.0


@pytest.mark.parametrize("result", [None, "low", {}, torch.ones(2), NoLoss()], ids=repr)
def test_an_evaluation_that_is_no_number_is_refused_in_a_sentence(result):
    with pytest.raises(TrainingError, match=r"^evaluate gave .*: return one number, or a dataclass"):
        train(Tiny(), make_batches(), make_config(eval_every=5), evaluate=lambda m: result, **QUIET)


def interrupted(**where):
    """A run of ten steps that Ctrl-C ends somewhere; its history, the saved steps, and the model."""
    saved, model = [], Tiny()
    history = train(
        model,
        make_batches(),
        make_config(eval_every=5),
        **({"evaluate": lambda m: 1.0, "save": lambda s: saved.append(s.progress.step)} | where),
        **QUIET,
    )
    return history, saved, model


def press_ctrl_c(*_):
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_between_two_steps_saves_and_ends():
    history, saved, _ = interrupted(on_step=[lambda r: press_ctrl_c() if r.step == 6 else None])
    assert history.interrupted and saved == [0, 5, 7] and history.tokens == 7 * B * T


def test_ctrl_c_where_nothing_is_saved_goes_on_to_the_caller_after_the_step_it_fell_into():
    model, whole = Tiny(), Tiny()
    with pytest.raises(KeyboardInterrupt):
        train(model, make_batches(), make_config(), optimizer=Pressing(model, 7, 1), **QUIET)
    train(whole, make_batches(), make_config(steps=7), optimizer=Pressing(whole, 99, 1), **QUIET)
    assert same(weights(model), weights(whole)) and model.training


def test_ctrl_c_during_an_evaluation_cuts_it_short_and_saves_the_state_without_it():
    model = Tiny()
    states = []
    history = train(
        model,
        make_batches(),
        make_config(eval_every=5),
        evaluate=press_ctrl_c,
        save=lambda s: states.append((s.progress.step, list(s.progress.losses), s.model.training)),
        **QUIET,
    )
    assert history.interrupted and history.evaluations == []
    assert [state[:2] for state in states] == [(0, []), (5, [])] and model.training


def test_ctrl_c_during_a_save_lets_it_end(monkeypatch):
    whole = []

    def save(state):
        if state.progress.step == 5:
            press_ctrl_c()
        whole.append(state.progress.step)

    history, _, _ = interrupted(save=save)
    assert history.interrupted and whole == [0, 5] and history.tokens == 5 * B * T


class Pressing(torch.optim.SGD):
    """An optimiser during whose step Ctrl-C is pressed, so many times."""

    def __init__(self, model, at, times):
        super().__init__(model.parameters(), lr=1.0)
        self.left, self.times = at, times

    def step(self):
        first, *rest = [p for group in self.param_groups for p in group["params"]]
        first.data.add_(1e-3)
        self.left -= 1
        if self.left == 0:
            for _ in range(self.times):
                press_ctrl_c()
        for p in rest:
            p.data.add_(1e-3)


def test_ctrl_c_during_a_step_lets_it_end_so_that_what_is_saved_is_whole():
    model, other, saved = Tiny(), Tiny(), []
    for m, at, steps in ((model, 7, 10), (other, 99, 7)):
        config = make_config(steps=steps, warmup_steps=3)
        history = train(
            m,
            make_batches(),
            config,
            optimizer=Pressing(m, at, 1),
            save=lambda s: saved.append(s.progress.step),
            **QUIET,
        )
        assert history.interrupted == (m is model) and history.tokens == 7 * B * T
    assert saved == [0, 7, 0, 7] and same(weights(model), weights(other))


def test_ctrl_c_twice_cuts_a_step_in_two_and_what_is_left_of_it_is_not_saved():
    model, saved = Tiny(), []
    history = train(
        model,
        make_batches(),
        make_config(),
        optimizer=Pressing(model, 7, 2),
        save=lambda s: saved.append(s.progress.step),
        **QUIET,
    )
    assert history.interrupted and saved == [0] and history.tokens == 6 * B * T


def test_ctrl_c_again_during_the_last_save_is_the_end_that_was_asked_for():
    def stop(result):
        if result.step == 2:
            raise KeyboardInterrupt

    def save(state):
        saved.append(state.progress.step)
        if state.progress.step:
            signal.raise_signal(signal.SIGINT)

    saved = []
    history = train(Tiny(), make_batches(), make_config(), on_step=[stop], save=save, **QUIET)
    assert history.interrupted and saved == [0, 3]


class Restored:
    """What a checkpoint does to a state: weights, progress."""

    def __init__(self, model, progress):
        self.weights, self.progress = weights(model), progress

    name = "earlier"

    def restore(self, state):
        state.model.load_state_dict(self.weights)
        state.progress = self.progress


def test_a_resumed_run_does_the_evaluation_that_was_cut_short_and_no_other_twice():
    model = Tiny()
    train(model, make_batches(), make_config(steps=5), **QUIET)
    for done, expected in (([], [5, 10]), ([(5, 1.0)], [10])):
        progress = Progress(step=5, tokens=5 * B * T, seconds=100.0, losses=list(done))
        saved = []
        history = train(
            Tiny(),
            make_batches(),
            make_config(eval_every=5),
            evaluate=lambda m: 1.0,
            save=lambda s, saved=saved: saved.append(s.progress.step),
            resume=Restored(model, progress),
            **QUIET,
        )
        assert [step for step, _ in history.evaluations] == saved == expected
        assert history.tokens == 10 * B * T and history.seconds > 100


def test_a_run_that_had_already_stopped_does_nothing_more():
    model = Tiny()
    for progress in (
        Progress(step=10, losses=[(10, 1.0)]),
        Progress(step=6, losses=[(2, 1.0), (4, 1.1), (6, 1.2)]),
    ):
        config = make_config(eval_every=2, patience=2)
        called = []
        train(
            Tiny(),
            make_batches(),
            config,
            evaluate=called.append,
            save=called.append,
            on_step=[called.append],
            resume=Restored(model, progress),
            **QUIET,
        )
        assert called == []
