"""Generate: the token stream. Predict, draw, append, repeat.

Knows a model (tokens in, logits out) and, for text, a tokenizer with encode and decode. Refuses to know how a
token is chosen (sampling), where the model came from (weights) and who reads the stream.
Taught in notebook 05_sampling."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tinylm.errors import TinyLMError
from tinylm.inference.sampling import sample


class GenerateError(TinyLMError):
    """The prompt or the number of new tokens cannot be used."""


def generate(
    model: nn.Module,
    prompt: Tensor,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    generator: torch.Generator,
    context_length: int | None = None,
) -> Iterator[int]:
    """Continue a prompt: yields `max_new_tokens` token ids, one at a time; the prompt is not repeated.

    prompt (T,) of token ids, T >= 1. The model reads at most the last `context_length` tokens (by default the
    model's own): once they are full the window slides, and every position is computed afresh inside it.
    Temperature 0 is greedy. The model predicts in eval mode and is left in the mode it was in; only
    `generator` is drawn from. Raises GenerateError, at the call and not at the first token."""
    if prompt.dim() != 1:
        raise GenerateError(
            f"the prompt has {prompt.dim()} dimensions and needs 1: pass one row of token ids"
        )
    if len(prompt) == 0:
        raise GenerateError("the prompt has 0 tokens and needs at least 1: start with a newline")
    if max_new_tokens < 0:
        raise GenerateError(f"max_new_tokens {max_new_tokens} is below 0: use 0 or more")
    window = context_length if context_length is not None else model.config.context_length
    device = next((p.device for p in model.parameters()), prompt.device)
    tokens = prompt.to(device=device, dtype=torch.int64)

    def stream(tokens: Tensor) -> Iterator[int]:
        for _ in range(max_new_tokens):
            tokens = tokens[-window:]  # (T,) with T <= context_length
            logits = next_logits(model, tokens)  # (V,)
            token = sample(logits.unsqueeze(0), temperature=temperature, generator=generator)  # (1,)
            tokens = torch.cat((tokens, token))  # (T + 1,)
            yield int(token)

    return stream(tokens)


def next_logits(model: nn.Module, tokens: Tensor) -> Tensor:
    """The logits for the token after `tokens`: (T,) -> (V,).

    Everything before the last position is computed again for each new token. A cache of keys and values that
    spares this belongs here: nothing above this function would change."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return model(tokens.unsqueeze(0))[0, -1]  # (V,)
    finally:
        model.train(was_training)


def stream_text(
    model: nn.Module,
    tokenizer: Any,
    prompt: str,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    generator: torch.Generator,
) -> Iterator[str]:
    """`generate` on text: yields the decoded continuation piece by piece, without the prompt.

    Raises the tokenizer's own error for a character that it does not know, and GenerateError for an empty
    prompt, both at the call."""
    ids = torch.as_tensor(tokenizer.encode(prompt))  # (T,)
    tokens = generate(model, ids, max_new_tokens=max_new_tokens, temperature=temperature, generator=generator)
    return (tokenizer.decode([token]) for token in tokens)


def generate_text(
    model: nn.Module,
    tokenizer: Any,
    prompt: str,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    generator: torch.Generator,
) -> str:
    """The whole of `stream_text` in one string: the continuation, without the prompt."""
    pieces = stream_text(
        model,
        tokenizer,
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        generator=generator,
    )
    return "".join(pieces)
