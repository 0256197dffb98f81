"""The commands: a round trip from training to sample, and each command calls what does it."""

import shlex

import pytest

from tests.support.command_line import ROOT, TRAIN
from tinylm.__main__ import main
from tinylm.runs import paths
from tinylm.runs.records import read_record
from tinylm.text import corpora

pytestmark = pytest.mark.usefixtures("nothing_at_hand")


def test_train_prints_forecast_evaluations_a_sample_and_the_next_command(trained):
    folder, out = trained
    order = [
        "forecast: ",
        "step 5: validation loss",
        "step 10:",
        "step 11:",
        "took ",
        "a sample:",
        "next:",
    ]
    places = [out.index(words) for words in order]
    assert places == sorted(places)
    following = out[places[-1] :].split("python -m tinylm sample ")[1].strip()
    assert (ROOT / following).resolve() == (folder / "tiny").resolve()


def test_sample_stores_the_matrices_by_columns_before_it_writes(my_runs, monkeypatch, capsys):
    from tinylm.cli import commands

    stored, real = [], commands.stream_text

    def stream_text(model, *rest, **more):
        stored.append(model.blocks[0].attn.qkv.weight.t().is_contiguous())
        return real(model, *rest, **more)

    monkeypatch.setattr(commands, "stream_text", stream_text)
    assert main(["sample", "tiny", "--max-new-tokens", "3"]) == 0
    assert stored == [True]


def test_record_of_a_training_has_what_was_typed(my_runs):
    record = read_record(my_runs / "tiny" / "record.jsonl")
    assert record.header["command"] == "python -m tinylm " + " ".join([*TRAIN, "--run", "tiny"])
    assert record.header["train"]["steps"] == 11
    assert record.header["model"]["n_embd"] == 22


def test_sample_continues_the_folded_prompt_and_a_seed_repeats_it(my_runs, capsys):
    typed = ["sample", "tiny", "--prompt", "The KING", "--max-new-tokens", "50"]
    texts = []
    for seed in ("3", "3", "4"):
        assert main([*typed, "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the king")
    assert len(texts[0]) == len("the king") + 50 + 1


def test_sample_without_a_seed_is_another_each_time_and_temperature_zero_is_always_the_same(my_runs, capsys):
    def text(*options: str) -> str:
        assert main(["sample", str(my_runs / "tiny"), "--max-new-tokens", "60", *options]) == 0
        return capsys.readouterr().out

    assert text() != text()
    assert text("--temperature", "0") == text("--temperature", "0")


def test_sample_heeds_every_option_and_the_cache_changes_nothing(my_runs, capsys):
    def text(*options: str) -> str:
        assert main(["sample", "tiny", "--max-new-tokens", "60", "--seed", "3", *options]) == 0
        return capsys.readouterr().out

    whole, greedy = text("--temperature", "1"), text("--temperature", "0")
    for narrow in (["--top-k", "1"], ["--top-p", "0.000001"], ["--min-p", "1"]):
        assert text("--temperature", "1", *narrow) == greedy
    assert text("--temperature", "1", "--repetition-penalty", "5") != whole
    assert text("--temperature", "1", "--no-use-cache") == whole
    stop = ["--stop", whole[30:33], "--stop", whole[50:53]]
    assert text("--temperature", "1", *stop) == whole[: whole.index(whole[30:33], 1)] + "\n"


def test_evaluate_prints_the_last_evaluation_of_the_record_and_the_unit_of_its_error(my_runs, capsys):
    assert main(["evaluate", "tiny"]) == 0
    last = read_record(my_runs / "tiny" / "record.jsonl").evaluations[-1]
    shown = capsys.readouterr().out
    assert f"validation loss {last['loss']:.4f} ± {last['standard_error']:.4f} nats per character" in shown
    assert f"(± over {last['unit']})" in shown
    assert f"{last['n_tokens']:,} characters of toyworld-plays (generated)" in shown


def test_train_with_fallback_replaces_a_missing_corpus(monkeypatch, capsys):
    from tinylm.runs import run

    monkeypatch.setattr(run, "measure_speed", lambda model, **_: 1e6)
    typed = [
        *TRAIN,
        "--data.corpus",
        "tinyshakespeare",
        "--train.steps",
        "2",
        "--fallback",
        "--run",
        "stand-in",
    ]
    assert main(typed) == 0
    assert "using toyworld-plays instead" in capsys.readouterr().out
    assert paths.open_checkpoint("stand-in").corpus == "toyworld-plays"


def test_resume_goes_on_with_an_interrupted_run_by_its_name_alone(monkeypatch, capsys):
    from tinylm.runs import run

    real = run.evaluate

    def ctrl_c(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "measure_speed", lambda model, **_: 1e6)
    monkeypatch.setattr(run, "evaluate", ctrl_c)
    assert main([*TRAIN, "--run", "stopped"]) == 130
    said = capsys.readouterr().out
    assert (
        "ended early, after 5 steps: `python -m tinylm resume stopped` goes on" in said
        and "a sample:" in said
    )
    monkeypatch.setattr(run, "evaluate", real)
    assert main(["resume", "stopped"]) == 0
    said = capsys.readouterr().out
    assert "going on from step_00000005: 5 of 11 steps are done" in said and "a sample:" in said
    assert paths.open_checkpoint("stopped").notes["step"] == 11


def test_machine_and_lab_call_what_does_it(monkeypatch, capsys):
    opened = []
    workbook = pytest.importorskip("tinylm.course.notebooks")
    monkeypatch.setattr("tinylm.runs.machine.report", lambda: "a machine")
    monkeypatch.setattr(workbook, "open_lab", lambda arguments: opened.append(arguments) or 7)
    assert main(["machine"]) == 0
    assert main(["lab"]) == main(["lab", "--no-browser"]) == 7  # JupyterLab's own exit code
    assert capsys.readouterr().out == "a machine\n"
    assert opened == [[], ["--no-browser"]]


def test_fetch_and_pack_report_the_files(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tinylm.text.corpora.fetch", lambda name: {"a.txt": tmp_path, "b.txt": tmp_path})
    monkeypatch.setattr("tinylm.text.corpora.pack", lambda folder: [folder / "x"])
    assert main(["fetch", "tinyshakespeare"]) == main(["fetch", "--all"]) == main(["pack", "a stick"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("tinyshakespeare: a.txt, b.txt\n") == 2
    found = shlex.quote(corpora.as_variable("a stick"))
    assert f"1 files: set TINYLM_DATA={found}," in shown


def test_train_on_a_text_of_ones_own_names_the_file_alone_and_quotes_what_to_type_next(
    monkeypatch, tmp_path, capsys
):
    from tinylm.runs import run

    monkeypatch.setattr(run, "measure_speed", lambda model, **_: 1e6)
    monkeypatch.setattr(paths, "MINE", tmp_path / "my $(x) runs")
    text = tmp_path / "folder" / "own.txt"
    text.parent.mkdir()
    text.write_text("abcde fghij " * 50)
    assert main([*TRAIN, "--data.corpus", str(text), "--run", "own"]) == 0
    printed = capsys.readouterr().out
    assert "own.txt (file): 540 characters to train on, 60 to validate" in printed
    assert "python -m tinylm sample 'my $(x) runs/own'\n" in printed
    header = read_record(paths.MINE / "own" / "record.jsonl").header
    assert "--data.corpus own.txt --run own" in header["command"]
    assert header["data"] == header["reading"]["corpus"] == "own.txt"
    for typed in (["sample", "own"], ["evaluate", "own"]):
        assert main(typed) == 0
    assert "59 characters of own.txt (file), each predicted once" in capsys.readouterr().out
