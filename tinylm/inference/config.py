"""SamplingConfig and GenerationConfig: how each token is chosen, and when a text ends.

Taught in notebook 05_sampling."""

from dataclasses import dataclass

from tinylm.errors import Config, ConfigError, setting


@dataclass(frozen=True)
class SamplingConfig(Config):
    """How a token is chosen. The defaults draw each token with the model's own probability."""

    # The outer bounds of temperature and repetition_penalty keep float32 finite: a logit divided by 1e-39 is
    # infinite, and looks like a bad model.
    temperature: float = setting(1.0, least=0, most=10**6, use="0.8, or 0 for greedy")
    """Below 1 favours probable tokens, above 1 rare ones; 0 always takes the most probable."""
    top_k: int = setting(0, least=0)  # Draw from the k most probable tokens only; 0 keeps all.
    top_p: float = setting(1.0, above=0, most=1, use="0.9, or 1 for all")
    """Draw from the fewest tokens that hold this share of the probability; 1 keeps all."""
    min_p: float = setting(0.0, least=0, most=1, use="0.1, or 0 for all")
    """Drop tokens below this share of the top token's probability; 0 keeps all."""
    repetition_penalty: float = setting(1.0, least=0.01, most=100, use="1.2, or 1 for none")
    """Above 1, tokens already in the text become less probable."""


@dataclass(frozen=True)
class GenerationConfig(SamplingConfig):
    """How a text is continued: how each token is chosen, and when the text ends."""

    max_new_tokens: int = 500  # How many tokens to write at most.
    stop: tuple[str, ...] = ()  # Texts to stop at; they are not written.
    use_cache: bool = True  # Keep each token's keys and values: the same text, faster.

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.stop, tuple) or not all(isinstance(text, str) and text for text in self.stop):
            raise ConfigError(f"stop is {self.stop!r}: give a tuple of texts such as ('\\n\\n',), none empty")


DEFAULT = GenerationConfig()  # the model's own probabilities, unchanged
