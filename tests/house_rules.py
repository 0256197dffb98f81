"""The rules of the package's house, each a function from a tree's root to a list of complaints.

What surrounds the package, its README, its pins, its data, is in tests/surroundings.py.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.tree import FLOORS, dotted, floor, imported, modules, parsed, strings, uses

BELOW = {  # what each floor may import besides itself
    "errors": set(),
    "text": {"errors"},
    "model": {"errors"},
    "training": {"errors", "text", "model"},
    "inference": {"errors", "text", "model", "training"},
    "course": {"errors", "text", "model", "training", "inference"},
    "top": set(FLOORS),
}
NOT_FOR_INFERENCE = {"tinylm.training.optim", "tinylm.training.loop"}
LINES = 250
DUMPING_GROUNDS = {"utils", "util", "common", "helpers", "helper", "misc", "tools"}
# Where the process's random numbers are set, and set back: seeded_rng, for dropout inside the loop.
SEEDERS = {("training/precision.py", "seeded_rng")}
PARSERS = {"argparse", "getopt", "optparse", "tyro", "click", "fire", "typer", "jsonargparse"}
# What each room may import of the parser: __main__ parses, options only declares what can be typed.
PARSING = {"__main__.py": ("tyro",), "options.py": ("tyro.conf",)}


def imports_point_one_way(root: Path) -> list[str]:
    """Floors import from the floors under them, named in full. Nobody imports the command line."""
    complaints = []
    for path, tree in modules(root):
        for name in imported(tree):
            if name.startswith("."):
                complaints.append(f"{path} imports {name}: name the room in full")
            elif name.startswith("tinylm.__main__"):
                complaints.append(f"{path} imports the command line")
            elif name.startswith("tinylm.") and floor(name) not in BELOW[floor(path)] | {floor(path)}:
                complaints.append(f"{path} imports {name}, and {floor(path)} does not know {floor(name)}")
            elif floor(path) == "inference" and any(name.startswith(room) for room in NOT_FOR_INFERENCE):
                complaints.append(f"{path} imports {name}, and inference knows no optimiser")
            elif name.startswith("tinylm.course") and path != "commands.py" and floor(path) == "top":
                complaints.append(f"{path} imports {name}: course is for notebooks and the command line")
    return complaints


def ranks_only_in_ddp(root: Path) -> list[str]:
    """torch.distributed and the variables of ranks are known in training/ddp.py and nowhere else."""
    complaints = []
    for path, tree in modules(root):
        if path == "training/ddp.py":
            continue
        if any(name.startswith("torch.distributed") for name in imported(tree)) or uses(
            tree, "torch.distributed"
        ):
            complaints.append(f"{path} knows torch.distributed")
        known = [node.value for node in strings(tree) if node.value in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        complaints += [f"{path} knows the variable {name}" for name in known]
    return complaints


def devices_only_in_precision(root: Path) -> list[str]:
    """A device is named in training/precision.py and nowhere else: no "cuda", no torch.cuda."""
    complaints = []
    for path, tree in modules(root):
        if path == "training/precision.py":
            continue
        named = [node.value for node in strings(tree) if re.fullmatch(r"(cuda|mps)(:\d+)?", node.value)]
        complaints += [f'{path} names the device "{name}"' for name in named]
        used = [name for name in ("torch.cuda", "torch.mps", "torch.backends.mps") if uses(tree, name)]
        complaints += [f"{path} uses {name}" for name in used]
    return complaints


def arguments_only_in_main(root: Path) -> list[str]:
    """Only __main__ reads what was typed. options declares it, with the parser's marks and no more."""
    complaints = []
    for path, tree in modules(root):
        parsers = [n for n in imported(tree) if n.split(".")[0] in PARSERS]
        known = [n for n in parsers if any(f"{n}.".startswith(f"{own}.") for own in PARSING.get(path, ()))]
        complaints += [f"{path} imports {name}" for name in sorted({*parsers} - {*known})]
        if path != "__main__.py" and uses(tree, "sys.argv"):
            complaints.append(f"{path} reads sys.argv")
    return complaints


