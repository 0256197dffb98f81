"""Runs: what a recipe is read as, what a training leaves behind, how it is resumed, and what is refused with
nothing changed."""

import functools
import json
import math
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.support.shards import write_shards
from tests.support.tiny_run import contents, evaluation, files, interrupt_at, losses_are, tiny
from tinylm.errors import CheckpointError, ConfigError, Divergence, RunError, TinyLMError
from tinylm.inference.evaluate import evaluate
from tinylm.model.gpt import GPT
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.runs import paths, run, task
from tinylm.runs.paths import open_checkpoint
from tinylm.runs.records import RunRecord, read_record, record_header
from tinylm.runs.run import Run, new_folder, resume, run_recipe
from tinylm.runs.scoring import validate
from tinylm.storage import atomic, weights
from tinylm.text import corpora
from tinylm.text.tokenizers import BPETokenizer, CharTokenizer
from tinylm.training.ddp import SINGLE

pytestmark = pytest.mark.usefixtures("mine")


def cut(monkeypatch, name="cut", recipe=None, call=2, **more):
    """A run that Ctrl-C ends at that evaluation: at the second, after six of seven steps."""
    with monkeypatch.context() as patched:
        interrupt_at(patched, call)
        assert run_recipe(recipe or tiny(), name=name, command="", **more).interrupted


def record_of(folder):
    return read_record(folder / "record.jsonl")


def assert_same_weights(first, second):
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


# --- a recipe made ready


def test_recipe_is_read_as_its_data_settings_say_and_trains_on_no_character_of_the_validation_text():
    ready, text = Run(tiny()), corpora.load("toyworld-plays")
    decode, vocab_size = ready.tokenizer.decode, ready.tokenizer.vocab_size
    assert decode(ready.batches.tokens) == text.train.lower()
    assert decode(ready.task.dataset.validation) == text.validation.lower()
    assert ready.model(ready.batches.batch(0).tokens).shape == (3, 31, vocab_size)
    assert ready.recipe.model == ready.model.config
    part = Run(tiny(data={"train_share": 0.3, "lowercase": False}))
    assert part.tokenizer.decode(part.batches.tokens) == text.train[: round(0.3 * len(text.train))]


