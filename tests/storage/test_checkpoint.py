"""A run that was stopped and goes on equals one that never was, to the bit; what is not complete is refused;
and which checkpoints are kept, removed and taken to go on from."""

import errno
import json
import math
import os
import re
from pathlib import Path

import pytest
import torch

from tests.support.fault_injection import Faults
from tests.support.tiny import LETTERS, QUIET, B, T, bits_of, by_columns, make_batches, make_config, tiny_gpt
from tests.support.tiny_run import contents
from tinylm.device import Precision
from tinylm.errors import CheckpointError
from tinylm.model.gpt import GPT
from tinylm.storage import checkpoint, weights
from tinylm.storage.atomic import write_json
from tinylm.storage.checkpoint import folder_of, load, load_newest, rotate, save, saved_steps
from tinylm.training.loop import train
from tinylm.training.optim import build_optimizer
from tinylm.training.provenance import default_provenance
from tinylm.training.state import TrainingState
from tinylm.training.step import train_step


def keep(folder):
    """A `save` for the loop: one checkpoint after the other into the same folder."""

    def saving(state):
        save(folder, state, tokenizer=LETTERS.to_json(), notes={"step": state.progress.step})
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


def fresh(**changes):
    """A state in which nothing was done yet."""
    model, config, batches = tiny_gpt(dropout=0.3), make_config(**changes), make_batches()
    optimizer, precision = build_optimizer(model, config), Precision.of("cpu", "float32")
    provenance = default_provenance(model, config, batches)
    return TrainingState(model, optimizer, precision, config, batches, provenance=provenance)


def fresh_after_a_step():
    state = fresh()
    train_step(state.model, state.optimizer, state.batches, step=0, config=state.config)
    return state


def of_another_torch(model, config):
    """As another torch makes it, which has one more key in its parameter groups."""
    made = build_optimizer(model, config)
    for group in made.param_groups:
        group["decoupled_weight_decay"] = True
    return made


def plain(model, config):
    return torch.optim.SGD(model.parameters(), lr=0.1)


EXPERTS = {"n_expert": 5, "n_shared_expert": 1, "router": "sigmoid", "router_bias": True}
CASES = {  # settings, and where it matters how the optimiser is made when it is saved and afterwards
    "adamw": ({}, None, None),
    "muon": ({"optimizer": "muon"}, None, None),
    "no memory": ({}, plain, plain),
    "float16 that overflows": ({"log_every": 1}, None, None),
    "experts": ({"tokens_per_step": 2 * 3 * 7, "micro_batch_size": 3}, None, None),
    "another torch saved it": ({}, of_another_torch, build_optimizer),
    "another torch goes on": ({"optimizer": "muon"}, build_optimizer, of_another_torch),
}


@pytest.mark.parametrize("order", [lambda model: model, by_columns], ids=["by rows", "by columns"])
@pytest.mark.parametrize("case", CASES)
def test_resume_equals_uninterrupted_run_bitwise(tmp_path, case, order):
    (changes, then, now), found = CASES[case], {}
    config = make_config(**changes)
    # Uninterrupted; then in parts: what a resumed one starts from must not matter.
    for seed, folder, stop in [
        (0, "whole", None),
        *((n, "parts", s) for n, s in enumerate([1, 3, 7, 9, None])),
    ]:
        model = order(tiny_gpt(seed, dropout=0.3, **(EXPERTS if case == "experts" else {})))
        optimizer = ((now if seed else then) or build_optimizer)(model, config)
        keys = [set(group) for group in optimizer.param_groups]
        options = {"save": keep(tmp_path / folder), "callbacks": [stop_after(stop)], "optimizer": optimizer}
        if case == "float16 that overflows":  # in its first steps, and again when the scale has doubled twice
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=2)
            options["precision"] = Precision(torch.device("cpu"), "float16", scaler)
        history = run(model, config, resume=found.get("parts"), **options)
        assert history.interrupted == (stop is not None)
        assert [set(group) for group in optimizer.param_groups] == keys
        found[folder] = load(tmp_path / folder)
    assert bits_of(found["parts"].model.tensors) == bits_of(found["whole"].model.tensors)
    biases = found["parts"].model.tensors.get("blocks.0.mlp.router_bias")
    assert (biases is None or len(biases.unique()) > 1) and (biases is None) == (case != "experts")
    assert bits_of(found["parts"].tensors) == bits_of(found["whole"].tensors)
    assert found["parts"].provenance == found["whole"].provenance
    assert found["parts"].data["scaler"] == found["whole"].data["scaler"]
    counts = [(found[name].progress.tokens, found[name].progress.skipped) for name in ("parts", "whole")]
    assert counts == 2 * [(10 * config.tokens_per_step, counts[0][1])]
    assert (counts[0][1] > 3) == (case == "float16 that overflows")


