"""Laws of the scale switch."""

import pytest

from tinylm.course.scale import SCALES, ScaleError, current, pick


def test_without_the_variable_the_scale_is_small(monkeypatch):
    monkeypatch.delenv("TINYLM_SCALE", raising=False)
    assert pick(small=2, medium=3, full=5) == 2


@pytest.mark.parametrize("name, value", [*zip(SCALES, (2, 3, 5), strict=True)])
def test_each_scale_picks_its_own_value(monkeypatch, name, value):
    monkeypatch.setenv("TINYLM_SCALE", name)
    assert current() == name
    assert pick(small=2, medium=3, full=5) == value


def test_an_empty_variable_counts_as_not_set_and_case_does_not_matter(monkeypatch):
    monkeypatch.setenv("TINYLM_SCALE", "")
    assert current() == "small"
    monkeypatch.setenv("TINYLM_SCALE", " Medium ")
    assert current() == "medium"


def test_an_unknown_scale_is_refused_with_the_three_that_exist(monkeypatch):
    monkeypatch.setenv("TINYLM_SCALE", "huge")
    with pytest.raises(ScaleError, match=r'"huge".*small, medium or full'):
        pick(small=1, medium=2, full=3)
