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
from types import CodeType, FunctionType
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


def functions(thing: Any) -> Iterator[FunctionType]:
    """Yield the function itself, or all functions of a class, without what decorators wrap around them."""
    members = vars(thing).values() if inspect.isclass(thing) else [thing]
    for member in members:
        found = inspect.unwrap(getattr(member, "__func__", None) or getattr(member, "fget", None) or member)
        if inspect.isfunction(found):
            yield found


def codes(thing: Any) -> Iterator[CodeType]:
    """Yield the code of a function, of what is defined inside it, or of all methods of a class."""
    waiting = [function.__code__ for function in functions(thing)]
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def places(thing: Any, space: dict[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield the file, the line (0 if unknown) and the names of what may define a cell's function or class.

    space: the names of what uses it."""
    for function in functions(thing):
        yield function.__code__.co_filename, function.__code__.co_firstlineno, function.__globals__
    if inspect.isclass(thing):  # one without a method of its own is known by its name alone
        for file in reversed([*linecache.cache]):
            if file.startswith("<") or "ipykernel" in file:
                yield file, 0, space


def statement(thing: Any, name: str, known: dict[str, Any]) -> tuple[str, str, dict[str, Any]] | None:
    """Return the source of what defines a cell's function or class, its name there, and the cell's names.

    name, known: what it is called by what uses it, and the names of that. Returns None for what no cell
    defines at its outermost level."""
    if getattr(thing, "__module__", "") != "__main__":
        return None
    named = getattr(thing, "__qualname__", "")
    for file, line, space in places(thing, known):
        lines = linecache.getlines(file)
        try:
            body = ast.parse("".join(lines)).body
        except SyntaxError:
            continue
        for node in body:
            own, first = getattr(node, "name", None), node.lineno
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                first = min([first, *(decorator.lineno for decorator in node.decorator_list)])
            elif named == "<lambda>" and isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                own = getattr(node.targets[0], "id", None)
            here = first <= line <= (node.end_lineno or 0) if line else isinstance(node, ast.ClassDef)
            if here and own == (name if named == "<lambda>" else named):
                return "".join(lines[first - 1 : node.end_lineno]).rstrip(), own, space
    return None


def global_names(source: str) -> list[str]:
    """Return the names that source text takes from outside, in the order in which it mentions them."""
    found, waiting = set(), [symtable.symtable(source, "cell", "exec")]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        for symbol in table.get_symbols():
            outside = symbol.is_global() or table.get_type() == "module"
            if symbol.is_declared_global() or (symbol.is_referenced() and outside):
                found.add(symbol.get_name())
    places = {name: re.search(rf"\b{name}\b", source) for name in found}
    return sorted(found, key=lambda name: place.start() if (place := places[name]) else 0)


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
