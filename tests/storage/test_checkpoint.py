"""A run that was stopped and goes on equals one that never was, to the bit; what is not complete is refused;
and which checkpoints are kept, removed and taken to go on from."""

import dataclasses
import errno
import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import torch

from tests.support.tiny import QUIET, B, T, V, bits_of, make_batches, make_config, tiny_gpt
from tinylm.device import Precision
from tinylm.errors import CheckpointError
from tinylm.model.gpt import GPT
from tinylm.storage import checkpoint, weights
from tinylm.storage.atomic import write_json
from tinylm.storage.checkpoint import folder_of, load, load_newest, rotate, save, saved_steps
from tinylm.text.batches import Batches
from tinylm.training.loop import train
from tinylm.training.optim import build_optimizer
from tinylm.training.progress import TrainingState, default_provenance
from tinylm.training.step import train_step

TOKENIZER = {"kind": "characters", "characters": "abcdefghijklm", "lowercase": False, "unknown": None}
FILES = ("model.safetensors", "tokenizer.json", "tinylm.json", "training.safetensors", "training.json")


def keep(folder):
    """A `save` for the loop: one checkpoint after the other into the same folder."""

    def saving(state):
        save(folder, state, tokenizer=TOKENIZER, notes={"step": state.progress.step})
        return folder.name

    return saving


def stop_after(step):
    """A callback that presses Ctrl-C."""

    def callback(state):
        if state.result is not None and state.progress.step == step:
            raise KeyboardInterrupt

    return callback


def run(model, config, batches=None, **options):
    return train(model, batches or make_batches(), config, **QUIET | options)


def made(folder, steps=4, model=None, **changes):
    """A checkpoint of a run that ended after so many steps of its ten."""
    options = {"save": keep(folder), "evaluate": lambda s: 1.5, "callbacks": [stop_after(steps)]}
    run(model or tiny_gpt(dropout=0.3), make_config(**({"eval_every": 3} | changes)), **options)
    return folder


def fresh(scale=None, **changes):
    """A state in which nothing was done yet."""
    model, config, batches = tiny_gpt(dropout=0.3), make_config(**changes), make_batches()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
    return TrainingState(
        model,
        build_optimizer(model, config),
        Precision(torch.device("cpu"), "float32", scaler),
        config,
        batches,
        provenance=default_provenance(model, config, batches),
    )


def edit(folder, change):
    """Change training.json and seal it again: only what is said can give it away."""
    data = json.loads((folder / "training.json").read_text())
    del data["content_sha256"]
    change(data)
    write_json(folder / "training.json", data, sealed=True)


