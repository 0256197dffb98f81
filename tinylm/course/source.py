"""Source code of functions and classes that cells define: find it with all that it uses, and run it again.

Used by yours, slips and checks."""

import ast
import inspect
import itertools
import linecache
import math
import re
import symtable
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from tinylm.errors import TinyLMError

COUNT = itertools.count()
WRITTEN_OUT = (bool, int, float, str, bytes, list, tuple, dict, set, type(None))
LIBRARIES = ("torch", "torch.nn.functional", "numpy", "typing")  # some of what they define names no module


def run(source: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run source text with these names and return all names afterwards.

    Python keeps the text, so a traceback can quote it and `parts_of` can find it again."""
    file = f"<source {next(COUNT)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space = {**names, "__name__": "__main__"}
    exec(compile(source, file, "exec"), space)  # noqa: S102  a solution, a slip, or an answer that was kept
    return space


def defined(source: str, names: dict[str, Any]) -> Any:
    """Run source text with these names and return the function or class that it defines last."""
    last = [part.name for part in ast.parse(source).body if isinstance(part, ast.FunctionDef | ast.ClassDef)]
    return run(source, names)[last[-1]]


def cells(thing: Any, space: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the file and the names of each cell that may define a function or class.

    space: the names of what uses it."""
    for member in vars(thing).values() if inspect.isclass(thing) else [thing]:
        function = inspect.unwrap(member)
        if inspect.isfunction(function):
            yield function.__code__.co_filename, function.__globals__
    if inspect.isclass(thing):  # one without a method of its own is known by its name alone
        for file in reversed([*linecache.cache]):
            if file.startswith("<") or "ipykernel" in file:
                yield file, space


def statement(thing: Any, name: str, known: dict[str, Any]) -> tuple[str, str, dict[str, Any]] | None:
    """Return the source of what defines a cell's function or class, its name there, and the cell's names.

    name, known: what it is called by what uses it, and the names of that. Returns None for what no cell
    defines at its outermost level."""
    if getattr(thing, "__module__", "") != "__main__":
        return None
    named = getattr(thing, "__qualname__", "")
    for file, space in cells(thing, known):
        lines = linecache.getlines(file)
        for node in reversed(ast.parse("".join(lines)).body):
            own, first = getattr(node, "name", None), node.lineno
            if named == "<lambda>" and isinstance(node, ast.Assign):
                own = getattr(node.targets[0], "id", None)
            if own == (name if named == "<lambda>" else named):
                first = min([first, *(part.lineno for part in getattr(node, "decorator_list", []))])
                return "".join(lines[first - 1 : node.end_lineno]).rstrip(), own, space
    return None


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
    parts: dict[str, str] = {}

    def visit(name: str, value: Any, known: str | None, space: dict[str, Any]) -> None:
        if name in parts:
            return
        parts[name] = ""  # functions may use each other
        text = f"{name} = {known}" if known else imported(name, value) or written(name, value, space)
        if not text:
            kind = "function" if callable(value) else type(value).__name__
            raise TinyLMError(
                f"it uses `{name}`, a {kind} that a file cannot hold: write it inside your answer"
            )
        parts[name] = parts.pop(name) or text  # after all that it uses

    def written(name: str, value: Any, space: dict[str, Any]) -> str:
        if found := statement(value, name, space):
            text, own, space = found
            for used in global_names(text):
                if used in space and used != own:
                    visit(used, space[used], owner(space[used]), space)
            return text if own == name else f"{text}\n\n\n{name} = {own}"
        if isinstance(value, torch.device):
            visit("torch", torch, None, space)
            return f'{name} = torch.device("{value}")'
        if isinstance(value, float) and not math.isfinite(value):
            return f'{name} = float("{value}")'
        try:
            same = isinstance(value, WRITTEN_OUT) and ast.literal_eval(repr(value)) == value
        except (ValueError, SyntaxError):
            same = False
        return f"{name} = {value!r}" if same else ""

    visit(name, value, None, vars(sys.modules["__main__"]))
    return parts


def imported(name: str, value: Any) -> str:
    """Return the line that imports a module, or what a module of a library defines, or ""."""
    if inspect.ismodule(value):
        parent, _, leaf = value.__name__.rpartition(".")
        if not parent:
            return f"import {leaf}" if leaf == name else f"import {leaf} as {name}"
        return f"from {parent} import {leaf}" if leaf == name else f"import {parent}.{leaf} as {name}"
    leaf = getattr(value, "__name__", None) or getattr(value, "_name", None) or str(value).rpartition(".")[2]
    own = (getattr(value, "__module__", None) or "").lstrip("_")  # reduce says that it is _functools'
    for module in (own, *LIBRARIES):
        if module != "main__" and getattr(sys.modules.get(module), leaf, None) is value:
            return f"from {module} import {leaf}" + (f" as {name}" if leaf != name else "")
    return ""
