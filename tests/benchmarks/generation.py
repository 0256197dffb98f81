"""Measure how fast text is generated with the cache: python tests/benchmarks/generation.py [--record NAME]

Two ratios for the 51M shape (8 layers, 8 heads, 512 wide, vocabulary 50,257, context 256, float32, one text):
the time of transformers' cached greedy `generate` over ours, with weights of the same shapes; and the time of
a token past the full context over that of one before it, each the mean over the tokens between two refills.
"""

import os
import time

import torch
from benchmark import in_turns, open_record, options, report

from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate, to_column_major
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT

SHAPE = ModelConfig(vocab_size=50257, context_length=256, n_layer=8, n_head=8, n_embd=512)
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


def transformers(n):
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {name: getattr(SHAPE, name) for name in ("vocab_size", "n_embd", "n_layer", "n_head")}
    shape = GPT2Config(n_positions=SHAPE.context_length, bos_token_id=None, eos_token_id=None, **sizes)
    model, prompt = GPT2LMHeadModel(shape).eval(), torch.tensor([PROMPT])
    return lambda: model.generate(prompt, max_new_tokens=n, do_sample=False, use_cache=True, pad_token_id=0)


def main():
    chosen = options(__doc__, tokens=(64, "tokens in a generation"), rounds=(7, "generations of each"))
    mine, theirs = f"generate, {chosen.tokens} tokens", f"transformers' generate, {chosen.tokens} tokens"
    before, past = "tokens before the context is full", "tokens past it"
    record = open_record(chosen, model=SHAPE.to_json())
    model = GPT(SHAPE).eval()
    to_column_major(model)  # as the command `sample` does
    times = in_turns({mine: ours(model, chosen.tokens), theirs: transformers(chosen.tokens)}, chosen.rounds)
    whole = {before: period(model, 1), past: period(model, SHAPE.context_length)}
    times |= in_turns(whole, max(3, chosen.rounds // 3))
    report(record, times, [(theirs, mine), (past, before)])


if __name__ == "__main__":
    main()
