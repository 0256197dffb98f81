"""Every benchmark script still runs. No test here depends on how long anything takes."""

import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinylm.model.config import ModelConfig
from tinylm.model.cost import parameter_counts
from tinylm.runs.recipes import recipe
from tinylm.runs.records import RunRecord, read_record

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
SMALLEST = {"training_step": ["--rounds", "1", "--steps", "7"]}  # the others are only asked for their --help
SMALL = ModelConfig(vocab_size=31, context_length=17, n_layer=1, n_head=2, n_embd=8)
COMMANDS = {
    str(path): SMALLEST.get(path.stem, ["--help"])
    for path in sorted(FOLDER.glob("*.py"))
    if "def main()" in path.read_text(encoding="utf-8") and path.stem != "test_benchmarks"
}
CODE = f"""
import runpy, sys
import tinylm  # this one; what else lies at the root is not at hand for a script
sys.path[:] = [{str(FOLDER)!r}, *(path for path in sys.path if path != {str(ROOT)!r})]
for path, words in {COMMANDS!r}.items():
    sys.argv = [path, *words]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        assert not end.code, path
"""


def test_benchmarks_run_at_their_smallest_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "library train() / library step: " in done.stdout and "--peak-tflops" in done.stdout


@pytest.fixture
def benchmark(monkeypatch):
    """What a script defines, by its name."""
    monkeypatch.syspath_prepend(FOLDER)
    return lambda name: runpy.run_path(str(FOLDER / f"{name}.py"))


def test_every_record_is_made_by_a_script_that_exists_or_is_an_experiment_of_its_name(benchmark):
    commands = [read_record(path).header["command"] for path in ROOT.glob("data/runs/*.jsonl")]
    scripts = {name for command in commands for name in re.findall(r"tests/benchmarks/(\w+)", command)}
    known = {*benchmark("experiments")["EXPERIMENTS"], *(path.stem for path in FOLDER.glob("*.py"))}
    assert scripts and scripts <= known


def test_gpu_measures_each_arithmetic_setting_and_size_once_and_the_settings_train(benchmark):
    gpu = benchmark("gpu")
    found = gpu["cases"](["float32", "tf32", "bfloat16"], "bfloat16", 32)
    assert len(found) == len(set(found)) == 2 * 3 + 6 + 3
    assert {setting for setting, *_ in found} == {*gpu["SETTINGS"]}
    assert {size for *_, size in found} == {8, 32, 64, 128}
    for setting, chosen in gpu["SETTINGS"].items():
        if not chosen.get("compile"):
            figures = gpu["training"](SMALL, setting, "float32", 3, seconds=0.0)
            assert figures["tokens_per_second"] > 0 and figures["tflops"] > 0
    assert gpu["product_tflops"]("float32", 17, torch.device("cpu")) > 0


def test_each_rung_of_the_speed_ladder_takes_its_step(benchmark):
    ladder = benchmark("speed_ladder")
    ladder["made"].__globals__["STEP"] = SMALL
    for name, what in ladder["RUNGS"].items():
        if "compile" not in what:
            assert ladder["made"](name, 3, "float32")() >= 0


def test_ladders_lead_from_one_recipe_to_the_other(benchmark):
    ladder = benchmark("fast_ladder")
    kept = [rung.recipe for rung in ladder["ladder"]() if rung.kept]
    assert kept[0] == ladder["BASE"] and kept[-1] == ladder["FAST"]
    ladder = benchmark("gpt2_ladder")
    first, *_, last, aside = [rung.recipe for rung in ladder["between"]()]
    assert first.model == ladder["BASE"].model and aside.model == ladder["FAST"].model != last.model
    assert first.train.steps == last.train.steps < ladder["BASE"].train.steps / 3
    sizes = [parameter_counts(rung.recipe.model)["total"] for rung in benchmark("modern_ladder")["rungs"]()]
    assert len(sizes) == 8 and max(sizes) < 1.005 * min(sizes)


def test_a_ladder_writes_each_evaluation_a_training_record_and_a_summary(benchmark, tmp_path, monkeypatch):
    variants = benchmark("variants")
    monkeypatch.setattr(variants["paths"], "MINE", tmp_path)
    short = recipe("shakespeare_baseline")
    data = replace(short.data, corpus="toyworld-plays")
    few = {"steps": 3, "warmup_steps": 1, "micro_batch_size": 1, "tokens_per_step": 17, "eval_tokens": 99}
    model = {"n_layer": 1, "n_head": 1, "n_embd": 8, "context_length": 17}
    made = variants["changed"](replace(short, data=data), **few, **model)
    rung = variants["Rung"]("one", made, is_end=True)
    record = RunRecord(tmp_path / "record.jsonl", {"what": "experiment"})
    variants["climb"]([rung], [1, 2], record)
    found = read_record(record.path)
    assert [line["loss"] for line in found.evaluations] == found.measurements[0]["losses"]
    for seed, loss in zip((1, 2), found.measurements[0]["losses"], strict=True):
        own = read_record(tmp_path / f"{short.name}-seed{seed}" / "record.jsonl")
        assert own.has_ended and own.header["seed"] == seed and own.evaluations[0]["loss"] == loss
    with pytest.raises(SystemExit, match="has shakespeare_baseline-seed1, "):
        variants["climb"]([rung], [1, 2], record)
