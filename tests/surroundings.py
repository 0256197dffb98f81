"""The rules of what surrounds the package: tests, notebooks' folder, data, README, pins, addresses.

Each rule is a function from a tree's root to a list of complaints, empty when all is well.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from tests.authoring.notebook import MACHINE_PATH
from tests.authoring.notebook_names import NAMES
from tests.tree import dotted, parsed

IGNORED = {".git", ".venv", "venv", "my_notebooks", "cache", "mine", "__pycache__", ".ipynb_checkpoints"}
DATA = {".jsonl", ".json", ".md", ".safetensors", ".png"}
DATA_BYTES = 5_000_000
REGISTRY = re.compile(r"\b(?:test\.)?pypi\.(?:org|python\.org)|\bpythonhosted\.org|\bconda\.anaconda\.org")
INDEX = re.compile(r"index[-_]url[=\s\"']+https?://([\w.-]+)", re.IGNORECASE)
RESULTS = re.compile(r"<!-- results -->\n(.*?)<!-- /results -->", re.DOTALL)


def files(root: Path) -> list[Path]:
    """What is tracked or could be, where git knows; elsewhere everything but what git ignores here."""
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        return sorted(path for name in listed if name and (path := root / name).is_file())
    found = [path for path in root.rglob("*") if path.is_file()]
    return sorted(
        p for p in found if not IGNORED & {*p.relative_to(root).parts} and ".egg-info" not in str(p)
    )


def texts(root: Path) -> Iterator[tuple[str, str]]:
    """The name and the text of every tracked file that is text."""
    for path in files(root):
        try:
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def repository(root: Path) -> str:
    """The one place that says where the repository lives."""
    return _pyproject(root)["project"]["urls"]["Repository"]


def _pyproject(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def _readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def tests_can_fail(root: Path) -> list[str]:
    """Each test asserts something, or expects an error, itself or through a function of its own file."""
    complaints = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        functions = {n.name: n for n in ast.walk(parsed(path)) if isinstance(n, ast.FunctionDef)}
        checking = {name for name, node in functions.items() if _asserts(node)}
        while more := {n for n, f in functions.items() if n not in checking and _calls(f) & checking}:
            checking |= more
        tests = [node for node in parsed(path).body if isinstance(node, ast.FunctionDef)]
        idle = [t.name for t in tests if t.name.startswith("test_") and t.name not in checking]
        complaints += [f"{path.relative_to(root).as_posix()}: {name} cannot fail" for name in idle]
    return complaints


def _asserts(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Assert)
        or (
            isinstance(node, ast.Call)
            and re.search(r"\bassert_\w+$|^pytest\.(raises|fail|warns)$", dotted(node.func))
        )
        for node in ast.walk(function)
    )


def _calls(function: ast.FunctionDef) -> set[str]:
    return {dotted(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}


def notebooks_hold_notebooks(root: Path) -> list[str]:
    """notebooks/ holds NN_name.ipynb and nothing else."""
    names = [
        path.relative_to(root / "notebooks") for path in files(root) if root / "notebooks" in path.parents
    ]
    allowed = {f"{name}.ipynb" for name in NAMES} | {".gitkeep"}
    return [
        f"notebooks/{n.as_posix()} is none of the course's notebooks" for n in names if str(n) not in allowed
    ]


def data_holds_no_code_and_no_corpus(root: Path) -> list[str]:
    """data/ holds cards, records and small checkpoints; texts are fetched."""
    complaints = []
    for path in (path for path in files(root) if root / "data" in path.parents and path.name != ".gitkeep"):
        name = path.relative_to(root).as_posix()
        if path.suffix not in DATA:
            complaints.append(f"{name} is no card, record or checkpoint")
        elif path.stat().st_size > DATA_BYTES:
            complaints.append(f"{name} has {path.stat().st_size:,} bytes: {DATA_BYTES:,} at most")
    return complaints


def no_trace_of_a_machine(root: Path) -> list[str]:
    """No tracked file holds a path of somebody's machine."""
    return [
        f"{name} holds the path {m[0]}…" for name, text in texts(root) if (m := MACHINE_PATH.search(text))
    ]


def no_package_registry(root: Path) -> list[str]:
    """No tracked file names a package registry; torch's own wheels are the one exception."""
    complaints = [f"{name} names {m[0]}" for name, text in texts(root) if (m := REGISTRY.search(text))]
    hosts = [(name, host) for name, text in texts(root) for host in INDEX.findall(text)]
    return complaints + [f"{n} takes packages from {h}" for n, h in hosts if h != "download.pytorch.org"]


