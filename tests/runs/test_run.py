"""Tests of tinylm.runs.run."""

import math
import re
import shutil
from dataclasses import replace

import pytest
import torch

from tests.support.tiny_run import files, interrupt_at, tiny
from tinylm.errors import CheckpointError, ConfigError, Divergence, RunError
from tinylm.inference.evaluate import Evaluation
from tinylm.runs import callbacks, paths, run
from tinylm.runs.paths import open_checkpoint
from tinylm.runs.records import read_record
from tinylm.runs.run import new_folder, resume, run_recipe
from tinylm.storage import weights
from tinylm.text import corpora
from tinylm.text.tokenizers import CharTokenizer

pytestmark = pytest.mark.usefixtures("mine")


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
    with pytest.raises(ConfigError, match="cannot name a run"):
        new_folder("small", name)


def test_a_run_leaves_its_record_and_its_last_weights(mine, capsys):
    finished = run_recipe(tiny(), name="one", command="python -m tinylm train shakespeare_char")
    assert finished == run.RunResult(mine / "one", False)
    record = read_record(mine / "one" / "record.jsonl")
    assert record.header["recipe"] == "shakespeare_char"
    assert record.header["command"] == "python -m tinylm train shakespeare_char"
    assert record.header["data"] == record.header["reading"]["corpus"] == "toyworld-plays"
    assert record.header["tokens"] == 7 * 3 * 31
    assert record.header["forecast_seconds"] == pytest.approx(7 * 3 * 31 / 12345)
    assert [line["step"] for line in record.steps] == [0, 2, 4, 6]
    assert [line["step"] for line in record.evaluations] == [3, 6, 7]
    assert (record.end["interrupted"], record.end["tokens"]) == (False, 7 * 3 * 31)
    opened = open_checkpoint("one")
    assert (opened.notes["step"], opened.corpus) == (7, "toyworld-plays")
    last = record.evaluations[-1]
    assert opened.notes["loss"] == last["loss"]
    measured, text = run.validate(opened)
    assert measured.loss == pytest.approx(last["loss"], rel=1e-6)
    assert measured.n_tokens == last["n_tokens"] == len(text.validation) - 1
    assert last["bits_per_byte"] == pytest.approx(measured.bits_per_token, rel=1e-6)
    printed = capsys.readouterr().out
    assert printed.index("forecast") < printed.index("step 3: validation loss") < printed.index("took ")
    assert "\n  '" in printed or '\n  "' in printed  # a line by the model under each evaluation
    assert re.search(r"took .*, \d+\.\d\d times its forecast \(less than a second\)\n", printed)
    assert str(mine) not in printed


def test_the_same_recipe_gives_the_same_weights_bit_for_bit():
    first, second = (open_checkpoint(run_recipe(tiny(), command="").folder).model for _ in range(2))
    for mine, yours in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, yours)


@pytest.mark.parametrize("call, step", [(1, 3), (2, 6)])
def test_ctrl_c_keeps_the_weights_of_that_moment_and_closes_the_record(mine, monkeypatch, capsys, call, step):
    interrupt_at(monkeypatch, call)
    assert run_recipe(tiny(), name="cut", command="").interrupted
    assert open_checkpoint("cut").notes["step"] == step
    end = read_record(mine / "cut" / "record.jsonl").end
    assert (end["interrupted"], end["tokens"]) == (True, step * 3 * 31)
    assert f"ended early, after {step} steps" in capsys.readouterr().out


def test_a_run_that_diverges_keeps_its_last_good_checkpoint_and_has_no_end(mine, monkeypatch):
    losses = iter([2.0, math.inf])
    monkeypatch.setattr(callbacks, "evaluate", lambda *_, **__: Evaluation(next(losses), 0.1, 10))
    with pytest.raises(
        Divergence,
        match=r"the validation loss is inf at step 6 .* checkpoint is mine/far/checkpoints/step_00000003",
    ):
        run_recipe(tiny(), name="far", command="")
    assert open_checkpoint("far").notes["step"] == 3
    assert read_record(mine / "far" / "record.jsonl").end is None


