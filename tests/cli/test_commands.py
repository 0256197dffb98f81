"""The commands: a round trip from training to sample, and each command calls what does it."""

from pathlib import Path

import pytest

from tests.support.command_line import ROOT, TRAIN, assert_one_sentence
from tests.support.tiny_run import contents, interrupt_at
from tinylm.__main__ import main
from tinylm.cli import commands
from tinylm.runs import paths
from tinylm.runs.records import read_record

pytestmark = pytest.mark.usefixtures("nothing_at_hand")


@pytest.fixture
def printed(capsys):
    """What a command prints that succeeds, or ends with another code."""

    def printed(*typed: str, code: int = 0) -> str:
        assert main([*typed]) == code
        return capsys.readouterr().out

    return printed


def test_train_prints_forecast_evaluations_a_sample_and_the_next_command_and_records_what_was_typed(trained):
    folder, out = trained
    order = ["forecast: ", "step 5: validation loss", "step 10:", "step 11:", "took ", "a sample:", "next:"]
    places = [out.index(words) for words in order]
    assert places == sorted(places)
    following = out[places[-1] :].split("python -m tinylm sample ")[1].strip()
    assert (ROOT / following).resolve() == (folder / "tiny").resolve()
    header = read_record(folder / "tiny" / "record.jsonl").header
    assert header["command"] == "python -m tinylm " + " ".join([*TRAIN, "--run", "tiny"])
    assert (header["train"]["steps"], header["model"]["n_embd"]) == (11, 22)


def test_sample_continues_the_folded_prompt_with_every_option_and_repeats_itself_only_with_a_seed(
    my_runs, printed, monkeypatch
):
    stored, real = [], commands.stream_text

    def stream_text(model, *rest, **more):
        stored.append(model.blocks[0].attn.qkv.weight.t().is_contiguous())  # by columns, which is faster
        return real(model, *rest, **more)

    def text(*options: str) -> str:
        return printed("sample", "tiny", "--prompt", "The KING", "--max-new-tokens", "60", *options)

    monkeypatch.setattr(commands, "stream_text", stream_text)
    assert text() != text() and all(stored)
    seeded = ("--temperature", "1", "--seed", "3")
    whole, greedy = text(*seeded), text("--temperature", "0")
    assert whole == text(*seeded, "--no-use-cache") != text(*seeded[:-1], "4")
    assert whole.startswith("the king") and len(whole) == len("the king") + 60 + 1
    for narrow in (["--top-k", "1"], ["--top-p", "0.000001"], ["--min-p", "1"]):
        assert text(*seeded, *narrow) == greedy
    assert text(*seeded, "--repetition-penalty", "5") != whole
    stop = ["--stop", whole[38:41], "--stop", whole[58:61]]
    assert text(*seeded, *stop) == whole[: whole.index(whole[38:41], 9)] + "\n"


def test_evaluate_prints_the_last_evaluation_of_the_record_and_the_unit_of_its_error(my_runs, printed):
    shown = printed("evaluate", "tiny")
    last = read_record(my_runs / "tiny" / "record.jsonl").evaluations[-1]
    assert f"validation loss {last['loss']:.4f} ± {last['standard_error']:.4f} nats per character" in shown
    assert f"(± over {last['unit']})" in shown
    assert f"{last['n_tokens']:,} characters of toyworld-plays (generated, folded to lower case)" in shown


CALLS = [  # what is typed, which function does it, what it returns, what it must be given, what is printed
    ("evaluate ada/x --on hellaswag --items 7", "runs.scoring.score", None, ("ada/x", "hellaswag", 7), ""),
    ("machine", "runs.machine.report", "a machine", (), "takes some seconds\na machine\n"),
    (
        "fetch openstax",
        "text.corpora.fetch",
        {"a": "", "b": ""},
        ("openstax",),
        ", 2 files, from the network",
    ),
    ("pack stick a b", "text.corpora.pack", ["x"], (Path("stick"), "a", "b"), "1 files: set TINYLM_DATA="),
    (
        *("prepare tinystories", "text.prepare.prepare", Path("x"), ("tinystories", "gpt2")),
        "train tinystories_51m --scale small --data.corpus tinystories --data.tokenizer gpt2\n",
    ),
    (
        *("prepare x.txt --tokenizer bpe-300", "text.prepare.prepare", Path("a b"), ("x.txt", "bpe-300")),
        "train tinystories_51m --scale small --data.corpus 'a b' --data.tokenizer bpe-300\n",
    ),
]


