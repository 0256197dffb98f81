"""Scoring: a run on lines of questions and answers trains, is resumed, evaluated and asked as one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.settings import SMALL, random_tokens
from tests.support.tiny_run import files, interrupt_at, tiny
from tinylm.batch import Batch
from tinylm.cli.commands import perform
from tinylm.cli.options import parse
from tinylm.errors import ConfigError, InputError
from tinylm.inference import choices
from tinylm.inference.choices import score_choices
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate
from tinylm.model.gpt import GPT
from tinylm.model.losses import graded_loss, next_token_loss
from tinylm.runs import scoring
from tinylm.runs.cards import card_of
from tinylm.runs.paths import DATA, open_checkpoint
from tinylm.runs.records import read_record
from tinylm.runs.run import Run, resume, run_recipe
from tinylm.runs.scoring import score, validate
from tinylm.storage import weights
from tinylm.text import corpora
from tinylm.text.addition import LINE, grade
from tinylm.text.choices import toyworld_choices

pytestmark = pytest.mark.usefixtures("mine")
SUMS = {"corpus": "addition", "rows": "lines", "scored": "answers", "lowercase": False}


def sums(**data):
    return tiny(model={"context_length": LINE}, data=SUMS | data, eval_every=3)


def test_each_row_is_one_sum_and_only_its_result_is_scored():
    ready = Run(sums())
    batch = ready.batches.batch(5)
    rows = [ready.tokenizer.decode(row) for row in batch.tokens]
    assert grade("".join(rows)) == (3, 3)
    kept = [ready.tokenizer.decode(row[row >= 0]) for row in batch.targets]
    assert kept == [row.partition("=")[2] for row in rows]
    assert bool((Run(sums(scored="all")).batches.batch(5).targets >= 0).all())
    assert Run(tiny()).task.loss_fn is next_token_loss and Run(tiny()).prompt is None


def test_run_on_sums_records_exact_match_and_is_evaluated_by_what_its_checkpoint_knows(mine, capsys):
    for scored in ("answers", "all"):
        trained = run_recipe(sums(scored=scored), name=scored, command="")
        last = read_record(mine / scored / "record.jsonl").evaluations[-1]
        result, dataset = validate(scored)
        assert result.loss == pytest.approx(last["loss"], rel=1e-5)
        assert result.metrics == last["metrics"] and set(result.metrics) == {"exact_match"}
        n_sums = len(dataset.validation) // LINE
        assert result.n_tokens == (n_sums * len("0579\n") if scored == "answers" else n_sums * LINE - 1)
        assert (result.bits_per_byte is None) == (scored == "answers")
        assert result.described("character").endswith("%")
        question = trained.tokenizer.decode(dataset.validation[:8])
        assert open_checkpoint(scored).prompt == trained.prompt == question
        capsys.readouterr()
        assert perform(parse(["sample", scored]), []) == 0
        written = capsys.readouterr().out
        assert written.startswith(question) and written.count("\n") == 1


def test_exact_match_is_the_share_of_rows_that_greedy_generation_would_write():
    model, greedy = GPT(SMALL).eval(), GenerationConfig(max_new_tokens=5, temperature=0.0)
    rows = []
    for question in random_tokens(batch=12, length=8).tolist():
        rows.append(question + list(generate(model, question, greedy, generator=torch.Generator())))
    rows = torch.tensor(rows)  # (12, 13)
    spoiled = {1: 8, 4: 10, 6: 12}  # row and place, in an answer
    for row, place in spoiled.items():
        rows[row, place] = (rows[row, place] + 1) % SMALL.vocab_size
    rows[0, 3] = (rows[0, 3] + 1) % SMALL.vocab_size  # another question asks for another answer
    other = list(generate(model, rows[0, :8], greedy, generator=torch.Generator())) != rows[0, 8:].tolist()
    in_answer = torch.arange(12) >= 7
    batch = Batch(rows[:, :-1], rows[:, 1:])
    metrics = graded_loss(lambda tokens, _: in_answer.expand_as(tokens))(model, batch)[1]
    assert metrics["exact_match"] == pytest.approx(1 - (len(spoiled) + other) / 12)


def test_interrupted_run_on_sums_resumes_to_the_same_bits(mine, monkeypatch):
    run_recipe(sums(), name="whole", command="")
    with monkeypatch.context() as patched:
        interrupt_at(patched, 1)
        assert run_recipe(sums(), name="cut", command="").interrupted
    assert not resume("cut").interrupted
    weights, lines = files(mine / "cut")
    expected, recorded = files(mine / "whole")
    last = max(name for name in expected if "model" in name)
    assert weights[last] == expected[last] and lines == recorded


def test_own_lines_of_questions_are_read_like_sums(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = np.random.default_rng(1).integers(10, size=(100, 3))
    lines = ("".join(map(str, row)) + "=" + "".join(map(str, sorted(row))) for row in digits.tolist())
    Path("sorting.txt").write_text("\n".join(lines))
    recipe = sums(corpus="sorting.txt")
    trained = run_recipe(
        replace(
            recipe,
            model=replace(recipe.model, context_length=8),
            train=replace(recipe.train, tokens_per_step=24),
        ),
        name="sort",
        command="",
    )
    assert trained.prompt[3:] == "=" and "exact_match" in validate("sort")[0].metrics


LINES = "".join(f"{n:02d}={n % 10}{n // 10}\n" for n in range(40))


@pytest.mark.parametrize(
    ("text", "rows", "message"),
    [
        (LINES.replace("=", "-"), "lines", "needs an = in each of rows 'lines', 40 of 40 lines have none"),
        (LINES.replace("39=", "39-"), "lines", "1 of 40 lines have none: use 'all'"),
        (LINES, "windows", "needs an = in each of rows 'lines', rows are 'windows': use 'all'"),
    ],
)
def test_answers_are_refused_where_a_line_has_none(text, rows, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.txt").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Run(tiny(data={"corpus": "my.txt", "rows": rows, "scored": "answers"}, model={"context_length": 6}))


def test_rows_that_ask_nothing_are_not_graded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.txt").write_text(LINES.replace("39=", "39-"))
    ready = Run(tiny(data={"corpus": "my.txt", "rows": "lines"}, model={"context_length": 6}))
    assert ready.task.loss_fn is next_token_loss and ready.prompt is None


def test_shipped_adder_adds_as_its_notes_say(monkeypatch):
    monkeypatch.setattr(corpora, "GENERATED_CHARACTERS", 1_000_000)  # as outside of tests
    corpora._generated.cache_clear()
    result, notes = validate("addition")[0], open_checkpoint("addition").notes
    corpora._generated.cache_clear()
    assert result.metrics == pytest.approx(notes["metrics"], rel=1e-3)
    assert result.metrics["exact_match"] > 0.99
    assert (result.n_tokens, result.bits_per_byte) == (notes["n_tokens"], None)


@pytest.mark.parametrize(("name", "run"), [("tinystories_fast", "-seed1"), ("toyworld_stories", "")])
def test_shipped_storyteller_is_the_one_of_its_record(name, run):
    told, record = open_checkpoint(name), read_record(DATA / "runs" / f"{name}{run}.jsonl")
    evaluation, header = record.evaluations[-1], record.header
    assert {name: told.notes[name] for name in ("loss", "step")} == {
        n: evaluation[n] for n in ("loss", "step")
    }
    made = told.provenance
    assert header["train"].items() <= made["train"].items()  # there are settings that came later
    assert header["model"].items() <= told.config.to_json().items() == made["model"].items()
    assert told.tokenizer.fingerprint == header["tokenizer"] == made["tokenizer"]
    assert (told.model.n_parameters(), made["recipe"]) == (header["parameters"], header["recipe"])


STORIES = {"corpus": "toyworld-stories", "tokenizer": "bpe-300", "lowercase": False}


@pytest.fixture
def told(mine):
    """A run whose checkpoints are of steps 0, 3 and 6, and its folder."""
    recipe = tiny(model={"context_length": 509}, data=STORIES, steps=6, eval_every=3)
    run_recipe(recipe, name="told", command="")
    return mine / "told"


@pytest.fixture
def hellaswag(tmp_path, monkeypatch):
    """Five items that stand in for HellaSwag's."""
    item = {"activity_label": "Baking", "ctx": "She", "endings": ["a", "b c", "d", "e"], "label": 1}
    (tmp_path / "items.jsonl").write_text((json.dumps(item) + "\n") * 5)
    monkeypatch.setattr(corpora, "fetch", lambda name: {name: tmp_path / "items.jsonl"})
    monkeypatch.setattr(corpora, "corpus_here", lambda name: corpora.Corpus(what="5 made items"))


