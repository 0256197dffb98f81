"""Measure how fast text is generated with the cache: python tests/benchmarks/generation.py [--record NAME]

Ratios for one shape (--recipe), float32, one text: the time of transformers' cached greedy `generate` over
ours, with weights of the same shapes; the time of nothing but the products with all weights over ours; and,
with --refills, the time of a token past the full context over that of one before it, each the mean over the
tokens between two refills.
"""

import os
import time
from dataclasses import replace

import torch
import torch.nn.functional as F
from benchmark import in_turns, open_record, options, report

from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate, to_column_major
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.runs.recipes import recipe
from tinylm.storage.layouts import LAYOUTS

PROMPT = [40, 716, 257, 2746]


def ours(model, n):
    config = GenerationConfig(temperature=0.0, max_new_tokens=n)
    return lambda: list(generate(model, [PROMPT], config, generator=torch.Generator()))


def period(model, n_prompt):
    """Return a function that times the tokens between two refills of the context, after such a prompt."""
    T = model.config.context_length
    config, prompt = GenerationConfig(max_new_tokens=T - T // 2 + 2), list(range(n_prompt))

    def run():
        stream = generate(model, [prompt], config, generator=torch.Generator().manual_seed(0))
        next(stream)  # reads the prompt
        began = time.perf_counter()
        for _ in stream:
            pass
        return time.perf_counter() - began

    return run


def transformers(shape: ModelConfig, n):
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoConfig, AutoModelForCausalLM

    layout = min(LAYOUTS.values(), key=lambda layout: len(layout.differences(shape)))
    settings = layout.settings_of(shape) | {"bos_token_id": None, "eos_token_id": None}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings)).eval()
    prompt = torch.tensor([PROMPT])
    return lambda: model.generate(prompt, max_new_tokens=n, do_sample=False, use_cache=True, pad_token_id=0)


def products(model, n):
    """Return a function that only multiplies a vector by every matrix of the model, n times."""
    looked_up = getattr(model.position_embedding, "weight", None)
    matrices = [matrix for matrix in model.parameters() if matrix.dim() == 2 and matrix is not looked_up]
    vectors = {matrix.size(1): torch.randn(1, 1, matrix.size(1)) for matrix in matrices}

    @torch.inference_mode()
    def run():
        for _ in range(n):
            for matrix in matrices:
                F.linear(vectors[matrix.size(1)], matrix)

    return run


def main():
    chosen = options(
        __doc__,
        recipe=("tinystories_51m", "whose shape is measured"),
        tokens=(64, "tokens in a generation"),
        rounds=(7, "generations of each"),
        threads=(1, "threads of torch"),
        refills=(False, "time tokens past a full context too"),
    )
    torch.set_num_threads(chosen.threads)
    n, shape = chosen.tokens, replace(recipe(chosen.recipe).model, vocab_multiple=1)
    mine, theirs, least = (
        f"generate, {n} tokens",
        f"transformers' generate, {n} tokens",
        "the weight products alone",
    )
    record = open_record(chosen, model=shape.to_json())
    model = GPT(shape).eval()
    to_column_major(model)  # as the command `sample` does
    runs = {mine: ours(model, n), theirs: transformers(shape, n), least: products(model, n)}
    times, ratios = in_turns(runs, chosen.rounds), [(theirs, mine), (least, mine)]
    if chosen.refills:
        before, past = "tokens before the context is full", "tokens past it"
        whole = {before: period(model, 1), past: period(model, shape.context_length)}
        times |= in_turns(whole, max(3, chosen.rounds // 3))
        ratios.append((past, before))
    report(record, times, ratios)


if __name__ == "__main__":
    main()
