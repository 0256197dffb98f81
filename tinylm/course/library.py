"""my_lm.py: what a learner has written, as one file that needs torch and numpy alone.

    python -m tinylm yours

writes it from the answers that were kept. Where there is none yet, tinylm's solution stands in, and its
comment says so. Which exercises it has, and the code between them, is in library.toml.

Shown at the end of notebooks 06, 08, 10 and 13."""

import ast
import hashlib
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tinylm.course import yours
from tinylm.course.source import parts_of
from tinylm.errors import TinyLMError

PLAN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
# The package's functions that answers may use: my_lm.py has its own of that name.
OWN = {"from tinylm.model.losses import cross_entropy"}
REFERENCE = re.compile(r'(\w+) = yours\("(\d\d)", "(\w+)"\)')
MARK = "# Written by `python -m tinylm yours`; what follows has the sha256 "


class Part(NamedTuple):
    """One exercise in the file: its title, its source, and how many lines of it the learner has written."""

    title: str
    source: str
    written: int
    lines: int


def code_lines(texts: Iterable[str]) -> int:
    """Return how many lines are not blank."""
    return sum(bool(line.strip()) for text in texts for line in text.splitlines())


class Library:
    """The file as it grows: what it imports, what it defines, and the exercises that are in it."""

    def __init__(self) -> None:
        self.imports = {line for line in PLAN["imports"].splitlines() if line}
        self.defined = {line.split()[-1].split(".")[-1]: line for line in self.imports}
        self.defined |= {name: "" for section in PLAN["sections"] for name in top_names(section)}
        self.parts: dict[tuple[str, str], Part] = {}
        self.reserved: dict[str, set[str]] = {}  # what a name that the solutions define may mean
        for section in PLAN["sections"]:
            for name in section["exercises"]:
                self.reserve(*name.split())
        self.body = "".join(self.section(section) for section in PLAN["sections"])

    @property
    def text(self) -> str:
        """The whole file."""
        groups = {True: [], False: []}  # Python's own modules first
        for line in sorted(self.imports, key=lambda line: (line.startswith("from"), line)):
            groups[line.split()[1].split(".")[0] in sys.stdlib_module_names].append(line)
        blocks = [PLAN["head"].strip(), *("\n".join(lines) for lines in groups.values())]
        rest = "\n\n".join(blocks) + self.body + "\n"
        return f"{MARK}{digest(rest)}\n{rest}"

    def section(self, section: dict[str, Any]) -> str:
        """Return the text of one section: its exercises, and then the code that uses them."""
        before = {*self.parts}
        for name in section["exercises"]:
            self.add(*name.split())
        blocks = [f"# ---- {section['title']} ----", section.get("before", "").strip()]
        for key, part in self.parts.items():
            if key not in before:
                whose = "yours" if part.written else "tinylm's, until you have solved it"
                blocks.append(f"# {part.title} · {whose}\n{part.source}")
        return "\n\n\n".join(["", *filter(None, [*blocks, section["code"].strip()])])

    def reserve(self, number: str, name: str) -> None:
        """Note the names of an exercise's solution, and of all that it uses: no helper may take one."""
        given, (value, _) = yours.exercise(number, name).given, yours.opened(number, name)
        for source in (given, value):
            try:
                parts = parts_of(name, source, yours.reference)
            except TinyLMError:  # a file that was edited by hand: `add` takes the solution
                continue
            for key, text in parts.items():
                if other := REFERENCE.fullmatch(text):
                    self.reserve(*other.group(2, 3))
                elif source is given or key == name:
                    self.reserved.setdefault(key, set()).add(text)

    def add(self, number: str, name: str) -> None:
        """Add an exercise after what it uses: the learner's answer, or the solution if that does not fit."""
        if (number, name) in self.parts:
            return
        asked, (value, told) = yours.exercise(number, name), yours.opened(number, name)
        solution = parts_of(name, asked.given, yours.reference)
        try:
            learners, found = told == "yours", self.fitting(parts_of(name, value, yours.reference))
        except TinyLMError:
            learners, found = False, self.fitting(solution)
        texts = []
        for key, text in found.items():
            if other := REFERENCE.fullmatch(text):
                self.add(*other.group(2, 3))
                text = "" if other[3] == key else f"{key} = {other[3]}"
            elif text.startswith(("import ", "from ")):
                self.imports |= {text} - OWN
                self.defined.setdefault(key, text)
                continue
            if text and not self.defined.get(key):
                texts.append(text)
                self.defined[key] = text
        given = {text for key, text in solution.items() if key != name}  # the notebook's own, such as gelu
        written = code_lines(text for text in texts if learners and text not in given)
        self.parts[number, name] = Part(asked.title, "\n\n\n".join(texts), written, code_lines(texts))

    def fitting(self, found: dict[str, str]) -> dict[str, str]:
        """Return an answer's parts. Raises TinyLMError if they need tinylm, or define a name again."""
        for key, text in found.items():
            if text.startswith("from tinylm") and text not in OWN:
                raise TinyLMError(f"it needs tinylm: {text}")
            if REFERENCE.fullmatch(text) or text in OWN:
                continue
            if self.defined.get(key, text) != text or text not in self.reserved.get(key, {text}):
                raise TinyLMError(f"another part of the file defines `{key}`")
        return found


def digest(text: str) -> str:
    """Return the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def top_names(section: dict[str, Any]) -> list[str]:
    """Return the names that a section's own code defines."""
    body = ast.parse(section.get("before", "") + section["code"]).body
    assigned = [node.targets[0].id for node in body if isinstance(node, ast.Assign)]
    return assigned + [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def progress(library: Library | None = None) -> None:
    """Print how much of my_lm.py the learner has written, and which exercises are still missing."""
    parts = (library or Library()).parts.values()
    solved, lines = sum(part.written > 0 for part in parts), sum(part.lines for part in parts)
    written = sum(part.written for part in parts)
    print(f"my_lm.py: you have written {solved} of its {len(parts)} exercises, {written} of {lines} lines")
    if missing := [part.title.split()[0] for part in parts if not part.written]:
        print(f"still tinylm's: {', '.join(missing)}")


def write(file: Path, *, overwrite: bool = False) -> None:
    """Write my_lm.py, and print how much of it the learner has written.

    Raises TinyLMError for a file that is not ours, or that was changed by hand since we wrote it."""
    if file.exists() and not overwrite:
        mark, _, rest = file.read_text(encoding="utf-8", errors="replace").partition("\n")
        if mark != MARK + digest(rest):
            raise TinyLMError(f"{file} exists and has changes of yours: give another name, or --overwrite")
    library = Library()
    file.write_text(library.text, encoding="utf-8", newline="\n")
    progress(library)
    print(f"next: python {file} train TEXT.txt")
