"""The loop's laws: determinism, evaluations, callbacks, stopping, resuming, and how a run breaks."""

import dataclasses
import functools
import math
import signal

import numpy as np
import pytest
import torch

from tests.support.tiny import QUIET, B, C, T, Tiny, V, make_batches, make_config, same, weights
from tinylm.device import Precision
from tinylm.errors import ConfigError, Divergence
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import next_token_loss
from tinylm.text.batches import Batches
from tinylm.training.ddp import World
from tinylm.training.loop import train
from tinylm.training.optim import learning_rate
from tinylm.training.progress import Progress


def run(model=None, config=None, batches=None, **options):
    batches, config = batches or make_batches(), config or make_config()
    if world := options.get("world"):
        batches.rank, batches.world_size = world.rank, world.size
        config = dataclasses.replace(config, tokens_per_step=world.size * config.tokens_per_step)
    return train(model or Tiny(), batches, config, **QUIET | options)


def test_schedule_moves_once_a_step_whatever_the_number_of_micro_batches():
    expected = [
        learning_rate(s, schedule="cosine", peak=0.03, minimum=0.003, warmup_steps=3, steps=10)
        for s in range(10)
    ]
    for micro_steps in (1, 3):
        rates = []
        config = make_config(tokens_per_step=micro_steps * B * T)
        run(config=config, callbacks=[lambda s, rates=rates: rates.append(s.result.learning_rate)])
        assert rates == expected


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_is_bitwise_reproducible_from_its_seed(dropout):
    def trained(noise, **changes):
        torch.rand(noise)  # how the caller's own random numbers stand must not matter
        model = Tiny(dropout)
        run(model, make_config(**changes), make_batches(seed=changes.get("seed", 5)))
        return weights(model)

    with torch.random.fork_rng():
        first = trained(1)
        assert same(first, trained(17))
        assert not same(first, trained(1, seed=6))


