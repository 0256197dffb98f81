"""A run that was stopped and goes on equals one that never was, to the bit; what is not whole is refused."""

import dataclasses
import errno
import json
import pickle

import numpy as np
import pytest
import torch

from tests.support.tiny import QUIET, B, T, V, bits_of, make_batches, make_config, tiny_gpt
from tinylm.errors import CheckpointError
from tinylm.storage import checkpoint, weights
from tinylm.storage.checkpoint import load, save
from tinylm.text.batches import Batches
from tinylm.training.loop import train
from tinylm.training.progress import Progress, TrainingState
from tinylm.training.step import build_optimizer, train_step

TOKENIZER = {"kind": "characters", "characters": "abcdefghijklm"}
FILES = ("model.safetensors", "tokenizer.json", "tinylm.json", "training.safetensors", "training.json")


def keep(folder):
    """A `save` for the loop: one checkpoint after the other into the same folder."""

    def kept(state):
        save(folder, state, tokenizer=TOKENIZER, notes={"step": state.progress.step}, run={"text": "a"})
        return folder.name

    return kept


def made(folder, steps=4, model=None, **changes):
    """A checkpoint of a run that ended after so many steps of its ten."""

    def stop(result):
        if result.step + 1 == steps:
            raise KeyboardInterrupt

    model = model or tiny_gpt(dropout=0.3)
    options = {"save": keep(folder), "evaluate": lambda m: 1.5, "on_step": [stop]}
    train(model, make_batches(), make_config(**({"eval_every": 3} | changes)), **options, **QUIET)
    return folder


CASES = {
    "adamw": {},
    "muon": {"optimizer": "muon"},
    "accumulation": {"tokens_per_step": 3 * B * T},
    "wsd": {"schedule": "wsd", "grad_clip": 0.05},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stops", [(1,), (4,), (3, 7, 9)])
def test_a_run_that_was_stopped_and_goes_on_equals_one_that_never_was_bit_for_bit(tmp_path, case, stops):
    changes, model = CASES[case], tiny_gpt(dropout=0.3)
    whole = keep(tmp_path / "whole")
    train(model, make_batches(), make_config(**changes), save=whole, **QUIET)
    resume = None
    for number, stop in enumerate([*stops, None]):

        def ctrl_c(result, stop=stop):
            if result.step + 1 == stop:
                raise KeyboardInterrupt

        other = tiny_gpt(seed=number, dropout=0.3)  # what a resumed one starts from must not matter
        options = {"save": keep(tmp_path / "parts"), "on_step": [ctrl_c], "resume": resume}
        history = train(other, make_batches(), make_config(**changes), **options, **QUIET)
        assert history.interrupted == (stop is not None)
        resume = load(tmp_path / "parts")
    assert bits_of(other.state_dict()) == bits_of(model.state_dict())
    whole, parts = load(tmp_path / "whole"), load(tmp_path / "parts")
    assert bits_of(parts.tensors) == bits_of(whole.tensors)
    assert (parts.optimizer, parts.identity) == (whole.optimizer, whole.identity)
    assert parts.progress.tokens == whole.progress.tokens == 10 * make_config(**changes).tokens_per_step


def test_everything_the_counters_know_comes_back(tmp_path):
    saved = load(made(tmp_path / "here", steps=7))
    progress = saved.progress
    assert (progress.step, progress.tokens, progress.losses) == (7, 7 * B * T, [(3, 1.5), (6, 1.5)])
    assert progress.seconds > 0
    assert saved.weights.tokenizer == TOKENIZER and saved.weights.notes == {"step": 7}
    assert saved.run == {"text": "a"} and saved.rounding(tiny_gpt()) is None


def test_a_loaded_checkpoint_is_changed_by_nobody(tmp_path):
    saved = load(made(tmp_path / "here"))
    before = bits_of(saved.tensors), bits_of(saved.weights.model.state_dict()), repr(saved.progress)
    ends = []
    for _ in range(2):
        model = tiny_gpt(dropout=0.3)
        train(model, make_batches(), make_config(eval_every=3), resume=saved, evaluate=lambda m: 1.0, **QUIET)
        ends.append(bits_of(model.state_dict()))
    assert (bits_of(saved.tensors), bits_of(saved.weights.model.state_dict()), repr(saved.progress)) == before
    assert ends[0] == ends[1]


def test_the_scaler_comes_back(tmp_path):
    def state(scale):
        model, config = tiny_gpt(), make_config()
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return TrainingState(
            model, build_optimizer(model, config), scaler, config, make_batches(), Progress()
        )

    was, now = state(2.0**11), state(2.0**5)
    keep(tmp_path / "here")(was)
    load(tmp_path / "here").restore(now)
    assert now.scaler.get_scale() == 2.0**11 and now.scaler.state_dict() == was.scaler.state_dict()


def test_a_checkpoint_can_be_sampled_from_like_any_other(tmp_path):
    model = tiny_gpt(dropout=0.3)
    opened = weights.load(made(tmp_path / "here", steps=10, model=model))
    tokens = torch.tensor([[1, 5, 2]])
    assert torch.equal(opened.model(tokens), model.eval()(tokens))


def test_anyone_can_read_a_checkpoint_and_nothing_lies_beside_it(tmp_path):
    folder = made(tmp_path / "here")
    (tmp_path / "file").write_text("")
    assert {p.name for p in folder.iterdir()} == {*FILES}
    assert {p.stat().st_mode for p in folder.iterdir()} == {(tmp_path / "file").stat().st_mode}
    assert {p.name for p in tmp_path.iterdir()} == {"here", "file"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "one bit", "of another run"])