def test_same_recipe_is_the_same_run_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, second, other = (run_recipe(tiny(seed=seed), command="") for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.provenance == second.provenance != other.provenance
    assert_same_weights(first.model, second.model)
    for of in (lambda run: run.model.token_embedding.weight, lambda run: run.batches.batch(3).tokens):
        assert not torch.equal(of(first), of(other))


# --- names and folders


def test_unnamed_runs_are_numbered_and_a_name_that_is_taken_is_refused_with_the_way_out(mine, monkeypatch):
    (mine / "small-2").mkdir(parents=True)
    with ThreadPoolExecutor(3) as pool:  # three trainings that ask at the same time
        found = sorted(pool.map(lambda _: run.make_folder("small", None), range(3)))
    assert found == ["small-1", "small-3", "small-4"]
    run_recipe(tiny(), name="old", command="")
    RunRecord(mine / "timed" / "record.jsonl", record_header("benchmark", command=""))  # at work
    (mine / "notes").mkdir()
    (mine / "notes" / "record.jsonl").write_text("somebody's own\n")
    for taken in ("old", "timed", "notes"):
        with pytest.raises(RunError, match=f"the run {taken} exists already: choose another --run name"):
            new_folder(taken)


LEFT = [None, b"", b'{"kind": "hea', b'{"kind": "header"}\n{"kind": "step", "step": 0}\n']


@pytest.mark.parametrize("left", LEFT)
def test_run_without_a_checkpoint_says_so_and_begins_again_under_its_name(mine, left):
    draft = mine / "young" / "checkpoints" / ".step_00000099.partial"
    draft.mkdir(parents=True)
    if left is not None:
        (mine / "young" / "record.jsonl").write_bytes(left)
        for command in (resume, open_checkpoint):
            with pytest.raises(CheckpointError, match=r"in mine/young.* saved.* train it again"):
                command("young")
    run_recipe(tiny(), name="young", command="")
    assert [line["step"] for line in record_of(mine / "young").steps] == [0, 2, 4, 6] and not draft.exists()


def test_lock_refuses_a_second_training_and_a_dead_one_is_harmless(mine, monkeypatch):
    cut(monkeypatch)
    (mine / "young").mkdir()
    for name, command in (("cut", resume), ("young", lambda name: run_recipe(tiny(), name=name, command=""))):
        refusal = pytest.raises(RunError, match=f"another training is writing to the run {name}")
        with run._alone_in(mine / name, SINGLE), refusal:
            command(name)
    assert (mine / "cut" / ".lock").exists()  # and is nobody's
    assert not resume("cut").interrupted


def test_named_run_into_which_another_process_saved_meanwhile_is_left_alone(mine, monkeypatch):
    real = run._alone_in

    @contextmanager
    def late(folder, world):
        (folder / "checkpoints" / "step_00000007").mkdir(parents=True)
        with real(folder, world):
            yield

    monkeypatch.setattr(run, "_alone_in", late)
    with pytest.raises(RunError, match="the run raced exists already"):
        run_recipe(tiny(), name="raced", command="")
    assert (mine / "raced" / "checkpoints" / "step_00000007").is_dir()


# --- what a run leaves behind


def test_run_leaves_its_record_its_checkpoints_and_its_model(mine, capsys):
    result = run_recipe(tiny(), name="one", command="")
    assert (result.folder, result.interrupted, result.model.training) == (mine / "one", False, False)
    record = record_of(mine / "one")
    header, last = record.header, record.evaluations[-1]
    assert header["data"] == header["reading"]["corpus"] == "toyworld-plays"
    assert (header["recipe"], header["tokens"], header["threads"]) == ("shakespeare_char", 7 * 3 * 31, 1)
    read = 3 * len(result.task.dataset.validation) / 3  # evaluations, whose forward pass is a third of a step
    assert header["forecast_seconds"] == pytest.approx((7 * 3 * 31 + read) / 12345)
    assert (header["model"], header["train"]["steps"]) == (result.model.config.to_json(), 7)
    assert [line["step"] for line in record.steps] == [0, 2, 4, 6] and "metrics" not in record.steps[0]
    assert {"loss", "learning_rate", "grad_norm", "update_ratio", "seconds"} < set(record.steps[0])
    assert [line["step"] for line in record.evaluations] == [3, 6, 7]
    ended = [record.end[name] for name in ("interrupted", "tokens", "skipped")]
    assert ended == [False, 7 * 3 * 31, 0]
    printed = capsys.readouterr().out
    assert "\n  '" in printed or '\n  "' in printed  # a line by the model under each evaluation
    assert str(mine) not in printed
    opened = open_checkpoint("one")
    assert_same_weights(result.model, opened.model)
    assert (opened.notes["step"], opened.corpus, opened.notes["loss"]) == (7, "toyworld-plays", last["loss"])


def test_last_checkpoints_and_the_best_are_kept(mine, monkeypatch):
    losses_are(monkeypatch, 1.5, 1.0, 1.2, 1.1, 1.3)
    run_recipe(tiny(steps=9, eval_every=2), name="many", command="")
    kept = sorted(path.name for path in (mine / "many" / "checkpoints").iterdir())
    assert kept == ["step_00000004", "step_00000008", "step_00000009"]
    assert open_checkpoint("many").notes["loss"] == 1.3  # the latest weights, not the luckiest


def test_early_stop_is_printed_and_written_down(mine, monkeypatch, capsys):
    losses_are(monkeypatch, 2.0, 2.1, 2.0, 9.0)
    run_recipe(tiny(eval_every=1, patience=2), name="early", command="")
    end = record_of(mine / "early").end
    assert end["stopped_early"] is True and end["interrupted"] is False and end["tokens"] == 3 * 93
    printed = capsys.readouterr().out
    assert "stopped early, after 3 steps, 2 evaluations without a lower loss" in printed
    assert open_checkpoint(printed.partition("the lowest is kept: ")[2].splitlines()[0]).notes["loss"] == 2.0
    with pytest.raises(RunError, match=r"ended after 3 of 7 steps: .* --init-from early"):
        resume("early")


def test_checkpoint_carries_the_loss_of_its_own_weights_or_none(mine, monkeypatch):
    real = Run.on_event

    def stop(self, state):
        real(self, state)
        if state.result is not None and state.result.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "on_event", stop)
    monkeypatch.setattr(task, "evaluate", lambda *_, **__: replace(evaluation(1.0), standard_error=math.nan))
    run_recipe(tiny(), name="between", command="")
    notes = [weights.load(mine / "between" / "checkpoints" / f"step_0000000{n}").notes for n in (3, 4)]
    assert ["loss" in said for said in notes] == [True, False] and "standard_error" not in notes[0]


