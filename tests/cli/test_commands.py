"""The commands: a round trip from training to sample, and each command calls what does it."""

import shlex
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, TRAIN, assert_one_sentence
from tests.support.tiny_run import interrupt_at
from tinylm.__main__ import main
from tinylm.cli import commands
from tinylm.runs import paths
from tinylm.runs.records import read_record
from tinylm.text import corpora

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


def test_sample_stores_the_matrices_by_columns_before_it_writes(my_runs, monkeypatch, printed):
    stored, real = [], commands.stream_text

    def stream_text(model, *rest, **more):
        stored.append(model.blocks[0].attn.qkv.weight.t().is_contiguous())
        return real(model, *rest, **more)

    monkeypatch.setattr(commands, "stream_text", stream_text)
    printed("sample", "tiny", "--max-new-tokens", "3")
    assert stored == [True]


def test_sample_continues_the_folded_prompt_and_only_a_seed_or_temperature_zero_repeats_it(my_runs, printed):
    def text(*options: str) -> str:
        return printed("sample", "tiny", "--prompt", "The KING", "--max-new-tokens", "60", *options)

    assert text("--seed", "3") == text("--seed", "3") != text("--seed", "4")
    assert text() != text()
    assert text("--temperature", "0") == text("--temperature", "0")
    assert text().startswith("the king") and len(text()) == len("the king") + 60 + 1


def test_sample_heeds_every_option_and_the_cache_changes_nothing(my_runs, printed):
    def text(*options: str) -> str:
        return printed("sample", "tiny", "--max-new-tokens", "60", "--seed", "3", *options)

    whole, greedy = text("--temperature", "1"), text("--temperature", "0")
    for narrow in (["--top-k", "1"], ["--top-p", "0.000001"], ["--min-p", "1"]):
        assert text("--temperature", "1", *narrow) == greedy
    assert text("--temperature", "1", "--repetition-penalty", "5") != whole
    assert text("--temperature", "1", "--no-use-cache") == whole
    stop = ["--stop", whole[30:33], "--stop", whole[50:53]]
    assert text("--temperature", "1", *stop) == whole[: whole.index(whole[30:33], 1)] + "\n"


def test_evaluate_prints_the_last_evaluation_of_the_record_and_the_unit_of_its_error(my_runs, printed):
    shown = printed("evaluate", "tiny")
    last = read_record(my_runs / "tiny" / "record.jsonl").evaluations[-1]
    assert f"validation loss {last['loss']:.4f} ± {last['standard_error']:.4f} nats per character" in shown
    assert f"(± over {last['unit']})" in shown
    assert f"{last['n_tokens']:,} characters of toyworld-plays (generated)" in shown


def test_evaluate_on_choices_prints_what_was_found_and_refuses_what_cannot_be_scored(
    my_runs, printed, capsys, monkeypatch
):
    asked = []
    with monkeypatch.context() as patched:
        patched.setattr("tinylm.runs.scoring.score", lambda *given: asked.append(given))
        assert printed("evaluate", "tiny", "--on", "toyworld") == ""  # score prints what it finds
        printed("evaluate", "ada/gpt2", "--on", "hellaswag", "--items", "7")
    assert asked == [("tiny", "toyworld", None), ("ada/gpt2", "hellaswag", 7)]
    for typed, wrong in (
        ("--on hellaswag", "TINYLM_OFFLINE forbids the network): `python -m tinylm fetch hellaswag` gets it"),
        ("--on toyworld", "is not among the"),
        ("--on toyworld --items -1", "items is -1: it must be at least 1"),
        (
            "--on toyworld --items x",
            "--items is not a whole number: x (see python -m tinylm evaluate --help)",
        ),
        ("--items 3", "what --items are of is 'validation': use 'hellaswag' or 'toyworld'"),
        ("--on hella", "--on 'hella' is unknown: use 'validation', 'hellaswag', 'toyworld'"),
    ):
        assert main(["evaluate", "tiny", *typed.split()]) == 2
        assert_one_sentence(capsys.readouterr().err, wrong)


def test_doctor_says_what_it_found_or_that_all_is_well_and_refuses_a_run_that_nothing_compares_with(
    my_runs, monkeypatch, printed, capsys
):
    assert main(["doctor", "tiny"]) == 2
    assert_one_sentence(capsys.readouterr().err, "the doctor compares a run with 3 or more healthy ones")
    for found, said in ((["a", "b"], "a\nb\n"), ([], "both losses stay where those of healthy runs do\n")):
        monkeypatch.setattr("tinylm.course.doctor.examine", lambda record, found=found: found)
        assert printed("doctor", "tiny") == printed("doctor", str(my_runs / "tiny")) == said


def test_card_is_printed_or_written_to_a_new_file_and_never_over_another(my_runs, printed, capsys, tmp_path):
    shown = printed("card", "tiny", "--license", "mit")
    assert shown.startswith("---\n") and "license: mit\n" in shown and "# tiny\n" in shown
    assert printed("card", "tiny", "--license", "mit", "--out", "README.md") == ""
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == shown
    assert main(["card", "tiny", "--out", "README.md"]) == 2
    assert_one_sentence(capsys.readouterr().err, "README.md: File exists")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == shown


def test_train_with_fallback_replaces_a_missing_corpus(mine, printed):
    other = ["--data.corpus", "tinyshakespeare", "--train.steps", "2", "--fallback", "--run", "stand-in"]
    assert "using toyworld-plays instead" in printed(*TRAIN, *other)
    assert paths.open_checkpoint("stand-in").corpus == "toyworld-plays"