def test_a_damaged_file_is_refused_by_name_with_what_was_expected_and_found(tmp_path, name, damage):
    path = made(tmp_path / "here") / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-7])
    elif damage == "one bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        made(tmp_path / "other", steps=5, seed=7)
        path.write_bytes((tmp_path / "other" / name).read_bytes())
        if content == path.read_bytes():
            return  # the same tokenizer
    with pytest.raises(CheckpointError) as refusal:
        load(tmp_path / "here")
    said = str(refusal.value)
    assert "\n" not in said
    if name != "training.json":
        assert f"here/{name} is not the file" in said and "expected" in said and "found" in said
    elif damage == "of another run":
        assert "here/model.safetensors is not the file" in said  # the one that it does not vouch for
    else:
        assert name in said


@pytest.mark.parametrize("field, value", [("step", 5), ("tokens", 1), ("losses", [[3, 0.1]])])
def test_a_counter_that_was_edited_is_refused(tmp_path, field, value):
    path = made(tmp_path / "here") / "training.json"
    about = json.loads(path.read_text())
    about["progress"][field] = value
    path.write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"here/training.json is not the file .* expected .* found"):
        load(tmp_path / "here")


def test_a_checkpoint_of_another_version_is_refused_with_both(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "VERSION", 2)
        made(tmp_path / "here")
    with pytest.raises(CheckpointError, match="version 2, this tinylm reads 'tinylm training' version 1"):
        load(tmp_path / "here")


def test_a_checkpoint_of_weights_only_is_no_place_to_go_on_from(tmp_path):
    weights.save(tmp_path / "here", tiny_gpt(), tokenizer=TOKENIZER, notes={})
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*here: training.json is missing"):
        load(tmp_path / "here")


def other_tokens():
    tokens = np.random.default_rng(3).integers(0, V, 1009)
    tokens[500] = (tokens[500] + 1) % V
    return Batches(tokens, context_length=T, batch_size=B, seed=5)


