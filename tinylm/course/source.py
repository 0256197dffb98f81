"""Source code of functions and classes that cells define: find it with all that it uses, and run it again.

Used by yours, slips and checks."""

import ast
import inspect
import itertools
import linecache
import re
import symtable
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from tinylm.errors import TinyLMError

COUNT = itertools.count()
WRITTEN_OUT = (bool, int, float, str, bytes, list, tuple, dict, set, type(None))


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


def statement(thing: Any) -> tuple[str, str, dict[str, Any]] | None:
    """Return the source of what defines a cell's function or class, its name there, and the cell's names.

    Returns None for what no cell defines at its outermost level."""
    if getattr(thing, "__module__", "") != "__main__":
        return None
    for function in functions(thing):
        code = function.__code__
        lines = linecache.getlines(code.co_filename)
        try:
            body = ast.parse("".join(lines)).body
        except SyntaxError:
            continue
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == thing.__qualname__:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                if first <= code.co_firstlineno <= (node.end_lineno or 0):
                    text = "".join(lines[first - 1 : node.end_lineno]).rstrip()
                    return text, node.name, function.__globals__
    return None


def global_names(source: str) -> list[str]:
    """Return the names that source text takes from outside, in the order in which it mentions them."""
    found, waiting = set(), [symtable.symtable(source, "cell", "exec")]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
                found.add(symbol.get_name())
    places = {name: re.search(rf"\b{name}\b", source) for name in found}
    return sorted(found, key=lambda name: place.start() if (place := places[name]) else 0)


def parts_of(name: str, value: Any, owner: Callable[[Any], str | None]) -> dict[str, str]:
    """Return {name: source} of a function or class and of all that it uses, in the order in which it runs.

    owner: what is written instead of the source of a value that belongs to another exercise, or None.
    Raises TinyLMError for what cannot be written out, such as a tensor."""
    parts: dict[str, str] = {}

    def visit(name: str, value: Any, known: str | None) -> None:
        if name in parts:
            return
        parts[name] = ""  # functions may use each other
        text = f"{name} = {known}" if known else imported(name, value) or written(name, value)
        if not text:
            kind = type(value).__name__
            raise TinyLMError(f"it uses `{name}`, a {kind} from another cell: make it inside your function")
        parts[name] = parts.pop(name) or text  # after all that it uses

    def written(name: str, value: Any) -> str:
        if found := statement(value):
            text, own, space = found
            for used in global_names(text):
                if used in space and used != own:
                    visit(used, space[used], owner(space[used]))
            return text if own == name else f"{text}\n\n\n{name} = {own}"
        try:
            same = isinstance(value, WRITTEN_OUT) and ast.literal_eval(repr(value)) == value
        except (ValueError, SyntaxError):
            same = False
        return f"{name} = {value!r}" if same else ""

    visit(name, value, None)
    return parts


def imported(name: str, value: Any) -> str:
    """Return the line that imports a module, or what a module of a library defines, or ""."""
    if inspect.ismodule(value):
        parent, _, leaf = value.__name__.rpartition(".")
        if not parent:
            return f"import {leaf}" if leaf == name else f"import {leaf} as {name}"
        return f"from {parent} import {leaf}" if leaf == name else f"import {parent}.{leaf} as {name}"
    module, leaf = getattr(value, "__module__", None), getattr(value, "__name__", "")
    if not module or module == "__main__" or not (inspect.isroutine(value) or inspect.isclass(value)):
        return ""
    return f"from {module} import {leaf}" + (f" as {name}" if leaf != name else "")
