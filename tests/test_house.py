"""The house keeps its rules; each is seen to fail on a fault planted in a small house that keeps them all."""

import json
from pathlib import Path

import pytest
from tinylm.training.results import results_table

from tests import house_rules, surroundings
from tests.authoring.execute import ROOT
from tinylm.runs.records import read_record

RULES = (*house_rules.RULES, *surroundings.RULES)


def named(rule: object) -> str:
    """A rule's name, for the test's."""
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_house_keeps_the_rule(rule):
    assert rule(ROOT) == []


ADDRESS = "https://github.com/ada/tinylm"
RECORD = [
    {
        "kind": "header",
        "recipe": "tiny",
        "machine": {"cpu": "a cpu", "cores": 2},
        "device": "cpu",
        "tokens": 77,
    },
    {"kind": "evaluation", "step": 7, "loss": 2.5, "standard_error": 0.01},
    {"kind": "end", "seconds": 60.0},
]
README = f"""# tinylm

```console
git clone {ADDRESS}
make lab     # opens the course
python -m tinylm train tiny
```

[02](notebooks/02_attention.ipynb), on
[Colab](https://colab.research.google.com/github/ada/tinylm/blob/main/notebooks/02_attention.ipynb)

<!-- results -->
TABLE
<!-- /results -->
"""
SIGN = '"""A room: it does one thing.\n\nRefuses to know the rest."""\n'
ROOM = SIGN + '\n\ndef thing() -> int:\n    """Gives one."""\n    return 1\n'
TEST = "def test_one_is_one():\n    assert 1 == 1\n"
ROOMS = (
    "errors",
    "text/words",
    "model/net",
    "training/loop",
    "training/precision",
    "inference/pick",
    "recipes",
)
HOUSE = {
    "README.md": README,
    "Makefile": "lab: ## open the course\n\techo lab\n",
    "requirements.txt": "# pins\ntorch==2.13.0\npytest==9.2.0  # tests\n-e .\n",
    "pyproject.toml": "[project]\n"
    'dependencies = ["torch>=2.6"]\noptional-dependencies.test = ["pytest>=8.4"]\n'
    f'urls.Repository = "{ADDRESS}"\n',
    "tinylm/__main__.py": SIGN
    + "\nclass Train:\n    "
    + '"""Train a model."""\n\n\nCOMMANDS = {Train: print}\n',
    "tinylm/__init__.py": '"""The floor plan."""\n',
    "tests/test_main.py": TEST,
    "tinylm/options.py": SIGN + "\nfrom tyro.conf import arg\n",
    "tests/test_options.py": TEST,
    "tinylm/commands.py": ROOM,
    "tests/test_commands.py": TEST,
    "tests/test_house.py": TEST,
    "tests/tree.py": "",
    "tests/test_tree.py": TEST,
    "notebooks/02_attention.ipynb": "{}",
    "data/runs/tiny.jsonl": "".join(json.dumps(line) + "\n" for line in RECORD),
    "data/README.md": "# cards\n",
}
for _room in ROOMS:
    _folder, _, _name = _room.rpartition("/")
    HOUSE[f"tinylm/{_room}.py"] = ROOM
    HOUSE[f"tests/{_folder}/test_{_name}.py"] = TEST
    if _folder:
        HOUSE[f"tinylm/{_folder}/__init__.py"] = f'"""The {_folder} floor."""\n'


