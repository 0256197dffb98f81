"""my_lm.py: what a learner has written, as one file that needs torch and numpy alone.

    python -m tinylm yours

writes it from the answers that were kept. Where there is none yet, tinylm's solution stands in, and its
comment says so. Which exercises it has, and the code between them, is in library.toml.

Shown at the end of notebooks 06, 08, 10 and 13."""

import ast
import builtins
import hashlib
import re
import shlex
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
    """One exercise in the file: its title, whose it is, its source, and how many lines the learner wrote."""

    title: str
    whose: str
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
        self.told: list[str] = []  # what a learner should know of answers that are not in it
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
                blocks.append(f"# {part.title} · {part.whose}\n{part.source}")
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
        file = yours.file_of(number, name)
        solution = parts_of(name, asked.given, yours.reference)
        try:
            learners, found = told.startswith("yours"), self.fitting(parts_of(name, value, yours.reference))
            if told != "yours" and file.is_file():
                self.told.append(f"{asked.title}: {told}")
        except TinyLMError as error:
            learners, found = False, self.fitting(solution)
            self.told.append(f"{asked.title}: solved, but the file has tinylm's: {error}")
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
        solved = "tinylm's, since yours does not fit in here" if told.startswith("yours") else ""
        whose = "yours" if learners else solved or "tinylm's, until you have solved it"
        self.parts[number, name] = Part(asked.title, whose, "\n\n\n".join(texts), written, code_lines(texts))

    def fitting(self, found: dict[str, str]) -> dict[str, str]:
        """Return an answer's parts. Raises TinyLMError if they need tinylm, or define a name again."""
        for key, text in found.items():
            if text.startswith("from tinylm") and text not in OWN:
                raise TinyLMError(f"yours needs tinylm ({text}), which the file does without")
            if REFERENCE.fullmatch(text) or text in OWN:
                continue
            if (
                key in vars(builtins)
                or self.defined.get(key, text) != text
                or text not in self.reserved.get(key, {text})
            ):
                told = f"`{key}` of your answer has the name of something else in the file"
                raise TinyLMError(f"{told}. Rename it, and run the check of that exercise again")
        return found


def digest(text: str) -> str:
    """Return the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def top_names(section: dict[str, Any]) -> list[str]:
    """Return the names that a section's own code defines."""
    body = ast.parse(section.get("before", "") + section["code"]).body
    assigned = [node.targets[0].id for node in body if isinstance(node, ast.Assign)]
    return assigned + [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def progress(library: Library | None = None, file: str = "my_lm.py") -> None:
    """Print how much of my_lm.py the learner has written, and which exercises are not solved yet."""
    library = library or Library()
    parts = library.parts.values()
    solved, lines = sum(part.written > 0 for part in parts), sum(part.lines for part in parts)
    written = sum(part.written for part in parts)
    print(f"{file}: you have written {solved} of its {len(parts)} exercises, {written} of {lines} lines")
    print(*library.told, sep="\n", end="\n" if library.told else "")
    said = {line.split(" · ")[0] for line in library.told}
    numbers = {part.title.split()[0] for part in parts if not part.written} - said
    if numbers:
        open_ones = sorted(numbers, key=lambda number: [*map(int, number.split("."))])
        print(f"not solved yet, so these are tinylm's: {', '.join(open_ones)}")


def write(file: Path, *, overwrite: bool = False) -> None:
    """Write my_lm.py, and print how much of it the learner has written.

    Raises TinyLMError for a file that is not ours, or that was changed by hand since we wrote it."""
    if file.exists() and not overwrite:
        mark, _, rest = file.read_text(encoding="utf-8", errors="replace").partition("\n")
        if mark != MARK + digest(rest):
            raise TinyLMError(f"{file} exists and has changes of yours: give another name, or --overwrite")
    if not file.parent.is_dir():
        raise TinyLMError(f"there is no folder {file.parent}: make it first, or give another name")
    library = Library()
    file.write_text(library.text, encoding="utf-8", newline="\n")
    progress(library, file.name)
    print(f"next: python {shlex.quote(str(file))} train TEXT.txt")
