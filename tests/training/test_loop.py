"""The loop's laws: determinism, evaluations, callbacks, stopping, resuming, and how a run breaks."""

import dataclasses
import functools
import itertools
import math
import signal
import statistics

import numpy as np
import pytest
import torch

from tests.support.tiny import QUIET, B, T, Tiny, V, make_batches, make_config, same, tiny_gpt, weights
from tinylm.device import Precision
from tinylm.errors import ConfigError, Divergence, WorldLost
from tinylm.model.losses import next_token_loss
from tinylm.text.batches import Batches
from tinylm.training.ddp import World
from tinylm.training.loop import train
from tinylm.training.optim import scheduled_rate
from tinylm.training.provenance import differences
from tinylm.training.state import Progress

CPU = torch.device("cpu")


def run(model=None, config=None, batches=None, **options):
    batches, config = batches or make_batches(), config or make_config()
    if world := options.get("world"):
        batches.rank, batches.world_size = world.rank, world.size
        config = dataclasses.replace(config, tokens_per_step=world.size * config.tokens_per_step)
    return train(model or Tiny(), batches, config, **QUIET | options)


class Saved(list):
    """A save that notes how many steps were finished each time."""

    def __call__(self, state):
        self.append(state.progress.step)
        return f"number {state.progress.step}"


def test_schedule_moves_once_a_step_of_two_micro_batches_and_not_where_float16_leaves_the_step_out():
    class Asked(Batches):
        def batch(self, step, micro_step=0, micro_steps=1):
            asked.append(step)
            return super().batch(step, micro_step, micro_steps)

    asked, results, counts, config = [], [], [], make_config(tokens_per_step=2 * B * T)
    batches = Asked(make_batches().tokens, context_length=T, batch_size=B, seed=5)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=2)
    callbacks = [lambda s: results.append(s.result), lambda s: counts.append(s.progress.skipped)]
    precision = Precision(torch.device("cpu"), "float16", scaler)
    history = run(tiny_gpt(), config, batches, precision=precision, callbacks=callbacks)
    before = [0, *itertools.accumulate(result.skipped for result in results)]
    assert 3 < history.skipped == before[-1] < 8 and counts == before[1:]
    assert asked[::2] == asked[1::2] == [*range(10)] and history.tokens == 20 * B * T
    rates = [scheduled_rate(step - left_out, config) for step, left_out in enumerate(before[:-1])]
    assert [result.learning_rate for result in results] == rates


def test_float16_ends_after_200_steps_where_float32_ends_much_closer_than_another_seed_does():
    def trained(dtype, seed):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=dtype == "float16")
        config = make_config(steps=200, warmup_steps=20, learning_rate=0.01, seed=seed, log_every=1)
        batches = Batches(one_of_three, context_length=T, batch_size=B, seed=seed)
        history = run(tiny_gpt(seed), config, batches, precision=Precision(CPU, dtype, scaler))
        return statistics.mean(result.loss for result in history.steps[-20:])

    one_of_three = np.cumsum(np.random.default_rng(3).integers(1, 4, 5003)) % V  # of them one comes next
    exact = [trained("float32", seed) for seed in range(3)]
    apart = abs(trained("float16", 0) - exact[0])
    assert 0 < apart < 0.1 * statistics.stdev(exact) and max(exact) < 0.7 * math.log(V)


def test_evaluation_happens_every_so_many_steps_and_at_the_end_in_eval_mode_and_no_step_does():
    evaluated, modes, model = [], [], Tiny().eval()
    model.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    evaluate = lambda state: evaluated.append((state.progress.step, model.training)) or 1.5  # noqa: E731
    history = run(model, make_config(eval_every=4), evaluate=evaluate)
    assert evaluated == [(4, False), (8, False), (10, False)] and modes == [True] * 10 and not model.training
    assert history.evaluations == [(4, 1.5), (8, 1.5), (10, 1.5)]


