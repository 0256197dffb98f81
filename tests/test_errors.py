"""The one error that is meant for the reader."""

import importlib
import inspect
import pkgutil

import tinylm
from tinylm.errors import TinyLMError


def errors_of_the_package() -> list[type]:
    """Every public exception class that a room defines."""
    names = [m.name for m in pkgutil.walk_packages(tinylm.__path__, "tinylm.") if "__main__" not in m.name]
    found = []
    for name in names:
        members = inspect.getmembers(importlib.import_module(name), inspect.isclass)
        found += [kind for _, kind in members if issubclass(kind, Exception) and kind.__module__ == name]
    return [kind for kind in found if not kind.__name__.startswith("_")]


def test_every_public_error_of_the_package_is_meant_for_the_reader():
    kinds = errors_of_the_package()
    assert len(kinds) > 5
    assert [kind.__name__ for kind in kinds if not issubclass(kind, TinyLMError)] == []


def test_it_can_be_caught_as_a_value_error_and_says_its_sentence():
    assert issubclass(TinyLMError, ValueError)
    assert str(TinyLMError("use 96 or 108")) == "use 96 or 108"
