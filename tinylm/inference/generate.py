"""Generate: the token stream. Predict, draw, append, repeat, for one text or for several at once.

Knows a model (tokens in, logits out) and, for text, a tokenizer with encode and decode. Refuses to know how a
token is chosen (sampling), how keys are kept (model/kv_cache), when text is certain (text_stream), where the
model came from and who reads the stream.
Taught in notebook 05_sampling."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tinylm.errors import InputError
from tinylm.inference.config import PLAIN, GenerationConfig
from tinylm.inference.sampling import sample, tokens_seen
from tinylm.inference.text_stream import TextStream
from tinylm.model.gpt import eval_mode
from tinylm.model.kv_cache import KVCache


def generate(
    model: nn.Module,
    prompt: Tensor | Sequence[int],
    config: GenerationConfig = PLAIN,
    *,
    generator: torch.Generator,
) -> Iterator[int]:
    """Continue a prompt: yields up to max_new_tokens token ids, one at a time; the prompt is not repeated.

    prompt (T,) of token ids, T >= 1. Otherwise as `generate_batch`."""
    return (tokens[0] for tokens in generate_batch(model, [prompt], config, generator=generator))


def generate_batch(
    model: nn.Module,
    prompts: Sequence[Tensor | Sequence[int]],
    config: GenerationConfig = PLAIN,
    *,
    generator: torch.Generator,
) -> Iterator[list[int]]:
    """Continue B prompts at once: yields max_new_tokens times the next token id of every prompt, B of them.

    prompts: B rows of ids, each (T_b,) with T_b >= 1, of any lengths; no row can feel the others. The model
    reads at most the last context_length tokens of a row: then the window slides, and every position is
    computed afresh inside it.

    The model predicts every token in eval mode and is in between as it was, whatever else reads it. Only
    `generator` is drawn from. Raises InputError, at the call and not at the first token."""
    if config.stop:
        raise InputError("stop sequences are text and these are ids: use stream_text, generate_text(s)")
    if config.use_cache and not hasattr(model, "new_cache"):
        raise InputError(f"{type(model).__name__} has no new_cache(): set use_cache=False")
    rows = [_ids(prompt) for prompt in prompts]
    if not rows:
        raise InputError("there are 0 prompts: give at least 1")
    return _stream(model, rows, config, generator)


def _stream(
    model: nn.Module, rows: list[list[int]], config: GenerationConfig, generator: torch.Generator
) -> Iterator[list[int]]:
    cache = _new_cache(model, rows) if config.use_cache else None
    modules = list(model.modules())
    for _ in range(config.max_new_tokens):
        with eval_mode(modules):  # not around the yield: who reads the stream may train the model meanwhile
            logits = next_logits(model, rows, cache)  # (B, V)
        penalised = config.repetition_penalty != 1.0
        seen = tokens_seen(rows, logits.size(-1)).to(logits.device) if penalised else None  # (B, V)
        tokens = sample(logits, config, generator=generator, seen=seen).tolist()  # B ids
        for row, token in zip(rows, tokens, strict=True):
            row.append(token)
        yield tokens


@torch.inference_mode()
def next_logits(model: nn.Module, rows: Sequence[Sequence[int]], cache: KVCache | None = None) -> Tensor:
    """The logits for the token after each of B rows of ids: (B, V). Rows are read from their ends.

    An empty cache is filled with the rows; one that holds all but the last token of each reads only those.
    Rows of different lengths need the cache's padding to be what aligns their ends, else InputError.
    Without a cache, or once it is full, every position of the last context_length tokens is computed again.
    A full cache cannot be shifted instead: in a window that slid by one, each token stands one position
    earlier and no longer feels the token that left, so that all its keys and values are new."""
    if cache is None or cache.length == cache.capacity:
        return _logits_afresh(model, rows)
    window = 1
    if cache.length == 0:
        lengths = [min(len(row), cache.capacity) for row in rows]
        window = max(lengths)
        needed = [window - n for n in lengths]
        made = [0] * len(rows) if cache.padding is None else cache.padding.tolist()
        if needed != made:
            raise InputError(
                f"the cache is for rows padded by {made} and these need {needed}: give new_cache that padding"
            )
    ends = [[0] * (window - len(row)) + list(row[-window:]) for row in rows]  # padded on the left
    return model(torch.tensor(ends, device=_device(model)), cache)[:, -1]  # (B, V)


def _logits_afresh(model: nn.Module, rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of equal length are read together, the others apart: nothing is padded. (B, V)"""
    windows = [tuple(row[-model.config.context_length :]) for row in rows]
    logits: list[Tensor] = [torch.empty(0)] * len(rows)
    for length in {len(window) for window in windows}:
        where = [i for i, window in enumerate(windows) if len(window) == length]
        together = model(torch.tensor([windows[i] for i in where], device=_device(model)))[:, -1]  # (b, V)
        for i, row in zip(where, together, strict=True):
            logits[i] = row
    return torch.stack(logits)  # (B, V)


