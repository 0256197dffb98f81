"""FSDP: several processes share one model that may not fit one GPU (`--fsdp`), by torch's fully_shard.

It is an option of the world and no setting of the training. Like the micro-batch, it changes how the work is
shared and not what is trained, so no checkpoint remembers it. `ddp.joined(fsdp=True)` imports this file only
when it is asked for: torch's part takes 1.4 seconds of processor. Taught in notebook 11_ddp."""

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import distribute_tensor

from tinylm.errors import ConfigError
from tinylm.training.ddp import Processes, World


class Sharded(Processes):
    """Several processes that share one model, which may not fit one GPU. Made by `joined(fsdp=True)`.

    Each keeps 1 / size of every parameter, gradient and optimiser state. A block's weights are gathered when
    the block is computed, and given up afterwards; those outside the blocks are kept until the backward pass.
    Gradients are averaged after each micro-batch, not after the last one only: whole gradients that wait for
    the last would need the memory that is saved here. Rank 0 cannot save alone, so `save` is called on all.
    Source: Zhao et al. 2023, arXiv:2304.11277."""

    is_sharded = True
    engine, accumulating = World.engine, World.accumulating  # torch's hooks on the blocks do the rest

    def check(self, optimizer: str) -> None:
        if optimizer == "muon":
            raise ConfigError("fsdp keeps a part of each matrix and muon needs whole ones: use adamw")

    def shard(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        mesh = init_device_mesh(self.device.type, (self.size,))
        names = {p: name for name, p in model.named_parameters()}
        with self.exchanging():
            for part in (*getattr(model, "blocks", ()), model):
                fully_shard(part, mesh=mesh, reshard_after_forward=part is not model)
            if hasattr(model, "hidden"):  # fused_loss calls it and not the model
                register_fsdp_forward_method(model, "hidden")
            for group in optimizer.param_groups:
                group["params"] = [model.get_parameter(names[p]) for p in group["params"]]
            for whole, state in list(optimizer.state.items()):
                p = model.get_parameter(names[whole])
                optimizer.state[p] = {
                    key: distribute_tensor(tensor, mesh, p.placements) if tensor.ndim else tensor.to(p.device)
                    for key, tensor in state.items()
                }
                del optimizer.state[whole]

    def reshard(self, model: nn.Module) -> None:
        model.reshard()