CASES = {
    "adamw": {},
    "muon": {"optimizer": "muon"},
    "accumulation": {"tokens_per_step": 3 * B * T},
    "wsd": {"schedule": "wsd", "grad_clip": 0.05},
    "to zero": {"schedule": "linear", "min_learning_rate": 0.0, "grad_clip": 0.0},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stops", [(1,), (4,), (3, 7, 9)])
def test_resume_equals_uninterrupted_run_bitwise(tmp_path, case, stops):
    changes, model = CASES[case], tiny_gpt(dropout=0.3)
    run(model, make_config(**changes), save=keep(tmp_path / "uninterrupted"))
    resume = None
    for number, stop in enumerate([*stops, None]):
        other = tiny_gpt(seed=number, dropout=0.3)  # what a resumed one starts from must not matter
        options = {"save": keep(tmp_path / "parts"), "callbacks": [stop_after(stop)], "resume": resume}
        history = run(other, make_config(**changes), **options)
        assert history.interrupted == (stop is not None)
        resume = load(tmp_path / "parts")
    assert bits_of(other.state_dict()) == bits_of(model.state_dict())
    expected, found = load(tmp_path / "uninterrupted"), load(tmp_path / "parts")
    assert bits_of(found.tensors) == bits_of(expected.tensors)
    assert (found.optimizer, found.provenance) == (expected.optimizer, expected.provenance)
    assert found.progress.tokens == expected.progress.tokens == 10 * make_config(**changes).tokens_per_step


def by_columns(model):
    for matrix in (p for p in model.parameters() if p.ndim == 2):
        matrix.data = matrix.data.t().contiguous().t()
    return model


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resume_of_a_model_stored_by_columns_equals_uninterrupted_run_bitwise(tmp_path, optimizer):
    config, model = make_config(optimizer=optimizer), by_columns(tiny_gpt(dropout=0.3))
    run(model, config)
    resume = load(
        made(tmp_path / "here", model=by_columns(tiny_gpt(dropout=0.3)), eval_every=0, optimizer=optimizer)
    )
    other = by_columns(tiny_gpt(seed=1, dropout=0.3))
    run(other, config, resume=resume)
    assert bits_of(other.state_dict()) == bits_of(model.state_dict())


OPTIMIZERS = {
    "momentum": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "amsgrad": lambda m: torch.optim.Adam(m.parameters(), lr=0.01, amsgrad=True),
    "rprop": lambda m: torch.optim.Rprop(m.parameters(), lr=0.01),
    "forgetful": lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_resume_with_any_of_torchs_optimisers_is_bitwise(tmp_path, kind):
    ends = []
    for stop, resumed in ((None, False), (4, False), (None, True)):
        model = tiny_gpt(dropout=0.3)
        options = {"callbacks": [stop_after(stop)], "optimizer": OPTIMIZERS[kind](model)}
        options |= {"save": keep(tmp_path / "here")} if stop else {}
        options |= {"resume": load(tmp_path / "here")} if resumed else {}
        run(model, make_config(), **options)
        ends.append(bits_of(model.state_dict()))
    assert ends[0] == ends[2] != ends[1]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("where", ["when it was saved", "now"])
def test_resume_survives_what_another_torch_has_in_its_parameter_groups(tmp_path, optimizer, where):
    def other_torch(model, config):
        made = build_optimizer(model, config)
        for group in made.param_groups:
            group["decoupled_weight_decay"] = True
        return made

    config, model = make_config(optimizer=optimizer), tiny_gpt(dropout=0.3)
    run(model, config)
    then, now = (
        (other_torch, build_optimizer) if where == "when it was saved" else (build_optimizer, other_torch)
    )
    stopped, other = tiny_gpt(dropout=0.3), tiny_gpt(dropout=0.3, seed=1)
    options = {"save": keep(tmp_path / "here"), "callbacks": [stop_after(4)]}
    run(stopped, config, optimizer=then(stopped, config), **options)
    optimizer = now(other, config)
    keys = [set(group) for group in optimizer.param_groups]
    run(other, config, optimizer=optimizer, resume=load(tmp_path / "here"))
    assert bits_of(other.state_dict()) == bits_of(model.state_dict())
    assert [set(group) for group in optimizer.param_groups] == keys


def test_checkpoint_holds_progress_provenance_and_the_model(tmp_path):
    saved = load(made(tmp_path / "here", steps=7))
    progress = saved.progress
    assert (progress.step, progress.tokens, progress.val_losses) == (7, 7 * B * T, [(3, 1.5), (6, 1.5)])
    assert progress.seconds > 0
    assert (
        saved.model.tokenizer == TOKENIZER
        and saved.model.notes == {"step": 7}
        and saved.rounding("cpu") is None
    )
    assert saved.config == make_config(eval_every=3) and saved.provenance["train"]["seed"] == 5
    assert saved.tensors["final_norm.bias/exp_avg"].shape == (6,)


def test_checkpoint_is_changed_by_nobody(tmp_path):
    saved = load(made(tmp_path / "here"))
    before = bits_of(saved.tensors), bits_of(saved.model.tensors), repr(saved.progress)
    ends = []
    for _ in range(2):
        model = tiny_gpt(dropout=0.3)
        run(model, make_config(eval_every=3), resume=saved, evaluate=lambda s: 1.0)
        ends.append(bits_of(model.state_dict()))
    assert (bits_of(saved.tensors), bits_of(saved.model.tensors), repr(saved.progress)) == before
    assert ends[0] == ends[1]


def test_checkpoint_holds_the_float16_scaler(tmp_path):
    was, now = fresh(scale=2.0**11), fresh(scale=2.0**5)
    keep(tmp_path / "here")(was)
    load(tmp_path / "here").restore(now)
    assert now.precision.scaler.state_dict() == was.precision.scaler.state_dict()


def test_resume_builds_no_second_model(tmp_path, monkeypatch):
    folder, state = made(tmp_path / "here"), fresh(eval_every=3)
    monkeypatch.setattr(GPT, "__init__", lambda *_: pytest.fail("a second model"))
    load(folder).restore(state)
    assert state.progress.step == 4


def test_each_file_is_hashed_once_a_save_and_once_a_load(tmp_path, monkeypatch):
    hashed, state = [], fresh()
    for name in ("file_digest", "sha256"):
        real = getattr(hashlib, name)
        monkeypatch.setattr(hashlib, name, lambda *a, name=name, real=real: hashed.append(name) or real(*a))
    keep(tmp_path / "here")(state)
    assert hashed == ["sha256"] * 7  # of five files, and of two objects that are sealed
    hashed.clear()
    load(tmp_path / "here")
    assert sorted(hashed) == ["file_digest"] * 4 + ["sha256"] * 2


def test_checkpoint_can_be_opened_as_a_model_like_any_other(tmp_path):
    model = tiny_gpt(dropout=0.3)
    opened = weights.load(made(tmp_path / "here", steps=10, model=model))
    tokens = torch.tensor([[1, 5, 2]])
    assert torch.equal(opened.model(tokens), model.eval()(tokens))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "one bit", "of another run"])