def test_run_trains_and_measures_with_the_fused_loss_where_nobody_asks_for_the_logits(monkeypatch):
    handed, measured, real = [], [], run.train
    monkeypatch.setattr(run, "train", lambda *a, **b: handed.append(b["loss_fn"]) or real(*a, **b))
    monkeypatch.setattr(run, "measure_speed", lambda model, config, **_: measured.append(config) or 1.0)
    fused, plain = (run_recipe(tiny(fused_loss=fused), command="") for fused in (True, False))
    for one, other in zip(fused.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    run_recipe(stories(data={"recall": 3.0}), command="")
    assert handed == [fused_loss, next_token_loss, fused_loss]
    assert [config.fused_loss for config in measured] == [True, False, True]


def test_evaluation_takes_the_settings_of_training_and_dataset(monkeypatch):
    monkeypatch.setattr(task, "evaluate", lambda *_, **more: more)
    ready, gpu = Run(tiny()), SimpleNamespace(device="a GPU", dtype="bfloat16")
    for settings, n in (({}, None), ({"eval_tokens": 500}, 500)):
        plan = tiny(**settings).train
        asked = ready.evaluate(SimpleNamespace(model=None, world=None, config=plan, precision=gpu))
        assert (asked["max_tokens"], asked["dtype"], asked["bytes_per_token"]) == (n, "bfloat16", 1.0)
        assert len(asked["documents"])


def test_checkpoint_without_a_run_is_validated_as_its_tokenizer_reads_and_on_its_own_alphabet(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "HOME", tmp_path)
    model, tokenizer = GPT(replace(tiny().model, vocab_size=5)), CharTokenizer("\nabcd", lowercase=True)
    notes = {"corpus": "own.txt"}
    weights.save(tmp_path / "shipped", model, tokenizer=tokenizer.to_json(), notes=notes)
    (tmp_path / "own.txt").write_text("abcD\n" * 90)
    measured, dataset = validate(tmp_path / "shipped")
    assert (measured.n_tokens, dataset.name, dataset.source) == (44, "own.txt", "file")
    (tmp_path / "own.txt").write_text("abcE\n" * 90)
    with pytest.raises(CheckpointError, match=r"own\.txt has changed since .*shipped was trained on it"):
        validate(tmp_path / "shipped")


# --- runs that break


def test_divergence_keeps_the_last_good_checkpoint_and_has_no_end(mine, monkeypatch):
    losses_are(monkeypatch, 2.0, math.inf)
    words = r"the validation loss is inf at step 6 .* checkpoint is mine/far/checkpoints/step_00000003"
    with pytest.raises(Divergence, match=words):
        run_recipe(tiny(), name="far", command="")
    assert open_checkpoint("far").notes["step"] == 3
    assert record_of(mine / "far").end is None


def test_run_that_cannot_work_is_refused_before_anything_is_read_or_written(mine, monkeypatch):
    monkeypatch.setattr(run, "read_dataset", None)
    with pytest.raises(ConfigError, match="tokens_per_step 94 is not a multiple"):
        run_recipe(tiny(tokens_per_step=94), command="")
    with pytest.raises(ConfigError, match=r"^float16 on a cpu device has no fast kernels"):
        run_recipe(tiny(dtype="float16"), command="")
    monkeypatch.setattr(run.device, "cpu_memory_bytes", lambda: 2**18)
    with pytest.raises(ConfigError, match="of memory and this machine has 0 MiB: use"):
        run_recipe(tiny(), name="large", command="")
    assert not mine.exists()


def test_output_that_nobody_reads_or_a_folder_that_is_gone_ends_a_run_with_what_to_do(mine, monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError(32, "Broken pipe")

    def removing(*_, **__):
        shutil.rmtree(mine / "gone")
        return evaluation(1.0)

    for name, owner, function, breaking, words in (
        ("piped", run.tqdm, "write", closed, r"step 3, because .* refused: Broken pipe; .* resume piped"),
        ("gone", task, "evaluate", removing, r"step 3, .*: No such file .* resume gone"),
    ):
        refusal = pytest.raises(RunError, match=f"run {name} stopped after {words}")
        with monkeypatch.context() as patched, refusal:
            patched.setattr(owner, function, breaking)
            run_recipe(tiny(), name=name, command="")
    resume("piped")


# --- resume


MUON = {"optimizer": "muon", "tokens_per_step": 2 * 3 * 31}


@pytest.mark.parametrize("call, changes", [(1, {}), (2, MUON), (3, {"compile": True})])
def test_resume_equals_uninterrupted_run_bitwise(mine, monkeypatch, capsys, call, changes):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    recipe, step = tiny(model={"dropout": 0.2}, **changes), (3, 6, 7)[call - 1]
    run_recipe(recipe, name="complete", command="")
    cut(monkeypatch, "parts", recipe, call)
    assert open_checkpoint("parts").notes["step"] == step
    end = record_of(mine / "parts").end
    assert (end["interrupted"], end["tokens"]) == (True, step * recipe.train.tokens_per_step)
    assert f"ended early, after {step} steps" in capsys.readouterr().out
    monkeypatch.setattr("tinylm.runs.recipes.RECIPES", {})  # it goes on as it began, whatever they say today
    assert resume("parts").interrupted is False
    printed = capsys.readouterr().out
    assert f"going on from step_{step:08d}: {step} of 7 steps are done" in printed
    assert f"step {step}: validation loss" in printed
    assert files(mine / "parts") == files(mine / "complete")
    assert f'{{"kind": "resumed", "step": {step}}}' in (mine / "parts" / "record.jsonl").read_text()
    end = record_of(mine / "parts").end
    assert (end["interrupted"], end["tokens"]) == (False, 7 * recipe.train.tokens_per_step)


def test_resume_passes_few_files_that_a_fresh_run_does_not(mine, monkeypatch):
    def called_by(command):
        seen = set()
        sys.setprofile(lambda frame, event, _: event == "call" and seen.add(frame.f_code))
        try:
            command()
        finally:
            sys.setprofile(None)
        return seen

    fresh, again = called_by(lambda: cut(monkeypatch)), called_by(lambda: resume("cut"))
    package = Path(run.__file__).parents[1]
    files = {path for path in (Path(code.co_filename) for code in again - fresh) if package in path.parents}
    own = sorted(path.relative_to(package).as_posix() for path in files)
    assert "storage/checkpoint.py" in own and len(own) <= 12, own


def test_resume_passes_over_a_damaged_checkpoint_in_one_line(mine, monkeypatch, capsys):
    run_recipe(tiny(), name="complete", command="")
    expected = files(mine / "complete")
    cut(monkeypatch)
    for name in ("cut", "complete"):  # one that was stopped, and one that had come to its end
        file = max((mine / name / "checkpoints").glob("*/training.safetensors"))
        file.write_bytes(file.read_bytes()[:-3])
        capsys.readouterr()
        resume(name)
        said = f"passed over: mine/{name}/checkpoints/{file.parent.name}/{file.name} is damaged"
        assert capsys.readouterr().out.count(said) == 1
        assert files(mine / name) == expected


def test_resume_that_is_refused_changes_nothing(mine, monkeypatch):
    cut(monkeypatch)
    cut(monkeypatch, "other", tiny(seed=77))
    shutil.copytree(mine / "cut", mine / "altered")
    record = mine / "altered" / "record.jsonl"
    record.write_bytes(record.read_bytes().replace(b":", b";", 1))
    shutil.rmtree(mine / "cut" / "checkpoints")
    shutil.copytree(mine / "other" / "checkpoints", mine / "cut" / "checkpoints")
    shutil.copytree(mine / "other", mine / "blocked")
    (mine / "blocked" / "checkpoints" / "step_00000007").write_text("mine")
    for name, words in (
        ("blocked", "step_00000007 is not only a checkpoint: move it elsewhere"),
        ("altered", r"line 1 of \d+ in record.jsonl is not"),
        ("cut", "record.jsonl is not as it was at step 6"),  # it is that of another run
    ):
        before = contents(mine / name)
        with pytest.raises(RunError, match=words):
            resume(name)
        assert contents(mine / name) == before


ALTERED = {  # by somebody who knows how a checkpoint is sealed
    "no recipe": lambda about: about["provenance"].pop("recipe"),
    "corpus 5": lambda about: about["provenance"]["data"].update(corpus=5),
    "no such setting": lambda about: about["provenance"]["data"].update(row="lines"),
    "no batches": lambda about: about["provenance"].update(batches=None),
}


def sealed_anew(folder, name, change):
    data = json.loads((folder / name).read_text())
    del data["content_sha256"]
    change(data)
    return atomic.write_json(folder / name, data, sealed=True)


@pytest.mark.parametrize("what", ALTERED)
def test_resume_of_a_checkpoint_that_was_altered_and_sealed_anew_changes_nothing(mine, monkeypatch, what):
    cut(monkeypatch)
    for checkpoint in (mine / "cut" / "checkpoints").iterdir():
        files = {"tinylm.json": sealed_anew(checkpoint, "tinylm.json", ALTERED[what])}
        sealed_anew(checkpoint, "training.json", lambda data, files=files: data["files"].update(files))
    before = contents(mine / "cut")
    with pytest.raises(TinyLMError) as refusal:
        resume("cut")
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500
    assert contents(mine / "cut") == before


def test_record_is_on_the_disk_before_the_checkpoint_that_knows_of_its_lines(mine, monkeypatch):
    flushed, real = [], atomic.flush
    monkeypatch.setattr(atomic, "flush", lambda path: flushed.append(path.name) or real(path))
    run_recipe(tiny(), name="one", command="")
    order = [name for name in flushed if name in ("record.jsonl", "training.json")]
    assert order == ["record.jsonl", "training.json"] * 4  # after 0, 3, 6 and 7 steps


# --- text of one's own, and weights to start from


def assert_resumes_and_evaluates(mine, name, source):
    """`parts` ends as `complete` did, and its own validation text gives the last loss of its record."""
    resume("parts")
    assert files(mine / "parts") == files(mine / "complete")
    (measured, dataset), last = validate("parts"), record_of(mine / "parts").evaluations[-1]
    assert (dataset.name, dataset.source) == (name, source)
    assert measured.loss == pytest.approx(last["loss"])
    assert measured.bits_per_byte == pytest.approx(last["bits_per_byte"])


@pytest.mark.parametrize("typed", ["texts/own", "{}/own.txt"])
def test_own_text_trains_resumes_and_evaluates_from_any_folder(mine, tmp_path, monkeypatch, typed):
    monkeypatch.setattr(paths, "HOME", tmp_path)
    path = tmp_path / typed.format(tmp_path)
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"line {i % 97}, and no more of it\n" for i in range(100)))
    recipe = tiny(data={"corpus": typed.format(tmp_path), "train_share": 0.9})
    run_recipe(recipe, name="complete", command="")
    cut(monkeypatch, "parts", recipe)
    cut(monkeypatch, "stale", recipe)
    decoy = tmp_path / "elsewhere" / path.relative_to(tmp_path)  # another file at the same relative path
    decoy.parent.mkdir(parents=True)
    decoy.write_text(path.read_text()[::-1])
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert_resumes_and_evaluates(mine, path.name, "file")
    assert str(tmp_path) not in json.dumps([record_of(mine / "parts").header, open_checkpoint("parts").notes])
    path.write_text(path.read_text() + "one line more, which the run has not read\n")
    with pytest.raises(CheckpointError, match=r"belongs to another run: dataset.fingerprint was"):
        resume("stale")
    for name in ("stale", "complete"):
        with pytest.raises(CheckpointError, match=rf"{path.name} has changed since .*mine/{name}/.* trained"):
            validate(name)


