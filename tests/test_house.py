"""The rules of this repository that no linter can check. Each finds a fault planted in a small repository.

import-linter checks the imports between floors. ruff checks pickle, global seeds, parsers, devices,
torch.distributed, docstrings and missing __init__.py files. pyproject.toml configures both, and tests here
show with planted faults that both are on."""

import ast
import io
import json
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.authoring.execute import ROOT
from tests.authoring.notebook_rules import NAMES
from tests.authoring.results import with_tables
from tests.authoring.traces import MACHINE_PATH
from tinylm.cli.options import COMMANDS
from tinylm.runs.records import read_record

# Lines of code, without blank lines, comments, docstrings: the most that a floor may have for 24 notebooks,
# and the most that it may have now, which only falls until the next part is begun.
BUDGET = {"ground": 196, "text": 1458, "model": 565, "training": 770, "storage": 435, "inference": 510}
BUDGET |= {"runs": 690, "serving": 150, "course": 1065, "cli": 180, "the package": 6020}
NOW = {"ground": 244, "text": 1615, "model": 647, "training": 929, "storage": 647, "inference": 503}
NOW |= {"runs": 1010, "serving": 0, "course": 1553, "cli": 253, "the package": 7401, "tests": 14376}
NOW |= {"exercises": 2686}
# A file has at most so many lines in all, comments included. Those that have more today only shrink.
LINES = 300
LONG = {"runs/run.py": 380, "text/corpora.py": 314, "training/ddp.py": 309}
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE}
NO_CODE |= {tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
NAMELESS = {"utils", "util", "common", "helpers", "helper", "misc", "tools"}
IGNORED = {".git", ".venv", "my_notebooks", "cache", "mine", "slides", "__pycache__", ".ipynb_checkpoints"}
DATA, DATA_BYTES = {".jsonl", ".json", ".md", ".safetensors", ".png"}, 5_000_000
REGISTRY = re.compile(r"\b(?:test\.)?pypi\.(?:org|python\.org)|\bpythonhosted\.org|\bconda\.anaconda\.org")
INDEX = re.compile(r"index[-_]url[=\s\"']+https?://([\w.-]+)", re.IGNORECASE)
DISTRIBUTION = {"PIL": "pillow", "IPython": "ipython"}  # a package that is imported by another name
WORDS_OF = {r'"(?:cuda|mps)(?::\d+)?"': "device.py", '"(?:LOCAL_)?RANK"|"WORLD_SIZE"': "training/ddp.py"}


def files(root):
    """List the files that git tracks or could track; without git, all but what is ignored here."""
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        return sorted(path for name in listed if name and (path := root / name).is_file())
    return sorted(p for p in root.rglob("*") if p.is_file() and not IGNORED & {*p.relative_to(root).parts})


def texts(root):
    """Yield the name and the text of every such file that is text."""
    for path in files(root):
        try:
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def modules(root):
    """Yield every module of the package: its path inside the package and its syntax tree."""
    for path in sorted((root / "tinylm").rglob("*.py")):
        yield path.relative_to(root / "tinylm").as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def project(root):
    """Return the table [project] of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def init_files_are_docstrings(root):
    inits = [(path, tree) for path, tree in modules(root) if path.endswith("__init__.py")]
    return [f"{path} is more than a docstring" for path, tree in inits if len(tree.body) > 1]


def code_lines(path):
    """Count the lines of code of a file: no blank lines, comments or docstrings."""
    text, lines = path.read_text(encoding="utf-8"), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):  # a string by itself is a docstring, also below a field
        if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def floors_keep_their_lines(root):
    lines = Counter()
    for path in (root / "tinylm").rglob("*.py"):
        first, *rest = path.relative_to(root / "tinylm").parts
        floor = "exercises" if rest[:1] == ["exercises"] else first if rest else "ground"
        lines[floor] += code_lines(path)
    lines["the package"] = lines.total() - lines["exercises"]
    tests = [path for path in (root / "tests").rglob("*.py") if "exercises" not in path.parts]
    lines["tests"] = sum(map(code_lines, tests))
    above = [floor for floor, n in lines.items() if n > NOW.get(floor, 0)]
    return [f"{floor}: {lines[floor]} lines, {NOW.get(floor, 0)} at most" for floor in above]


def files_are_short(root):
    complaints = []
    for path in sorted((root / "tinylm").rglob("*.py")):
        name = path.relative_to(root / "tinylm").as_posix()
        lines, most = len(path.read_text("utf-8").splitlines()), LONG.get(name, LINES)
        if lines > most and not name.startswith("course/exercises/"):
            complaints.append(f"{name}: {lines} lines, {most} at most")
    return complaints


def names_say_something(root):
    return [path for path, _ in modules(root) if NAMELESS & {*re.split(r"[/._]", path)}]


def words_of_one_file_stand_in_it(root):
    texts_of_modules = [(name.removeprefix("tinylm/"), text) for name, text in texts(root)]
    return [
        f"{name} has {found}, which only {home} may have"
        for name, text in texts_of_modules
        for word, home in WORDS_OF.items()
        for found in re.findall(word, text)
        if name.endswith(".py") and name != home and not name.startswith("tests/")
    ]


def text_is_written_with_its_line_ends_named(root):
    """Text that the package writes has the same bytes on every system."""
    complaints = []
    for path, tree in modules(root):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            modes = [getattr(arg, "value", "") for arg in (*call.args, *(k.value for k in call.keywords))]
            opens = name in ("open", "fdopen") and any(re.fullmatch(r"[wax]\+?t?", str(m)) for m in modes)
            if (name == "write_text" or opens) and "newline" not in [k.arg for k in call.keywords]:
                complaints.append(f"{path}, line {call.lineno} writes text without newline=")
    return complaints


def imports_are_declared(root):
    known = {Requirement(line).name for line in project(root)["dependencies"]}
    known |= {*sys.stdlib_module_names, "tinylm"}
    found = set()
    for path, tree in modules(root):
        for node in ast.walk(tree):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {(path, name.split(".")[0]) for name in named}
    return sorted((path, name) for path, name in found if DISTRIBUTION.get(name, name) not in known)


def every_test_can_fail(root):
    """Each test asserts something or expects an error, itself or through a function of its file."""
    complaints, asserts = [], re.compile(r"\bassert\b|\bassert_\w+\(|\bpytest\.(raises|fail|warns)\(")
    for path in sorted((root / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {n.name: ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        checking = {name for name, text in functions.items() if asserts.search(text)}
        for _ in range(3):  # the assert may be in a function that the test calls
            checking |= {n for n, text in functions.items() if any(f"{name}(" in text for name in checking)}
        idle = [n for n in functions if n.startswith("test_") and n not in checking]
        complaints += [f"{path.relative_to(root).as_posix()}: {name} cannot fail" for name in idle]
    return complaints


def notebooks_hold_notebooks(root):
    allowed = {f"{name}.ipynb" for name in NAMES}
    there = [p.relative_to(root / "notebooks") for p in files(root) if root / "notebooks" in p.parents]
    return [str(path) for path in there if str(path) not in allowed]


def data_holds_no_code_and_no_corpus(root):
    there = [path for path in files(root) if root / "data" in path.parents]
    return [p.name for p in there if p.suffix not in DATA or p.stat().st_size > DATA_BYTES]


def no_file_has_a_path_of_a_machine(root):
    return [f"{name} holds {m[0]}…" for name, text in texts(root) if (m := MACHINE_PATH.search(text))]


def no_file_names_a_package_registry(root):
    hosts = [(name, host) for name, text in texts(root) for host in INDEX.findall(text)]
    foreign = [(name, host) for name, host in hosts if host != "download.pytorch.org"]
    return foreign + [(name, m[0]) for name, text in texts(root) if (m := REGISTRY.search(text))]


def the_repository_has_one_address(root):
    owner, name = project(root)["urls"]["Repository"].split("/")[-2:]
    outside_tests = [(file, text) for file, text in texts(root) if not file.startswith("tests/")]
    return [
        f"{file} says {other}/{name}, pyproject.toml {owner}/{name}"
        for file, text in outside_tests
        for other in re.findall(rf"\bgithub(?:\.com)?/([\w.-]+)/{name}\b", text)
        if other != owner
    ]


def readme_names_every_notebook(root):
    linked = {*re.findall(r"notebooks/(\w+)\.ipynb", (root / "README.md").read_text(encoding="utf-8"))}
    return sorted(linked ^ {path.stem for path in (root / "notebooks").glob("*.ipynb")})


def readme_commands_exist(root):
    readme, makefile = ((root / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    blocks = re.findall(r"^```console\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    said = "\n".join([*blocks, *re.findall(r"`((?:make|python -m tinylm) [^`]+)`", readme)])
    targets = {*re.findall(r"^([a-z_-]+):", makefile, re.MULTILINE)}
    made, typed = (
        {*re.findall(rf"\b{program} ([a-z_-]+)", said)} for program in ("make", "python -m tinylm")
    )
    return [*made - targets, *typed - {*COMMANDS}]


def pins_are_exact(root):
    """requirements.txt pins exact versions within pyproject's bounds; lower-bounds.txt pins the bounds."""
    named = [*project(root)["dependencies"], *project(root)["optional-dependencies"]["test"]]
    complaints = []
    for file, lowest in (("requirements.txt", False), (".github/lower-bounds.txt", True)):
        lines = [line.split("#")[0].strip() for line in (root / file).read_text("utf-8").splitlines()]
        pins = dict(line.split("==") for line in lines if re.fullmatch(r"[\w.-]+==[\w.+!-]+", line))
        loose = [line for line in lines if line and line.split("==")[0] not in pins and line[0] != "-"]
        complaints += [f"{file} says {line}, which is not an exact pin" for line in loose]
        for requirement in map(Requirement, named):
            pin, (bound,) = pins.get(requirement.name), requirement.specifier
            wanted = f"=={bound.version}" if lowest else requirement.specifier
            if not pin or Version(pin) not in SpecifierSet(str(wanted)):
                complaints.append(f"{file} pins {requirement.name} to {pin}, pyproject says {requirement}")
    return complaints


def results_are_what_the_records_say(root):
    page = (root / "data" / "RESULTS.md").read_text(encoding="utf-8")
    records = [read_record(path) for path in sorted((root / "data" / "runs").glob("*.jsonl"))]
    same = with_tables(page, records) == page
    return [] if same else ["the tables of data/RESULTS.md differ from the records: type make promote"]


ADDRESS = "https://github.com/ada/tinylm"
HOUSE = {
    "README.md": f"```console\ngit clone {ADDRESS}\nmake lab\npython -m tinylm train\n```\n"
    "notebooks/02_attention.ipynb\n",
    "data/RESULTS.md": "<!-- results -->\n<!-- /results -->\n",
    "Makefile": "lab: ## open the course\n",
    "requirements.txt": "torch==2.13.0\npytest==9.2.0  # tests\n-e .\n",
    ".github/lower-bounds.txt": "torch==2.6\npytest==8.4\n",
    "pyproject.toml": "[project]\ndependencies = ['torch>=2.6']\n"
    f"optional-dependencies.test = ['pytest>=8.4']\nurls.Repository = '{ADDRESS}'\n",
    "tinylm/__init__.py": '"""The floor plan."""\n',
    "tinylm/text/__init__.py": '"""Texts."""\n',
    "tinylm/text/words.py": '"""Words. cuda"""\n\nimport torch\n\nx = torch.ones(3)\n',
    "tests/test_words.py": "def check():\n    assert 1 == 1\n\n\ndef test_it():\n    check()\n",
    "notebooks/02_attention.ipynb": "{}",
    "data/runs/tiny.jsonl": json.dumps({"kind": "header", "what": "benchmark"}) + "\n",
}
SLASH, WORDS = "/", "tinylm/text/words.py"
FAULTS = {  # a rule, a file, and what is added at its end
    "init_files_are_docstrings": ("tinylm/text/__init__.py", "x = 1\n"),
    "floors_keep_their_lines": ("tests/test_words.py", "x = 1\n" * NOW["tests"]),
    "files_are_short": (WORDS, "# a\n" * LINES),
    "names_say_something": ("tinylm/text/word_helpers.py", ""),
    "words_of_one_file_stand_in_it": (WORDS, 'x = x.to("cuda:0")\n'),
    "text_is_written_with_its_line_ends_named": (WORDS, "x.write_text('a', encoding='utf-8')\n"),
    "imports_are_declared": (WORDS, "from PIL import Image\n"),
    "every_test_can_fail": ("tests/test_words.py", "\n\ndef test_that():\n    print(1)\n"),
    "notebooks_hold_notebooks": ("notebooks/run.py", ""),
    "data_holds_no_code_and_no_corpus": ("data/input.txt", "First Citizen:\n"),
    "no_file_has_a_path_of_a_machine": ("Makefile", f"# {SLASH}home/ada/x\n"),
    "no_file_names_a_package_registry": ("requirements.txt", "# pypi" + ".org\n"),
    "the_repository_has_one_address": ("Makefile", "# https://github.com/eve/tinylm\n"),
    "readme_names_every_notebook": ("notebooks/03_transformer.ipynb", "{}"),
    "readme_commands_exist": ("README.md", "`python -m tinylm brew`\n"),
    "pins_are_exact": ("requirements.txt", "numpy>=2\n"),
    "results_are_what_the_records_say": ("data/RESULTS.md", ""),
}


RULES = [rule for name, rule in globals().items() if name in FAULTS]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_follows_the_rule(rule):
    assert rule(ROOT) == []


@pytest.fixture
def house(tmp_path):
    """Write a small repository that follows every rule."""
    for name, text in HOUSE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    page = tmp_path / "data/RESULTS.md"
    page.write_text(with_tables(page.read_text("utf-8"), []), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("rule", [None, *RULES], ids=lambda rule: rule.__name__ if rule else "none")
def test_planted_fault_is_found_by_its_rule_and_by_no_other(house, rule):
    if rule is not None:
        name, text = FAULTS[rule.__name__]
        path = house / name
        path.write_text((path.read_text("utf-8") if path.exists() else "") + text, encoding="utf-8")
        if rule is results_are_what_the_records_say:
            path.write_text(path.read_text("utf-8").replace("in nats", "in bits"), encoding="utf-8")
    assert [found for found in RULES if found(house)] == ([rule] if rule else [])


def linted(*command, cwd=ROOT, source=None):
    """Run a linter with this repository's configuration. Return its exit status and what it printed."""
    done = subprocess.run(command, cwd=cwd, input=source, capture_output=True, text=True, encoding="utf-8")
    return done.returncode, done.stdout + done.stderr


LINT = "from importlinter.cli import lint_imports_command as run; run()"
LINT_IMPORTS = (sys.executable, "-c", LINT, "--no-cache")


def test_imports_point_one_way():
    code, said = linted(*LINT_IMPORTS, f"--config={ROOT / 'pyproject.toml'}")
    assert code == 0, said


def test_import_that_points_aside_is_found(tmp_path):
    for path in (ROOT / "tinylm").rglob("*.py"):
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.relative_to(ROOT)).touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert linted(*LINT_IMPORTS, cwd=tmp_path)[0] == 0
    (tmp_path / "tinylm" / "text" / "a.py").write_text("import tinylm.model\n")
    code, said = linted(*LINT_IMPORTS, cwd=tmp_path)
    assert code == 1 and "tinylm.text.a" in said


RUFF = (sys.executable, "-m", "ruff", "check", "--output-format=concise")
REFUSED = '"""A."""\n\nimport tyro\n\nfrom . import b\n\n\ndef more():\n    return eval(tyro, b)\n'


def test_ruff_refuses_what_the_package_must_not_do():
    said = linted(*RUFF, "--stdin-filename=tinylm/model/new/a.py", "-", source=REFUSED)[1]
    assert sorted(re.findall(r":\d+: (\w+) ", said)) == ["D103", "INP001", "S307", "TID251", "TID252"]


def test_training_step_imports_few_files_and_no_network_code():
    code = "import sys, tinylm.training.step; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {
        p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for p in ROOT.glob("tinylm/*/*.py")
    }
    files |= {f"tinylm.{path.stem}" for path in ROOT.glob("tinylm/*.py")}
    found = {name for name in done.stdout.split() if name in files and not name.endswith("__init__")}
    assert len(found) <= 12, sorted(found)
    assert not {"requests", "urllib3", "huggingface_hub"} & {*done.stdout.split()}
