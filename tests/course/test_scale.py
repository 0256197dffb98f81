"""Laws of the scale switch."""

import pytest

from tinylm.course.scale import pick
from tinylm.errors import ConfigError


@pytest.mark.parametrize("name, value", [("small", 2), (" Medium ", 3), ("full", 5), ("", 2), (None, 2)])
def test_scale_is_the_one_that_the_variable_names_small_without_it_and_no_other(monkeypatch, name, value):
    monkeypatch.setenv("TINYLM_SCALE", name or "")
    if name is None:
        monkeypatch.delenv("TINYLM_SCALE")
    assert pick(small=2, medium=3, full=5) == value
    monkeypatch.setenv("TINYLM_SCALE", "huge")
    with pytest.raises(ConfigError, match=r'"huge".*small, medium or full'):
        pick(small=1, medium=2, full=3)
