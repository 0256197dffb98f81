"""Generate: the token stream. Predict, draw, append, repeat, for one text or for several at once.

Taught in notebook 05_sampling."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Generator, Tensor, nn

from tinylm.errors import InputError, TinyLMError, short
from tinylm.inference.config import DEFAULT, GenerationConfig
from tinylm.inference.sampling import sample, tokens_seen
from tinylm.inference.text_stream import TextStream
from tinylm.model.context import KVCache
from tinylm.model.gpt import eval_mode

Prompt = Tensor | Sequence[int]  # (T,) token ids
Generators = Generator | list[Generator]  # one for all rows, or one for each


@torch.no_grad()
def to_column_major(model: nn.Module) -> None:
    """Store the matrices of a model column by column, for a model that will only write, on a CPU.

    A matrix times the vector of a single token is limited by memory bandwidth. Column by column, the product
    of (N, K) with N >= K is a sum of K long columns instead of N short dot products: a 51M model writes about
    1.2 times as fast. Results may differ in their last bits. Don't train the model afterwards: torch's fused
    AdamW walks through weights and loaded moments in the order they have in memory."""
    for matrix in model.parameters():
        if matrix.dim() == 2 and matrix.size(0) >= matrix.size(1):
            matrix.data = matrix.t().contiguous().t()  # (N, K) as before


def generate(
    model: nn.Module, prompts: Sequence[Prompt], config: GenerationConfig = DEFAULT, *, generator: Generators
) -> Iterator[list[int]]:
    """Continue B prompts: yield the next token id of each, a list of B, max_new_tokens times.

    prompts: B sequences of ids, each (T_b,) with T_b >= 1, of any lengths; they are not repeated. generator:
    a list of one for each row (`row_generators`), and then a row's text does not depend on the rows beside
    it, or one from which all rows are drawn. Nothing else is drawn from.

    The model reads at most the last context_length tokens of a row. When its context is full, it continues
    from the last context_length // 2 tokens. It predicts in eval mode, and between two tokens every module is
    in the mode it was in before. Raises InputError at the call, not at the first token."""
    if config.stop:
        raise InputError("stop sequences are text and these are ids: use stream_text or generate_text(s)")
    return _stream(model, _checked(prompts), config, generator)


def row_generators(generator: Generator, n: int) -> list[Generator]:
    """Return a generator for each of n rows, seeded by n draws: the first is the same whatever n is."""
    seeds = [torch.randint(2**63 - 1, (), generator=generator, device=generator.device) for _ in range(n)]
    return [Generator(generator.device).manual_seed(int(seed)) for seed in seeds]


def _stream(
    model: nn.Module,
    rows: list[list[int]],
    config: GenerationConfig,
    generator: Generators,
    n_unseen: int = 0,  # ids at the start of each row that are not text, and not penalised
) -> Iterator[list[int]]:
    context_length = model.config.context_length
    # To keep more than half would refill more often, to keep less would forget more. At one half the model
    # computes two positions for each token, and on average it still reads three quarters of its context.
    refill = context_length // 2
    windows = [row[-context_length:] for row in rows]  # what the model sees of each row
    modules = list(model.modules())
    use_cache = config.use_cache and hasattr(model, "new_cache")
    cache, drawn, seen = None, torch.empty(0), None  # drawn (B, 1) ids; seen (B, V) bool, for the penalty
    for _ in range(config.max_new_tokens):
        # Not around the yield: the reader of the stream may train the model meanwhile.
        with eval_mode(modules), torch.inference_mode():
            if not use_cache:
                logits = next_logits(model, windows)  # (B, V)
            elif cache is None or cache.length == cache.capacity:
                cache, logits = _filled_cache(model, windows)
            else:
                logits = model(drawn, cache)[:, -1]  # (B, V)
        if seen is not None:
            seen.scatter_(1, drawn, True)
        elif config.repetition_penalty != 1.0:
            seen = tokens_seen([row[n_unseen:] for row in rows], logits.size(-1)).to(logits.device)
        drawn = sample(logits, config, generator=generator, seen=seen).unsqueeze(1)  # (B, 1)
        tokens = drawn[:, 0].tolist()  # the one place that waits for the device
        for window, token in zip(windows, tokens, strict=True):
            if len(window) == context_length:
                del window[: context_length + 1 - refill]
            window.append(token)
        yield tokens


def _filled_cache(model: nn.Module, windows: list[list[int]]) -> tuple[KVCache, Tensor]:
    """Return a cache that holds the windows, aligned at their ends, and the logits after each: (B, V)."""
    longest, device = max(map(len, windows)), _device(model)
    padding = [longest - len(window) for window in windows]
    ids = [[0] * n + window for n, window in zip(padding, windows, strict=True)]
    cache = model.new_cache(padding=torch.tensor(padding, device=device))
    return cache, model(torch.tensor(ids, device=device), cache)[:, -1]


@torch.inference_mode()
def next_logits(model: nn.Module, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits for the token after each of B rows of ids, without a cache: (B, V).

    The model reads the last context_length tokens of each row. Rows are computed one by one, unpadded."""
    windows = [torch.tensor(row[-model.config.context_length :], device=_device(model)) for row in rows]
    return torch.stack([model(window[None])[0, -1] for window in windows])  # (B, V)