def test_a_refused_run_leaves_nothing_behind(mine):
    with pytest.raises(ConfigError, match="tokens_per_step 94 is not a multiple"):
        run_recipe(tiny(tokens_per_step=94), command="")
    assert not mine.exists()


@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon", "tokens_per_step": 2 * 3 * 31}])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_run_that_was_stopped_and_resumed_leaves_the_very_files_of_one_that_never_was(
    mine, monkeypatch, capsys, call, changes
):
    recipe = tiny(**changes)
    recipe = replace(recipe, model=replace(recipe.model, dropout=0.2))
    run_recipe(recipe, name="whole", command="")
    with monkeypatch.context() as patched:
        interrupt_at(patched, call)
        assert run_recipe(recipe, name="parts", command="").interrupted
    step = (3, 6, 7)[call - 1]
    capsys.readouterr()
    assert resume("parts") == run.RunResult(mine / "parts", False)
    printed = capsys.readouterr().out
    assert f"going on from step_{step:08d}: {step} of 7 steps are done" in printed
    assert "up to rounding" not in printed and f"step {step}: validation loss" in printed
    assert files(mine / "parts") == files(mine / "whole")
    end = read_record(mine / "parts" / "record.jsonl").end
    assert end["tokens"] == 7 * recipe.train.tokens_per_step and end["interrupted"] is False


def test_the_last_checkpoints_and_the_best_are_kept(mine, monkeypatch):
    losses = iter([2.0, 1.0, 1.5, 1.2, 1.3])
    monkeypatch.setattr(callbacks, "evaluate", lambda *_, **__: Evaluation(next(losses), 0.1, 10))
    run_recipe(tiny(eval_every=2, steps=9), name="many", command="")
    kept = sorted(path.name for path in (mine / "many" / "checkpoints").iterdir())
    assert kept == ["step_00000004", "step_00000008", "step_00000009"]
    assert open_checkpoint("many").notes["loss"] == 1.3  # the latest weights, not the luckiest
    assert read_record(mine / "many" / "record.jsonl").evaluations[-1]["loss"] == 1.3


def test_an_early_stop_is_said_and_written_down(mine, monkeypatch, capsys):
    losses = iter([2.0, 2.1, 2.0, 9.0])
    monkeypatch.setattr(callbacks, "evaluate", lambda *_, **__: Evaluation(next(losses), 0.1, 10))
    run_recipe(tiny(eval_every=1, patience=2), name="early", command="")
    end = read_record(mine / "early" / "record.jsonl").end
    assert end["stopped_early"] is True and end["interrupted"] is False and end["tokens"] == 3 * 93
    said = capsys.readouterr().out
    assert "stopped early, after 3 steps: 2 evaluations had not lowered the loss" in said
    assert open_checkpoint(said.partition("the lowest is kept: ")[2].splitlines()[0]).notes["loss"] == 2.0
    with pytest.raises(RunError, match="the run early ended after 3 of 7 steps"):
        resume("early")


def test_a_run_that_has_ended_has_nothing_to_go_on_with_and_is_left_as_it_was(mine):
    run_recipe(tiny(), name="done", command="")
    before = {path: path.read_bytes() for path in (mine / "done").rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="the run done ended after 7 of 7 steps, there is nothing to go"):
        resume("done")
    assert {path: path.read_bytes() for path in (mine / "done").rglob("*") if path.is_file()} == before


def cut(monkeypatch, name="cut", **changes):
    """A run that was ended by Ctrl-C at its second evaluation, after six of seven steps."""
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2)
        run_recipe(tiny(**changes), name=name, command="")


