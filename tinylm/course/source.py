"""Source code of functions and classes that cells define: find it with all that it uses, and run it again.

A namespace keeps the texts that were run in it: IPython's own list, `In`, and `run` does the same.
Used by yours, slips and library."""

import ast
import itertools
import linecache
import re
import symtable
import sys
from collections.abc import Callable
from inspect import isclass, isfunction, unwrap
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch

from tinylm.errors import TinyLMError

COUNT = itertools.count()
WRITTEN_OUT = (bool, int, float, str, bytes, list, tuple, dict, set, type(None))
# Of these a file holds the assignment; float stands for infinity and nan, which have no literal.
ASSIGNED = (FunctionType, BuiltinFunctionType, type, torch.device, torch.dtype, float)


def run(source: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run source text with these names and return all names afterwards.

    Python keeps the text, so a traceback can quote it and `parts_of` can find it again."""
    file = f"<source {next(COUNT)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space = {**names, "__name__": "__main__", "In": [*names.get("In", []), source]}
    exec(compile(source, file, "exec"), space)  # noqa: S102  a solution, a slip, or an answer that was kept
    return space


def defined(source: str, names: dict[str, Any]) -> Any:
    """Run source text with these names and return the function or class that it defines last."""
    last = [part.name for part in ast.parse(source).body if isinstance(part, ast.FunctionDef | ast.ClassDef)]
    return run(source, names)[last[-1]]


def namespace(thing: Any) -> dict[str, Any]:
    """Return the names that a function, or the methods of a class, can see."""
    functions = map(unwrap, vars(thing).values() if isclass(thing) else [thing])
    return next((f.__globals__ for f in functions if isfunction(f)), vars(sys.modules["__main__"]))


def statements(space: dict[str, Any]) -> dict[str, str]:
    """Return the statement that last defined each name: an import, a function, a class, or an assignment."""
    found = {}
    for text in space.get("In", []):
        try:
            body = ast.parse(text).body
        except SyntaxError:  # a cell that could not run
            continue
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    node.names = [alias]
                    found[alias.asname or alias.name.split(".")[0]] = ast.unparse(node)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                first = min([node, *node.decorator_list], key=lambda part: part.lineno).lineno
                found[node.name] = "\n".join(text.split("\n")[first - 1 : node.end_lineno])
            elif isinstance(node, ast.Assign):
                assigned = ast.unparse(node)
                for symbol in symtable.symtable(assigned, "cell", "exec").get_symbols():
                    name = symbol.get_name()
                    # f = exercises.f(f) defines no f
                    if not symbol.is_referenced() and isinstance(space.get(name), ASSIGNED):
                        found[name] = assigned
    return found


def global_names(source: str) -> list[str]:
    """Return the names that source text takes from outside, in the order in which it mentions them."""
    found, waiting = set(), [symtable.symtable(source, "cell", "exec")]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_declared_global() or (symbol.is_global() and symbol.is_referenced()):
                found.add(symbol.get_name())
    return sorted(found, key=lambda name: re.search(rf"\b{name}\b|\Z", source).start())


def parts_of(name: str, value: Any, owner: Callable[[Any], str | None]) -> dict[str, str]:
    """Return {name: source} of a function or class and of all that it uses, in the order in which it runs.

    owner: what is written instead of the source of a value that belongs to another exercise, or None.
    Raises TinyLMError for what cannot be written out, such as a tensor."""
    parts, space = {}, namespace(value)
    known, own = statements(space), getattr(value, "__qualname__", "").replace("<lambda>", name)

    def visit(name: str, value: Any, text: str | None) -> None:
        if not text:
            kind = f"`{name}`, a {'function' if callable(value) else type(value).__name__}"
            raise TinyLMError(f"it uses {kind} that a file cannot hold: write it inside your answer")
        parts[name] = ""  # functions may use each other
        for used in global_names(text):
            if used in space and used not in parts:
                if reference := owner(space[used]):
                    parts[used] = f"{used} = {reference}"
                else:
                    source = literal(used, space[used]) or known.get(used) or imported(used, space[used])
                    visit(used, space[used], source)
        parts[name] = parts.pop(name) + text  # after all that it uses

    visit(own, value, known.get(own))
    return parts if own == name else parts | {name: f"{name} = {own}"}


def literal(name: str, value: Any) -> str:
    """Return the assignment of a plain value, or ""."""
    try:
        same = isinstance(value, WRITTEN_OUT) and ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return ""
    return f"{name} = {value!r}" if same else ""


def imported(name: str, value: Any) -> str:
    """Return the line that imports what a module defines under this name, or ""."""
    module = getattr(value, "__module__", None)
    same = getattr(sys.modules.get(module), name, None) is value
    return f"from {module} import {name}" if same and module != "__main__" else ""