def _checked(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Return the prompts as lists. What is wrong with single ids, the model says at the first token."""
    if not len(prompts) or any(isinstance(row, str) or not hasattr(row, "__len__") for row in prompts):
        raise InputError(f"the prompts {short(prompts)} must be rows of ids: [[1, 2]], or use generate_text")
    if any(len(prompt) == 0 for prompt in prompts):
        raise InputError("the prompt has 0 tokens and needs at least 1: start with a newline")
    return [prompt.tolist() if hasattr(prompt, "tolist") else list(prompt) for prompt in prompts]


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Return the ids of a prompt, (T,), after the id with which a document begins, if there is one.

    It is begin_of_text where the tokenizer has that, otherwise end_of_text. A special token written in the
    prompt stays text."""
    begin = getattr(tokenizer, "begin_of_text", tokenizer.end_of_text)
    return [*([] if begin is None else [begin]), *tokenizer.encode(prompt).tolist()]


def stream_text(
    model: nn.Module, tokenizer: Any, prompt: str, config: GenerationConfig = DEFAULT, *, generator: Generator
) -> Iterator[str]:
    """Continue a text: yield the continuation, without the prompt, piece by piece as soon as it is certain.

    Ends at the first stop sequence or at end_of_text, which are not yielded. Otherwise like `generate`.
    Raises before the first piece: the tokenizer's own error for a character that it does not know, and
    InputError for an empty prompt if the tokenizer has no end_of_text to begin a document with."""
    return (piece for (piece,) in _pieces(model, tokenizer, [prompt], config, generator) if piece)


def generate_text(
    model: nn.Module, tokenizer: Any, prompt: str, config: GenerationConfig = DEFAULT, *, generator: Generator
) -> str:
    """Return all of `stream_text` as one string: the continuation, without the prompt."""
    return "".join(stream_text(model, tokenizer, prompt, config, generator=generator))


def generate_texts(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    config: GenerationConfig = DEFAULT,
    *,
    generator: Generator,
) -> list[str]:
    """Continue several texts at once. Each draws for itself and ends at its own first stop sequence.

    Returns the continuations, without the prompts. Raises as `stream_text` does."""
    if isinstance(prompts, str):
        raise InputError("the prompts are one text and must be a list of them: put it into [ ]")
    pieces = _pieces(model, tokenizer, prompts, config, row_generators(generator, len(prompts)))
    return ["".join(parts) for parts in zip(*pieces, strict=True)]


def _pieces(
    model: nn.Module, tokenizer: Any, prompts: Sequence[str], config: GenerationConfig, generator: Generators
) -> Iterator[list[str]]:
    """Yield what each token makes certain of each continuation, often ""; at the end, what is left."""
    rows = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    texts = [TextStream(tokenizer, config.stop) for _ in rows]
    n_unseen = 0 if tokenizer.end_of_text is None else 1
    for tokens in _stream(model, _checked(rows), config, generator, n_unseen):
        yield [text.add(token) for text, token in zip(texts, tokens, strict=True)]
        if all(text.stopped for text in texts):
            return
    yield [text.end() for text in texts]


def opening(tokenizer: Any) -> str:
    """Return the prompt to use where none is given.

    It is empty where end_of_text begins a document, otherwise a newline, or the tokenizer's first token if it
    does not know the newline."""
    if tokenizer.end_of_text is not None:
        return ""
    with suppress(TinyLMError):
        tokenizer.encode("\n")
        return "\n"
    return tokenizer.decode([0])