def test_checkpoint_holds_progress_provenance_and_a_model_like_any_other(tmp_path):
    model = tiny_gpt(dropout=0.3)
    saved = load(made(tmp_path / "here", steps=7, model=model))
    progress, tokens = saved.progress, torch.tensor([[1, 5, 2]])
    assert (progress.step, progress.tokens, progress.val_losses) == (7, 7 * B * T, [(3, 1.5), (6, 1.5)])
    assert progress.seconds > 0
    assert (saved.model.tokenizer, saved.model.notes) == (LETTERS, {"step": 7})
    assert saved.config == make_config(eval_every=3) and saved.provenance["train"]["seed"] == 5
    assert saved.tensors["final_norm.bias/exp_avg"].shape == (6,)
    assert torch.equal(weights.load(tmp_path / "here").model(tokens), model.eval()(tokens))


def test_restore_builds_no_second_model(tmp_path, monkeypatch):
    was, now = fresh_after_a_step(), fresh()
    keep(tmp_path / "here")(was)
    build = GPT.__init__

    def shapes_alone(*args, **more):
        assert torch.get_default_device() == torch.device("meta"), "a second model"
        build(*args, **more)

    monkeypatch.setattr(GPT, "__init__", shapes_alone)
    load(tmp_path / "here").restore(now)
    assert bits_of(now.model.state_dict()) == bits_of(was.model.state_dict())


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def put_another_runs(path):
    other = made(path.parent.with_name("other"), steps=5, seed=7)
    path.write_bytes((other / path.name).read_bytes())


def put_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [Path.unlink, flip_one_bit, put_another_runs, put_a_pipe])
@pytest.mark.parametrize("name", ["tinylm.json", "training.safetensors", "training.json"])
def test_damaged_file_is_refused_by_name_with_what_was_expected_and_found(tmp_path, name, damage):
    damage(made(tmp_path / "here") / name)
    with pytest.raises(CheckpointError) as refusal:
        load(tmp_path / "here")
    said = str(refusal.value)
    assert "\n" not in said
    if name != "training.json":
        assert f"here/{name} is damaged" in said and "expected" in said and "found" in said
    else:  # one of another run does not vouch for the files beside it
        assert ("here/tinylm.json is damaged" if damage is put_another_runs else name) in said


ODD = [
    *[({name: None}, f"{name} is None") for name in ("step", "val_losses", "scaler", "optimizer", "files")],
    ({"val_losses": [None]}, "NoneType"),
    ({"val_losses": [[3, "x"]]}, "could not convert"),
    ({"tokens": 1.5}, "tokens is 1.5"),
    ({"files": {"tinylm.json": None}}, "expected None"),
]


@pytest.mark.parametrize("change, sentence", ODD)
def test_odd_fields_are_refused_in_a_sentence_even_under_their_own_seal(tmp_path, change, sentence):
    path = made(tmp_path / "here") / "training.json"
    data = json.loads(path.read_text())
    del data["content_sha256"]
    write_json(path, data | change, sealed=True)
    with pytest.raises(CheckpointError, match=rf"(training|tinylm)\.json is damaged .*{sentence}") as refusal:
        load(tmp_path / "here")
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


