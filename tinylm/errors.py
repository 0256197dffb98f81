"""Errors that a person can put right, one class for each thing to do about it, and two checks.

Each message is one sentence: what is wrong, with both numbers, and what to type instead."""

from collections.abc import Sequence
from typing import Any


class TinyLMError(ValueError):
    """Base class of everything that a person can put right."""


class ConfigError(TinyLMError):
    """A setting that cannot work, by itself or beside another one: choose another value."""


class InputError(TinyLMError):
    """Tokens, logits or a prompt that a function cannot take: pass something else."""


class DataError(TinyLMError):
    """A text, a tokenizer, shards or batches that cannot be right: fix the data or prepare it again."""


class DownloadError(DataError):
    """A file did not arrive, or arrived damaged: try again."""


class CorpusMissing(DataError):
    """No source has the corpus. `reason` says why in a few words, `way_out` says what to do."""

    def __init__(self, name: str, reason: str, way_out: str) -> None:
        super().__init__(f"{name} is not here ({reason}): {way_out}")
        self.reason, self.way_out = reason, way_out


class CheckpointError(TinyLMError):
    """A checkpoint that is missing, is damaged, or belongs to something else: use another one."""


class RunError(TinyLMError):
    """A run, its name or its record that cannot be started or resumed."""


class Divergence(TinyLMError):
    """A loss, gradient or weight that is no longer a finite number: train with a lower learning rate."""


class WorldLost(TinyLMError):
    """Another process of the same training has ended or does not answer: resume from the checkpoint."""


def require_count(name: str, value: Any, least: int = 1, most: int | None = None) -> None:
    """Raise ConfigError unless the value is an integer from `least` to `most` (or what int64 holds)."""
    most = 2**63 - 1 if most is None else most
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} is {short(value)}: it must be an integer")
    if not least <= value <= most:
        bound = f"at least {least}" if value < least else f"at most {most}"
        raise ConfigError(f"{name} is {short(value)}: it must be {bound}")


def require_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise ConfigError unless the value is one of those allowed, and of their type (True is not 1)."""
    if type(value) is not type(allowed[0]) or value not in allowed:
        raise ConfigError(f"{name} is {short(value)}: use {' or '.join(repr(choice) for choice in allowed)}")


def short(value: Any, most: int = 80) -> str:
    """Return repr(value), shortened if it is long: an error message is one sentence on one line."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**most:
        return f"a number of more than {most} digits"  # Python refuses to print more than 4,300 of them
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 20]}… ({len(text)} characters)"
