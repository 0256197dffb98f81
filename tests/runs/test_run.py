"""Runs: what a training leaves behind, how it is resumed, and what is refused with nothing changed."""

import json
import math
import re
import shutil
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.tiny_run import contents, evaluation, files, interrupt_at, losses_are, tiny
from tinylm.errors import CheckpointError, ConfigError, Divergence, RunError
from tinylm.runs import paths, run
from tinylm.runs.paths import open_checkpoint
from tinylm.runs.records import RunRecord, read_record, record_header
from tinylm.runs.run import new_folder, resume, run_recipe
from tinylm.storage import weights
from tinylm.text import corpora
from tinylm.text.shards import write_shards
from tinylm.text.tokenizers import CharTokenizer

pytestmark = pytest.mark.usefixtures("mine")


def cut(monkeypatch, name="cut", **changes):
    """A run that was ended by Ctrl-C at its second evaluation, after six of seven steps."""
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2)
        run_recipe(tiny(**changes), name=name, command="")


# --- names and folders


def test_unnamed_runs_are_numbered_and_nothing_is_made_by_asking(mine):
    assert new_folder("small") == new_folder("small") == mine / "small-1"
    for taken in ("small-1", "small-2"):
        (mine / taken).mkdir(parents=True)
    assert new_folder("small") == mine / "small-3"


def test_run_name_that_is_taken_is_refused_with_the_way_out(mine):
    run_recipe(tiny(), name="old", command="")
    RunRecord(mine / "timed" / "record.jsonl", record_header("benchmark", command="")).close()
    for taken in ("old", "timed"):
        with pytest.raises(RunError, match=f"the run {taken} exists already: choose another --run name"):
            new_folder("small", taken)
    with pytest.raises(ConfigError, match="cannot name a run"):
        new_folder("small", "../x")


@pytest.mark.parametrize(
    "left", [None, b"", b'{"kind": "hea', b'{"kind": "header"}\n{"kind": "step", "step": 0}\n']
)
def test_run_without_a_checkpoint_says_so_and_begins_again_under_its_name(mine, left):
    (mine / "young" / "checkpoints").mkdir(parents=True)
    if left is not None:
        (mine / "young" / "record.jsonl").write_bytes(left)
        for command in (resume, open_checkpoint):
            with pytest.raises(
                CheckpointError, match=r"no checkpoint in mine/young, .* train it again, also as --run y"
            ):
                command("young")
    run_recipe(tiny(), name="young", command="")
    assert [line["step"] for line in read_record(mine / "young" / "record.jsonl").steps] == [0, 2, 4, 6]


def test_resume_of_what_is_no_run_names_the_nearest(mine, monkeypatch):
    cut(monkeypatch)
    with pytest.raises(
        CheckpointError, match=r"there is no run nowhere: did you mean cut\? \(there is cut\)"
    ):
        resume("nowhere")


def test_lock_refuses_a_second_training_and_a_dead_one_is_harmless(mine, monkeypatch):
    cut(monkeypatch)
    (mine / "young").mkdir()
    for name, command in (("cut", resume), ("young", lambda name: run_recipe(tiny(), name=name, command=""))):
        with (
            run._alone_in(mine / name),
            pytest.raises(RunError, match=f"another training is writing to the run {name}"),
        ):
            command(name)
    assert (mine / "cut" / ".lock").exists()  # and is nobody's
    assert not resume("cut").interrupted


def test_named_run_into_which_another_process_saved_meanwhile_is_left_alone(mine, monkeypatch):
    real = run._alone_in

    @contextmanager
    def late(folder):
        (folder / "checkpoints" / "step_00000007").mkdir(parents=True)
        with real(folder):
            yield

    monkeypatch.setattr(run, "_alone_in", late)
    with pytest.raises(RunError, match="the run raced exists already"):
        run_recipe(tiny(), name="raced", command="")
    assert (mine / "raced" / "checkpoints" / "step_00000007").is_dir()


# --- what a run leaves behind