def test_shards_train_resume_and_evaluate(mine, tmp_path, monkeypatch):
    tokenizer, ids = CharTokenizer("abcdefg"), np.random.default_rng(0).integers(0, 7, 2003)
    write_shards(tmp_path / "shards", [ids], tokenizer=tokenizer.to_json(), source="drawn", shard_tokens=701)
    recipe = tiny(data={"corpus": str(tmp_path / "shards")})
    run_recipe(recipe, name="complete", command="")
    cut(monkeypatch, "parts", recipe)
    assert_resumes_and_evaluates(mine, "shards", "shards")


def stories(*, data=None, **settings):
    read = {"corpus": "toyworld-stories", "tokenizer": "bpe-300", "lowercase": False} | (data or {})
    return tiny(data=read, **settings)


@pytest.mark.parametrize("kind", ["named", "file"])
def test_story_model_trains_resumes_and_evaluates_by_the_tokenizer_that_its_checkpoint_carries(
    mine, tmp_path, monkeypatch, capsys, kind
):
    recipe, file = stories(), tmp_path / "kept.json"
    if kind == "file":
        kept = BPETokenizer.train([corpora.load("toyworld-stories").train], 300).with_special("<|pad|>")
        file.write_text(json.dumps(kept.to_json()))
        recipe = stories(data={"tokenizer": str(file)})
    trained = run_recipe(recipe, name="complete", command="")
    cut(monkeypatch, "parts", recipe)
    file.unlink(missing_ok=True)
    assert_resumes_and_evaluates(mine, "toyworld-stories", "generated")
    opened, record = open_checkpoint("parts"), record_of(mine / "parts")
    header, last = record.header, record.evaluations[-1]
    assert opened.tokenizer == trained.tokenizer and opened.tokenizer.end_of_text == 299
    assert opened.provenance["data"]["tokenizer"] == {"named": "bpe-300", "file": "tokenizer.json"}[kind]
    assert (header["holds"], header["data"]) == ("whole", "toyworld-stories")
    assert str(tmp_path) not in json.dumps([header, opened.notes])
    assert last["unit"].endswith("documents") and 0 < last["bits_per_byte"] < last["loss"]
    assert f" bits per token, {last['bits_per_byte']:.4f} bits per byte (± over " in capsys.readouterr().out
    folder = tmp_path / "shipped"  # without its run
    weights.save(folder, opened.model, tokenizer=opened.tokenizer.to_json(), notes={"corpus": opened.corpus})
    assert validate(folder)[0].loss == pytest.approx(last["loss"])


