"""Laws of all exercises: the solution passes, and each slip is refused with the sentence that is its own."""

import importlib
import json
import threading
import time

import nbformat
import pytest
import torch

from tests.authoring.execute import NOTEBOOKS, tags
from tests.course.exercises.right import RIGHT
from tests.support.hugging_face import transformers
from tests.support.published import published
from tinylm.course.checks import Check
from tinylm.course.notebooks import FENCE
from tinylm.course.slips import read_slips
from tinylm.course.source import defined
from tinylm.runs.paths import open_checkpoint

PATHS = {path.stem[:2]: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
MODULES = {number: importlib.import_module(f"tinylm.course.exercises.nb{number}") for number in PATHS}
LESSONS = {number: module.lesson for number, module in MODULES.items() if hasattr(module, "lesson")}
EXERCISES = [(number, name) for number, lesson in LESSONS.items() for name in lesson.exercises]


def found(number, name):
    return LESSONS[number].exercises[name]


def verdict(exercise, source):
    """What the check says of an answer with this source, which a cell would define."""
    with Check(exercise.title) as check:
        exercise.mark(check, defined(source, exercise.names))
    return check.verdict


@pytest.mark.parametrize("number, name", EXERCISES)
def test_solution_is_correct_and_can_be_marked_twice(number, name):
    exercise = found(number, name)
    assert not [outcome for outcome in exercise.right if isinstance(outcome, Exception)]
    assert [verdict(exercise, exercise.solution) for _ in range(2)] == ["correct"] * 2


@pytest.mark.parametrize("number, name", EXERCISES)
def test_every_slip_is_refused_and_told_its_own_sentence(number, name):
    exercise = found(number, name)
    slips = read_slips(exercise.solution, exercise.slips)
    said = {slip.line: (slip.told, verdict(exercise, slip.source)) for slip in slips}
    assert {line: said for line, (told, said) in said.items() if not said.startswith("not yet: ")} == {}
    assert {line: said for line, (told, said) in said.items() if told not in said} == {}
    assert [slip.told for slip in slips if " ⏎ " in slip.told or " :: " in slip.told] == []
    assert len(said) >= 10 and sum(told != "" for told, _ in said.values()) >= len(said) * 2 / 3


@pytest.mark.parametrize("number, name", EXERCISES)
def test_right_answers_written_otherwise_are_correct(number, name):
    exercise = found(number, name)
    ways = [way.source for way in read_slips(exercise.solution, RIGHT.get(f"{number} {name}", ""))]
    assert [verdict(exercise, way) for way in ways] == ["correct"] * len(ways)


@pytest.mark.parametrize("number", LESSONS)
def test_notebook_folds_the_very_solutions_and_its_stubs_are_not_attempted_yet(number):
    cells = nbformat.read(PATHS[number], as_version=4).cells
    folded = [FENCE.findall(cell.source)[0].rstrip() for cell in cells if "solution" in tags(cell)]
    exercises = list(LESSONS[number].exercises.values())
    assert folded == [exercise.solution.rstrip() for exercise in exercises]
    stubs = [cell.source for cell in cells if "exercise" in tags(cell)]
    pairs = zip(exercises, stubs, strict=True)
    assert {verdict(exercise, stub) for exercise, stub in pairs} == {"not attempted yet"}


def test_forbidden_name_is_found_under_torchs_no_grad():
    body = (
        "def layer_norm(x, gain, bias, epsilon=1e-5):\n    return F.layer_norm(x, x.shape[-1:], gain, bias)\n"
    )
    assert "do without `layer_norm`" in verdict(found("03", "layer_norm"), f"@torch.no_grad()\n{body}")


def test_clock_goes_on_after_the_stopwatch_was_checked():
    clock, sleep = time.perf_counter, time.sleep
    assert verdict(found("10", "compare"), found("10", "compare").solution) == "correct"
    assert (time.perf_counter, time.sleep) == (clock, sleep)


def test_ring_that_is_drawn_ends_with_every_number_everywhere_and_the_checks_model_is_causal():
    for ranks in (2, 4, 5):
        states = MODULES["11"].ring_states(ranks)
        assert (states[-1] == ranks).all() and (states[0] == 1).all()
    tokens = torch.arange(7)[None]  # (1, T)
    later = tokens.clone()
    later[0, 5] = 0
    before, after = (MODULES["13"].causal(row)[0] for row in (tokens, later))  # (T, V) each
    assert torch.equal(before[:5], after[:5]) and not torch.equal(before[5], after[5])


def test_published_llama_in_a_folder_is_opened_with_smollm2s_tokenizer_by_the_class_of_14_8(tmp_path):
    fourteen, sizes = MODULES["14"], {"n_layer": 3, "n_head": 2, "n_embd": 12, "n_kv_head": 1, "n_inner": 5}
    about, n_tokens, _ = published("SmolLM2")
    sizes |= {"vocab_size": n_tokens, "context_length": 11}
    theirs = fourteen.random_model(transformers, "Llama", **sizes)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(about), encoding="utf-8")
    opened, mine = open_checkpoint(tmp_path), fourteen.ModernGPT.given(**sizes)
    mine.load_state_dict(opened.model.state_dict())
    tokens = torch.tensor(opened.tokenizer.encode("Once upon"))[None, :11]  # (1, T)
    torch.testing.assert_close(mine(tokens), theirs(tokens).logits, rtol=1e-4, atol=1e-5)
    assert opened.tokenizer.decode(opened.tokenizer.encode("said 17.")) == "said 17."


def test_endless_loop_in_a_rank_of_11_5_is_stopped_in_its_thread(monkeypatch, capsys):
    exercise = found("11", "reduce_gradients")
    assert exercise.right  # the solution's outcomes, before the time is short
    monkeypatch.setattr(exercise, "seconds", 0.3)

    def endless(model):
        while True:
            pass

    before = {*threading.enumerate()}
    exercise(endless)
    for thread in {*threading.enumerate()} - before:
        thread.join(5)
    assert {*threading.enumerate()} <= before
    assert "ran too long" in capsys.readouterr().out