def test_resume_goes_on_with_an_interrupted_run_by_its_name_alone(mine, monkeypatch, printed):
    with monkeypatch.context() as patched:
        interrupt_at(patched, 1)
        said = printed(*TRAIN, "--run", "stopped", code=130)
    assert "ended early, after 5 steps: `python -m tinylm resume stopped` goes on" in said
    assert "a sample:" in said
    said = printed("resume", "stopped")
    assert "going on from step_00000005: 5 of 11 steps are done" in said and "a sample:" in said
    assert paths.open_checkpoint("stopped").notes["step"] == 11


def test_machine_and_lab_call_what_does_it(monkeypatch, printed):
    opened = []
    monkeypatch.setattr("tinylm.runs.machine.report", lambda: "a machine")
    monkeypatch.setattr("tinylm.course.notebooks.open_lab", lambda *a, **how: opened.append((*a, how)) or 7)
    assert printed("machine") == "a machine\n"
    assert printed("lab", code=7) + printed("lab", "--no-browser", code=7) == ""  # JupyterLab's own exit code
    assert printed("lab", "--solutions", code=7) == ""
    plain, solved = {"solved": False}, {"solved": True}
    assert opened == [([], plain), (["--no-browser"], plain), ([], solved)]


def test_fetch_and_pack_report_the_files(monkeypatch, printed, tmp_path):
    found = {"a.txt": ("network", tmp_path), "b.txt": ("cache", tmp_path)}
    monkeypatch.setattr(corpora, "obtain", lambda name: found)
    monkeypatch.setattr(corpora, "pack", lambda folder, *names: [folder / "x", *names])
    for typed in (["fetch", "tinyshakespeare"], ["fetch", "--all"]):
        assert "tinyshakespeare: a.txt, b.txt, from the cache and from the network\n" in printed(*typed)
    many = {f"{i}.bin": ("pack", tmp_path) for i in range(100)}
    monkeypatch.setattr(corpora, "obtain", lambda name: many)
    said = "fineweb-edu-shards: 100 files, from the pack, checked by their size alone\n"
    assert said in printed("fetch", "fineweb-edu-shards")
    found = shlex.quote(corpora.as_variable("a stick"))
    assert f"1 files: set TINYLM_DATA={found}," in printed("pack", "a stick")
    assert "3 files: set" in printed("pack", "a stick", "tinystories", "gpt2-bpe")


def test_train_on_a_text_of_ones_own_names_the_file_alone_and_quotes_what_to_type_next(
    mine, monkeypatch, tmp_path, printed
):
    monkeypatch.setattr(paths, "MINE", tmp_path / "my $(x) runs")
    text = tmp_path / "folder" / "own.txt"
    text.parent.mkdir()
    text.write_text("abcde fghij " * 50)
    said = printed(*TRAIN, "--data.corpus", str(text), "--run", "own")
    assert "own.txt (file): 540 characters to train on, 60 to validate" in said
    assert "python -m tinylm sample 'my $(x) runs/own'\n" in said
    header = read_record(paths.MINE / "own" / "record.jsonl").header
    assert "--data.corpus own.txt --run own" in header["command"]
    assert header["data"] == header["reading"]["corpus"] == "own.txt"
    printed("sample", "own")
    assert "59 characters of own.txt (file), each predicted once" in printed("evaluate", "own")


def test_prepare_calls_what_does_it_and_says_what_to_type_next(monkeypatch, printed, tmp_path):
    asked = []
    monkeypatch.setattr(
        "tinylm.text.prepare.prepare", lambda *a, **how: asked.append((*a, how)) or "a folder"
    )
    assert printed("prepare", "tinystories").endswith("--data.corpus tinystories --data.tokenizer gpt2\n")
    said = printed("prepare", "my texts", "--tokenizer", "bpe-300", "--processes", "3")
    assert said.endswith(
        "train tinystories_51m --scale small --data.corpus 'a folder' --data.tokenizer bpe-300\n"
    )
    plain, three = {"processes": None}, {"processes": 3}
    assert asked == [("tinystories", "gpt2", plain), ("my texts", "bpe-300", three)]


def test_story_model_is_walked_from_training_to_a_story_that_it_begins_itself(mine, monkeypatch, printed):
    sizes = [*TRAIN[4:], "--data.corpus", "toyworld-stories", "--data.tokenizer", "bpe-300", "--run", "told"]
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2)
        said = printed("train", "tinystories_51m", "--scale", "small", *sizes, code=130)
    assert " bits per byte" in said
    header = read_record(mine / "told" / "record.jsonl").header
    assert (header["scale"], header["train"]["steps"]) == ("small", 11)
    printed("resume", "told")
    assert " bits per byte (± over " in printed("evaluate", "told")
    prompts = []
    real = commands.stream_text
    monkeypatch.setattr(
        commands, "stream_text", lambda *given, **more: prompts.append(given[2]) or real(*given, **more)
    )
    story = printed("sample", "told", "--seed", "3", "--max-new-tokens", "9")
    assert prompts == [""] and story == printed(
        "sample", "told", "--seed", "3", "--max-new-tokens", "9", "--prompt", ""
    )
    typed = printed("sample", "told", "--prompt", "<|endoftext|>Tom", "--max-new-tokens", "0")
    assert typed == "<|endoftext|>Tom\n"


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
        ("evaluate back", "the checkpoint names no corpus: train it again, or import it with --corpus"),
        ("evaluate out", "the checkpoint names no corpus: train it again, or import it with --corpus"),
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
