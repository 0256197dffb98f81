"""The errors that are meant for a person."""

import importlib
import inspect
import pkgutil

import tinylm
from tinylm.errors import TinyLMError, short


def test_errors_of_the_package_are_value_errors_for_the_reader_and_in_one_module():
    kinds = []
    names = [m.name for m in pkgutil.walk_packages(tinylm.__path__, "tinylm.") if "__main__" not in m.name]
    for name in names:
        members = inspect.getmembers(importlib.import_module(name), inspect.isclass)
        kinds += [kind for _, kind in members if issubclass(kind, Exception) and kind.__module__ == name]
    public = [kind for kind in kinds if not kind.__name__.startswith("_")]
    assert len(public) > 5 and issubclass(TinyLMError, ValueError)
    assert {kind.__module__ for kind in public} == {"tinylm.errors"}
    assert [kind.__name__ for kind in public if not issubclass(kind, TinyLMError)] == []


def test_short_keeps_a_sentence_short():
    assert short("abc") == "'abc'"
    assert short("x" * 5000) == f"'{'x' * 59}… (5002 characters)"
    assert short(10**79) == str(10**79)