def _new_cache(model: nn.Module, rows: list[list[int]]) -> KVCache:
    lengths = torch.tensor([min(len(row), model.config.context_length) for row in rows])  # (B,)
    return model.new_cache(padding=(lengths.max() - lengths).to(_device(model)))


def _ids(prompt: Tensor | Sequence[int]) -> list[int]:
    if isinstance(prompt, str):
        raise InputError(f"the prompt {prompt!r} is text and must be token ids: use generate_text")
    row = prompt if isinstance(prompt, Tensor) else torch.tensor(prompt)  # copied: it may be read-only
    if len(row.shape) and row.numel() and (row.is_floating_point() or row.dtype == torch.bool):
        raise InputError(f"the prompt holds {row.dtype} and token ids are whole numbers: pass integers")
    if row.dim() != 1:
        raise InputError(f"the prompt has {row.dim()} dimensions and needs 1: pass one row of token ids")
    if len(row) == 0:
        raise InputError("the prompt has 0 tokens and needs at least 1: start with a newline")
    return row.tolist()


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def stream_text(
    model: nn.Module,
    tokenizer: Any,
    prompt: str,
    config: GenerationConfig = PLAIN,
    *,
    generator: torch.Generator,
) -> Iterator[str]:
    """`generate` on text: yields the continuation, without the prompt, as soon as each piece is certain.

    Ends at the first stop sequence, which is not yielded. Raises the tokenizer's own error for a character
    that it does not know, and InputError for an empty prompt, both at the call."""
    ids = replace(config, stop=())
    tokens = generate(model, tokenizer.encode(prompt), ids, generator=generator)

    def pieces() -> Iterator[str]:
        text = TextStream(tokenizer, config.stop)
        for token in tokens:
            if piece := text.add(token):
                yield piece
            if text.stopped:
                return
        if rest := text.end():
            yield rest

    return pieces()


def generate_text(
    model: nn.Module,
    tokenizer: Any,
    prompt: str,
    config: GenerationConfig = PLAIN,
    *,
    generator: torch.Generator,
) -> str:
    """The whole of `stream_text` in one string: the continuation, without the prompt."""
    return "".join(stream_text(model, tokenizer, prompt, config, generator=generator))


def generate_texts(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    config: GenerationConfig = PLAIN,
    *,
    generator: torch.Generator,
) -> list[str]:
    """Continue several prompts at once: their continuations, each ended by its own stop sequence.

    Raises as `stream_text` does."""
    if isinstance(prompts, str):
        raise InputError("the prompts are one text and must be a list of them: put it into [ ]")
    rows = [tokenizer.encode(prompt) for prompt in prompts]
    streams = [TextStream(tokenizer, config.stop) for _ in rows]
    texts = [""] * len(rows)
    for tokens in generate_batch(model, rows, replace(config, stop=()), generator=generator):
        for i, (stream, token) in enumerate(zip(streams, tokens, strict=True)):
            if not stream.stopped:
                texts[i] += stream.add(token)
        if all(stream.stopped for stream in streams):
            break
    return [text + stream.end() for text, stream in zip(texts, streams, strict=True)]
