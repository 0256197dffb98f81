"""The numbers and words that say how a text is continued: how each token is chosen, and when it ends.

Knows only plain numbers and words. Refuses to know tensors, models and every setting that cannot work.
Taught in notebook 05_sampling."""

from collections.abc import Callable
from dataclasses import dataclass

from tinylm.errors import ConfigError

LARGEST = 3.4e38  # a larger number is infinite in the float32 that the rules compute in


@dataclass(frozen=True)
class SamplingConfig:
    """How a token is chosen. The defaults change nothing: every token with the model's own probability.

    Raises ConfigError, in one sentence, for a number outside its range."""

    temperature: float = 1.0
    """Below 1 the favourites gain, above 1 the rare tokens do; 0 always takes the most probable."""
    top_k: int = 0
    """Draw from the k most probable tokens only; 0 keeps all."""
    top_p: float = 1.0
    """Draw from the fewest tokens that hold this share of the probability; 1 keeps all."""
    min_p: float = 0.0
    """Drop what is less probable than this share of the favourite's probability; 0 keeps all."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that stand in the text already become less probable; 1 leaves them alone."""

    def __post_init__(self) -> None:
        _require_number(self, "temperature", lambda t: t >= 0, "of at least 0: use 0.8, or 0 for greedy")
        _require_count(self, "top_k", "use 20, or 0 for all")
        _require_number(self, "top_p", lambda p: 0 < p <= 1, "above 0 and at most 1: use 0.9, or 1 for all")
        _require_number(self, "min_p", lambda p: 0 <= p <= 1, "between 0 and 1: use 0.1, or 0 for all")
        _require_number(self, "repetition_penalty", lambda r: r > 0, "above 0: use 1.2, or 1 for none")


@dataclass(frozen=True)
class GenerationConfig(SamplingConfig):
    """How a text is continued: how each token is chosen, and when it ends.

    Raises ConfigError, in one sentence, for a setting that cannot work."""

    max_new_tokens: int = 500
    """How much to write at most."""
    stop: tuple[str, ...] = ()
    """Texts at which to end; they are not written."""
    use_cache: bool = True
    """Keep each token's keys and values instead of computing them again: the same text, sooner."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_count(self, "max_new_tokens", "use 500")
        if not isinstance(self.stop, tuple) or not all(isinstance(stop, str) for stop in self.stop):
            raise ConfigError(f"stop is {self.stop!r}: give a tuple of texts, such as ('\\n\\n',)")
        if "" in self.stop:
            raise ConfigError("a stop sequence has 0 characters and would end every text: give at least 1")


def _require_count(config: SamplingConfig, name: str, instead: str) -> None:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name} {value!r} is not a whole number of at least 0: {instead}")


def _require_number(config: SamplingConfig, name: str, fits: Callable[[float], bool], allowed: str) -> None:
    value = getattr(config, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if not (is_number and fits(value)):
        raise ConfigError(f"{name} {value!r} is not a finite number {allowed}")


PLAIN = GenerationConfig()  # the model's own probabilities, none changed and none left out
