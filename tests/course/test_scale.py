"""Laws of the scale switch."""

import pytest

from tinylm.course.scale import pick
from tinylm.errors import ConfigError


@pytest.mark.parametrize("name, value", [("small", 2), (" Medium ", 3), ("full", 5), ("", 2), (None, 2)])
def test_scale_picks_the_value_of_the_variable_and_the_small_one_without_it(monkeypatch, name, value):
    monkeypatch.delenv("TINYLM_SCALE", raising=False)
    if name is not None:
        monkeypatch.setenv("TINYLM_SCALE", name)
    assert pick(small=2, medium=3, full=5) == value


def test_scale_that_is_unknown_is_refused_with_the_three_that_exist(monkeypatch):
    monkeypatch.setenv("TINYLM_SCALE", "huge")
    with pytest.raises(ConfigError, match=r'"huge".*small, medium or full'):
        pick(small=1, medium=2, full=3)