def kept(folder):
    """What a run has kept of its scores: by file, its lines and what to type for it."""
    records = {path.name: read_record(path) for path in folder.glob("*.jsonl") if path.name != "record.jsonl"}
    assert all(record.what == "evaluation" and record.end is not None for record in records.values())
    return {name: (record.measurements, record.header["command"]) for name, record in records.items()}


def test_score_is_printed_and_is_that_of_the_first_items(told, capsys):
    opened = open_checkpoint("told")
    lines = score("told", "toyworld", 11)
    expected = score_choices(opened.model, opened.tokenizer, toyworld_choices(11, seed=1))
    for line, per in zip(lines, ("ending", "character"), strict=True):
        assert line["described"] == expected.accuracy(per).described()
        assert line["name"] == f"told on toyworld, per {per}"
        assert (line["mean"], line["n"], line["per"]) == (expected.accuracy(per).mean, 11, per)
        assert line["step"] == 6
    assert capsys.readouterr().out.endswith("".join(line["described"] + "\n" for line in lines))


def test_score_is_of_1000_items_of_toyworld_in_float32_whatever_the_device_takes(told, monkeypatch):
    items, precisions = [], []
    monkeypatch.setattr(scoring, "toyworld_choices", lambda n, seed: items.append((n, seed)) or ITEMS)
    made = choices.Precision.of
    monkeypatch.setattr(choices.Precision, "of", lambda *to: precisions.append(to) or made(*to))
    score("told", "toyworld")
    assert items == [(1_000, 1)] and [dtype for _, dtype in precisions] == ["float32"]