OTHERS = [
    ({"optimizer": "muon"}, {}, "optimizer was adamw and is muon, optimizer was AdamW and is MuonAdamW"),
    ({}, {"seed": 6}, "batches.seed was 5 and is 6"),
    ({"seed": 6, "beta2": 0.9}, {}, "train.beta2 was 0.99 and is 0.9, train.seed was 5 and is 6"),
]


@pytest.mark.parametrize("changes, order, sentence", OTHERS)
def test_resume_with_something_else_is_refused_field_by_field_and_touches_nothing(
    tmp_path, changes, order, sentence
):
    saved, model = load(made(tmp_path / "here")), tiny_gpt(dropout=0.3)
    before, config = bits_of(model.state_dict()), make_config(**{"eval_every": 3} | changes)
    with pytest.raises(CheckpointError, match=f"^here belongs to another run: .*{sentence}"):
        run(model, config, make_batches(**order), resume=saved)
    assert bits_of(model.state_dict()) == before


NAME = "blocks.0.mlp.up.weight/exp_avg"
MEMORIES = {
    "one gone": lambda t: t.pop(NAME),
    "all gone": dict.clear,
    "one more": lambda t: t.update({f"{NAME}_more": t[NAME]}),
    "another shape": lambda t: t.update({NAME: t[NAME].mT}),
    "complex": lambda t: t.update({NAME: t[NAME].cfloat()}),
    "steps in a row": lambda t: t.update({NAME.replace("exp_avg", "step"): torch.ones(5)}),
}


@pytest.mark.parametrize("case", MEMORIES)
def test_resume_with_a_memory_that_fits_only_partly_is_refused_and_touches_nothing(tmp_path, case):
    saved, model = load(made(tmp_path / "here")), tiny_gpt(dropout=0.3)
    before = bits_of(model.state_dict())
    MEMORIES[case](saved.tensors)
    with pytest.raises(CheckpointError, match=r"^here/training.safetensors is damaged .* its model asks for"):
        run(model, make_config(eval_every=3), resume=saved)
    assert bits_of(model.state_dict()) == before


def infinite_weight(state):
    state.model.blocks[0].mlp.up.weight.data.fill_(math.inf)


def infinite_average(state):
    state.optimizer.state_dict()["state"][0]["exp_avg"].fill_(math.inf)


def another_models_optimizer(state):
    state.optimizer = build_optimizer(tiny_gpt(), state.config)


SPOILT = [
    (infinite_weight, "blocks.0.mlp.up.weight holds infinity: numbers that are not"),
    (infinite_average, "token_embedding.weight/exp_avg holds infinity: numbers that are not"),
    (another_models_optimizer, "16 of the optimiser's parameters are not the model's"),
]


@pytest.mark.parametrize("spoil, sentence", SPOILT)
def test_state_that_nobody_could_go_on_from_is_not_saved_and_the_earlier_one_stays(tmp_path, spoil, sentence):
    folder, state = made(tmp_path / "here"), fresh_after_a_step()
    before = contents(tmp_path)
    spoil(state)
    with pytest.raises(CheckpointError, match=sentence):
        keep(folder)(state)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors", "training.safetensors"])
def test_disk_that_is_full_as_the_system_says_it_leaves_the_earlier_checkpoint_whole(tmp_path, file):
    """No file may grow beyond a limit that the system itself enforces, one byte short of one of the files."""
    resource = pytest.importorskip("resource")  # not on Windows
    folder = made(tmp_path / "here")
    before, (soft, hard) = contents(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / file).stat().st_size - 1, hard))
    try:
        with pytest.raises(OSError) as refusal:
            keep(folder)(fresh_after_a_step())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(refusal.value) == f"[Errno {errno.EFBIG}] {os.strerror(errno.EFBIG)}: {str(folder)!r}"
    assert contents(tmp_path) == before and load(folder).progress.step == 4


def folders(home, *steps):
    for step in steps:
        (home / folder_of(step)).mkdir()


