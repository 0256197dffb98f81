"""A notebook as the rules see it: its name, its text on disk, its cells with their positions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import nbformat
from nbformat import NotebookNode

MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:home|work|tmp|root|Users|mnt|var)/\w|\b[A-Z]:\\\w+\\")


@dataclass(frozen=True)
class Notebook:
    """A notebook's name and its text as it lies on disk."""

    name: str
    text: str

    @cached_property
    def nb(self) -> NotebookNode:
        """The notebook itself."""
        return nbformat.reads(self.text, as_version=4)

    @property
    def cells(self) -> list[tuple[int, NotebookNode]]:
        """Every cell with its position."""
        return list(enumerate(self.nb.cells))

    @property
    def code(self) -> list[tuple[int, NotebookNode]]:
        """The code cells."""
        return [(i, cell) for i, cell in self.cells if cell.cell_type == "code"]

    @property
    def prose(self) -> list[tuple[int, NotebookNode]]:
        """The markdown cells."""
        return [(i, cell) for i, cell in self.cells if cell.cell_type == "markdown"]

    @property
    def outputs(self) -> list[tuple[int, NotebookNode]]:
        """Every output with the position of its cell."""
        return [(i, output) for i, cell in self.code for output in cell.outputs]


def output_texts(output: NotebookNode) -> Iterator[str]:
    """Whatever can be read in an output: streams, tracebacks and every text format."""
    yield output.get("text", "")
    yield from output.get("traceback", [])
    yield from (v for k, v in output.get("data", {}).items() if k.startswith("text/") and isinstance(v, str))