ITEMS = toyworld_choices(3, seed=2)


def test_score_of_n_items_draws_them_from_all_of_the_file_and_draws_the_same_again(
    told, hellaswag, monkeypatch
):
    scored = []
    monkeypatch.setattr(scoring, "read_hellaswag", lambda *_: [*range(100)])
    monkeypatch.setattr(
        scoring, "score_choices", lambda *_: scored.append(_[2]) or score_choices(*_[:2], ITEMS)
    )
    for n in (20, 20, None, 100):
        score("told", "hellaswag", n)
    assert scored[0] == scored[1] == sorted(scored[0]) != [*range(20)] and scored[2:] == [[*range(100)]] * 2
    assert len(set(scored[0])) == 20 and max(scored[0]) > 50


def test_run_keeps_the_score_of_each_checkpoint_and_of_each_number_of_items(told, hellaswag):
    typed = "python -m tinylm evaluate"
    early = score(told / "checkpoints" / "step_00000003", "toyworld", 3)
    expected = {
        "toyworld_step_00000003_3.jsonl": f"{typed} told/checkpoints/step_00000003 --on toyworld --items 3"
    }
    found = {"toyworld_step_00000003_3.jsonl": early}
    for on, n in (("hellaswag", None), ("toyworld", 11), ("toyworld", 5), ("hellaswag", 2), ("toyworld", 5)):
        name = f"{on}_step_00000006_{n or 5}.jsonl"
        found[name] = score("told", on, n)
        expected[name] = f"{typed} told --on {on}" + (f" --items {n}" if n else "")
    assert kept(told) == {name: (lines, expected[name]) for name, lines in found.items()}
    assert not [*told.glob("*.part")]


def test_card_has_the_last_checkpoints_score_with_the_most_items_also_of_a_run_renamed(told, hellaswag):
    early = score(told / "checkpoints" / "step_00000003", "toyworld", 13)
    many, few = (score("told", "toyworld", n) for n in (11, 5))
    stand_in = score("told", "hellaswag", 4)
    assert all(line["described"].endswith(", from a stand-in: 5 made items") for line in stand_in)
    told.rename(told.with_name("renamed"))
    text = card_of("renamed")
    for line in many + stand_in:
        assert f"- {line['on']}: {line['described']}\n" in text
    for line in early + few:
        assert f" of {line['n']:,} items" not in text


def test_score_that_cannot_be_written_is_printed_and_takes_none_that_was_kept(told, capsys, monkeypatch):
    lines = score("told", "toyworld", 5)
    before = kept(told)
    capsys.readouterr()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(scoring.RunRecord, "write", full)
        score("told", "toyworld", 5)
    assert capsys.readouterr().out == "".join(line["described"] + "\n" for line in lines)
    assert kept(told) == before
    assert score(told, "toyworld", 5) == lines  # what was begun is in nobody's way


def test_score_of_a_checkpoint_that_is_no_runs_is_kept_nowhere(told, hellaswag, tmp_path):
    opened = open_checkpoint("told")
    weights.save(tmp_path / "a" / "b" / "own", opened.model, tokenizer=opened.tokenizer.to_json(), notes={})
    ending, _ = score(tmp_path / "a" / "b" / "own", "hellaswag", 3)
    assert (ending["model"], ending["n"], ending["step"]) == ("own", 3, None)
    assert {path.name for path in (tmp_path / "a").rglob("*.*")} == {*CHECKPOINT} and not kept(told)
    assert score(tmp_path / "a" / "b" / "own", "hellaswag")[0]["n"] == 5


CHECKPOINT = (weights.WEIGHTS, weights.TOKENIZER, weights.ABOUT)


def test_score_that_is_refused_keeps_nothing(mine):
    run_recipe(tiny(data=STORIES), name="told", command="")
    with pytest.raises(InputError, match="3 of 3 items do not fit the model's context of 31 tokens"):
        score("told", "toyworld", 3)
    assert {path.name for path in (mine / "told").iterdir() if path.suffix} == {"record.jsonl"}