def test_global_random_state_is_left_alone_by_training_with_dropout():
    model, before = Tiny(0.3), torch.get_rng_state()
    run(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_happens_every_so_many_steps_and_at_the_end_in_eval_mode():
    seen = []

    def evaluate(state):
        seen.append((state.progress.step, state.model.training))
        return 1.5

    model = Tiny().eval()
    history = run(model, make_config(eval_every=4), evaluate=evaluate)
    assert seen == [(4, False), (8, False), (10, False)] and not model.training
    assert [step for step, _ in history.evaluations] == [4, 8, 10]


def test_every_step_after_an_evaluation_is_in_training_mode():
    model, modes = Tiny(), []
    model.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    run(model, make_config(eval_every=1), evaluate=lambda s: 0.0)
    assert modes == [True] * 10


def test_callbacks_see_each_step_and_each_evaluation_once_in_order():
    seen = []

    def callback(state):
        assert (state.result is None) != (state.evaluation is None)
        progress = state.progress
        if state.result is not None:
            assert progress.step == state.result.step + 1 and progress.tokens == progress.step * B * T
        else:
            assert progress.val_losses[-1] == (progress.step, state.evaluation)
        seen.append((state.evaluation, progress.step, state.logged))

    def save(state):
        assert state.evaluation == (2.0 if state.progress.step in (4, 8, 10) else None)
        return "x"

    config = make_config(eval_every=4, log_every=3)
    run(config=config, callbacks=[callback], evaluate=lambda s: 2.0, save=save, save_seconds=0)
    steps = [(None, s, (s - 1) % 3 == 0) for s in range(1, 11)]
    evaluations = [(2.0, s, False) for s in (4, 8, 10)]
    assert seen == sorted([*steps, *evaluations], key=lambda line: (line[1], line[0] is not None))


def test_logged_steps_are_floats_and_include_the_last():
    history = run()
    assert [result.step for result in history.steps] == [0, 4, 8, 9]
    for result in history.steps:
        numbers = dataclasses.asdict(result)
        assert numbers.pop("metrics") == {} and numbers.pop("step") in (0, 4, 8, 9)
        assert all(isinstance(number, float) for number in numbers.values())
    assert history.tokens == 10 * B * T and history.seconds > 0


def test_batches_of_another_size_than_configured_are_refused_with_both_numbers():
    with pytest.raises(ConfigError, match="batches of 5 do not match micro_batch_size 3"):
        run(batches=make_batches(batch_size=5))


def test_global_batch_that_does_not_fit_is_refused_before_anything_moves():
    model = Tiny()
    before = weights(model)
    with pytest.raises(ConfigError, match="tokens_per_step 22 is not a multiple"):
        run(model, make_config(tokens_per_step=22))
    assert same(before, weights(model))


def test_model_learns_a_pattern():
    batches = Batches(np.tile(np.arange(V), 100), context_length=T, batch_size=B, seed=5)
    history = run(config=make_config(steps=200, learning_rate=0.1), batches=batches)
    assert history.steps[0].loss == pytest.approx(math.log(V), abs=0.7)
    assert history.steps[-1].loss < 0.1


def test_progress_bar_appears_only_when_asked_for(capsys):
    run()
    assert capsys.readouterr() == ("", "")
    run(show_progress=True)
    assert "10/10" in capsys.readouterr().err


def test_config_chooses_the_optimiser():
    config = ModelConfig(vocab_size=V, context_length=T, n_layer=1, n_head=1, n_embd=C)
    ends = []
    for name in ("adamw", "muon"):
        model = GPT(config)
        run(model, make_config(optimizer=name))
        ends.append(model.blocks[0].mlp.up.weight.detach())
    assert not torch.allclose(*ends)


def losses(*values):
    """An evaluation that gives these numbers, one after the other."""
    left = list(values)
    return lambda state: left.pop(0)


def spoiled(at, factor):
    """A loss function: that of this call, and of no other, is multiplied by nan or infinity."""

    def loss_fn(model, tokens, targets):
        calls.append(1)
        nats, metrics = next_token_loss(model, tokens, targets)
        return nats * (factor if len(calls) == at + 1 else 1), metrics

    calls = []
    return loss_fn


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_ends_the_run_at_once_and_says_where(bad):
    said = rf"the loss is {bad} .* at step 7 with learning rate 0\.0\d+ \(nothing was saved\): use a peak"
    with pytest.raises(Divergence, match=said):
        run(loss_fn=spoiled(7, bad))  # which is no logged step


def test_divergence_names_the_last_good_checkpoint_and_saves_no_other():
    saved = []

    def save(state):
        saved.append(state.progress.step)
        return f"number {saved[-1]}"

    with pytest.raises(Divergence, match=r"the last good checkpoint is number 5\): use a peak rate of 0\.01"):
        run(config=make_config(eval_every=5), evaluate=lambda s: 1.0, save=save, loss_fn=spoiled(7, math.nan))
    assert saved == [0, 5]


class Earlier:
    """What a checkpoint does to a state: weights, progress."""

    name = "step_00000004"

    def __init__(self, model, progress):
        self.weights, self.progress = weights(model), progress

    def restore(self, state):
        state.model.load_state_dict(self.weights)
        state.progress = self.progress


def test_divergence_right_after_a_resume_names_the_checkpoint_it_went_on_from():
    earlier = Earlier(Tiny(), Progress(step=4))
    with pytest.raises(Divergence, match=r"at step 5 .* \(the last good checkpoint is step_00000004\)"):
        run(resume=earlier, save=lambda state: "x", loss_fn=spoiled(1, math.nan))


@pytest.mark.parametrize("check", ["save", "evaluate"])
def test_deferred_steps_are_checked_before_a_save_and_before_an_evaluation(monkeypatch, check):
    monkeypatch.setattr(Precision, "is_synchronous", property(lambda self: False))
    seen = []
    options = {
        "save": {"save": lambda state: seen.append(state.progress.step), "save_seconds": 0},
        "evaluate": {"evaluate": lambda state: seen.append(0) or 1.0},
    }[check]
    config = make_config(log_every=100, eval_every=1 if check == "evaluate" else 0)
    with pytest.raises(Divergence, match=r"the loss is nan \(by now .* holds nan\) at step 2 "):
        run(config=config, loss_fn=spoiled(2, math.nan), **options)
    assert seen == ([0, 1, 2] if check == "save" else [0, 0])


def test_divergence_of_the_validation_loss_ends_the_run_before_it_is_saved():
    saved = []
    with pytest.raises(Divergence, match=r"the validation loss is inf at step 4 with learning rate 0\.03 "):
        run(
            config=make_config(eval_every=2),
            evaluate=losses(2.0, math.inf),
            save=lambda state: saved.append(state.progress.step),
        )
    assert saved == [0, 2]


def test_divergence_of_the_validation_loss_reads_the_rate_and_sets_none():
    rates = []

    def evaluate(state):
        rates.append([group["lr"] for group in state.optimizer.param_groups])
        state.optimizer.param_groups[0]["lr"] = 77.0
        seen.append(state.optimizer)
        return math.inf

    seen = []
    with pytest.raises(Divergence):
        run(config=make_config(eval_every=2), evaluate=evaluate)
    assert seen[0].param_groups[0]["lr"] == 77.0


@pytest.mark.parametrize(
    "changes, options, expected",
    [
        ({"eval_every": 4}, {}, [0, 4, 8, 10]),
        ({}, {}, [0, 10]),
        ({"eval_every": 4}, {"save_seconds": 0}, [*range(11)]),
    ],
)
def test_save_comes_before_the_first_step_after_each_evaluation_in_time_and_at_the_end(
    changes, options, expected
):
    saved = []

    def save(state):
        saved.append(state.progress.step)
        assert state.progress.tokens == saved[-1] * B * T
        assert [step for step, _ in state.progress.val_losses] == [
            s for s in (4, 8, 10) if changes and s <= saved[-1]
        ]

    evaluate = (lambda s: 1.0) if changes else None
    run(config=make_config(**changes), evaluate=evaluate, save=save, **options)
    assert saved == expected


@pytest.mark.parametrize(
    "values, finished", [((3, 2, 2.5, 1.9, 2, 1.9, 1, 1), 6), ((3, 2, 2.5, 1.9, 2, 1.8, 1, 1), 8)]
)
def test_early_stop_after_patience_evaluations_in_a_row_that_did_not_lower_the_loss(values, finished):
    config = make_config(steps=8, eval_every=1, patience=2)
    history = run(config=config, evaluate=losses(*values))
    assert [step for step, _ in history.evaluations] == [*range(1, finished + 1)]
    assert history.stopped_early == (finished < 8)
    history = run(config=dataclasses.replace(config, patience=0), evaluate=losses(*values))
    assert not history.stopped_early and len(history.evaluations) == 8


@dataclasses.dataclass
class NoLoss:
    accuracy: float = 1.0


@pytest.mark.parametrize("result", [None, "low", {}, torch.ones(2), NoLoss()], ids=repr)
def test_evaluation_that_is_no_number_is_refused_in_a_sentence(result):
    with pytest.raises(ConfigError, match=r"^evaluate gave .*: return one number, or an object"):
        run(config=make_config(eval_every=5), evaluate=lambda s: result)


def test_compile_trains_the_same_in_one_graph_and_leaves_the_model_as_it_is(monkeypatch):
    from torch._dynamo.utils import counters

    def evaluate(state):  # as a run does that writes a line of text: the context grows at every call
        with torch.no_grad():
            return sum(float(state.model(torch.zeros(1, n, dtype=torch.long)).mean()) for n in range(1, T))

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    config = ModelConfig(vocab_size=V, context_length=T, n_layer=1, n_head=1, n_embd=C)
    counters.clear()
    ends = []
    for compile in (False, True):
        model = GPT(config)
        run(model, make_config(compile=compile, eval_every=3), evaluate=evaluate)
        ends.append(weights(model))
    torch.testing.assert_close(*ends)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    assert type(model) is GPT


def press_ctrl_c(*_):
    signal.raise_signal(signal.SIGINT)


def interrupted(**where):
    """A run of ten steps that Ctrl-C ends somewhere; its history, the saved steps, and the model."""
    saved, model = [], Tiny()
    options = {"evaluate": lambda s: 1.0, "save": lambda s: saved.append(s.progress.step)} | where
    return run(model, make_config(eval_every=5), **options), saved, model


def test_ctrl_c_between_two_steps_saves_and_ends():
    history, saved, _ = interrupted(
        callbacks=[lambda s: press_ctrl_c() if s.result and s.result.step == 6 else None]
    )
    assert history.interrupted and saved == [0, 5, 7] and history.tokens == 7 * B * T


def test_ctrl_c_in_a_callback_lets_the_others_have_that_step_too():
    seen = []
    interrupted(
        callbacks=[
            lambda s: press_ctrl_c() if s.result and s.result.step == 6 else None,
            lambda s: seen.append(s.progress.step),
        ]
    )
    assert seen == [1, 2, 3, 4, 5, 5, 6, 7]  # with the evaluation after 5


def test_ctrl_c_where_nothing_is_saved_goes_on_to_the_caller_after_the_step_it_fell_into():
    model, other = Tiny(), Tiny()
    with pytest.raises(KeyboardInterrupt):
        run(model, optimizer=Pressing(model, 7, 1))
    run(other, make_config(steps=7), optimizer=Pressing(other, 99, 1))
    assert same(weights(model), weights(other)) and model.training


def test_ctrl_c_during_an_evaluation_cuts_it_short_and_saves_the_state_without_it():
    model, states = Tiny(), []
    history = run(
        model,
        make_config(eval_every=5),
        evaluate=press_ctrl_c,
        save=lambda s: states.append((s.progress.step, list(s.progress.val_losses))),
    )
    assert history.interrupted and history.evaluations == []
    assert states == [(0, []), (5, [])] and model.training


def test_ctrl_c_during_a_save_lets_it_end():
    complete = []

    def save(state):
        if state.progress.step == 5:
            press_ctrl_c()
        complete.append(state.progress.step)

    history, _, _ = interrupted(save=save)
    assert history.interrupted and complete == [0, 5] and history.tokens == 5 * B * T


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


def test_ctrl_c_during_a_step_lets_it_end_so_that_what_is_saved_is_complete():
    model, other, saved = Tiny(), Tiny(), []
    for m, at, steps in ((model, 7, 10), (other, 99, 7)):
        history = run(
            m,
            make_config(steps=steps),
            optimizer=Pressing(m, at, 1),
            save=lambda s: saved.append(s.progress.step),
        )
        assert history.interrupted == (m is model) and history.tokens == 7 * B * T
    assert saved == [0, 7, 0, 7] and same(weights(model), weights(other))


def test_ctrl_c_twice_cuts_a_step_in_two_and_what_is_left_of_it_is_not_saved():
    model, saved = Tiny(), []
    history = run(model, optimizer=Pressing(model, 7, 2), save=lambda s: saved.append(s.progress.step))
    assert history.interrupted and saved == [0] and history.tokens == 6 * B * T


def test_ctrl_c_again_during_the_last_save_is_the_end_that_was_asked_for():
    def stop(state):
        if state.progress.step == 3:
            raise KeyboardInterrupt

    def save(state):
        saved.append(state.progress.step)
        if state.progress.step:
            press_ctrl_c()

    saved = []
    history = run(callbacks=[stop], save=save)
    assert history.interrupted and saved == [0, 3]


def test_resume_does_the_evaluation_that_was_cut_short_and_no_other_twice():
    model = Tiny()
    run(model, make_config(steps=5))
    for done, expected in (([], [5, 10]), ([(5, 1.0)], [10])):
        progress = Progress(step=5, tokens=5 * B * T, seconds=100.0, val_losses=list(done))
        saved = []
        history = run(
            config=make_config(eval_every=5),
            evaluate=lambda s: 1.0,
            save=lambda s, saved=saved: saved.append(s.progress.step),
            resume=Earlier(model, progress),
        )
        assert [step for step, _ in history.evaluations] == saved == expected
        assert history.tokens == 10 * B * T and history.seconds > 100


def test_resume_of_a_run_that_had_already_stopped_does_nothing_more():
    for progress in (
        Progress(step=10, val_losses=[(10, 1.0)]),
        Progress(step=6, val_losses=[(2, 1.0), (4, 1.1), (6, 1.2)]),
    ):
        called = []
        run(
            config=make_config(eval_every=2, patience=2),
            evaluate=called.append,
            save=called.append,
            callbacks=[called.append],
            resume=Earlier(Tiny(), progress),
        )
        assert called == []


@pytest.mark.parametrize(("rank", "world_size"), [(0, 2), (1, 2)])
def test_batches_of_another_rank_than_the_worlds_are_refused(rank, world_size):
    batches = make_batches()
    batches.rank, batches.world_size = rank, world_size
    with pytest.raises(ConfigError, match=f"rank {rank} of 2 .* rank 0 of 1"):
        train(Tiny(), batches, make_config(), **QUIET)


class RankOne(World):
    """A second process that is told what the first one has decided; asked counts what it asks for."""

    rank, size = 1, 2

    def __init__(self, broadcast):
        self.broadcast = broadcast


def test_world_rank_zero_decides_when_to_save_and_only_it_writes():
    saved, steps, names = [], [], []

    def rank_zero(value):
        if value is None:
            names.append(len(steps))
            return "its name"
        return value and len(steps) in (0, 6, 10)  # its own clock, beside one that always says it is late

    run(
        world=RankOne(rank_zero),
        save=saved.append,
        save_seconds=0,
        callbacks=[lambda s: steps.append(s.saved)],
    )
    assert saved == [] and names == [0, 6, 10] and steps == ["its name"] * 10


def test_world_rank_zero_decides_when_to_stop():
    steps = []
    stop = RankOne(lambda value: value is False and len(steps) == 6)  # Ctrl-C was pressed there, and not here
    with pytest.raises(KeyboardInterrupt):
        run(world=stop, callbacks=[lambda s: steps.append(s.progress.step)])
    assert steps == [1, 2, 3, 4, 5, 6]


def test_ctrl_c_on_another_rank_than_zero_is_no_reason_to_stop():
    deaf = RankOne(lambda value: False)
    history = run(world=deaf, callbacks=[lambda s: press_ctrl_c() if s.progress.step == 4 else None])
    assert history.tokens == 10 * 2 * B * T