def test_damaged_file_is_refused_by_name_with_what_was_expected_and_found(tmp_path, name, damage):
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
        assert f"here/{name} is damaged" in said and "expected" in said and "found" in said
    elif damage == "of another run":
        assert "here/tinylm.json is damaged" in said  # the one that it does not vouch for
    else:
        assert name in said


SECTIONS = ("progress", "provenance", "environment", "scaler", "optimizer", "files")
ODD = {
    **{f"no {name}": lambda d, name=name: d.pop(name) for name in SECTIONS},
    **{f"{name} is a list": lambda d, name=name: d.update({name: []}) for name in SECTIONS},
    "more": lambda d: d.update(more=1),
    "an unknown counter": lambda d: d["progress"].update(epochs=3),
    "losses of three": lambda d: d["progress"].update(val_losses=[[1, 2.0, 3]]),
    "losses of text": lambda d: d["progress"].update(val_losses=["ab"]),
    "no losses": lambda d: d["progress"].update(val_losses=[None]),
    "no training": lambda d: d["provenance"].pop("train"),
    "training of numbers": lambda d: d["provenance"].update(train=3),
    "training of lists": lambda d: d["provenance"].update(train=[1, 2]),
    "an unknown setting": lambda d: d["provenance"]["train"].update(warmup=3),
    "a setting out of range": lambda d: d["provenance"]["train"].update(steps=-3),
    "files of nothing": lambda d: d["files"].update({"tinylm.json": None}),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_fields_are_refused_in_a_sentence_even_under_their_own_seal(tmp_path, odd):
    edit(made(tmp_path / "here"), ODD[odd])
    with pytest.raises(CheckpointError, match=r"(training|tinylm)\.json") as refusal:
        load(tmp_path / "here")
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


def test_memory_of_an_unknown_parameter_is_refused_before_anything_is_restored(tmp_path):
    saved = load(made(tmp_path / "here"))
    state = fresh(eval_every=3)
    before = bits_of(state.model.state_dict())
    stranger = dataclasses.replace(saved, tensors=saved.tensors | {"moon.weight/exp_avg": torch.ones(3)})
    with pytest.raises(
        CheckpointError, match=r"here trained moon\.weight, which the optimiser does not have"
    ):
        stranger.restore(state)
    assert bits_of(state.model.state_dict()) == before and state.progress.step == 0


def test_training_of_another_version_is_refused_in_a_sentence(tmp_path):
    edit(made(tmp_path / "here"), lambda data: data.update(version=1))
    said = "training.json is damaged or from another tinylm, version is 1: .* the tinylm that wrote it"
    with pytest.raises(CheckpointError, match=said):
        load(tmp_path / "here")


def test_weights_alone_are_no_place_to_go_on_from(tmp_path):
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
    "the optimiser": ({"optimizer": "muon"}, {}, None, "optimizer was AdamW and is MuonAdamW"),
    "one token": ({}, {}, other_tokens, "batches.tokens was "),
    "the order": ({}, {}, lambda: make_batches(seed=6), "batches.seed was 5 and is 6"),
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
def test_resume_with_something_else_is_refused_field_by_field_and_touches_nothing(tmp_path, what):
    changes, shape, batches, sentence = OTHERS[what]
    saved = load(made(tmp_path / "here"))
    model = tiny_gpt(**{"dropout": 0.3} | shape)
    before = bits_of(model.state_dict())
    config = make_config(**{"eval_every": 3} | changes)
    with pytest.raises(CheckpointError) as refusal:
        run(model, config, batches() if batches else None, resume=saved)
    assert sentence in str(refusal.value) and str(refusal.value).startswith("here belongs to another run: ")
    assert bits_of(model.state_dict()) == before


def test_resume_compares_the_provenance_that_the_run_was_given(tmp_path):
    for recipe in ("one", "other"):
        run(
            tiny_gpt(),
            make_config(),
            save=keep(tmp_path / recipe),
            provenance={"recipe": recipe, "train": make_config().to_json()},
        )
    with pytest.raises(CheckpointError, match="one belongs to another run: recipe was one and is other"):
        run(
            tiny_gpt(),
            make_config(),
            resume=load(tmp_path / "one"),
            provenance=load(tmp_path / "other").provenance,
        )


def test_optimiser_of_another_model_is_not_saved(tmp_path):
    state = fresh()
    state.optimizer = build_optimizer(tiny_gpt(), state.config)
    with pytest.raises(CheckpointError, match=r"16 of the optimiser's parameters are none of the model's"):
        keep(tmp_path / "here")(state)
    assert not (tmp_path / "here").exists()


def test_rounding_names_another_torch_or_number_of_threads(tmp_path, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(torch, "get_num_threads", lambda: 7)
        made(tmp_path / "here")
    assert load(tmp_path / "here").rounding("cpu") == (
        f"equal up to rounding, not to the bit: threads 7 → {torch.get_num_threads()}"
    )


def test_numbers_that_are_not_finite_are_never_saved(tmp_path):
    folder = made(tmp_path / "here")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    state = fresh()
    train_step(state.model, state.optimizer, state.batches, step=0, config=state.config)
    with torch.no_grad():
        state.model.blocks[0].mlp.up.weight[1, 2] = float("inf")
    with pytest.raises(CheckpointError, match=r"blocks.0.mlp.up.weight holds infinity: numbers that are not"):
        keep(folder)(state)
    state.model.load_state_dict(tiny_gpt().state_dict())
    state.optimizer.state_dict()["state"][0]["exp_avg"][0, 0] = float("nan")
    with pytest.raises(
        CheckpointError, match=r"token_embedding.weight/exp_avg holds nan: numbers that are not"
    ):
        keep(folder)(state)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_disk_that_really_refuses_says_so_as_any_file_does_and_the_earlier_checkpoint_stays(tmp_path, name):
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


def test_tensor_that_is_part_of_a_larger_one_is_saved_alone(tmp_path):
    state = fresh()
    train_step(state.model, state.optimizer, state.batches, step=0, config=state.config)
    large = torch.arange(10_000.0)
    for number, memory in enumerate(state.optimizer.state.values()):
        shape = memory["exp_avg"].shape
        memory["exp_avg"] = large[number * 100 : number * 100 + shape.numel()].view(shape)
    keep(tmp_path / "here")(state)
    name = "token_embedding.weight/exp_avg"
    assert torch.equal(load(tmp_path / "here").tensors[name].flatten(), large[: V * 6])
    assert (tmp_path / "here" / "training.safetensors").stat().st_size < 4 * large.numel()


def folders(home, *steps):
    for step in steps:
        (home / folder_of(step)).mkdir(parents=True)
        (home / folder_of(step) / "file").write_text("x")


@pytest.mark.parametrize(
    "there, step, best, stay",
    [
        ([0, 5, 10, 15], 15, 5, [5, 10, 15]),
        ([0, 5, 10, 15], 15, 15, [10, 15]),
        ([0, 5, 10, 15], 15, None, [10, 15]),
        ([0, 5, 10, 15], 10, 0, [0, 5, 10, 15]),  # 15 is of a future that is not reached again yet
        ([5, 30, 35], 5, 5, [5, 30, 35]),
        ([7], 7, 3, [7]),
        ([100_000_000, 99_999_999, 5], 100_000_000, None, [99_999_999, 100_000_000]),
    ],
)
def test_rotate_keeps_the_last_ones_and_the_best(tmp_path, there, step, best, stay):
    folders(tmp_path, *there)
    rotate(tmp_path, step=step, best=best)
    assert saved_steps(tmp_path) == stay
    assert {p.name for p in tmp_path.iterdir()} == {folder_of(s) for s in stay}


def test_rotate_removes_what_a_cut_left_behind_and_no_other_files(tmp_path):
    folders(tmp_path, 5, 10)
    for name in (".step_00000005.removed", ".step_00000015.partial", "notes", "step_x"):
        (tmp_path / name).mkdir()
    rotate(tmp_path, step=10, best=None)
    assert {p.name for p in tmp_path.iterdir()} == {"step_00000005", "step_00000010", "notes", "step_x"}


def test_rotate_gives_one_that_was_set_aside_its_name_back(tmp_path):
    folders(tmp_path, 5, 10, 15)
    (tmp_path / folder_of(5)).rename(tmp_path / ".step_00000005.earlier")
    assert saved_steps(tmp_path) == [5, 10, 15]
    rotate(tmp_path, step=15, best=5)
    assert {p.name for p in tmp_path.iterdir()} == {folder_of(s) for s in (5, 10, 15)}


def test_rotate_takes_the_name_before_the_files(tmp_path, monkeypatch):
    folders(tmp_path, 5, 10, 15)
    seen = []
    monkeypatch.setattr(
        checkpoint.shutil, "rmtree", lambda path, **_: seen.append((path.name, saved_steps(tmp_path)))
    )
    rotate(tmp_path, step=15, best=None)
    assert seen == [(".step_00000005.removed", [10, 15])]


def test_rotate_on_a_disk_that_refuses_is_no_reason_to_stop(tmp_path, monkeypatch):
    folders(tmp_path, 5, 10, 15)

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "rename", refuse)
        rotate(tmp_path, step=15, best=None)
    assert saved_steps(tmp_path) == [5, 10, 15]
    rotate(tmp_path, step=15, best=None)
    assert saved_steps(tmp_path) == [10, 15]


@pytest.fixture
def three(tmp_path, monkeypatch):
    """Checkpoints after 2, 4 and 6 steps, in a folder that is called as it is from its parent."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "checkpoints"
    for step in (2, 4, 6):
        made(home / folder_of(step), steps=step)
    return home


def deep(path):
    path.write_text('{"x": ' + "[" * 100_000)


def test_load_newest_passes_over_whatever_is_damaged_in_one_sentence_each(three):
    saved, passed_over = load_newest("checkpoints")
    assert (saved.progress.step, saved.name, passed_over) == (6, "step_00000006", [])
    (three / folder_of(8)).write_text("a file where a folder should be")
    deep(three / folder_of(6) / "training.json")
    path = three / folder_of(4) / "training.safetensors"
    path.unlink()
    path.mkdir()
    saved, passed_over = load_newest("checkpoints")
    assert saved.progress.step == 2 and len(passed_over) == 3
    for sentence, said in zip(
        passed_over,
        ("8 is .*, Not a directory:", "6/training.json is .*, it is not JSON", "4 is .*, Is a directory:"),
        strict=True,
    ):
        assert re.match(f"checkpoints/step_0000000{said}", sentence) and str(three) not in sentence


def test_load_newest_finds_one_that_had_stepped_aside(three):
    (three / folder_of(6)).rename(three / ".step_00000006.earlier")
    saved, passed_over = load_newest("checkpoints")
    assert (saved.progress.step, passed_over) == (6, [])


def test_load_newest_without_a_complete_one_says_what_is_wrong_with_the_newest(three):
    for step in (2, 4, 6):
        (three / folder_of(step) / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"no complete checkpoint in checkpoints: .*step_00000006/"):
        load_newest("checkpoints")
    with pytest.raises(CheckpointError, match="no complete checkpoint in nowhere: nothing was saved yet"):
        load_newest("nowhere")


def test_load_newest_passes_over_a_checkpoint_under_another_steps_name(three):
    shutil.copytree(three / folder_of(6), three / folder_of(8))
    saved, passed_over = load_newest("checkpoints")
    assert saved.progress.step == 6 and len(passed_over) == 1 and "after 6 steps" in passed_over[0]