def test_run_leaves_its_record_its_checkpoints_and_its_model(mine, capsys):
    result = run_recipe(tiny(), name="one", command="python -m tinylm train shakespeare_char")
    assert (result.folder, result.interrupted) == (mine / "one", False)
    record = read_record(mine / "one" / "record.jsonl")
    header = record.header
    assert header["command"] == "python -m tinylm train shakespeare_char"
    assert header["data"] == header["reading"]["corpus"] == "toyworld-plays"
    assert (header["recipe"], header["tokens"], header["threads"]) == ("shakespeare_char", 7 * 3 * 31, 1)
    assert header["forecast_seconds"] == pytest.approx(7 * 3 * 31 / 12345)
    assert (header["model"], header["train"]["steps"]) == (result.model.config.to_json(), 7)
    assert [line["step"] for line in record.steps] == [0, 2, 4, 6]
    assert [line["step"] for line in record.evaluations] == [3, 6, 7]
    assert (record.end["interrupted"], record.end["tokens"]) == (False, 7 * 3 * 31)
    printed = capsys.readouterr().out
    assert printed.index("forecast") < printed.index("step 3: validation loss") < printed.index("took ")
    assert "\n  '" in printed or '\n  "' in printed  # a line by the model under each evaluation
    assert re.search(r"took .*, \d+\.\d\d times its forecast \(less than a second\)\n", printed)
    assert str(mine) not in printed


def test_model_that_a_run_returns_is_the_one_it_saved_and_validate_measures_its_last_loss(mine):
    result = run_recipe(tiny(), name="one", command="")
    opened, last = open_checkpoint("one"), read_record(mine / "one" / "record.jsonl").evaluations[-1]
    assert not result.model.training and result.tokenizer.fingerprint == opened.tokenizer.fingerprint
    for returned, saved in zip(result.model.parameters(), opened.model.parameters(), strict=True):
        assert torch.equal(returned, saved)
    assert (opened.notes["step"], opened.corpus, opened.notes["loss"]) == (7, "toyworld-plays", last["loss"])
    measured, dataset = run.validate("one")
    assert (measured.n_tokens, measured.unit) == (last["n_tokens"], last["unit"])
    assert measured.loss == pytest.approx(last["loss"], rel=1e-6)
    assert measured.bits_per_byte == pytest.approx(last["bits_per_byte"], rel=1e-6)
    assert (dataset.name, dataset.source) == ("toyworld-plays", "generated")


def test_same_recipe_gives_the_same_weights_bitwise():
    first, second = (run_recipe(tiny(), command="").model for _ in range(2))
    for mine, yours in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, yours)


def test_last_checkpoints_and_the_best_are_kept(mine, monkeypatch):
    losses_are(monkeypatch, 2.0, 1.0, 1.5, 1.2, 1.3)
    run_recipe(tiny(eval_every=2, steps=9), name="many", command="")
    kept = sorted(path.name for path in (mine / "many" / "checkpoints").iterdir())
    assert kept == ["step_00000004", "step_00000008", "step_00000009"]
    assert open_checkpoint("many").notes["loss"] == 1.3  # the latest weights, not the luckiest


def test_early_stop_is_printed_and_written_down(mine, monkeypatch, capsys):
    losses_are(monkeypatch, 2.0, 2.1, 2.0, 9.0)
    run_recipe(tiny(eval_every=1, patience=2), name="early", command="")
    end = read_record(mine / "early" / "record.jsonl").end
    assert end["stopped_early"] is True and end["interrupted"] is False and end["tokens"] == 3 * 93
    printed = capsys.readouterr().out
    assert "stopped early, after 3 steps: 2 evaluations had not lowered the loss" in printed
    assert open_checkpoint(printed.partition("the lowest is kept: ")[2].splitlines()[0]).notes["loss"] == 2.0
    with pytest.raises(RunError, match="the run early ended after 3 of 7 steps"):
        resume("early")


def test_checkpoint_carries_the_loss_of_its_own_weights_or_none(mine, monkeypatch):
    real = run.Run.__call__

    def stop(self, state):
        real(self, state)
        if state.result is not None and state.result.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(run.Run, "__call__", stop)
    run_recipe(tiny(), name="between", command="")
    notes = [weights.load(mine / "between" / "checkpoints" / f"step_0000000{n}").notes for n in (3, 4)]
    assert ["loss" in said for said in notes] == [True, False]


def test_threads_follow_the_work_unless_they_are_asked_for(mine, monkeypatch):
    trained = []
    found = lambda *_, **__: trained.append(torch.get_num_threads()) or evaluation(1.0)  # noqa: E731
    monkeypatch.setattr(run, "evaluate", found)
    torch.set_num_threads(2)
    for variable in (None, "2"):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if variable:
            monkeypatch.setenv("OMP_NUM_THREADS", variable)
        run_recipe(tiny(eval_every=0), command="")
        assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert trained == [1, 2]
    assert read_record(mine / "shakespeare_char-1" / "record.jsonl").header["threads"] == 1


