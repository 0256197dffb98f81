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
    space = NAMES | {"__name__": "__main__"} | names
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


def test_answer_that_passes_no_longer_is_renamed_and_never_used(capsys):
    check = LESSONS["02"].exercises["attention"]
    check(cell(ATTENTION)["attention"])
    file = yours.file_of("02", "attention")
    wrong = ATTENTION.replace("ROOM = 2.0", "ROOM = 1.0")
    for n, spoilt in enumerate((wrong, "import sys\nsys.exit(3)\n", "attention = 1"), 1):
        file.write_text(f"import math, torch\n{spoilt}", encoding="utf-8")
        value, told = opened("02", "attention", capsys)
        assert value is check.given and f"attention.old{n}.py: solve 2.3 again" in told
        assert not file.exists() and spoilt in file.with_suffix(f".old{n}.py").read_text(encoding="utf-8")


def test_answer_that_needs_another_cells_tensor_is_not_kept_and_an_older_one_stays(capsys):
    check = LESSONS["02"].exercises["causal_mask"]
    check(cell("def causal_mask(T):\n    return torch.ones(T, T).tril().bool()\n")["causal_mask"])
    table = torch.ones(99, 99).tril().bool()
    source = "def causal_mask(T):\n    return TABLE[:T, :T]\n"
    check(cell(source, TABLE=table)["causal_mask"])
    assert "not kept for later notebooks: it uses `TABLE`, a Tensor from" in capsys.readouterr().out
    assert "yours" in opened("02", "causal_mask", capsys)[1]
    wrong = cell(source, TABLE=~table)["causal_mask"]
    assert check(wrong) is check.given and "yours" in opened("02", "causal_mask", capsys)[1]


def test_unknown_notebook_or_exercise_is_named():
    for number, name, words in (
        ("03", "gpt", "03 has no exercise `gpt`: it has Causal"),
        ("3", "GPT", '"3"'),
    ):
        with pytest.raises(TinyLMError, match=words):
            yours.yours(number, name)
