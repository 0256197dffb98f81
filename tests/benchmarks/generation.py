"""How fast is generation with the cache? Run by hand: python tests/benchmarks/generation.py [--record NAME]

Three ratios for the 51M shape (8 layers, 8 heads, 512 wide, vocabulary 50,257, context 256, float32, one
text): the time of a token at position 240 over that at position 20; the time of the bare weight products
(each matrix, as it is stored, times one vector, in a loop) over that of a whole token; and the time of
transformers' cached greedy `generate` over ours, weights of the same shapes. What is compared is
interleaved and medians are taken, because the machine is never quiet. Never fails on time. With --record
the figures are written to data/mine/NAME, for `python -m tinylm promote NAME`.
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
from tinylm.inference.generate import generate, next_logits
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.layout import to_column_major
from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import new_folder

SHAPE = ModelConfig(vocab_size=50257, context_length=256, n_layer=8, n_head=8, n_embd=512)
PROMPT = [40, 716, 257, 2746]


def seconds(run):
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def token_at(model, position):
    """Reads one token at that position of the text, again and again: the cache is set back each time."""
    rows = [[i % SHAPE.vocab_size for i in range(position + 1)]]
    cache = model.new_cache()
    next_logits(model, [rows[0][:-1]], cache)

    def run():
        cache.length = position
        next_logits(model, rows, cache)

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
    model = to_column_major(GPT(SHAPE).eval())  # as open_checkpoint does
    early, late, bare = "a token at position 20", "a token at position 240", "the weight products alone"
    times = interleaved(
        {early: token_at(model, 20), late: token_at(model, 240), bare: products(model)}, chosen.single
    )
    mine, theirs = f"generate, {chosen.tokens} tokens", f"transformers' generate, {chosen.tokens} tokens"
    times |= interleaved(
        {mine: ours(model, chosen.tokens), theirs: transformers(chosen.tokens)}, chosen.rounds
    )

    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {model.n_parameters():,} weights")
    with RunRecord(where, header) as record:
        for name, values in times.items():
            print(f"{name:36} {statistics.median(values) * 1e3:8.2f} ms (quickest {min(values) * 1e3:.2f})")
            record.measurement(name=name, median_seconds=statistics.median(values), seconds=values)
        for a, b in ((late, early), (bare, early), (theirs, mine)):
            # the median of ratios within a round: both sides saw the same neighbours
            ratio = statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))
            print(f"{a} / {b}: {ratio:.3f}")
            record.measurement(name=f"{a} / {b}", ratio=ratio)


if __name__ == "__main__":
    main()
