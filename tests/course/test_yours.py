"""Laws of kept answers: what passes is opened again, with all that it uses, and only if it passes then."""

import linecache

import pytest
import torch

from tests.course.exercises.marking import NAMES, numbers
from tests.course.exercises.test_exercises import EXERCISES, LESSONS
from tinylm.course import yours
from tinylm.errors import TinyLMError

ATTENTION = """
ROOM = 2.0


def all_before(T):
    return torch.ones(T, T).tril() > 0


def attention(q, k, v):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** (1 / ROOM)
    weights = scores.masked_fill(~all_before(q.shape[-2]), -math.inf).softmax(-1)
    return weights @ v, weights
"""


@pytest.fixture(autouse=True)
def _mine(mine):
    """Answers are kept in an empty folder."""


def cell(source, **names):
    """What a cell with this source defines: Python knows its lines, as a kernel's."""
    file = f"<cell {next(numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space = NAMES | {"__name__": "__main__", "In": [*NAMES["In"], source]} | names
    exec(compile(source, file, "exec"), space)
    return space


def opened(number, name, capsys):
    """What `yours` gives, and the line that it prints."""
    capsys.readouterr()
    value = yours.yours(number, name)
    return value, capsys.readouterr().out


@pytest.mark.parametrize("number, name", [key for key in EXERCISES if key != ("00", "write")])
def test_solution_kept_by_itself_passes_its_check_when_it_is_opened(number, name):
    exercise = LESSONS[number].exercises[name]
    assert yours.keep(number, name, exercise.given) == ""
    assert yours.opened(number, name)[1] == "yours"


def test_answer_is_opened_with_the_constant_the_helper_and_the_modules_that_it_uses(capsys):
    check = LESSONS["02"].exercises["attention"]
    answer = cell(ATTENTION)["attention"]
    value, told = opened("02", "attention", capsys)
    assert value is check.given and "not solved it yet" in told and "2.3 · attention" in told
    assert check(answer) is answer
    value, told = opened("02", "attention", capsys)
    assert told == "2.3 · attention: yours\n" and value is not answer
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(value(x, x, x), answer(x, x, x), strict=True))
    assert "ROOM = 2.0" in (text := yours.file_of("02", "attention").read_text(encoding="utf-8"))
    assert text.startswith("# 2.3 · attention") and "def all_before" in text and "import math" in text


def test_later_answer_refers_to_the_earlier_one_and_gets_better_with_it(capsys):
    layer = LESSONS["03"].exercises["CausalSelfAttention"]
    solution, names = layer.solution, {"split_heads": yours.yours("02", "split_heads")}
    assert layer(cell(solution, attention=yours.yours("02", "attention"), **names)["CausalSelfAttention"])
    assert 'attention = yours("02", "attention")' in yours.file_of("03", "CausalSelfAttention").read_text(
        encoding="utf-8"
    )
    LESSONS["02"].exercises["attention"](cell(ATTENTION)["attention"])
    value, told = opened("03", "CausalSelfAttention", capsys)
    assert "yours" in told and "all_before" in value.forward.__globals__["attention"].__code__.co_names


def test_answer_that_passes_no_longer_is_named_and_not_used_and_nothing_is_lost(capsys):
    check, layer = LESSONS["02"].exercises["attention"], LESSONS["03"].exercises["CausalSelfAttention"]
    check(cell(ATTENTION)["attention"])
    names = {name: yours.yours("02", name) for name in ("attention", "split_heads")}
    layer(cell(layer.solution, **names)["CausalSelfAttention"])
    file = yours.file_of("02", "attention")
    wrong = ATTENTION.replace("ROOM = 2.0", "ROOM = 1.0")
    for n, spoilt in enumerate((wrong, "import sys\nsys.exit(3)\n", "attention = 1"), 1):
        file.write_text(f"import math, torch\n{spoilt}", encoding="utf-8")
        value, told = opened("02", "attention", capsys)
        assert value is check.given and "nb02/attention.py no longer passes" in told
        assert (
            "3.1 · your attention layer: yours\n  it uses 2.3 · attention: your answer in"
            in opened("03", "CausalSelfAttention", capsys)[1]
        )
        check(cell(ATTENTION)["attention"])
        assert spoilt in file.with_suffix(f".old{n}.py").read_text(encoding="utf-8")
        assert opened("02", "attention", capsys)[1] == "2.3 · attention: yours\n"


def test_answer_that_cannot_be_kept_says_why_and_an_older_one_stays(capsys):
    check = LESSONS["02"].exercises["causal_mask"]
    check(cell("def causal_mask(T):\n    return torch.ones(T, T).tril().bool()\n")["causal_mask"])
    table = torch.ones(99, 99).tril().bool()
    source = "def causal_mask(T):\n    return TABLE[:T, :T]\n"
    check(cell(source, TABLE=table)["causal_mask"])
    said = capsys.readouterr().out
    assert "not kept for later notebooks: it uses `TABLE`, a Tensor that a file cannot hold" in said
    itself = "def causal_mask(T):\n    return yours('02', 'causal_mask')(T)\n"
    check(cell(itself, yours=yours.yours)["causal_mask"])
    assert "`causal_mask` opens itself" in capsys.readouterr().out
    assert opened("02", "causal_mask", capsys)[1] == "2.1 · the causal mask: yours\n"
    wrong = cell(source, TABLE=~table)["causal_mask"]
    assert check(wrong) is check.given and "yours" in opened("02", "causal_mask", capsys)[1]


USES = {
    "a lambda": "lower = lambda T: torch.ones(T, T).tril()",
    "minus infinity": "LEAST = -math.inf\ndef lower(T): return torch.ones(T, T).tril() * (LEAST < 0)",
    "a type of torch": "KIND = torch.bool\ndef lower(T): return torch.ones(T, T).tril().to(KIND)",
    "a function of torch": "from torch import tril\ndef lower(T): return tril(torch.ones(T, T))",
    "a device": 'CPU, n = torch.device("cpu"), 1\ndef lower(T): return torch.ones(T, T, device=CPU).tril()',
    "a C function": "from functools import reduce\n"
    "def lower(T): return reduce(max, [torch.ones(T, T).tril()])",
    "a counter": "n = 0\ndef lower(T):\n    global n\n    n += 1\n    return torch.ones(T, T).tril()",
    "a dataclass": "from dataclasses import dataclass\n@dataclass\nclass Size:\n    T: int\n"
    "def lower(T): return torch.ones(Size(T).T, T).tril()",
    "a bare class": "class Same(nn.Identity): pass\ndef lower(T): return Same()(torch.ones(T, T).tril())",
}


@pytest.mark.parametrize("what", USES)
def test_what_an_answer_uses_is_kept_with_it(what, capsys):
    space = cell(f"{USES[what]}\n\n\ndef causal_mask(T):\n    return lower(T) > 0\n")
    assert LESSONS["02"].exercises["causal_mask"](space["causal_mask"]) is space["causal_mask"]
    assert "not kept" not in capsys.readouterr().out
    value, told = opened("02", "causal_mask", capsys)
    assert told == "2.1 · the causal mask: yours\n" and value(3).tolist()[0] == [True, False, False]


def test_unknown_notebook_or_exercise_is_named():
    for number, name, words in (
        ("03", "gpt", "03 has no exercise `gpt`: it has Causal"),
        ("3", "GPT", '"3"'),
    ):
        with pytest.raises(TinyLMError, match=words):
            yours.yours(number, name)
