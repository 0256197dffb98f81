"""The package as a tree of files and of syntax: what the rules of the house look at."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FLOORS = ("errors", "text", "model", "training", "inference", "course", "top")


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def modules(root: Path) -> list[tuple[str, ast.Module]]:
    """Every module of the package: its path inside the package, and its syntax tree."""
    files = sorted((root / "tinylm").rglob("*.py"))
    return [(path.relative_to(root / "tinylm").as_posix(), parsed(path)) for path in files]


def floor(name: str) -> str:
    """The floor of a module, by its path or by its dotted name inside the package."""
    first, *rest = re.split(r"[./]", name.removesuffix(".py").removeprefix("tinylm."))
    return first if first in FLOORS and (rest or first == "errors") else "top"


def imported(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that a module imports, wherever it stands; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """The string constants of a module, docstrings left out."""
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node


def dotted(node: ast.AST) -> str:
    """`a.b.c` for such an expression, "" for any other."""
    if isinstance(node, ast.Attribute):
        return f"{owner}.{node.attr}" if (owner := dotted(node.value)) else ""
    return node.id if isinstance(node, ast.Name) else ""


def uses(tree: ast.Module, name: str) -> bool:
    """Whether a module says `name`, dots and all."""
    return any(dotted(node) == name for node in ast.walk(tree) if isinstance(node, ast.Attribute))