def one_address(root: Path) -> list[str]:
    """Clone lines, badges and Colab links agree with pyproject's Repository."""
    address, complaints = repository(root), []
    owner, name = address.removesuffix(".git").split("/")[-2:]
    for file, text in ((file, text) for file, text in texts(root) if not file.startswith("tests/")):
        wrong = {url for url in re.findall(rf"https://github\.com/[\w.-]+/{name}\b", text) if url != address}
        wrong |= {
            url for url in re.findall(r"git clone (?:--\S+ )*(https?://[^\s\"',]+)", text) if url != address
        }
        colab = re.findall(r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)", text)
        wrong |= {link for link in colab if link != f"{owner}/{name}"}
        complaints += [f"{file} says {url}, pyproject says {address}" for url in sorted(wrong)]
    if f"git clone {address}" not in _readme(root):
        complaints.append(f"README.md does not say: git clone {address}")
    return complaints


def notebooks_are_in_the_readme(root: Path) -> list[str]:
    """README names each notebook that is there, and links to no notebook that is not."""
    readme, there = _readme(root), {path.stem for path in (root / "notebooks").glob("*.ipynb")}
    linked = {*re.findall(r"notebooks/(\w+)\.ipynb", readme)}
    complaints = [f"README.md does not link to notebooks/{name}.ipynb" for name in sorted(there - linked)]
    return complaints + [f"README.md links to {name}, which is not there" for name in sorted(linked - there)]


def pins_are_exact(root: Path) -> list[str]:
    """requirements.txt pins what pyproject names, exactly, within its bounds; torch is the course's torch."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line.split("#")[0].strip() for line in lines]
    pins = dict(line.split("==") for line in lines if re.fullmatch(r"[\w.-]+==[\w.+!-]+", line))
    project, complaints = _pyproject(root)["project"], []
    named = [*project["dependencies"], *project.get("optional-dependencies", {}).get("test", [])]
    for requirement in map(Requirement, named):
        if requirement.name not in pins:
            complaints.append(f"requirements.txt does not pin {requirement.name} with ==")
        elif Version(pins[requirement.name]) not in requirement.specifier:
            complaints.append(f"{requirement.name}=={pins[requirement.name]} is not {requirement.specifier}")
    loose = [line for line in lines if line and line != "-e ." and line.split("==")[0] not in pins]
    complaints += [f"requirements.txt says {line}, which is no exact pin" for line in loose]
    if pins.get("torch") != "2.13.0":
        complaints.append(f"torch is pinned to {pins.get('torch')}, not to 2.13.0")
    return complaints


def readme_commands_exist(root: Path) -> list[str]:
    """Every `make X` and `python -m tinylm X` in README's console blocks is a target and a command."""
    blocks = "\n".join(re.findall(r"^```console\n(.*?)^```", _readme(root), re.MULTILINE | re.DOTALL))
    blocks += "\n" + "\n".join(re.findall(r"`((?:make|python -m tinylm) [^`]+)`", _readme(root)))
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = {*re.findall(r"^([a-z_-]+):", makefile, re.MULTILINE)}
    commands = _commands(root)
    wrong = [f"make {name}" for name in re.findall(r"\bmake ([a-z_-]+)", blocks) if name not in targets]
    typed = re.findall(r"python -m tinylm ([a-z_-]+)", blocks)
    wrong += [f"python -m tinylm {name}" for name in typed if name not in commands]
    return [f"README.md says {command}, which there is not" for command in wrong]


def _commands(root: Path) -> set[str]:
    """The subcommands: the keys of COMMANDS in __main__, in small letters."""
    for node in parsed(root / "tinylm" / "__main__.py").body:
        if isinstance(node, ast.Assign) and dotted(node.targets[0]) == "COMMANDS":
            return {key.id.lower() for key in node.value.keys}
    return set()


def results_are_the_records(root: Path) -> list[str]:
    """README's table of results is what the records in data/runs/ say."""
    from tinylm.training.results import results_table

    from tinylm.runs.records import read_record

    records = [read_record(path) for path in sorted((root / "data" / "runs").glob("*.jsonl"))]
    shown = RESULTS.search(_readme(root))
    if not records and shown is None:
        return []
    if shown is None:
        return ["README.md has no table between <!-- results --> and <!-- /results -->"]
    table = results_table(records)
    way_out = "README.md's results are not those of the records: `python -m tinylm promote` writes them"
    return [] if shown[1].strip() == table.strip() else [f"{way_out}\n{table}"]


RULES: tuple[Callable[[Path], list[str]], ...] = (
    tests_can_fail,
    notebooks_hold_notebooks,
    data_holds_no_code_and_no_corpus,
    no_trace_of_a_machine,
    no_package_registry,
    one_address,
    notebooks_are_in_the_readme,
    pins_are_exact,
    readme_commands_exist,
    results_are_the_records,
)