def test_callbacks_see_each_step_and_each_evaluation_once_and_floats_where_logged_and_at_the_last():
    def callback(state):
        assert (state.result is None) != (state.evaluation is None)
        progress = state.progress
        if state.result is not None:
            assert progress.step == state.result.step + 1 and progress.tokens == progress.step * B * T
        else:
            assert progress.val_losses[-1] == (progress.step, state.evaluation)
        seen.append((progress.step, state.evaluation, state.logged))

    def save(state):
        assert state.evaluation == (2.0 if state.progress.step in (4, 8, 10) else None)

    seen, config = [], make_config(eval_every=4)
    history = run(config=config, callbacks=[callback], evaluate=lambda s: 2.0, save=save, save_seconds=0)
    both = [(s, said) for s in range(1, 11) for said in (None, 2.0) if said is None or s in (4, 8, 10)]
    assert seen == [(s, said, said is None and s in (1, 5, 9, 10)) for s, said in both]
    assert [result.step for result in history.steps] == [0, 4, 8, 9]
    assert history.tokens == 10 * B * T and history.seconds > 0


@pytest.mark.parametrize(
    "changes, of_batches, said",
    [
        ({}, {"batch_size": 5}, "batches of 5 do not match micro_batch_size 3"),
        ({"tokens_per_step": 22}, {}, "tokens_per_step 22 is not a multiple"),
        ({}, {"rank": 1, "world_size": 2}, "rank 1 of 2 .* rank 0 of 1"),
    ],
)
def test_what_does_not_belong_together_is_refused_before_anything_moves(changes, of_batches, said):
    model = Tiny()
    before = weights(model)
    with pytest.raises(ConfigError, match=said):
        run(model, make_config(**changes), make_batches(**of_batches))
    assert same(before, weights(model))


def spoiled(at, factor=math.nan):
    """A loss function: that of this call, and of no other, is multiplied by nan or infinity."""

    def loss_fn(model, batch):
        calls.append(1)
        nats, metrics = next_token_loss(model, batch)
        return nats * (factor if len(calls) == at + 1 else 1), metrics

    calls = []
    return loss_fn


class Earlier:
    """What a checkpoint does to a state: weights, progress."""

    name = "step_00000004"

    def __init__(self, progress):
        self.progress = progress

    def restore(self, state):
        state.model.load_state_dict(weights(Tiny()))
        state.progress = self.progress


@pytest.mark.parametrize(
    "bad, began, left",
    [
        (math.inf, "unsaved", "nothing was saved"),
        (math.nan, "saved", "the last good checkpoint is number 2"),
        (math.nan, "resumed", "the last good checkpoint is step_00000004"),
    ],
)
def test_divergence_ends_the_run_at_once_and_names_the_last_good_checkpoint(bad, began, left):
    saved = Saved()
    options = {"saved": {"save": saved}, "resumed": {"resume": Earlier(Progress(step=4))}}.get(began, {})
    where = rf"at step {7 if began == 'resumed' else 3} with learning rate 0\.0\d+"
    with pytest.raises(
        Divergence, match=rf"the loss is {bad} .* {where} \({left}\): use a peak rate of 0\.01"
    ):
        run(config=make_config(eval_every=2), evaluate=lambda s: 1.0, loss_fn=spoiled(3, bad), **options)
    assert saved == ([0, 2] if began == "saved" else [])


@pytest.mark.parametrize("changes, seen", [({}, [0, 1, 2]), ({"eval_every": 4}, [])])
def test_deferred_steps_are_checked_before_a_save_or_evaluation_and_the_first_is_named(
    monkeypatch, changes, seen
):
    monkeypatch.setattr(Precision, "is_synchronous", property(lambda self: False))
    saved = Saved()
    options = {"evaluate": lambda s: saved(s) and 1.0} if changes else {"save": saved, "save_seconds": 0}
    with pytest.raises(Divergence, match=r"the loss is nan \(by now .* holds nan\) at step 2 "):
        run(config=make_config(log_every=100, **changes), loss_fn=spoiled(2), **options)
    assert saved == seen


@pytest.mark.parametrize(
    "changes, options, expected",
    [
        ({"eval_every": 4}, {"evaluate": lambda s: 1.0}, [0, 4, 8, 10]),
        ({}, {}, [0, 10]),
        ({"eval_every": 4}, {"save_seconds": 0}, [*range(11)]),
    ],
)
def test_save_comes_before_the_first_step_after_each_evaluation_in_time_and_at_the_end(
    changes, options, expected
):
    saved = Saved()
    run(config=make_config(**changes), save=saved, **options)
    assert saved == expected


