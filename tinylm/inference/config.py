"""Settings for writing text: how each token is chosen, and when the text ends.

Taught in notebook 05_sampling."""

from dataclasses import dataclass
from typing import ClassVar

from tinylm.errors import Config, ConfigError


@dataclass(frozen=True)
class SamplingConfig(Config):
    """How a token is chosen. The defaults change nothing: every token with the model's own probability."""

    temperature: float = 1.0  # Below 1 favours probable tokens, above 1 rare ones; 0 takes the most probable.
    top_k: int = 0  # Draw from the k most probable tokens only; 0 keeps all.
    top_p: float = 1.0  # Draw from the fewest tokens that hold this share of the probability; 1 keeps all.
    min_p: float = 0.0  # Drop tokens below this share of the top token's probability; 0 keeps all.
    repetition_penalty: float = 1.0  # Above 1, tokens already in the text become less probable.

    # The outer bounds keep float32 finite: a logit divided by 1e-39 is infinite, and looks like a bad model.
    BOUNDS: ClassVar[dict] = {
        "temperature": (lambda t: 0 <= t <= 1e6, "from 0 to 1,000,000: use 0.8, or 0 for greedy"),
        "top_k": (0,),
        "top_p": (lambda p: 0 < p <= 1, "above 0 and at most 1: use 0.9, or 1 for all"),
        "min_p": (lambda p: 0 <= p <= 1, "from 0 to 1: use 0.1, or 0 for all"),
        "repetition_penalty": (lambda r: 0.01 <= r <= 100, "from 0.01 to 100: use 1.2, or 1 for none"),
    }


@dataclass(frozen=True)
class GenerationConfig(SamplingConfig):
    """How a text is continued: how each token is chosen, and when the text ends."""

    max_new_tokens: int = 500  # How many tokens to write at most.
    stop: tuple[str, ...] = ()  # Texts to stop at; they are not written.
    use_cache: bool = True  # Keep each token's keys and values: the same text, faster.

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.stop, tuple) or not all(isinstance(stop, str) for stop in self.stop):
            raise ConfigError(f"stop is {self.stop!r}: give a tuple of texts, such as ('\\n\\n',)")
        if "" in self.stop:
            raise ConfigError("a stop sequence has 0 characters and would end every text: give at least 1")


DEFAULT = GenerationConfig()  # the model's own probabilities, none changed and none left out
