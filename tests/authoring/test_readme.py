"""README's front page is short, and its numbers are those of the records, the notebooks and the exercises."""

import re
from statistics import fmean

from tests.authoring.execute import NOTEBOOKS, ROOT
from tests.authoring.notebook_rules import about, minutes, read
from tests.course.exercises.test_exercises import EXERCISES
from tinylm.runs.records import read_record

FRONT = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The command line")[0]


def records(name, seeds=None):
    names = [f"{name}-seed{seed}" for seed in range(1, seeds + 1)] if seeds else [name]
    return [read_record(ROOT / "data/runs" / f"{one}.jsonl") for one in names]


def loss(runs):
    return f"{fmean(run.evaluations[-1]['loss'] for run in runs):.4f}"


def took(runs):
    return f"{fmean(run.end['seconds'] for run in runs) / 60:.1f} minutes"


def test_front_page_is_short_and_counts_notebooks_exercises_and_hours():
    shown = re.sub(r"\]\([^)]*\)", "]", re.sub(r"!\[[^]]*\]\([^)]*\)", "", FRONT))
    assert len(re.findall(r"\S*\w\S*", shown)) <= 900
    spent = [int(about(minutes(read(path).nb.cells))) for path in NOTEBOOKS.glob("*.ipynb")]
    counted = f"{len(spent)} notebooks · {len(EXERCISES)} exercises · about {sum(spent) / 60:.0f} hours"
    assert counted in FRONT


def test_the_four_results_of_the_front_page_are_those_of_the_records():
    rows = [row for row in re.findall(r"^\| `.*$", FRONT, re.M) if "%" in row or "loss" in row]
    fast, plain = (records(f"shakespeare_{name}", 5) for name in ("fast", "baseline"))
    assert took(fast) == took(plain) and {run.header["threads"] for run in fast + plain} == {1}
    tales, usual = (records(f"tinystories_{name}", 3) for name in ("fast", "51m"))
    assert len({(run.header["tokens"], run.header["scale"]) for run in tales + usual}) == 1
    found = {line["name"]: line for line in records("hellaswag")[0].measurements}
    ends = found["toyworld_stories on toyworld, per ending"]
    sums = [run.evaluations[-1]["metrics"] for run in records("addition") + records("addition_all")]
    said = [[took(fast), loss(fast), loss(plain), "five"]]
    said.append([took(tales), loss(tales), loss(usual), took(usual), "three"])
    said.append([f"{ends['mean']:.1%} of {ends['n']:,}", f"{ends['chance']:.0%}"])
    said.append([f"{of['exact_match']:.2%}" for of in sums])
    assert [[part for part in parts if part in row] for parts, row in zip(said, rows, strict=True)] == said
