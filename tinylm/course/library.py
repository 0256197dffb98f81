"""my_lm.py: what a learner has written, as one file that needs torch and numpy alone.

    python -m tinylm yours

writes it from the answers that were kept. Where there is none yet, tinylm's solution stands in, and its
comment says so. Which exercises it has, and the code between them, is in library.toml.

Shown at the end of notebooks 06, 08, 10, 13 and 14."""

import builtins
import hashlib
import re
import shlex
import symtable
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tinylm.course import yours
from tinylm.course.source import parts_of, statements
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
        self.imports: set[str] = set()  # beside those of the plan
        self.defined = statements({"In": [PLAN["imports"]]})
        self.reserved: dict[str, str] = {}  # what the solutions define: no helper may take its name
        self.parts: dict[tuple[str, str], Part] = {}
        self.told: list[str] = []  # what a learner should know of answers that are not in it
        for section in PLAN["sections"]:
            self.defined |= dict.fromkeys(top_names(section.get("before", "") + section["code"]), "")
            for name in section["exercises"]:
                self.reserve(*name.split())
        self.body = "".join(map(self.section, PLAN["sections"]))

    @property
    def text(self) -> str:
        """The whole file."""
        imports = "\n".join([PLAN["imports"].strip(), *sorted(self.imports)])
        rest = "\n\n".join([PLAN["head"].strip(), imports]) + self.body + "\n"
        return f"{MARK}{digest(rest)}\n{rest}"

    def section(self, section: dict[str, Any]) -> str:
        """Return the text of one section: its exercises, and then the code that uses them."""
        before = len(self.parts)
        for name in section["exercises"]:
            self.add(*name.split())
        new = [*self.parts.values()][before:]
        blocks = [f"# ---- {section['title']} ----", section.get("before", "").strip()]
        blocks += [f"# {part.title} · {part.whose}\n{part.source}" for part in new]
        return "\n\n\n".join(["", *filter(None, [*blocks, section["code"].strip()])])

    def reserve(self, number: str, name: str) -> None:
        """Note the names of an exercise's solution, and of all that it uses."""
        for key, text in parts_of(name, yours.exercise(number, name).given, yours.reference).items():
            if other := REFERENCE.fullmatch(text):
                self.reserve(*other.group(2, 3))
            else:
                self.reserved[key] = text

    def add(self, number: str, name: str) -> None:
        """Add an exercise after what it uses: the learner's answer, or the solution if that does not fit."""
        if (number, name) in self.parts:
            return
        asked, (value, told) = yours.exercise(number, name), yours.opened(number, name)
        found = solution = parts_of(name, asked.given, yours.reference)
        whose = "tinylm's, until you have solved it"
        if told.startswith("yours"):
            try:
                found, whose = self.fitting(name, value), "yours"
            except TinyLMError as error:
                whose = "tinylm's, since yours does not fit in here"
                told = f"solved, but the file has tinylm's: {error}"
        if told != "yours" and yours.file_of(number, name).is_file():
            self.told.append(f"{asked.title}: {told}")
        texts = []
        for key, text in found.items():
            if other := REFERENCE.fullmatch(text):
                self.add(*other.group(2, 3))
                text = "" if other[3] == key else f"{key} = {other[3]}"
            elif text.startswith(("import ", "from ")):
                self.imports |= {text} - OWN - {*self.defined.values()}
                self.defined.setdefault(key, text)
                continue
            if text and not self.defined.get(key):
                texts.append(text)
                self.defined[key] = text
        given = {text for key, text in solution.items() if key != name}  # the notebook's own, such as gelu
        written = code_lines(text for text in texts if whose == "yours" and text not in given)
        self.parts[number, name] = Part(asked.title, whose, "\n\n\n".join(texts), written, code_lines(texts))

    def fitting(self, name: str, answer: Any) -> dict[str, str]:
        """Return an answer's parts. Raises TinyLMError if they need tinylm, or define a name again."""
        found = parts_of(name, answer, yours.reference)
        for key, text in found.items():
            if REFERENCE.fullmatch(text) or text in OWN:
                continue
            if text.startswith("from tinylm"):
                raise TinyLMError(f"yours needs tinylm ({text}), which the file does without")
            known = [self.defined.get(key, text), text if key == name else self.reserved.get(key, text)]
            if key in vars(builtins) or known != [text, text]:
                told = f"`{key}` of your answer has the name of something else in the file"
                raise TinyLMError(f"{told}. Rename it, and run the check of that exercise again")
        return found


def digest(text: str) -> str:
    """Return the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def top_names(code: str) -> list[str]:
    """Return the names that code defines at its outermost level."""
    symbols = symtable.symtable(code, "section", "exec").get_symbols()
    return [symbol.get_name() for symbol in symbols if symbol.is_assigned()]


def progress(library: Library | None = None, file: str = "my_lm.py") -> None:
    """Print how much of my_lm.py the learner has written, and which exercises are not solved yet."""
    library = library or Library()
    parts = library.parts.values()
    solved, lines = sum(part.written > 0 for part in parts), sum(part.lines for part in parts)
    written = sum(part.written for part in parts)
    print(f"{file}: you have written {solved} of its {len(parts)} exercises, {written} of {lines} lines")
    print(*library.told, sep="\n", end="\n" if library.told else "")
    said = " ".join(library.told)
    numbers = {part.title.split()[0] for part in parts if not part.written and part.title not in said}
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
