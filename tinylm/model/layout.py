"""Layout: in which order the numbers of a matrix lie in memory.

A token that is generated is one vector, and a matrix times one vector waits for memory, not for arithmetic.
Knows matrices. Refuses to know what they mean and who reads with them: shapes and numbers stay as they are.
Taught in notebook 05_sampling."""

from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def to_column_major(model: Model) -> Model:
    """Store each matrix so that its product with one vector is quick on a processor; returns the model.

    A matrix (N, K) with N >= K goes by columns: its product is then a sum of K long columns, each scaled by
    one number of the vector, in place of N short dot products. The others stay by rows. Only the order in
    memory changes, so results may differ in their last bits. To be done once, after loading."""
    for matrix in (p for p in model.parameters() if p.dim() == 2 and p.size(0) >= p.size(1)):
        matrix.data = matrix.t().contiguous().t()  # (N, K) as before
    return model
