"""Cards: what stands on them is what the record says, and the Hub's own reader reads their header."""

import json
import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from tinylm.errors import CheckpointError, RunError
from tinylm.inference.choices import Accuracy
from tinylm.runs import paths
from tinylm.runs.cards import NOT_KEPT, UNKNOWN, card, card_of, measurement
from tinylm.runs.records import read_record
from tinylm.text.corpora import CORPORA
from tinylm.training.forecast import plain_duration

RUNS = paths.DATA / "runs"
RECORDS = {path.stem: read_record(path) for path in sorted(RUNS.glob("*.jsonl"))}
TRAINED = {name: record for name, record in RECORDS.items() if record.what == "training"}
ACCURACY = Accuracy(0.3305, 0.3214, 0.3398, 10_042, 0.25, "character")
LINE = measurement("tiny", "hellaswag", ACCURACY)
STORIES = TRAINED["tinystories_fast-seed1"]
LAST = STORIES.evaluations[-1]


@pytest.mark.parametrize("name", TRAINED)
def test_hub_reads_the_header_of_every_trained_models_card_and_its_numbers_are_the_records(name):
    record, text = TRAINED[name], card(TRAINED[name], name, measured=[LINE], licence="mit")
    last, about = record.evaluations[-1], ModelCard(text).data
    assert (about.license, about.model_name, about.pipeline_tag) == ("mit", name, "text-generation")
    hub = CORPORA[record.header["data"]].hub
    assert (about.datasets, about.tags) == ([hub] if hub else None, [record.header["recipe"]])
    assert (
        f"- {record.header['data']}: validation loss {last['loss']:.4f} ± {last['standard_error']:.4f}"
        in text
    )
    assert f"\n- hellaswag: {LINE['described']}\n" in text
    reading = record.header.get("reading") or {"tokenizer": "characters"}  # early records do not say
    assert f" nats per {'character' if reading['tokenizer'] == 'characters' else 'token'}" in text
    assert f"| optimiser | {record.header['train'].get('optimizer', 'adamw')}, " in text


def test_card_says_how_it_was_trained_and_each_number_with_its_error():
    text = card(STORIES, "fast", measured=[LINE])
    for words in (
        f"# fast\n\nA language model of {STORIES.header['parameters']:,} parameters",
        f"```console\n{STORIES.header['command']}\n```",
        f"{LAST['bits_per_byte']:.4f} bits per byte (± over 3,116 documents)",
        "- hellaswag: accuracy per character 33.05% ± 0.47% of 10,042 items",
        "It read a part, so its losses compare with no published ones.",
        "python -m tinylm sample fast",
    ):
        assert words in text, words
    assert "had not ended" not in text and "\nlicense:" not in text and not re.search(r"[{}]", text)


def test_card_says_what_is_unusual_about_a_run():
    reading = STORIES.header["reading"] | {"train_share": 0.1}
    other = {"holds": "whole", "data": "my.txt", "reading": reading, "init_from": {"name": "older"}}
    text = card(replace(STORIES, header=STORIES.header | other, end=None), "fast")
    for words in ("| my.txt, its first 10% |", UNKNOWN.licence, "weights of older", "training had not ended"):
        assert words in text, words
    assert "no published ones" not in text and ModelCard(text).data.datasets is None


def test_card_of_what_is_no_trained_model_is_refused():
    with pytest.raises(RunError, match="reduce is of benchmark with 0 losses: give a run that was evaluated"):
        card(RECORDS["reduce"], "reduce")
    with pytest.raises(RunError, match="x is of training with 0 losses: give a run"):
        card(replace(TRAINED["addition"], evaluations=[{"step": 3, "loss": None}]), "x")


def test_each_row_of_a_card_says_what_its_record_says_of_just_that():
    header = STORIES.header
    model, train, machine = header["model"], header["train"], header["machine"]
    assert dict(re.findall(r"^\| (\w[^|]*) \| (.*) \|$", card(STORIES, "x"), re.MULTILINE)) == {
        "text": "tinystories (a part)",
        "as": "bpe-4096, 4,096 different ones",
        "licence of the text": "CDLA-Sharing-1.0",
        "shape": f"{model['n_layer']} layers, {model['n_head']} heads, width {model['n_embd']}, "
        f"context {model['context_length']} tokens",
        "read": f"{train['steps']} of {train['steps']} steps, {header['tokens']:,} tokens",
        "optimiser": f"muon, learning rate {train['learning_rate']}, linear schedule, weight decay 0",
        "took": f"{plain_duration(LAST['seconds'])} on cpu ({machine['cpu']}, {machine['cores']} cores), "
        "in float32",
        "seed": "1",
        "code": f"commit {header['commit']}, torch {header['versions']['torch']}, {header['started']}",
    }


@pytest.fixture
def shipped(my_runs, monkeypatch):
    """The course's checkpoints, beside one run of one's own."""
    monkeypatch.setattr(paths, "SHIPPED", paths.DATA / "checkpoints")
    return my_runs


def test_card_is_found_by_a_runs_name_a_records_name_and_a_shipped_models(shipped):
    for name in ("tiny", str(shipped / "tiny")):
        found = card_of(name)
        assert "# tiny\n" in found and found.endswith("python -m tinylm sample tiny\n```\n")
    assert card_of("addition") == card(TRAINED["addition"], "addition")
    beside = card_of("tinystories_fast", exported=True)
    assert ModelCard(beside).data.library_name == "transformers"
    assert "AutoModelForCausalLM.from_pretrained" in beside and "tinylm sample" not in beside
    with pytest.raises(CheckpointError, match="there is no record of adition: did you mean addition"):
        card_of("adition")


def test_record_of_a_shipped_model_has_the_models_card_and_any_other_says_how_to_train_it_again(shipped):
    assert card_of("tinystories_fast-seed1") == card_of("tinystories_fast")
    measured = RECORDS["hellaswag"].measurements
    described = [x["described"] for x in measured if x.get("model") == "tinystories_fast" and "mean" in x]
    assert len(described) == 4 and all(said in card_of("tinystories_fast") for said in described)
    for name in ("shakespeare_baseline-seed3", "shakespeare_baseline-seed1", "tinystories_fast-seed2"):
        text, command = card_of(name), TRAINED[name].header["command"]
        assert f"# {name}\n" in text and "tinylm sample" not in text and not any(x in text for x in described)
        assert f"```console\n{command}\n```\n" in text and text.endswith(f"\n{NOT_KEPT}\n")


@pytest.mark.parametrize("field", ["device", "n_layer", "seconds"])
def test_record_that_lacks_something_is_refused_with_its_name(field, mine):
    def without(lines):
        return {name: without(x) if isinstance(x, dict) else x for name, x in lines.items() if name != field}

    (mine / "lame").mkdir(parents=True)
    lines = [{"kind": "header"} | without(STORIES.header), {"kind": "evaluation"} | without(LAST)]
    (mine / "lame" / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunError, match=f"the record of lame lacks '{field}': give one as tinylm writes it"):
        card_of("lame")
