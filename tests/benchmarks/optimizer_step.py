"""What does one Muon step cost? Run by hand: python tests/benchmarks/optimizer_step.py

Times one optimiser step on the matrices of the blocks: ours (float32, all matrices of a shape at once) beside
torch.optim.Muon (bfloat16, one after the other) and fused AdamW on the same matrices, interleaved in one run.
Prints ratios of medians and never fails on time. On a processor without bfloat16 arithmetic in hardware the
second is many times slower; with it the two are close, and ours still does not round.
"""

import argparse
import statistics
import time

import torch
from torch import nn

from tinylm.device import describe_device, supports_bf16
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.training.config import TrainConfig
from tinylm.training.muon import MuonAdamW
from tinylm.training.optim import build_optimizer


def timed(optimizer: torch.optim.Optimizer) -> float:
    began = time.perf_counter()
    optimizer.step()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-layer", type=int, default=4)
    parser.add_argument("--n-head", type=int, default=4)
    parser.add_argument("--n-embd", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    chosen = parser.parse_args()
    config = ModelConfig(n_layer=chosen.n_layer, n_head=chosen.n_head, n_embd=chosen.n_embd, bias=False)

    def muon_groups(model: GPT) -> list[dict]:
        groups = build_optimizer(model, TrainConfig(optimizer="muon", weight_decay=0.0)).param_groups
        return [group for group in groups if group["kind"] == "muon"]

    def matrices(model: GPT) -> list[nn.Parameter]:
        return [p for group in muon_groups(model) for p in group["params"]]

    models = [GPT(config) for _ in range(4)]
    whole = [{"kind": "muon", "params": matrices(models[1]), "lr": 0.02}]
    optimizers = {
        "ours, heads apart": MuonAdamW(muon_groups(models[0])),
        "ours, heads together": MuonAdamW(whole),
        "AdamW": torch.optim.AdamW(matrices(models[3]), lr=1e-3, fused=True),
    }
    if hasattr(torch.optim, "Muon"):  # torch 2.9 and newer
        optimizers["torch.optim.Muon"] = torch.optim.Muon(matrices(models[2]), lr=0.02, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    for model in models:
        for p in matrices(model):
            p.grad = torch.randn(p.shape, generator=generator)
    seconds: dict[str, list[float]] = {name: [] for name in optimizers}
    for _ in range(chosen.rounds + 3):
        for name, optimizer in optimizers.items():
            seconds[name].append(timed(optimizer))
    medians = {name: statistics.median(times[3:]) for name, times in seconds.items()}
    amx = "with" if supports_bf16("cpu") else "without"
    print(f"{describe_device('cpu')}, {torch.get_num_threads()} threads, {amx} AMX")
    for name, median in medians.items():
        print(f"{name:22s} {1e3 * median:7.2f} ms   {median / medians['ours, heads apart']:6.2f}")


if __name__ == "__main__":
    main()
