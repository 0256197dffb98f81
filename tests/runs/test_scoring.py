"""Scoring: how often a model chooses the right ending, and where the score is kept."""

import json

import pytest

from tests.support.tiny_run import tiny
from tinylm.inference import choices
from tinylm.inference.choices import score_choices
from tinylm.runs import scoring
from tinylm.runs.cards import card_of
from tinylm.runs.paths import open_checkpoint
from tinylm.runs.records import read_record
from tinylm.runs.run import run_recipe
from tinylm.runs.scoring import score
from tinylm.storage import weights
from tinylm.text import corpora
from tinylm.text.choices import toyworld_choices

pytestmark = pytest.mark.usefixtures("mine")

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
    assert all(record.what == "evaluation" for record in records.values())
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
    scored, real = [], score_choices
    monkeypatch.setattr(scoring, "read_hellaswag", lambda *_: [*range(100)])
    monkeypatch.setattr(scoring, "score_choices", lambda *of: scored.append(of[2]) or real(*of[:2], ITEMS))
    for n in (20, 20, None, 100):
        score("told", "hellaswag", n)
    assert scored[0] == scored[1] == sorted(scored[0]) != [*range(20)] and scored[2:] == [[*range(100)]] * 2
    assert len(set(scored[0])) == 20 and max(scored[0]) > 50


def test_run_keeps_the_score_of_each_checkpoint_and_of_each_number_of_items(told, hellaswag):
    asked = [(told / "checkpoints" / "step_00000003", "toyworld", 3)]
    asked += [("told", "hellaswag", None), ("told", "toyworld", 11), ("told", "hellaswag", 2)]
    asked += [("told", "toyworld", 5), ("told", "toyworld", 5)]
    found = {}
    for name, on, n in asked:
        step, command = 6 if name == "told" else 3, f"evaluate told --on {on} --items {n or 5}"
        file = f"{on}_step_{step:08d}_{n or 5}.jsonl"
        found[file] = (score(name, on, n), f"python -m tinylm {command}")
    assert kept(told) == found


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


def test_score_that_cannot_be_written_is_printed_and_a_line_says_why_it_is_not_kept(
    told, monkeypatch, capsys
):
    score("told", "toyworld", 5)
    before = kept(told)

    def half(self, kind, **numbers):
        with self.path.open("a") as file:
            file.write('{"kind": "hea')
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scoring.RunRecord, "write", half)
    lines = score("told", "toyworld", 11)
    said = "".join(line["described"] + "\n" for line in lines)
    assert capsys.readouterr().out.endswith(
        f"{said}the score is not kept beside the record of told: No space left on device\n"
    )
    assert kept(told) == before and f" of {lines[0]['n']} items" not in card_of("told")


def test_score_of_a_checkpoint_that_is_no_runs_is_kept_nowhere(told, hellaswag, tmp_path):
    opened = open_checkpoint("told")
    weights.save(tmp_path / "a" / "b" / "own", opened.model, tokenizer=opened.tokenizer.to_json(), notes={})
    ending, _ = score(tmp_path / "a" / "b" / "own", "hellaswag", 3)
    assert (ending["model"], ending["n"], ending["step"]) == ("own", 3, None)
    files = {path.name for path in (tmp_path / "a").rglob("*.*")}
    assert files == {weights.WEIGHTS, weights.TOKENIZER, weights.ABOUT} and not kept(told)
    assert score(tmp_path / "a" / "b" / "own", "hellaswag")[0]["n"] == 5
