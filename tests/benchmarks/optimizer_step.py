"""Measure what one Muon step costs: python tests/benchmarks/optimizer_step.py

Times one optimiser step on the matrices of the blocks: ours (float32, all matrices of a shape at once) beside
torch.optim.Muon (bfloat16, one after the other) and fused AdamW on the same matrices. On a processor without
bfloat16 arithmetic in hardware the second is many times slower; with it the two are close, and ours still
does not round.
"""

import torch
from benchmark import in_turns, open_record, options, report

from tinylm.device import describe_device, supports_bf16
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.training.config import TrainConfig
from tinylm.training.muon import MuonAdamW
from tinylm.training.optim import build_optimizer


def muon_groups(config):
    """Return a new model's groups that Muon updates, each parameter with a gradient."""
    optimizer = build_optimizer(GPT(config), TrainConfig(optimizer="muon", weight_decay=0.0))
    groups = [group for group in optimizer.param_groups if group["kind"] == "muon"]
    for p in (p for group in groups for p in group["params"]):
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    return groups


def main():
    sizes = {"n_layer": 4, "n_head": 4, "n_embd": 128}
    shape = {name: (size, "of the model") for name, size in sizes.items()}
    chosen = options(__doc__, rounds=(30, "turns"), **shape)
    config = ModelConfig(**{name: getattr(chosen, name) for name in sizes}, bias=False)

    def matrices():
        return [p for group in muon_groups(config) for p in group["params"]]

    optimizers = {
        "ours, heads apart": MuonAdamW(muon_groups(config)),
        "ours, heads together": MuonAdamW([{"kind": "muon", "params": matrices(), "lr": 0.02}]),
        "AdamW": torch.optim.AdamW(matrices(), lr=1e-3, fused=True),
    }
    if hasattr(torch.optim, "Muon"):  # torch 2.9 and newer
        optimizers["torch.optim.Muon"] = torch.optim.Muon(matrices(), lr=0.02, weight_decay=0.0)
    amx = supports_bf16("cpu")
    print(f"{describe_device('cpu')}, {'with' if amx else 'without'} AMX")
    first, *others = optimizers
    record = open_record(chosen, amx=amx)
    times = in_turns({name: optimizer.step for name, optimizer in optimizers.items()}, chosen.rounds)
    report(record, times, [(other, first) for other in others])


if __name__ == "__main__":
    main()
