"""How fast is generation with the cache? Run by hand: python tests/benchmarks/generation.py [--record NAME]

Four ratios for the 51M shape (8 layers, 8 heads, 512 wide, vocabulary 50,257, context 256, float32, one
text): the time of a token at position 240 over that at position 20; the time of the bare weight products
(each matrix times one vector, in a loop) over that of a whole token; the time of transformers' cached
greedy `generate` over ours, weights of the same shapes; and the time of a token past the full context over
that of one before it, each the mean over as many tokens as lie between two refills. What is compared is
interleaved and medians are taken, because the machine is never quiet. Never fails on time. With --record
the figures are written to data/mine/NAME, for `make promote RUN=NAME`.
"""

import argparse
import os
import shlex
import statistics
import sys
import time

import torch
import torch.nn.functional as F

from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate, to_column_major
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import new_folder

SHAPE = ModelConfig(vocab_size=50257, context_length=256, n_layer=8, n_head=8, n_embd=512)
PROMPT = [40, 716, 257, 2746]


def seconds(run):
    """What the run itself has measured, else how long it took."""
    began = time.perf_counter()
    measured = run()
    return measured if isinstance(measured, float) else time.perf_counter() - began


def token_at(model, position):
    """Reads one token at that position of the text, again and again: the cache is set back each time."""
    tokens, cache = torch.arange(position + 1)[None], model.new_cache()

    @torch.inference_mode()
    def run():
        cache.length = position
        model(tokens[:, -1:], cache)

    with torch.inference_mode():
        model(tokens[:, :-1], cache)
    return run


def products(model):
    """Every matrix that a token meets, times one vector, and nothing else."""
    matrices = [p.detach() for name, p in model.named_parameters() if p.dim() == 2 and "position" not in name]
    vectors = {size: torch.ones(1, 1, size) for size in {matrix.size(1) for matrix in matrices}}

    def run():
        for matrix in matrices:
            F.linear(vectors[matrix.size(1)], matrix)

    return run


def ours(model, n):
    config = GenerationConfig(temperature=0.0, max_new_tokens=n)
    return lambda: list(generate(model, PROMPT, config, generator=torch.Generator()))


def period(model, n_prompt):
    """As many tokens as lie between two refills of the full context, after a prompt of that length."""
    T = model.config.context_length
    config, prompt = GenerationConfig(max_new_tokens=T - T // 2 + 2), list(range(n_prompt))

    def run():
        stream = generate(model, prompt, config, generator=torch.Generator().manual_seed(0))
        next(stream)  # reads the prompt
        began = time.perf_counter()
        for _ in stream:
            pass
        return time.perf_counter() - began

    return run


def transformers(n):
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = GPT2Config(
        vocab_size=SHAPE.vocab_size,
        n_positions=SHAPE.context_length,
        n_embd=SHAPE.n_embd,
        n_layer=SHAPE.n_layer,
        n_head=SHAPE.n_head,
        bos_token_id=None,
        eos_token_id=None,
    )
    model, prompt = GPT2LMHeadModel(shape).eval(), torch.tensor([PROMPT])
    return lambda: model.generate(prompt, max_new_tokens=n, do_sample=False, use_cache=True, pad_token_id=0)


def interleaved(runs, rounds):
    """Seconds of each, round by round; two rounds before them warm up."""
    times = {name: [] for name in runs}
    for round_ in range(-2, rounds):
        for name, run in runs.items():
            taken = seconds(run)
            if round_ >= 0:
                times[name].append(taken)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64, help="how many a whole generation writes")
    parser.add_argument("--rounds", type=int, default=7, help="whole generations of each")
    parser.add_argument("--single", type=int, default=150, help="single tokens of each kind")
    parser.add_argument("--record", metavar="NAME", help="keep the figures in data/mine/NAME")
    chosen = parser.parse_args()
    where = new_folder("generation", chosen.record) / "record.jsonl" if chosen.record else None
    header = record_header(
        "benchmark",
        name="generation",
        command=shlex.join(["python", "tests/benchmarks/generation.py", *sys.argv[1:]]),
        device="cpu",
        dtype="float32",
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 2),
        rounds=chosen.rounds,
        single=chosen.single,
        tokens=chosen.tokens,
        model=SHAPE.to_json(),
    )
    model = GPT(SHAPE).eval()
    to_column_major(model)  # as the command `sample` does
    early, late, bare = "a token at position 20", "a token at position 240", "the weight products alone"
    times = interleaved(
        {early: token_at(model, 20), late: token_at(model, 240), bare: products(model)}, chosen.single
    )
    mine, theirs = f"generate, {chosen.tokens} tokens", f"transformers' generate, {chosen.tokens} tokens"
    times |= interleaved(
        {mine: ours(model, chosen.tokens), theirs: transformers(chosen.tokens)}, chosen.rounds
    )

    before, past = "tokens before the context is full", "tokens past it"
    times |= interleaved(
        {before: period(model, 1), past: period(model, SHAPE.context_length)}, max(3, chosen.rounds // 3)
    )

    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {model.n_parameters():,} weights")
    with RunRecord(where, header) as record:
        for name, values in times.items():
            print(f"{name:36} {statistics.median(values) * 1e3:8.2f} ms (quickest {min(values) * 1e3:.2f})")
            record.write("measurement", name=name, median_seconds=statistics.median(values), seconds=values)
        for a, b in ((late, early), (bare, early), (theirs, mine), (past, before)):
            # the median of ratios within a round: both sides saw the same neighbours
            ratio = statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))
            print(f"{a} / {b}: {ratio:.3f}")
            record.write("measurement", name=f"{a} / {b}", ratio=ratio)


if __name__ == "__main__":
    main()