@pytest.mark.parametrize(
    "there, step, best, stay",
    [
        ([0, 5, 10, 15], 10, 0, [0, 5, 10, 15]),  # 15 is of a future that is not reached again yet
        ([100_000_000, 99_999_999, 5], 100_000_000, None, [99_999_999, 100_000_000]),
    ],
)
def test_rotate_keeps_the_last_ones_and_the_best(tmp_path, there, step, best, stay):
    folders(tmp_path, *there)
    rotate(tmp_path, step=step, best=best)
    assert saved_steps(tmp_path) == stay
    assert {p.name for p in tmp_path.iterdir()} == {folder_of(s) for s in stay}


def test_rotate_leaves_what_holds_more_than_a_checkpoint(tmp_path):
    folders(tmp_path, 0, 5, 10, 15)
    (tmp_path / folder_of(0) / "notes.txt").write_text("mine")
    rotate(tmp_path, step=15, best=None)
    assert saved_steps(tmp_path) == [0, 10, 15]


def test_rotate_takes_the_name_before_the_files_and_tidies_up_after_a_cut(tmp_path, monkeypatch):
    folders(tmp_path, 2, 5, 10, 15)
    for name in (".step_00000015.partial", ".step_00000010.earlier", "notes", "step_x"):
        (tmp_path / name).mkdir()
    assert saved_steps(tmp_path) == [2, 5, 10, 15]
    with monkeypatch.context() as patched:
        Faults(patched, 0, "refused")  # a disk that refuses is no reason to stop
        rotate(tmp_path, step=15, best=5)
        patched.undo()
        patched.setattr(checkpoint.shutil, "rmtree", lambda path, **_: None)
        rotate(tmp_path, step=15, best=5)
    assert saved_steps(tmp_path) == [5, 10, 15]
    rotate(tmp_path, step=15, best=5)
    assert {p.name for p in tmp_path.iterdir()} == {*map(folder_of, (5, 10, 15)), "notes", "step_x"}


@pytest.fixture
def three(tmp_path, monkeypatch):
    """Checkpoints after 2, 4 and 6 steps, in a folder that is called as it is from its parent."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "checkpoints"
    for step in (2, 4, 6):
        made(home / folder_of(step), steps=step)
    return home


def test_load_newest_passes_over_whatever_is_damaged_in_one_sentence_each(three):
    saved, passed_over = load_newest("checkpoints")
    assert (saved.progress.step, saved.name, passed_over) == (6, "step_00000006", [])
    (three / folder_of(9)).write_text("a file where a folder should be")
    (three / folder_of(7)).symlink_to(three / folder_of(7))
    (three / folder_of(6) / "training.json").write_text('{"x": ' + "[" * 100_000)
    path = three / folder_of(4) / "training.safetensors"
    path.unlink()
    path.mkdir()
    saved, passed_over = load_newest("checkpoints")
    said = ("9: training.json", "7: training.json", "6/training.json is .*, it is not JSON", "found None:")
    assert saved.progress.step == 2
    for sentence, fragment in zip(passed_over, said, strict=True):
        assert re.search(fragment, sentence) and "checkpoints/step_" in sentence and "\n" not in sentence
        assert str(three) not in sentence


def test_nothing_complete_to_go_on_from_is_refused_with_what_is_wrong_with_the_newest(three):
    for step in (2, 4, 6):
        (three / folder_of(step) / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"no complete checkpoint in checkpoints: .*step_00000006/"):
        load_newest("checkpoints")
    with pytest.raises(CheckpointError, match="no complete checkpoint in nowhere: none was saved yet"):
        load_newest("nowhere")
    (three / folder_of(2)).rename(three / folder_of(9))
    with pytest.raises(CheckpointError, match=r"step_00000009/training.json is damaged .*, step is 2: "):
        load_newest("checkpoints")
    weights.save("alone", tiny_gpt(), tokenizer=LETTERS.to_json(), notes={})
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at alone: training.json is missing"):
        load("alone")
