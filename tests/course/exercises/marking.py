"""What a check says of an answer that a person might give, written as a person writes it."""

import linecache
import math
from itertools import count

import torch
import torch.nn.functional as F
from torch import nn

from tinylm.course.checks import Check as exercise

NAMES = {"math": math, "torch": torch, "F": F, "nn": nn}
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


def function(head, *bodies):
    """Answers that share their first line: (source, what the diagnosis says, or None for any)."""
    answers = []
    for body in bodies:
        text, said = body if isinstance(body, tuple) else (body, None)
        lines = [f"    {line}" for line in text.strip("\n").splitlines()]
        answers.append(("\n".join([f"def {head}:", *lines]) + "\n", said))
    return answers


def verdicts(module, name, answers, capsys, names):
    """Those of these sources; `names` are the notebook's, which has no such function of its own by then."""
    known = {other: value for other, value in names.items() if other != name}
    return [verdict(getattr(module, name), source, capsys, **known) for source, _ in answers]


def assert_wrong(module, name, answers, capsys, **names):
    """None of the answers passes, each is told what stands beside it, and two thirds have such a sentence."""
    lines = verdicts(module, name, answers, capsys, names)
    told = [(line, said or "") for line, (_, said) in zip(lines, answers, strict=True)]
    assert [pair for pair in told if not pair[0].startswith("not yet: ") or pair[1] not in pair[0]] == []
    assert len(answers) >= 10 and sum(said is not None for _, said in answers) >= len(answers) * 2 / 3


def assert_right(module, name, wrong, bodies, capsys, **names):
    """Each of these bodies passes, under the first line that the wrong answers have."""
    answers = function(wrong[0][0].partition(":\n")[0].removeprefix("def "), *bodies)
    assert {line.partition(" ")[0] for line in verdicts(module, name, answers, capsys, names)} == {"correct"}


def verdict_on_given(module, name):
    """What the check says of the answer with which a notebook goes on where the learner's is blank.

    Not by the check itself, which knows its own answer when it is given back."""
    given = getattr(module, f"given_{name}")
    with exercise(name) as check:
        check.answer = given
        getattr(module, name).__wrapped__(check, given)
    return check.verdict