def test_run_that_weighs_what_is_recalled_resumes_to_the_bit_and_is_evaluated_plainly(mine, monkeypatch):
    recipe = stories(model={"context_length": 24}, data={"rows": "documents", "recall": 20.0})
    monkeypatch.setattr("tinylm.text.tokens.READ_AT_ONCE", 997)
    trained = run_recipe(recipe, name="complete", command="")
    data, end = trained.task.dataset, trained.tokenizer.end_of_text
    assert trained.task.begins.tolist() == np.flatnonzero(np.asarray(data.train) == end).tolist()
    assert {int(row) for row in trained.batches.batch(3).tokens[:, 0]} == {end}
    weigh = trained.batches.weigh
    assert (weigh.weight, weigh.n_rows, weigh.end) == (20.0, 7 * 3, end)
    counts = np.bincount(np.asarray(data.train), minlength=300)
    counts[end] = len(data.train)  # each row of a document begins with it: it is never rare
    assert weigh.rare.tolist() == (counts < 0.01 * len(data.train)).tolist()
    model, beginnings = open_checkpoint("complete").model, {"from_beginning": True}
    plain = evaluate(model, data.validation, documents=data.documents, **beginnings)
    assert record_of(mine / "complete").evaluations[-1]["loss"] == pytest.approx(plain.loss)
    cut(monkeypatch, "parts", recipe, call=1)
    assert_resumes_and_evaluates(mine, "toyworld-stories", "generated")