def test_a_damaged_checkpoint_is_passed_over_in_one_line_and_an_earlier_one_taken(mine, monkeypatch, capsys):
    run_recipe(tiny(), name="whole", command="")
    cut(monkeypatch)
    file = mine / "cut" / "checkpoints" / "step_00000006" / "training.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    capsys.readouterr()
    resume("cut")
    printed = capsys.readouterr().out
    passed_over = (
        f"passed over: mine/cut/checkpoints/{file.parent.name}/{file.name} is not the file that was saved"
    )
    assert [passed_over in line for line in printed.splitlines()].count(True) == 1
    assert "going on from step_00000003" in printed
    assert files(mine / "cut") == files(mine / "whole")


def test_an_altered_line_of_the_record_is_refused_and_nothing_is_touched(mine, monkeypatch):
    cut(monkeypatch)
    path = mine / "cut" / "record.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    for number in (0, 2):
        lines = [line.replace(b":", b";", 1) if n == number else line for n, line in enumerate(whole)]
        path.write_bytes(b"".join(lines))
        with pytest.raises(RunError, match=f"line {number + 1} of {len(whole)} in record.jsonl is not"):
            resume("cut")
        assert path.read_bytes() == b"".join(lines)
    path.write_bytes(b"")
    with pytest.raises(RunError, match="restore the file"):
        resume("cut")
    assert path.read_bytes() == b""


def test_a_checkpoint_of_another_run_is_refused_beside_this_record(mine, monkeypatch):
    cut(monkeypatch)
    cut(monkeypatch, name="other", seed=77)
    before = (mine / "cut" / "record.jsonl").read_bytes()
    shutil.rmtree(mine / "cut" / "checkpoints")
    shutil.copytree(mine / "other" / "checkpoints", mine / "cut" / "checkpoints")
    with pytest.raises(
        CheckpointError, match=r"step_00000006 belongs to another run: train.seed was 77 and is 1;"
    ):
        resume("cut")
    assert (mine / "cut" / "record.jsonl").read_bytes() == before


def test_a_run_whose_output_nobody_reads_any_more_says_how_to_go_on(mine, monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError(32, "Broken pipe")

    with monkeypatch.context() as patched:
        patched.setattr(callbacks.tqdm, "write", closed)
        with pytest.raises(RunError, match=r"after step 3, because nobody reads its output; .* resume piped"):
            run_recipe(tiny(), name="piped", command="")
    resume("piped")


def test_a_run_that_was_cut_is_compared_with_the_forecast_of_its_part(mine, monkeypatch):
    shares = []
    monkeypatch.setattr(run, "compared", lambda *_, share: shares.append(share) or "")
    cut(monkeypatch)
    resume("cut")
    assert shares == [pytest.approx(6 / 7), 1.0]


def test_a_run_on_the_text_that_stands_in_goes_on_without_the_one_that_is_missing(mine, monkeypatch):
    monkeypatch.setenv("TINYLM_DATA", str(mine / "no pack"))
    monkeypatch.setenv("TINYLM_CACHE", str(mine / "no cache"))
    monkeypatch.setenv("TINYLM_OFFLINE", "1")
    missing = replace(tiny(), data=replace(tiny().data, corpus="tinyshakespeare"))
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2)
        run_recipe(missing, name="cut", fallback=True, command="")
    resume("cut")
    assert open_checkpoint("cut").notes["step"] == 7


def test_a_checkpoint_says_the_loss_of_its_own_weights_or_none(mine, monkeypatch):
    def stop(self, state):
        real(self, state)
        if state.progress.step == 4:
            raise KeyboardInterrupt

    real = callbacks.Watch.step
    monkeypatch.setattr(callbacks.Watch, "step", stop)
    run_recipe(tiny(), name="between", command="")
    notes = [weights.load(mine / "between" / "checkpoints" / f"step_0000000{n}").notes for n in (3, 4)]
    assert ["loss" in said for said in notes] == [True, False]


