"""What a notebook names is there: notebooks, modules of the package, tests."""

import re
from functools import cache
from pathlib import Path

from tests.authoring.execute import NOTEBOOKS, ROOT
from tests.authoring.notebook import Notebook

NAME = re.compile(r"\b\d\d_[a-z][a-z_]*[a-z]\b")
NAMES = (
    *("00_start_here", "01_characters", "02_attention", "03_transformer", "04_training", "05_sampling"),
    *("06_custom_losses", "07_tokenizers", "08_tinystories", "09_precision", "10_speed", "11_ddp", "12_gpt2"),
    *("13_evaluation", "14_modern_blocks", "15_optimizers", "16_mixture_of_experts", "17_data_mixtures"),
    *("18_chat", "19_share_your_model", "20_bug_museum", "21_scaling_laws", "22_rewards"),
    "23_looking_inside",
)
TABLE = re.compile(
    r"^\| *idea *\| *module *\| *test *\|\n\|[-:| ]+\|\n(?P<rows>(?:\|.*\n?)+)", re.IGNORECASE | re.MULTILINE
)


def numbered_as_designed(notebook: Notebook) -> list[str]:
    """A notebook's name is one of the course's, and its number never changes."""
    return [] if notebook.name in NAMES else [f"{notebook.name} is not one of the course's notebooks"]


def names_other_notebooks_right(notebook: Notebook) -> list[str]:
    """Whatever looks like a notebook's name is one, and a link leads to a file that is there."""
    complaints = []
    for i, cell in notebook.cells:
        wrong = [name for name in NAME.findall(cell.source) if name not in NAMES]
        complaints += [f"cell {i} names {name}, which is no notebook" for name in wrong]
        links = re.findall(r"\]\(([^)#]+\.ipynb)[^)]*\)", cell.source)
        missing = [link for link in links if not (NOTEBOOKS / link).exists() and "://" not in link]
        complaints += [f"cell {i} links to {link}, which is not there" for link in missing]
    return complaints


def ends_with_ideas_modules_tests(notebook: Notebook) -> list[str]:
    """The table idea → module → test stands near the end, and names modules and tests that there are."""
    tables = [(i, m["rows"]) for i, cell in notebook.prose if (m := TABLE.search(cell.source))]
    if not tables:
        return ["there is no table | idea | module | test |"]
    complaints = []
    for i, row in ((i, row) for i, rows in tables for row in rows.strip().splitlines()):
        columns = [column.strip() for column in row.strip("| ").split("|")]
        if len(columns) != 3:
            complaints.append(f"cell {i}: the row {row!r} has not three columns")
            continue
        kinds = (("module", columns[1], module_exists), ("test", columns[2], test_exists))
        for kind, column, exists in kinds:
            names = re.findall(r"`([^`]+)`", column)
            if not names:
                complaints.append(f"cell {i}: {column!r} names no {kind} in backticks")
            complaints += [f"cell {i}: there is no {kind} {name}" for name in names if not exists(name)]
    return complaints


def module_exists(name: str) -> bool:
    """Whether `tinylm/model/attention.py`, `model/attention`, `tinylm.model.attention(.name)` is there."""
    parts = re.sub(r"\.py$", "", name.replace("::", ".")).replace("/", ".").removeprefix("tinylm.").split(".")
    if (ROOT / "tinylm" / Path(*parts)).with_suffix(".py").is_file():
        return True
    module = (ROOT / "tinylm" / Path(*parts[:-1])).with_suffix(".py")
    if len(parts) < 2 or not module.is_file():
        return False
    definition = rf"^(?:def|class) {re.escape(parts[-1])}\b"
    return re.search(definition, module.read_text("utf-8"), re.MULTILINE) is not None


def test_exists(name: str) -> bool:
    """Whether `tests/model/test_attention.py`, the same with `::test_name`, or `test_name` is there."""
    file, _, function = name.partition("::") if ".py" in name else ("", "", name)
    functions = _tests()
    if file:
        path = (ROOT / "tests" / file.removeprefix("tests/")).relative_to(ROOT).as_posix()
        return path in functions and (not function or function in functions[path])
    return any(function in names for names in functions.values())


test_exists.__test__ = False  # not a test itself


@cache
def _tests() -> dict[str, set[str]]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {
        path.relative_to(ROOT).as_posix(): {*re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.M)}
        for path in files
    }


RULES = (numbered_as_designed, names_other_notebooks_right, ends_with_ideas_modules_tests)
