"""What a check says of an answer, written as a person writes it in a cell."""

import linecache
import math
from itertools import count

import torch
import torch.nn.functional as F
from torch import nn

IMPORTS = "import math, torch\nimport torch.nn.functional as F\nfrom torch import nn"
NAMES = {"math": math, "torch": torch, "F": F, "nn": nn, "In": [IMPORTS]}
numbers = count()


def verdict(check, source, capsys, **names):
    """The line that the check prints for the function or class that the source defines last."""
    filename = f"<answer {next(numbers)}>"  # as a cell has one: a traceback can quote the line
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    space = NAMES | names
    exec(compile(source, filename, "exec"), space)
    capsys.readouterr()
    check([value for name, value in space.items() if name not in NAMES | names and name[0] != "_"][-1])
    line = capsys.readouterr().out.splitlines()[-1]
    return line.partition(": ")[2]