def test_story_model_is_trained_on_only_by_its_own_tokenizer_and_the_refusal_says_how(mine):
    run_recipe(stories(), name="first", command="")
    own = {"corpus": "toyworld-plays", "lowercase": False}
    with pytest.raises(
        CheckpointError, match=r"use --data.tokenizer (mine/first/\S+/tokenizer\.json), or"
    ) as no:
        Run(tiny(data=own | {"tokenizer": "bpe-290"}, init_from="first"))
    file = str(no.value).partition("--data.tokenizer ")[2].partition(",")[0]
    second = Run(tiny(data=own | {"tokenizer": file}, init_from="first"))
    assert second.tokenizer == open_checkpoint("first").tokenizer
    assert second.task.data.tokenizer == "tokenizer.json"


def test_run_on_a_part_of_a_corpus_says_so_wherever_it_names_it(mine, monkeypatch, capsys):
    real = run.read_dataset

    def part(*of, **more):
        return replace(real(*of, **more), holds="part", what="a few plays")

    for module in (run, task):
        monkeypatch.setattr(module, "read_dataset", part)
    run_recipe(replace(tiny(), scale="small"), name="part", command="")
    described = "toyworld-plays (a part: a few plays, generated, folded to lower case)"
    assert capsys.readouterr().out.count(described) == 1
    header = record_of(mine / "part").header
    assert (header["holds"], header["scale"]) == ("part", "small")
    assert validate("part")[1].described == described