@pytest.mark.parametrize("typed, function, returned, given, shown", CALLS, ids=lambda value: str(value)[:40])
def test_command_calls_what_does_it_and_prints_its_result(
    monkeypatch, printed, typed, function, returned, given, shown
):
    asked = []
    monkeypatch.setattr(f"tinylm.{function}", lambda *words, **_: asked.append(words) or returned)
    assert shown in printed(*typed.split())
    assert asked == [given]


def test_lab_returns_the_exit_code_of_jupyterlab(monkeypatch, printed):
    opened = []
    monkeypatch.setattr("tinylm.course.notebooks.open_lab", lambda *a, **how: opened.append((*a, how)) or 7)
    assert printed("lab", code=7) + printed("lab", "--no-browser", "--solutions", code=7) == ""
    assert opened == [([], {"solved": False}), (["--no-browser"], {"solved": True})]


@pytest.mark.parametrize(
    "typed, words",
    [
        ([*TRAIN, "--run", "tiny"], "the run tiny exists already: choose another --run name"),
        (["resume", "tiny"], "the run tiny ended after 11 of 11 steps"),
        (["sample", "tiny", "--prompt", "snow ☃"], "☃"),
        (["sample", "tiny", "--prompt", ""], "the prompt has 0 tokens"),
        (["evaluate", "tiny", "--on", "toyworld"], "is not among the"),
        (["evaluate", "tiny", "--on", "toyworld", "--items", "-1"], "items is -1: it must be at least 1"),
        (["evaluate", "tiny", "--items", "3"], "of is 'validation': use 'hellaswag' or 'toyworld'"),
        (["doctor", "tiny"], "the doctor compares a run with 3 or more healthy ones"),
    ],
)
def test_command_that_a_run_cannot_follow_is_refused_in_one_sentence_and_leaves_it_as_it_was(
    my_runs, capsys, typed, words
):
    before = contents(my_runs)
    assert main(typed) == 2
    captured = capsys.readouterr()
    assert_one_sentence(captured.err, words)
    assert captured.out.strip() == "" and contents(my_runs) == before


def test_doctor_says_what_it_found_or_that_all_is_well(my_runs, monkeypatch, printed):
    for found, said in ((["a", "b"], "a\nb\n"), ([], "both losses stay where those of healthy runs do\n")):
        monkeypatch.setattr("tinylm.course.doctor.examine", lambda record, found=found: found)
        assert printed("doctor", "tiny") == printed("doctor", str(my_runs / "tiny")) == said


def test_card_is_printed_or_written_to_a_new_file_and_never_over_another(my_runs, printed, capsys, tmp_path):
    shown = printed("card", "tiny", "--license", "mit")
    assert shown.startswith("---\n") and "license: mit\n" in shown and "# tiny\n" in shown
    assert printed("card", "tiny", "--license", "mit", "--out", "README.md") == ""
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == shown
    assert main(["card", "tiny", "--out", "README.md"]) == 2
    assert_one_sentence(capsys.readouterr().err, "README.md exists already: choose another --out")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == shown


def test_train_with_fallback_replaces_a_missing_corpus_and_resume_needs_it_no_more(monkeypatch, printed):
    other = ["--data.corpus", "tinyshakespeare", "--fallback", "--run", "stand-in"]
    with monkeypatch.context() as patched:
        interrupt_at(patched, 1)
        assert "using toyworld-plays instead" in printed(*TRAIN, *other, code=130)
    printed("resume", "stand-in")
    opened = paths.open_checkpoint("stand-in")
    assert (opened.corpus, opened.notes["step"]) == ("toyworld-plays", 11)