@pytest.mark.parametrize(
    "values, patience, finished",
    [
        ((3, 2, 2.5, 1.9, 2, 1.9, 1, 1), 2, 6),
        ((3, 2, 2.5, 1.9, 2, 1.8, 1, 1), 2, 8),
        ((3, 2, 2.5, 1.9, 2, 1.9, 1, 1), 0, 8),
    ],
)
def test_early_stop_after_patience_evaluations_in_a_row_that_did_not_lower_the_loss(
    values, patience, finished
):
    config, left = make_config(steps=8, eval_every=1, patience=patience), list(values)
    history = run(config=config, evaluate=lambda state: left.pop(0))
    assert [step for step, _ in history.evaluations] == [*range(1, finished + 1)]
    assert history.stopped_early == (finished < 8)


def test_compile_trains_the_same_in_one_graph_and_leaves_the_model_as_it_is(monkeypatch):
    from torch._dynamo.utils import counters

    def evaluate(state):  # as a run does that writes a line of text: the context grows at every call
        with torch.no_grad():
            return sum(float(state.model(torch.zeros(1, n, dtype=torch.long)).mean()) for n in range(1, T))

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    counters.clear()
    plain, compiled = tiny_gpt(), tiny_gpt()
    for model in (plain, compiled):
        run(model, make_config(compile=model is compiled, eval_every=3), evaluate=evaluate)
    torch.testing.assert_close(weights(plain), weights(compiled))
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    assert type(compiled) is type(plain)


def press_ctrl_c(*_):
    signal.raise_signal(signal.SIGINT)


class Pressing(torch.optim.SGD):
    """An optimiser during whose seventh step Ctrl-C is pressed, so many times; it moves all weights alike."""

    def __init__(self, model, times):
        super().__init__(model.parameters(), lr=1.0)
        self.finished, self.times = 0, times

    def step(self):
        first, *rest = [p for group in self.param_groups for p in group["params"]]
        first.data.add_(1e-3)
        for _ in range(self.times if self.finished == 6 else 0):
            press_ctrl_c()
        for p in rest:
            p.data.add_(1e-3)
        self.finished += 1


@pytest.mark.parametrize(
    "places, expected, measured",
    [
        ({("callback", 7): 1}, [0, 5, 7], [5]),
        ({("evaluation", 5): 1}, [0, 5], [5]),
        ({("evaluation", 5): 2}, [0, 5], []),  # cut short
        ({("save", 5): 1}, [0, 5], [5]),
        ({("callback", 3): 1, ("save", 3): 1}, [0, 3], []),
        ({("callback", 3): 1, ("save", 3): 2}, [0], []),  # whoever presses on gets the end at once
    ],
)
def test_ctrl_c_ends_the_run_when_all_have_had_the_step_and_it_is_saved(places, expected, measured):
    def press(where, state):
        for _ in range(left.pop((where, state.progress.step), 0)):
            press_ctrl_c()

    def evaluate(state):
        press("evaluation", state)
        return 1.0

    def save(state):
        press("save", state)
        return saved(state)

    left, saved, seen, model = dict(places), Saved(), [], Tiny()
    callbacks = [lambda state: press("callback", state), lambda state: seen.append(state.progress.step)]
    config = make_config(eval_every=5)
    history = run(model, config, evaluate=evaluate, save=save, callbacks=callbacks)
    assert history.interrupted and not left and saved == expected and model.training
    assert [step for step, _ in history.evaluations] == measured
    assert history.tokens == seen[-1] * B * T and seen[-1] == max(step for _, step in places)


def test_ctrl_c_during_a_step_lets_it_end_so_that_what_is_saved_is_complete():
    model, other, caller, saved = Tiny(), Tiny(), Tiny(), Saved()
    assert run(model, optimizer=Pressing(model, 1), save=saved).interrupted
    assert not run(other, make_config(steps=7), optimizer=Pressing(other, 0)).interrupted
    with pytest.raises(KeyboardInterrupt):  # where nothing is saved, it goes on to the caller
        run(caller, optimizer=Pressing(caller, 1))
    assert saved == [0, 7] and same(weights(model), weights(other)) and same(weights(caller), weights(other))
    assert caller.training