def test_a_run_that_no_memory_holds_is_refused_before_anything_is_read(mine, monkeypatch):
    monkeypatch.setattr(run, "cpu_memory_bytes", lambda: 2**18)
    monkeypatch.setattr(run, "prepare", None)
    with pytest.raises(ConfigError, match="of memory and this machine has 0 MiB: use"):
        run_recipe(tiny(), name="large", command="")
    assert not (mine / "large").exists()


OTHERS = {
    "another text": (lambda m: m.setattr(corpora, "GENERATED_CHARACTERS", 20_500), "text was .* and is"),
    "another tokenizer": (
        lambda m: m.setattr(CharTokenizer, "fingerprint", property(lambda self: "0" * 64)),
        "tokenizer was .* and is 000",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_going_on_with_something_else_is_refused_with_the_difference_and_nothing_is_touched(
    mine, monkeypatch, what
):
    cut(monkeypatch)
    before = {path: path.read_bytes() for path in (mine / "cut").rglob("*") if path.is_file()}
    change, sentence = OTHERS[what]
    corpora._generated.cache_clear()
    change(monkeypatch)
    with pytest.raises(CheckpointError, match=f"step_00000006 belongs to another run: .*{sentence}"):
        resume("cut")
    assert {path: path.read_bytes() for path in (mine / "cut").rglob("*") if path.is_file()} == before


def test_a_recipe_that_has_changed_since_is_not_asked_the_run_goes_on_as_it_began(mine, monkeypatch):
    run_recipe(tiny(), name="whole", command="")
    cut(monkeypatch)
    monkeypatch.setattr("tinylm.runs.recipes.RECIPES", {})
    resume("cut")
    assert files(mine / "cut") == files(mine / "whole")


def test_two_trainings_into_one_folder_are_refused_and_a_dead_ones_lock_is_harmless(mine, monkeypatch):
    cut(monkeypatch)
    with (
        run._alone_in(mine / "cut"),
        pytest.raises(RunError, match="another training is writing to the run cut"),
    ):
        resume("cut")
    assert (mine / "cut" / ".lock").exists()  # and is nobody's
    assert not resume("cut").interrupted


def test_a_folder_that_appears_between_the_look_and_the_start_is_refused(mine, monkeypatch):
    def other_process(*_, **__):
        (mine / "raced").mkdir(parents=True)
        return 12345.0

    monkeypatch.setattr(run, "measure_speed", other_process)
    with pytest.raises(RunError, match="the run raced exists already"):
        run_recipe(tiny(), name="raced", command="")
    assert list((mine / "raced").iterdir()) == []


def test_a_run_without_a_checkpoint_yet_says_so(mine):
    (mine / "young").mkdir(parents=True)
    (mine / "young" / "record.jsonl").write_text('{"kind": "header"}\n')
    with pytest.raises(CheckpointError, match="no checkpoint in mine/young/checkpoints: nothing was saved"):
        resume("young")
    with pytest.raises(paths.CheckpointError, match=r"there is no checkpoint nowhere: .* young\)"):
        resume("nowhere")


@pytest.mark.parametrize("number, words", [(28, "No space left on device"), (30, "Read-only file system")])
def test_a_disk_that_refuses_loses_no_earlier_checkpoint_and_the_sentence_says_how_to_go_on(
    mine, monkeypatch, number, words
):
    def refused(*_, **__):
        raise OSError(number, words)

    run_recipe(tiny(), name="whole", command="")
    with monkeypatch.context() as patched:
        saves = []
        real = weights.write_tensors
        patched.setattr(
            weights, "write_tensors", lambda *a: real(*a) if saves.append(1) or len(saves) < 5 else refused()
        )
        with pytest.raises(
            RunError, match=f"the run full stopped after step 6, because the disk refused: {words}"
        ):
            run_recipe(tiny(), name="full", command="")
    assert open_checkpoint("full").notes["step"] == 3
    resume("full")
    assert files(mine / "full") == files(mine / "whole")