def test_init_from_starts_with_those_weights_and_is_part_of_what_must_not_change(mine, monkeypatch):
    first = run_recipe(tiny(), name="first", command="").model
    recipe = tiny(init_from="first", steps=1, warmup_steps=0, learning_rate=0.0, min_learning_rate=0.0)
    assert_same_weights(first, run_recipe(recipe, name="second", command="").model)
    made = json.loads((paths.find("second") / "tinylm.json").read_text())["provenance"]["init_from"]
    assert made["name"] == "first" and len(made["sha256"]) == 64
    run_recipe(tiny(init_from="first"), name="complete", command="")
    cut(monkeypatch, recipe=tiny(init_from="first"))
    shutil.rmtree(mine / "first")  # its weights have become the run's own
    resume("cut")
    assert files(mine / "cut") == files(mine / "complete")


def test_init_from_weights_that_do_not_fit_is_refused_where_it_can_be_before_the_text_is_read(monkeypatch):
    run_recipe(tiny(), name="first", command="")
    free = {"dropout": 0.3, "attention": "explicit", "vocab_multiple": 64, "activation_checkpointing": True}
    Run(tiny(init_from="first", model=free))
    words = "first reads 39 characters, toyworld-plays has others: choose a text with the same"
    with pytest.raises(CheckpointError, match=words):
        Run(tiny(init_from="first", data={"lowercase": False}))
    monkeypatch.setattr(run, "read_dataset", None)
    with pytest.raises(
        CheckpointError, match="first do not fit: n_layer is 1 there and 2 here; use the same"
    ):
        Run(tiny(init_from="first", model={"n_layer": 2}))