def write(root: Path, files: dict[str, str]) -> None:
    """Writes files into a tree."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


@pytest.fixture
def house(tmp_path):
    """A small house that keeps every rule."""
    write(tmp_path, HOUSE)
    table = results_table([read_record(tmp_path / "data/runs/tiny.jsonl")])
    write(tmp_path, {"README.md": README.replace("TABLE", table)})
    return tmp_path


def complaining(root: Path) -> list[str]:
    """The names of the rules that have a complaint."""
    return [rule.__name__ for rule in RULES if rule(root)]


def test_the_small_house_keeps_every_rule(house):
    assert complaining(house) == []


def room(line: str, path: str = "text/words") -> dict[str, str]:
    """A fault: this line stands in a room as well."""
    body = f'\n\ndef other(x: object) -> object:\n    """Does more."""\n    {line}\n    return x\n'
    return {f"tinylm/{path}.py": ROOM + body}


def readme(old: str, new: str) -> dict[str, str]:
    """A fault: README says something else. The table is put in as it should be."""
    return {"README.md": (old, new)}


SLASH = "/"
FAULTS = {
    "text imports model": ("imports_point_one_way", room("import tinylm.model.net")),
    "text imports training, in a function": (
        "imports_point_one_way",
        room("from tinylm.training import loop"),
    ),
    "model imports text": ("imports_point_one_way", room("from tinylm.text.words import thing", "model/net")),
    "model imports training": (
        "imports_point_one_way",
        room("from tinylm.training import loop", "model/net"),
    ),
    "training imports inference": (
        "imports_point_one_way",
        room("from tinylm.inference import pick", "training/loop"),
    ),
    "training imports a recipe": (
        "imports_point_one_way",
        room("from tinylm import recipes", "training/loop"),
    ),
    "inference imports the optimiser": (
        "imports_point_one_way",
        room("from tinylm.training.optim import adamw", "inference/pick"),
    ),
    "inference imports course": (
        "imports_point_one_way",
        room("import tinylm.course.charts", "inference/pick"),
    ),
    "__main__ opens the course itself": (
        "imports_point_one_way",
        {"tinylm/__main__.py": HOUSE["tinylm/__main__.py"] + "\nfrom tinylm.course import workbook\n"},
    ),
    "a recipe imports course": ("imports_point_one_way", room("from tinylm.course import plots", "recipes")),
    "errors import text": ("imports_point_one_way", room("from tinylm.text import words", "errors")),
    "somebody imports the command line": ("imports_point_one_way", room("import tinylm.__main__", "recipes")),
    "an import with dots": ("imports_point_one_way", room("from . import other")),
    "torch.distributed": ("ranks_only_in_ddp", room("import torch.distributed as dist", "training/loop")),
    "torch.distributed by attribute": (
        "ranks_only_in_ddp",
        room("torch.distributed.barrier()", "training/loop"),
    ),
    "a rank": ("ranks_only_in_ddp", room('x = os.environ["RANK"]', "training/loop")),
    "a device": ("devices_only_in_precision", room('x = x.to("cuda")', "model/net")),
    "a numbered device": ("devices_only_in_precision", room('x = x.to("cuda:0")', "model/net")),
    "torch.cuda": ("devices_only_in_precision", room("torch.cuda.synchronize()", "training/loop")),
    "argparse": ("arguments_only_in_main", room("import argparse")),
    "tyro": ("arguments_only_in_main", room("from tyro import cli", "recipes")),
    "sys.argv": ("arguments_only_in_main", room("x = sys.argv")),
    "a parser among the options": ("arguments_only_in_main", room("from tyro import cli", "options")),
    "the whole parser among the options": ("arguments_only_in_main", room("import tyro", "options")),
    "sys.argv among the options": ("arguments_only_in_main", room("x = sys.argv", "options")),
    "a mark of the parser's elsewhere": (
        "arguments_only_in_main",
        room("from tyro.conf import arg", "commands"),
    ),
    "a room without a test": ("modules_and_tests_mirror", {"tinylm/text/more.py": ROOM}),
    "a test without a room": ("modules_and_tests_mirror", {"tests/text/test_less.py": TEST}),
    "a test on the wrong floor": ("modules_and_tests_mirror", {"tests/test_words.py": TEST}),
    "a re-export": (
        "init_files_are_floor_plans",
        {"tinylm/text/__init__.py": '"""Text."""\n\nfrom tinylm.text.words import thing\n'},
    ),
    "no floor plan": ("init_files_are_floor_plans", {"tinylm/text/__init__.py": ""}),
    "a short door sign": ("door_signs", {"tinylm/text/words.py": ROOM.replace(SIGN, '"""A room."""\n')}),
    "no door sign": ("door_signs", {"tinylm/text/words.py": ROOM.replace(SIGN, "")}),
    "a long room": ("files_are_short", {"tinylm/text/words.py": ROOM + "x = 1\n" * 250}),
    "utils": ("no_dumping_grounds", {"tinylm/text/utils.py": ROOM, "tests/text/test_utils.py": TEST}),
    "helpers": (
        "no_dumping_grounds",
        {"tinylm/text/word_helpers.py": ROOM, "tests/text/test_word_helpers.py": TEST},
    ),
    "a function without a docstring": (
        "public_things_have_docstrings",
        {"tinylm/text/words.py": ROOM + "\n\ndef more() -> int:\n    return 2\n"},
    ),
    "a method without a docstring": (
        "public_things_have_docstrings",
        {
            "tinylm/text/words.py": ROOM
            + '\n\nclass A:\n    """A."""\n\n    def b(self) -> int:\n        return 2\n'
        },
    ),
    "torch.manual_seed": ("no_global_seeding", room("torch.manual_seed(0)", "training/loop")),
    "np.random.seed": ("no_global_seeding", room("np.random.seed(0)")),
    "a draw from numpy's own": ("no_global_seeding", room("x = np.random.rand(3)")),
    "a draw from Python's own": ("no_global_seeding", room("random.shuffle(x)")),
    "text written as the system likes": (
        "text_is_written_alike",
        room("x.write_text('a', encoding='utf-8')"),
    ),
    "a file opened as the system likes": ("text_is_written_alike", room("x = open(x, 'w')")),
    "a path opened as the system likes": ("text_is_written_alike", room("x = x.open(mode='a')")),
    "a descriptor opened as the system likes": ("text_is_written_alike", room("x = os.fdopen(x, 'x')")),
    "a test's tool that writes as the system likes": (
        "text_is_written_alike",
        {"tests/tree.py": "open('x', 'w')\n"},
    ),
    "pickle": ("no_pickle", room("import pickle")),
    "torch.load": ("no_pickle", room('x = torch.load("x.pt")', "model/net")),
    "numpy's pickle": ("no_pickle", room("x = np.load(x, allow_pickle=True)")),
    "a test without an assert": (
        "tests_can_fail",
        {"tests/text/test_words.py": "def test_it_runs():\n    print(1)\n"},
    ),
    "code among notebooks": ("notebooks_hold_notebooks", {"notebooks/run.py": ""}),
    "a notebook of another name": (
        "notebooks_hold_notebooks",
        {"notebooks/02_at/03_transformer.ipynb": "{}"},
    ),
    "a corpus in data": ("data_holds_no_code_and_no_corpus", {"data/input.txt": "First Citizen:\n"}),
    "code in data": ("data_holds_no_code_and_no_corpus", {"data/make.py": ""}),
    "a corpus called a record": ("data_holds_no_code_and_no_corpus", {"data/runs.json": "x" * 5_000_001}),
    "a path": ("no_trace_of_a_machine", {"data/README.md": f"See {SLASH}home/ada/x.\n"}),
    "a path of Windows": ("no_trace_of_a_machine", {"data/README.md": "See C:" + "\\Users\\ada.\n"}),
    "a registry": ("no_package_registry", {"data/README.md": "https://pypi" + ".org/simple\n"}),
    "a mirror": (
        "no_package_registry",
        {"data/README.md": "--extra-index-url " + "https://mirror.example/x\n"},
    ),
    "a clone line of another address": (
        "one_address",
        {"data/README.md": "git clone https://example.org/x\n"},
    ),
    "a badge of another address": (
        "one_address",
        {"data/README.md": "https://github.com/eve/tinylm/actions\n"},
    ),
    "a Colab link elsewhere": ("one_address", readme("github/ada/tinylm", "github/eve/tinylm")),
    "no clone line": ("one_address", readme("git clone ", "fetch ")),
    "a notebook that README leaves out": (
        "notebooks_are_in_the_readme",
        {"notebooks/03_transformer.ipynb": "{}"},
    ),
    "a notebook that is promised": (
        "notebooks_are_in_the_readme",
        readme("notebooks/02_at", "notebooks/03_at"),
    ),
    "a pin that is a bound": (
        "pins_are_exact",
        {"requirements.txt": "torch==2.13.0\npytest>=9\n-e .\n"},
    ),
    "a pin left out": ("pins_are_exact", {"requirements.txt": "torch==2.13.0\n-e .\n"}),
    "a pin below its bound": ("pins_are_exact", {"requirements.txt": "torch==2.13.0\npytest==8.0\n"}),
    "another torch": ("pins_are_exact", {"requirements.txt": "torch==2.12.0\npytest==9.2.0\n"}),
    "a target that is not": ("readme_commands_exist", readme("make lab", "make coffee")),
    "a command that is not": ("readme_commands_exist", readme("tinylm train", "tinylm chat")),
    "a result that was typed": ("results_are_the_records", readme("2.5000", "2.4000")),
    "a record left out": (
        "results_are_the_records",
        {"data/runs/tiny2.jsonl": HOUSE["data/runs/tiny.jsonl"]},
    ),
    "no table of results": ("results_are_the_records", readme("<!-- results -->", "")),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_planted_fault_is_found_by_its_rule_and_by_no_other(house, what):
    rule, files = FAULTS[what]
    for name, text in files.items():
        if isinstance(text, tuple):
            whole = (house / name).read_text(encoding="utf-8")
            assert text[0] in whole
            text = whole.replace(*text)
        write(house, {name: text})
    assert complaining(house) == [rule]


def test_every_rule_has_a_planted_fault():
    assert {rule.__name__ for rule in RULES} == {rule for rule, _ in FAULTS.values()}


ALLOWED = {
    "precision names devices": room('x = x.to("cuda")\n    torch.cuda.synchronize()', "training/precision"),
    "seeded_rng seeds": {
        "tinylm/training/precision.py": ROOM
        + '\n\ndef seeded_rng() -> None:\n    """Seeds."""\n    torch.default_generator.manual_seed(0)\n'
    },
    "a generator of one's own": room("x = np.random.default_rng(3)\n    torch.Generator().manual_seed(3)"),
    "text with its line ends named": room(
        "x.write_text('a', newline='\\n')\n    open(x, 'w', newline='\\n')"
    ),
    "bytes, and text that is read": room(
        "x.open('xb')\n    open(x)\n    open(x, 'r')\n    os.open(x, os.O_RDWR)"
    ),
    "a docstring that names a device": {"tinylm/text/words.py": ROOM.replace("Gives one.", "cuda")},
    "a test that calls a check": {
        "tests/text/test_words.py": "def check():\n    assert 1 == 1\n\n\ndef test_it():\n    check()\n"
    },
    "torch's own wheels": {"data/README.md": "--extra-index-url https://download.pytorch.org/whl/cpu\n"},
    "a command opens the course": room("from tinylm.course import workbook", "commands"),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_what_is_meant_is_allowed(house, what):
    write(house, ALLOWED[what])
    assert complaining(house) == []


def test_a_house_with_no_records_needs_no_table(house):
    (house / "data/runs/tiny.jsonl").unlink()
    write(house, {"README.md": README.replace("results -->", "no results -->")})
    assert complaining(house) == []


def test_ignored_files_are_nobody_s_business(house):
    write(house, {f"my_notebooks/x{i}.md": f"{SLASH}home/ada/x" for i in range(2)})
    write(house, {"data/mine/run/record.txt": "x", "data/cache/input.txt": "First Citizen"})
    assert complaining(house) == []