# --- runs that break


def test_divergence_keeps_the_last_good_checkpoint_and_has_no_end(mine, monkeypatch):
    losses_are(monkeypatch, 2.0, math.inf)
    words = r"the validation loss is inf at step 6 .* checkpoint is mine/far/checkpoints/step_00000003"
    with pytest.raises(Divergence, match=words):
        run_recipe(tiny(), name="far", command="")
    assert open_checkpoint("far").notes["step"] == 3
    assert read_record(mine / "far" / "record.jsonl").end is None


def test_run_that_cannot_work_is_refused_before_anything_is_read_or_written(mine, monkeypatch):
    monkeypatch.setattr(run, "build_experiment", None)
    with pytest.raises(ConfigError, match="tokens_per_step 94 is not a multiple"):
        run_recipe(tiny(tokens_per_step=94), command="")
    monkeypatch.setattr(run.device, "cpu_memory_bytes", lambda: 2**18)
    with pytest.raises(ConfigError, match="of memory and this machine has 0 MiB: use"):
        run_recipe(tiny(), name="large", command="")
    assert not mine.exists()


def test_output_that_nobody_reads_ends_a_run_with_how_to_resume(mine, monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError(32, "Broken pipe")

    with monkeypatch.context() as patched:
        patched.setattr(run.tqdm, "write", closed)
        with pytest.raises(RunError, match=r"step 3, because .* refused: Broken pipe; .* resume piped"):
            run_recipe(tiny(), name="piped", command="")
    resume("piped")


@pytest.mark.parametrize("number, words", [(28, "No space left on device"), (30, "Read-only file system")])
def test_full_disk_loses_no_checkpoint_and_its_sentence_says_how_to_go_on(mine, monkeypatch, number, words):
    def refused(*_, **__):
        raise OSError(number, words)

    def sentence(after: int) -> str:
        saves, real = [], weights.write_tensors
        with monkeypatch.context() as patched:
            patched.setattr(
                weights,
                "write_tensors",
                lambda *a: real(*a) if saves.append(1) or len(saves) < after else refused(),
            )
            with pytest.raises(RunError, match=f"because the system refused: {words}") as refusal:
                run_recipe(tiny(), name="full", command="")
        return str(refusal.value)

    run_recipe(tiny(), name="complete", command="")
    assert sentence(1).endswith("nothing was saved yet, train it again, also as --run full")
    assert "the run full stopped after step 6" in (said := sentence(5)) and "resume full` goes on" in said
    assert open_checkpoint("full").notes["step"] == 3
    resume("full")
    assert files(mine / "full") == files(mine / "complete")


def test_folder_removed_while_it_trains_is_told_at_the_next_line_of_the_record(mine, monkeypatch):
    real = run.evaluate

    def removing(*args, **kwargs):
        shutil.rmtree(mine / "gone")
        return real(*args, **kwargs)

    monkeypatch.setattr(run, "evaluate", removing)
    with pytest.raises(RunError, match=r"the run gone stopped after step 3, .*: No such file .* --run gone"):
        run_recipe(tiny(), name="gone", command="")


# --- resume


@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon", "tokens_per_step": 2 * 3 * 31}])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_resume_equals_uninterrupted_run_bitwise(mine, monkeypatch, capsys, call, changes):
    recipe = tiny(model={"dropout": 0.2}, **changes)
    run_recipe(recipe, name="complete", command="")
    with monkeypatch.context() as patched:
        interrupt_at(patched, call)
        assert run_recipe(recipe, name="parts", command="").interrupted
    step = (3, 6, 7)[call - 1]
    assert open_checkpoint("parts").notes["step"] == step
    end = read_record(mine / "parts" / "record.jsonl").end
    assert (end["interrupted"], end["tokens"]) == (True, step * recipe.train.tokens_per_step)
    assert f"ended early, after {step} steps" in capsys.readouterr().out
    assert resume("parts").interrupted is False
    printed = capsys.readouterr().out
    assert f"going on from step_{step:08d}: {step} of 7 steps are done" in printed
    assert "up to rounding" not in printed and f"step {step}: validation loss" in printed
    assert files(mine / "parts") == files(mine / "complete")
    assert f'{{"kind": "resumed", "step": {step}}}' in (mine / "parts" / "record.jsonl").read_text()
    end = read_record(mine / "parts" / "record.jsonl").end
    assert end["tokens"] == 7 * recipe.train.tokens_per_step and end["interrupted"] is False


def test_resume_of_a_run_that_has_ended_is_refused_and_changes_nothing(mine):
    run_recipe(tiny(), name="done", command="")
    before = contents(mine / "done")
    with pytest.raises(RunError, match="the run done ended after 7 of 7 steps, there is nothing to go"):
        resume("done")
    assert contents(mine / "done") == before


def test_resume_passes_over_a_damaged_checkpoint_in_one_line(mine, monkeypatch, capsys):
    run_recipe(tiny(), name="complete", command="")
    cut(monkeypatch)
    file = mine / "cut" / "checkpoints" / "step_00000006" / "training.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    capsys.readouterr()
    resume("cut")
    printed = capsys.readouterr().out
    passed_over = (
        f"passed over: mine/cut/checkpoints/{file.parent.name}/{file.name} is damaged or from another tinylm"
    )
    assert [passed_over in line for line in printed.splitlines()].count(True) == 1
    assert "going on from step_00000003" in printed
    assert files(mine / "cut") == files(mine / "complete")


def test_resume_compares_each_part_with_the_forecast_of_its_tokens(mine, monkeypatch):
    shares = []
    monkeypatch.setattr(run, "format_vs_forecast", lambda *_, share: shares.append(share) or "")
    cut(monkeypatch)
    path = mine / "cut" / "record.jsonl"
    path.write_text(path.read_text().replace('"forecast_seconds"', '"older_name"'))  # a header may lack it
    resume("cut")
    assert shares == [pytest.approx(6 / 7), 1.0]


def test_resume_goes_on_with_the_stand_in_text_without_the_missing_one(mine, monkeypatch):
    monkeypatch.setenv("TINYLM_DATA", str(mine / "no pack"))
    monkeypatch.setenv("TINYLM_CACHE", str(mine / "no cache"))
    monkeypatch.setenv("TINYLM_OFFLINE", "1")
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2)
        run_recipe(tiny(data={"corpus": "tinyshakespeare"}), name="cut", fallback=True, command="")
    resume("cut")
    assert open_checkpoint("cut").notes["step"] == 7