OTHERS = {
    "a rate": ({"learning_rate": 0.02}, {}, None, "train.learning_rate was 0.03 and is 0.02"),
    "a seed": ({"seed": 6}, {}, None, "train.seed was 5 and is 6"),
    "a schedule": ({"schedule": "linear"}, {}, None, "train.schedule was cosine and is linear"),
    "more steps": ({"steps": 20}, {}, None, "train.steps was 10 and is 20"),
    "the optimiser": ({"optimizer": "muon"}, {}, None, "optimizer.kind was AdamW and is Optimizers"),
    "one token": ({}, {}, other_tokens, "batches.tokens was "),
    "the order": ({}, {}, lambda: make_batches(seed=6), "batches.seed was 5 and is 6"),
    "the ranks": ({}, {}, lambda: make_batches(world_size=2), "batches.world_size was 1 and is 2"),
    "the width": ({}, {"n_embd": 8}, None, "model.n_embd was 6 and is 8"),
    "dropout": ({}, {"dropout": 0.0}, None, "model.dropout was 0.3 and is 0.0"),
    "two": (
        {"seed": 6, "beta2": 0.9},
        {},
        None,
        "train.beta2 was 0.99 and is 0.9, train.seed was 5 and is 6",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_going_on_with_something_else_is_refused_field_by_field_and_touches_nothing(tmp_path, what):
    changes, shape, batches, sentence = OTHERS[what]
    saved = load(made(tmp_path / "here"))
    model = tiny_gpt(**{"dropout": 0.3} | shape)
    before = bits_of(model.state_dict())
    config = make_config(**{"eval_every": 3} | changes)
    if what == "the ranks":
        config = dataclasses.replace(config, tokens_per_step=2 * B * T)
    with pytest.raises(CheckpointError) as refusal:
        train(model, batches() if batches else make_batches(), config, resume=saved, **QUIET)
    assert sentence in str(refusal.value) and str(refusal.value).startswith("here belongs to another run: ")
    assert bits_of(model.state_dict()) == before


def test_an_optimiser_with_other_numbers_or_over_other_groups_is_refused(tmp_path):
    saved = load(made(tmp_path / "here"))
    for make, sentence in (
        (
            lambda m: torch.optim.AdamW(m.parameters(), weight_decay=0.2),
            "groups.0.weight_decay was 0.1",
        ),
        (lambda m: torch.optim.AdamW(m.parameters(), weight_decay=0.1), "groups.1 was "),
    ):
        model = tiny_gpt(dropout=0.3)
        with pytest.raises(CheckpointError, match=sentence):
            config = make_config(eval_every=3)
            train(model, make_batches(), config, optimizer=make(model), resume=saved, **QUIET)


def test_another_torch_or_number_of_threads_is_said_because_sums_round_otherwise(tmp_path, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(torch, "get_num_threads", lambda: 7)
        made(tmp_path / "here")
    assert load(tmp_path / "here").rounding(tiny_gpt()) == (
        f"equal up to rounding, not to the bit: threads 7 → {torch.get_num_threads()}"
    )


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    folder = made(tmp_path / "here")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    model, config = tiny_gpt(dropout=0.3), make_config()
    state = TrainingState(
        model, build_optimizer(model, config), torch.amp.GradScaler(enabled=False), config, make_batches()
    )
    train_step(model, state.optimizer, state.batches, step=0, config=config)
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[1, 2] = float("inf")
    with pytest.raises(CheckpointError, match=r"blocks.0.mlp.up.weight holds infinity after step 0: here"):
        keep(folder)(state)
    state.model.load_state_dict(tiny_gpt().state_dict())
    state.optimizer.state_dict()["state"][0]["exp_avg"][0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=r"token_embedding.weight/exp_avg holds nan"):
        keep(folder)(state)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_a_disk_that_really_refuses_says_so_as_any_file_does_and_the_earlier_checkpoint_stays(tmp_path, name):
    resource = pytest.importorskip("resource")  # no file may grow beyond the limit: the system's own answer
    here = made(tmp_path / "here", steps=2)
    limit, earlier = (here / name).stat().st_size - 1, load(here).progress
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError) as refused:
            made(here, steps=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (refused.value.errno, refused.value.strerror) == (errno.EFBIG, "File too large")
    assert load(here).progress == earlier or load(here).progress.step == 0
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_tensor_that_is_part_of_a_larger_one_is_saved_alone(tmp_path):
    model, config = tiny_gpt(), make_config()
    optimizer = build_optimizer(model, config)
    state = TrainingState(
        model, optimizer, torch.amp.GradScaler(enabled=False), config, make_batches(), Progress()
    )
    train_step(model, optimizer, state.batches, step=0, config=config)
    large = torch.arange(10_000.0)
    for number, memory in enumerate(optimizer.state.values()):
        shape = memory["exp_avg"].shape
        memory["exp_avg"] = large[number * 100 : number * 100 + shape.numel()].view(shape)
    keep(tmp_path / "here")(state)
    name = "token_embedding.weight/exp_avg"
    assert torch.equal(load(tmp_path / "here").tensors[name].flatten(), large[: V * 6])
    assert (tmp_path / "here" / "training.safetensors").stat().st_size < 4 * large.numel()


class Trap:
    """A pickle that raises when it is opened."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


@pytest.mark.parametrize("name", FILES)
def test_loading_runs_no_code_out_of_a_file(tmp_path, name):
    path = made(tmp_path / "here") / name
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError):
        load(tmp_path / "here")
    with pytest.raises(SystemExit, match="code ran"):
        pickle.loads(path.read_bytes())