def modules_and_tests_mirror(root: Path) -> list[str]:
    """Each room has its test, and each test its room (or is a test of what lies in tests/ itself)."""
    tests = root / "tests"
    rooms = {path for path, _ in modules(root) if not path.endswith("__init__.py")}
    wanted = {_test_of(room): room for room in rooms}
    there = {path.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    own = {f"test_{path.stem}.py" for path in tests.glob("*.py")}
    own |= {"test_house.py", "test_notebooks.py", "test_gpu.py"}  # of all rooms at once
    complaints = [f"{wanted[test]} has no tests/{test}" for test in sorted(wanted.keys() - there)]
    return complaints + [f"tests/{test} tests no room" for test in sorted(there - wanted.keys() - own)]


def _test_of(room: str) -> str:
    *floors, name = room.split("/")
    return "/".join([*floors, f"test_{name.strip('_') if name.startswith('__') else name}"]).replace(
        "__.py", ".py"
    )


def init_files_are_floor_plans(root: Path) -> list[str]:
    """An __init__.py holds a docstring and nothing else: an import names its room."""
    inits = [(path, tree) for path, tree in modules(root) if path.endswith("__init__.py")]
    folders = {path.parent for path in (root / "tinylm").rglob("*.py")}
    complaints = [f"{path} is not a docstring alone" for path, tree in inits if not _docstring_alone(tree)]
    missing = sorted(f for f in folders if not (f / "__init__.py").exists())
    return complaints + [f"{folder.relative_to(root).as_posix()} has no __init__.py" for folder in missing]


def _docstring_alone(tree: ast.Module) -> bool:
    return len(tree.body) == 1 and ast.get_docstring(tree) is not None


def door_signs(root: Path) -> list[str]:
    """Each room opens with a docstring of at least two lines: what it is, and what it refuses to know."""
    rooms = [(path, ast.get_docstring(tree)) for path, tree in modules(root) if "__init__" not in path]
    return [f"{path} has no door sign" for path, sign in rooms if len((sign or "").split("\n")) < 2]


def files_are_short(root: Path) -> list[str]:
    """250 lines at most."""
    lengths = [(p, len(p.read_text(encoding="utf-8").splitlines())) for p in (root / "tinylm").rglob("*.py")]
    long = [(path.relative_to(root).as_posix(), n) for path, n in lengths if n > LINES]
    return [f"{path} has {n} lines: {LINES} at most" for path, n in sorted(long)]


def no_dumping_grounds(root: Path) -> list[str]:
    """No room whose name says nothing."""
    names = [path for path, _ in modules(root)]
    return [f"{p} says nothing by its name" for p in names if DUMPING_GROUNDS & {*re.split(r"[/._]", p)}]


def public_things_have_docstrings(root: Path) -> list[str]:
    """Functions, classes and methods that others call say what they do."""
    complaints = []
    for path, tree in modules(root):
        nameless = [name for name, node in _public(tree.body) if ast.get_docstring(node) is None]
        complaints += [f"{path}: {name} has no docstring" for name in nameless]
    return complaints


def _public(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if (owner and node.name == "forward") or ast.unparse(node.body[-1]) == "...":
            continue  # its class says it; a protocol's method is a promise
        yield owner + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body, f"{owner}{node.name}.")


def no_global_seeding(root: Path) -> list[str]:
    """Randomness is handed in as a generator: nobody seeds or draws from what the whole process shares."""
    complaints = []
    for path, tree in modules(root):
        allowed = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and (path, n.name) in SEEDERS]
        spared = {id(inner) for function in allowed for inner in ast.walk(function)}
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and id(n) not in spared]
        complaints += [f"{path} calls {n}" for call in calls if _is_global_random(n := dotted(call.func))]
    return complaints


def _is_global_random(name: str) -> bool:
    module, _, function = name.rpartition(".")
    if module in ("np.random", "numpy.random"):
        return function[:1].islower() and function != "default_rng"
    if module in ("random", "torch.random") and function not in ("fork_rng", "get_rng_state"):
        return function[:1].islower()
    seeders = ("manual_seed", "manual_seed_all", "seed", "set_rng_state")
    return module in ("torch", "torch.cuda", "torch.mps", "torch.default_generator") and function in seeders


def no_pickle(root: Path) -> list[str]:
    """Nothing that a file can make run: no pickle, no torch.load, no torch.save."""
    complaints = []
    for path, tree in modules(root):
        dangerous = {"pickle", "dill", "cloudpickle", "shelve", "joblib"} & {
            n.split(".")[0] for n in imported(tree)
        }
        complaints += [f"{path} imports {name}" for name in sorted(dangerous)]
        complaints += [f"{path} uses {name}" for name in ("torch.load", "torch.save") if uses(tree, name)]
        allowed = [n for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg == "allow_pickle"]
        if any(not isinstance(n.value, ast.Constant) or n.value.value for n in allowed):
            complaints.append(f"{path} allows pickle")
    return complaints


def text_is_written_alike(root: Path) -> list[str]:
    """Text is written with its line ends named: a record or a notebook has the same bytes on every system."""
    tools = [path for path in (root / "tests").glob("*.py") if not path.name.startswith("test_")]
    trees = [*modules(root), *((f"tests/{path.name}", parsed(path)) for path in sorted(tools))]
    calls = [(path, n) for path, tree in trees for n in ast.walk(tree) if isinstance(n, ast.Call)]
    careless = [(path, call) for path, call in calls if _writes_text(call)]
    return [
        f"{path}, line {call.lineno} writes text without newline="
        for path, call in careless
        if "newline" not in [keyword.arg for keyword in call.keywords]
    ]


def _writes_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else dotted(call.func)
    said = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [n.value for arg in said for n in ast.walk(arg) if isinstance(n, ast.Constant)]
    opens = name in ("open", "fdopen") and any(re.fullmatch(r"[wax]\+?t?", str(mode)) for mode in modes)
    return name == "write_text" or opens


RULES: tuple[Callable[[Path], list[str]], ...] = (
    imports_point_one_way,
    ranks_only_in_ddp,
    devices_only_in_precision,
    arguments_only_in_main,
    modules_and_tests_mirror,
    init_files_are_floor_plans,
    door_signs,
    files_are_short,
    no_dumping_grounds,
    public_things_have_docstrings,
    no_global_seeding,
    no_pickle,
    text_is_written_alike,
)
