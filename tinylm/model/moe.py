"""Mixture of experts: several MLPs side by side, of which a router chooses a few for each token.

The model holds the parameters of all experts, and a token pays for those that it uses. Taught in notebook
16_mixture_of_experts. Sources: Shazeer et al. 2017, arXiv:1701.06538; Dai et al. 2024 (shared experts),
arXiv:2401.06066; Wang et al. 2024 (balance without an auxiliary loss), arXiv:2408.15664."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.model.config import ModelConfig
from tinylm.model.layers import MLP, Role, activate

EQUAL = 1e-5  # a load this close to the mean, relatively, is the mean: other process counts round otherwise


def grouped_product(x: Tensor, matrices: Tensor, counts: Tensor) -> Tensor:
    """Multiply each group of rows by its own matrix: x (N, in), matrices (E, out, in) to (N, out).

    counts (E,) int64 says how many rows, one after the other, belong to each matrix; their sum is N. One
    kernel does it where `has_kernel` says so, otherwise a loop. Under autocast both compute in its dtype."""
    device = x.device.type
    if torch.is_autocast_enabled(device):  # the kernel isn't on autocast's list
        x, matrices = (tensor.to(torch.get_autocast_dtype(device)) for tensor in (x, matrices))
    if has_kernel(x, matrices):
        return F.grouped_mm(x, matrices.mT, offs=counts.cumsum(0, dtype=torch.int32))  # (N, out)
    return _product_by_product(x, matrices, counts)


@torch.compiler.disable  # the sizes differ at each step, and each time it would be compiled again
def _product_by_product(x: Tensor, matrices: Tensor, counts: Tensor) -> Tensor:
    groups = x.split(counts.tolist())  # a GPU is waited for here
    return torch.cat([rows @ matrix.t() for rows, matrix in zip(groups, matrices, strict=True)])  # (N, out)


def has_kernel(x: Tensor, matrices: Tensor) -> bool:
    """Return whether this torch has a grouped product that takes these: bfloat16, rows of whole 16 bytes.

    float32 would gain a tenth on a CPU, and a compiled grouped product refuses it."""
    is_aligned = all(size % 8 == 0 for size in matrices.shape[1:])
    return hasattr(F, "grouped_mm") and x.dtype == torch.bfloat16 and is_aligned


class MoE(nn.Module):
    """n_expert MLPs without biases, of which each token uses n_expert_active, and n_shared_expert for all.

    The result is the sum of the chosen experts' results, each times its gate, and of the shared experts'.
    With `router_bias` a bias for each expert is added to its scores when experts are chosen, and never to a
    gate. It is part of the model's state, and no optimiser moves it: `balance` does."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        E, C, hidden = config.n_expert, config.n_embd, config.mlp_hidden
        self.router = nn.Linear(C, E, bias=False)
        self.up = nn.Parameter(torch.randn(E, hidden, C) / C**0.5)
        self.gate = None
        if config.activation == "swiglu":
            self.gate = nn.Parameter(torch.randn(E, hidden, C) / C**0.5)
        self.down = nn.Parameter(torch.randn(E, C, hidden) / hidden**0.5)
        self.shared = MLP(config, config.n_shared_expert * hidden) if config.n_shared_expert else None
        self.register_buffer("router_bias", torch.zeros(E) if config.router_bias else None)
        self.register_buffer("load", torch.zeros(E), persistent=False)  # of the last forward pass in training

    def parameter_roles(self) -> dict[str, Role]:
        """Return the roles of the stacked matrices, all for Muon. The router is none: it is nn.Linear's."""
        matrix = Role(muon=True, decay=True)
        roles = {"up": matrix, "down": Role(muon=True, decay=True, init="residual")}
        return roles if self.gate is None else roles | {"gate": matrix}

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates and the numbers of the experts chosen for x (N, C), (N, k) each.

        The gates of a token sum to 1. The scores are a softmax over all experts, or a sigmoid of each."""
        with torch.autocast(x.device.type, enabled=False):  # scores that are rounded would choose others
            logits = self.router(x.to(self.router.weight.dtype))  # (N, E)
        scores = logits.sigmoid() if self.config.router == "sigmoid" else logits.softmax(-1)
        choice = scores if self.router_bias is None else scores.detach() + self.router_bias
        chosen = choice.topk(self.config.n_expert_active).indices  # (N, k)
        gates = scores.gather(-1, chosen)  # (N, k), without the bias
        return gates / (gates.sum(-1, keepdim=True) + 1e-20), chosen

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C), each position by itself."""
        gates, chosen = self.route(x.flatten(0, -2))  # (N, k) each
        n, k = chosen.shape
        experts = chosen.flatten()  # (N k,)
        order = experts.argsort(stable=True)  # pairs of a token and its expert, sorted by the expert
        counts = (experts == torch.arange(self.config.n_expert, device=x.device)[:, None]).sum(1)  # (E,)
        if self.training:  # set and not added: activation checkpointing comes here twice with each token
            self.load.copy_(counts)
        # Copied k times before they are sorted: then each gradient is added in one order, on every device.
        rows = x.flatten(0, -2).repeat_interleave(k, 0)[order]  # (N k, C)
        gate = None if self.gate is None else grouped_product(rows, self.gate, counts)
        hidden = activate(self.config.activation, grouped_product(rows, self.up, counts), gate)
        out = grouped_product(hidden, self.down, counts)  # (N k, C)
        out = out[order.argsort()].view(n, k, -1)  # (N, k, C), in the tokens' order again
        out = (gates.unsqueeze(-1) * out).sum(1).to(out.dtype).view_as(x)  # (B, T, C)
        out = F.dropout(out, self.config.dropout) if self.training else out
        return out if self.shared is None else out + self.shared(x)

    @torch.no_grad()
    def balance(self, load: Tensor) -> None:
        """Move the bias of each expert by router_bias_rate: up where its load (E,) is below the mean, down
        where it is above."""
        if self.router_bias is not None:
            excess = load / load.mean() - 1
            excess = excess.where(excess.abs() > EQUAL, 0.0)
            self.router_bias.sub_(self.config.router_bias_rate * excess.sign())