def test_resume_goes_on_as_the_run_began_whatever_the_recipe_says_today(mine, monkeypatch):
    run_recipe(tiny(), name="complete", command="")
    cut(monkeypatch)
    monkeypatch.setattr("tinylm.runs.recipes.RECIPES", {})
    resume("cut")
    assert files(mine / "cut") == files(mine / "complete")


def damage_line(number):
    def damage(folder):
        path = folder / "record.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number] = lines[number].replace(b":", b";", 1)
        path.write_bytes(b"".join(lines))

    return damage


def take_the_others_checkpoints(folder):
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(folder.with_name("other") / "checkpoints", folder / "checkpoints")


def another_text(folder):
    corpora._generated.cache_clear()
    corpora.GENERATED_CHARACTERS = 20_500  # the fixture puts it back


def another_tokenizer(folder):
    CharTokenizer.fingerprint = property(lambda self: "0" * 64)


REFUSED = {
    "an altered header": (damage_line(0), RunError, r"line 1 of \d+ in record.jsonl is not"),
    "an altered line": (damage_line(2), RunError, r"line 3 of \d+ in record.jsonl is not"),
    "an empty record": (
        lambda folder: (folder / "record.jsonl").write_bytes(b""),
        RunError,
        "restore the file",
    ),
    "another run's checkpoint": (
        take_the_others_checkpoints,
        CheckpointError,
        "belongs to another run: seed was 77 and is 1",
    ),
    "another text": (
        another_text,
        CheckpointError,
        "belongs to another run: dataset.fingerprint was .* and is",
    ),
    "another tokenizer": (another_tokenizer, CheckpointError, "tokenizer was .* and is 000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_resume_that_is_refused_changes_nothing(mine, monkeypatch, case):
    change, error, words = REFUSED[case]
    monkeypatch.setattr(CharTokenizer, "fingerprint", CharTokenizer.fingerprint)  # put back at the end
    cut(monkeypatch)
    cut(monkeypatch, name="other", seed=77)
    change(mine / "cut")
    before = contents(mine / "cut")
    for _ in range(2):
        with pytest.raises(error, match=words):
            resume("cut")
    assert contents(mine / "cut") == before


# --- text of one's own, and weights to start from


def write_text(path, n=3000):
    path.write_text("".join(f"line {i % 97}, and no more of it\n" for i in range(n // 30)), encoding="utf-8")
    return path


@pytest.mark.parametrize("typed", ["own.txt", "texts/own", "{}/own.txt"])
def test_own_text_trains_resumes_and_evaluates_from_any_folder(mine, tmp_path, monkeypatch, typed):
    monkeypatch.setattr(paths, "HOME", tmp_path)
    path = tmp_path / typed.format(tmp_path)
    path.parent.mkdir(exist_ok=True)
    write_text(path)
    recipe = tiny(data={"corpus": typed.format(tmp_path)})
    run_recipe(recipe, name="complete", command="")
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2)
        run_recipe(recipe, name="parts", command="")
    decoy = tmp_path / "elsewhere" / path.relative_to(tmp_path)  # another file at the same relative path
    decoy.parent.mkdir(parents=True)
    decoy.write_text(path.read_text()[::-1])
    monkeypatch.chdir(tmp_path / "elsewhere")
    resume("parts")
    assert files(mine / "parts") == files(mine / "complete")
    measured, dataset = run.validate("parts")
    assert (dataset.name, dataset.source) == (path.name, "file")
    assert measured.loss == pytest.approx(
        read_record(mine / "parts" / "record.jsonl").evaluations[-1]["loss"]
    )
    assert str(tmp_path) not in json.dumps(read_record(mine / "parts" / "record.jsonl").header)
    assert str(tmp_path) not in json.dumps(open_checkpoint("parts").notes)
    path.write_text(path.read_text() + "one line more, which the run has not read\n")
    monkeypatch.chdir(tmp_path)
    cut(monkeypatch, name="stale", data={"corpus": typed.format(tmp_path)})
    path.write_text(path.read_text() + "another\n")
    with pytest.raises(CheckpointError, match=r"belongs to another run: dataset.fingerprint was"):
        resume("stale")


def test_shards_train_resume_and_evaluate(mine, tmp_path, monkeypatch):
    tokenizer = CharTokenizer("abcdefg")
    ids = np.random.default_rng(0).integers(0, 7, 2003)
    write_shards(tmp_path / "shards", [ids], tokenizer=tokenizer.to_json(), source="drawn", shard_tokens=701)
    recipe = tiny(data={"corpus": str(tmp_path / "shards")})
    run_recipe(recipe, name="complete", command="")
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2)
        run_recipe(recipe, name="parts", command="")
    resume("parts")
    assert files(mine / "parts") == files(mine / "complete")
    measured, dataset = run.validate("parts")
    assert (dataset.name, dataset.source) == ("shards", "shards")
    assert measured.loss == pytest.approx(
        read_record(mine / "parts" / "record.jsonl").evaluations[-1]["loss"]
    )


def test_init_from_starts_with_those_weights_and_is_part_of_what_must_not_change(mine, monkeypatch):
    first = run_recipe(tiny(), name="first", command="").model
    recipe = tiny(init_from="first", steps=1, warmup_steps=0, learning_rate=0.0, min_learning_rate=0.0)
    second = run_recipe(recipe, name="second", command="").model
    for theirs, ours in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(theirs, ours)
    made = json.loads((paths.find("second") / "training.json").read_text())["provenance"]["init_from"]
    assert made["name"] == "first" and len(made["sha256"]) == 64
    run_recipe(tiny(init_from="first"), name="complete", command="")
    cut(monkeypatch, init_from="first")
    shutil.rmtree(mine / "first")  # its weights have become the run's own
    resume("cut")
    assert files(mine / "cut") == files(mine / "complete")


def test_init_from_weights_that_do_not_fit_is_refused_with_both_values(mine):
    run_recipe(tiny(), name="first", command="")
    wider = replace(tiny(init_from="first"), model=replace(tiny().model, n_layer=2))
    with pytest.raises(CheckpointError, match=r"first .*n_layer was 1 and is 2"):
        run_recipe(wider, command="")
    with pytest.raises(CheckpointError, match=r"first .*tokenizer was .* and is"):
        run_recipe(tiny(init_from="first", data={"lowercase": False}), command="")
