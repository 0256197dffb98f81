"""Tasks: what is scored in lines of questions and answers, and what a shipped checkpoint was trained on."""

from pathlib import Path

import pytest
import torch

from tests.support.settings import SMALL, random_tokens
from tests.support.tiny_run import tiny
from tinylm.batch import Batch
from tinylm.cli.commands import perform
from tinylm.cli.options import parse
from tinylm.errors import ConfigError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate
from tinylm.model.gpt import GPT
from tinylm.model.losses import graded_loss, next_token_loss
from tinylm.runs.paths import DATA, open_checkpoint
from tinylm.runs.records import read_record
from tinylm.runs.run import Run, run_recipe
from tinylm.runs.scoring import validate
from tinylm.text import corpora
from tinylm.text.addition import LINE, grade

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
        record = read_record(mine / scored / "record.jsonl")
        last = record.evaluations[-1]
        assert all("exact_match" in line["metrics"] for line in record.steps)
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
        answer = generate(model, [question], greedy, generator=torch.Generator())
        rows.append(question + [token for (token,) in answer])
    rows = torch.tensor(rows)  # (12, 13)
    spoiled = {1: 8, 4: 10, 6: 12}  # row and place, in an answer
    for row, place in spoiled.items():
        rows[row, place] = (rows[row, place] + 1) % SMALL.vocab_size
    rows[0, 3] = (rows[0, 3] + 1) % SMALL.vocab_size  # another question asks for another answer
    answer = generate(model, rows[:1, :8], greedy, generator=torch.Generator())
    other = [token for (token,) in answer] != rows[0, 8:].tolist()
    in_answer = torch.arange(12) >= 7
    batch = Batch(rows[:, :-1], rows[:, 1:])
    metrics = graded_loss(lambda tokens, _: in_answer.expand_as(tokens))(model, batch)[1]
    assert metrics["exact_match"] == pytest.approx(1 - (len(spoiled) + other) / 12)


LINES = "".join(f"{n:02d}={n % 10}{n // 10}\n" for n in range(40))


@pytest.mark.parametrize(
    ("text", "rows", "message"),
    [
        (LINES.replace("39=", "39-"), "lines", "need an = in each line, 1 of 4 lines of my.txt have none"),
        (LINES, "windows", "scored 'answers' needs rows 'lines', rows are 'windows'"),
    ],
)
def test_lines_are_refused_where_one_asks_nothing_and_answers_where_rows_are_no_lines(
    text, rows, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("my.txt").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Run(tiny(data={"corpus": "my.txt", "rows": rows, "scored": "answers"}, model={"context_length": 6}))


@pytest.mark.parametrize("asked", [{"rows": "documents"}, {"recall": 2.0}])
def test_text_without_documents_has_none_to_begin_at_or_to_recall_in(asked):
    with pytest.raises(ConfigError, match="toyworld-plays is read as 1 text: use the tokenizer bpe-4096"):
        Run(tiny(data={"corpus": "toyworld-plays"} | asked))


@pytest.mark.parametrize("corpus", [None, [], "my\udcff.txt"])
def test_corpus_is_a_text_that_a_record_can_hold(corpus):
    with pytest.raises(ConfigError, match=r"^corpus is .*: it must be a text in UTF-8$"):
        tiny(data={"corpus": corpus})


def test_shipped_adder_adds_as_its_notes_say(monkeypatch):
    monkeypatch.setattr(corpora, "GENERATED_CHARACTERS", 1_000_000)  # as outside of tests
    corpora._generated.cache_clear()
    result, notes = validate("addition")[0], open_checkpoint("addition").notes
    corpora._generated.cache_clear()
    assert result.metrics == pytest.approx(notes["metrics"], rel=1e-3)
    assert result.metrics["exact_match"] > 0.99
    assert (result.n_tokens, result.bits_per_byte) == (notes["n_tokens"], None)


@pytest.mark.parametrize("name", [path.name for path in sorted((DATA / "checkpoints").iterdir())])
def test_shipped_model_is_the_one_of_its_record(name):
    run = "-seed1" if name in ("tinystories_fast", "toyworld_stories") else ""
    told, record = open_checkpoint(name), read_record(DATA / "runs" / f"{name}{run}.jsonl")
    evaluation, header = record.evaluations[-1], record.header
    assert told.notes["step"] == evaluation["step"]
    assert told.notes["loss"] == pytest.approx(evaluation["loss"], rel=1e-4)  # one is shipped in bfloat16
    made = told.provenance
    assert header["train"].items() <= made["train"].items()  # there are settings that came later
    assert header["model"].items() <= told.config.to_json().items() == made["model"].items()
    assert told.tokenizer.fingerprint == header["tokenizer"] == made["tokenizer"]
    assert (told.model.n_parameters(), made["recipe"]) == (header["parameters"], header["recipe"])
