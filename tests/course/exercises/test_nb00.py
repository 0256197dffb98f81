"""Answers that people give to 00_start_here: none that is wrong passes, and most are told why."""

import pytest

from tests.course.exercises.marking import assert_wrong, function
from tinylm.course.exercises import nb00

WRONG = {
    "days": function(
        "days(tokens, tokens_per_second)",
        ("return tokens / tokens_per_second", "these are seconds"),
        ("return tokens / tokens_per_second / 3600", "these are hours"),
        ("return tokens / tokens_per_second / 60", "these are minutes"),
        ("return tokens / tokens_per_second / 24", "seconds, not hours"),
        ("return tokens_per_second / tokens / 86400", "turned over"),
        ("return tokens_per_second / tokens", "turned over"),
        ("return tokens * tokens_per_second / 86400", "not their product"),
        ("return tokens / tokens_per_second * 86400", "not by multiplication"),
        ("print(tokens / tokens_per_second / 86400)", "is `return` missing?"),
        ("return 2e9 / 5_000 / 86400", "does not use its argument `tokens`"),
        ("return tokens // tokens_per_second // 86400", "cuts them off"),
        ("return str(tokens / tokens_per_second / 86400)", "your answer is a string"),
        ("return tokens / tokens_per_second / 60 / 60 / 12", "24 hours"),
        ("return round(tokens / tokens_per_second / 86400)", None),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_refused_and_two_thirds_are_named(name, capsys):
    assert_wrong(nb00, name, WRONG[name], capsys)