def test_ctrl_c_twice_cuts_a_step_in_two_and_what_is_left_of_it_is_not_saved():
    model, saved = Tiny(), Saved()
    history = run(model, optimizer=Pressing(model, 2), save=saved)
    assert history.interrupted and saved == [0] and history.tokens == 6 * B * T


def test_resumed_run_counts_its_tokens_and_seconds_on():
    history = run(resume=Earlier(Progress(step=5, tokens=5 * B * T, seconds=100.0)), save=Saved())
    assert history.tokens == 10 * B * T and history.seconds > 100


@pytest.mark.parametrize("step, val_losses", [(10, [1.0]), (6, [1.0, 1.1, 1.2])])
def test_resume_of_a_run_that_had_already_stopped_does_nothing_more(step, val_losses):
    progress = Progress(step=step, val_losses=[(step, loss) for loss in val_losses])
    called, config = [], make_config(eval_every=2, patience=2)
    options = {"evaluate": called.append, "save": called.append, "callbacks": [called.append]}
    run(config=config, resume=Earlier(progress), **options)
    assert called == []


def test_nobody_is_timed_while_rank_zero_saves():
    said, world = [], World()
    world.size, world.meet = 2, lambda: said.append("met")
    world.broadcast = lambda value, source=0: said.append(str(value)) or value
    run(world=world, save=lambda state: said.append("saved") or f"number {state.progress.step}")
    assert said[2:] == ["saved", "met", "number 0", "saved", "met", "number 10"]  # after comparing weights


class Losing(World):
    """Two processes, of which the other one goes before this one asks for the n-th mean."""

    size = 2

    def __init__(self, rank, after):
        self.rank, self.left = rank, after

    def mean(self, value):
        self.left -= 1
        if self.left < 0:
            raise WorldLost("it is gone")
        return value


@pytest.mark.parametrize("within", [0, 1])  # the number of targets, the loss
def test_lost_world_leaves_whole_weights_which_rank_zero_saves(within):
    def keep(state):
        kept.append((state.progress.step, weights(state.model)))
        return f"number {state.progress.step}"

    kept, model, seen = [], Tiny(), []
    noting = lambda s: seen.append(weights(s.model))  # noqa: E731
    with pytest.raises(WorldLost, match=r"it is gone \(the last good checkpoint is number 4\)"):
        run(model, save=keep, world=Losing(0, 4 * 2 + within), callbacks=[noting])
    assert [step for step, _ in kept] == [0, 4] and len(seen) == 4
    assert same(kept[-1][1], seen[-1]) and same(weights(model), seen[-1])
    with pytest.raises(WorldLost, match=r"it is gone \(nothing was saved\)"):
        run(world=Losing(1, 9), save=keep)
    assert len(kept) == 2


def test_lost_world_is_said_where_the_disk_refuses_too_and_saves_nothing_where_a_card_is_still_at_work(
    monkeypatch,
):
    def full(state):
        if state.progress.step:
            raise OSError(28, "No space left on device")
        return "number 0"

    kept = Saved()
    with pytest.raises(WorldLost, match=r"it is gone \(the last good checkpoint is number 0\)"):
        run(save=full, world=Losing(0, 9))
    monkeypatch.setattr(Precision, "is_synchronous", False)
    with pytest.raises(WorldLost, match="it is gone"):
        run(save=kept, world=Losing(0, 9))
    assert kept == [0]


def test_precision_handed_over_is_part_of_what_a_resumed_run_must_keep():
    kept = []
    save = lambda state: kept.append(state.provenance) or "kept"  # noqa: E731
    precision = Precision(torch.device("cpu"), "bfloat16", torch.amp.GradScaler("cpu", enabled=False))
    run(tiny_gpt(), make_config(), make_batches(), save=save)
    run(tiny_gpt(), make_config(), make_batches(), save=save, precision=precision)
    assert list(differences(kept[0], kept[-1])) == ["precision was not there and is bfloat16"]