def test_train_on_a_text_of_ones_own_names_the_file_alone_and_quotes_what_to_type_next(
    mine, monkeypatch, tmp_path, printed
):
    monkeypatch.setattr(paths, "MINE", tmp_path / "my $(x) runs")
    text = tmp_path / "folder" / "own.txt"
    text.parent.mkdir()
    text.write_text("abcde fghij " * 50)
    said = printed(*TRAIN, "--data.corpus", str(text), "--run", "own")
    assert "own.txt (file, folded to lower case): 540 characters to train on, 60 to validate" in said
    assert "python -m tinylm sample 'my $(x) runs/own'\n" in said
    header = read_record(paths.MINE / "own" / "record.jsonl").header
    assert "--data.corpus own.txt --run own" in header["command"]
    assert header["data"] == header["reading"]["corpus"] == "own.txt"
    printed("sample", "own")
    assert "59 characters of own.txt (file, folded to lower case), each predicted once" in printed(
        "evaluate", "own"
    )


def test_story_model_is_walked_from_training_to_a_story_that_it_begins_itself(mine, monkeypatch, printed):
    sizes = [*TRAIN[4:], "--data.corpus", "toyworld-stories", "--data.tokenizer", "bpe-300", "--run", "told"]
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2)
        said = printed("train", "tinystories_51m", "--scale", "small", *sizes, code=130)
    assert " bits per byte" in said and "a sample:" in said
    assert "ended early, after 10 steps: `python -m tinylm resume told` goes on\n" in said
    header = read_record(mine / "told" / "record.jsonl").header
    assert (header["scale"], header["train"]["steps"]) == ("small", 11)
    assert "going on from step_00000010: 10 of 11 steps are done" in printed("resume", "told")
    assert paths.open_checkpoint("told").notes["step"] == 11
    assert " bits per byte (± over " in printed("evaluate", "told")
    story = printed("sample", "told", "--seed", "3", "--max-new-tokens", "9")
    assert story == printed("sample", "told", "--seed", "3", "--max-new-tokens", "9", "--prompt", "")
    typed = printed("sample", "told", "--prompt", "<|endoftext|>Tom", "--max-new-tokens", "1")
    assert typed.startswith("<|endoftext|>Tom")


def test_run_that_is_exported_and_imported_writes_and_measures_the_same_and_can_be_started_from(
    my_runs, printed, capsys, monkeypatch, tmp_path
):
    assert "AutoModelForCausalLM.from_pretrained('out')" in printed(
        "export", "tiny", "out", "--license", "mit"
    )
    card = Path("out", "README.md")
    assert "license: mit\n" in card.read_text(encoding="utf-8")
    card.write_text("mine")
    assert "README.md is kept as it is" in printed("export", "tiny", "out", "--overwrite")
    assert card.read_text() == "mine"
    printed("export", "out", "again")
    assert "No record of its training" in Path("again", "README.md").read_text(encoding="utf-8")
    said = printed("import", "out", "back", "--corpus", "toyworld-plays")
    assert said == "next: python -m tinylm sample back\n"
    words = ("--prompt", "The KING", "--max-new-tokens", "40", "--seed", "3")
    written = printed("sample", "tiny", *words)
    assert printed("sample", "back", *words) == printed("sample", "out", *words) == written
    assert printed("evaluate", "back") == printed("evaluate", "tiny")
    printed("import", "out", "back", "--overwrite")  # in place of the earlier one
    assert printed("sample", "back", *words) == printed("sample", "tiny", *words)
    for typed, wrong in (
        ("evaluate back", "it names no corpus: train it again, or import it with --corpus"),
        ("evaluate out", "it names no corpus: train it again, or import it with --corpus"),
        ("export tiny out", "out holds 'README.md': name a new folder, or add --overwrite"),
        ("import out out", "out holds 'README.md': name a new folder, or add --overwrite"),
        ("import out out --overwrite", "out holds a Hugging Face model: name another folder"),
        ("export tiny back --overwrite", "back holds a checkpoint of tinylm: name another folder"),
        ("export tiny .", "tinylm: . holds '"),
    ):
        assert main(typed.split()) == 2
        assert_one_sentence(capsys.readouterr().err, wrong)
    monkeypatch.setattr(paths, "MINE", tmp_path / "mine")
    said = printed(*TRAIN, "--init-from", "back", "--train.steps", "1", "--run", "more")
    assert "a sample:" in said and paths.open_checkpoint("more").notes["step"] == 1
