"""Recall against a walk along each row, and its weight along a run."""

import numpy as np
import torch

from tinylm.batch import IGNORE_INDEX, Batch
from tinylm.text.batches import Batches
from tinylm.text.recall import Recall, recalled


def recalled_slowly(tokens, targets, rare, end):
    """Row by row and place by place, as the definition says."""
    found = torch.zeros(targets.shape, dtype=torch.bool)
    for row, place in np.ndindex(*targets.shape):
        document = tokens[row, : place + 1].tolist()
        begins = max((i for i, token in enumerate(document) if token == end), default=0)
        target = int(targets[row, place])
        found[row, place] = target >= 0 and bool(rare[target]) and target in document[begins:]
    return found


def test_recalled_targets_are_rare_and_appeared_in_their_document_before():
    ids = torch.randint(0, 11, (7, 30), generator=torch.Generator().manual_seed(5))
    tokens, targets = ids[:, :-1], ids[:, 1:].clone()
    targets[2, 19:] = IGNORE_INDEX
    rare = torch.arange(11) % 3 > 0
    expected = recalled_slowly(tokens, targets, rare, end=4)
    assert 20 < int(expected.sum()) < 150
    assert torch.equal(recalled(tokens, targets, rare, 4), expected)


def test_recall_weight_falls_in_a_line_to_1_and_is_the_same_however_a_step_is_divided():
    ids = np.random.default_rng(3).integers(0, 11, 997)
    rare = torch.arange(11) % 3 > 0

    def batches(**sizes):
        weigh = Recall(rare, end=4, weight=5.0, n_rows=100)
        return Batches(ids, context_length=13, seed=1, weigh=weigh, **sizes)

    whole, ranks = batches(batch_size=20), [batches(batch_size=5, rank=r, world_size=2) for r in (0, 1)]
    for step, extra in ((0, 4.0), (1, 4.0 * 2 / 3), (3, 0.0), (4, 0.0)):
        batch = whole.batch(step)
        counted = recalled(batch.tokens, batch.targets, rare, 4)[0]  # of the step's first row
        torch.testing.assert_close(batch.weights[0], 1 + extra * counted)
        parts = [rank.batch(step, i, 2) for i in (0, 1) for rank in ranks]
        assert torch.equal(torch.cat([part.weights for part in parts]), batch.weights)


def test_scored_is_the_weight_of_each_target_and_0_where_it_is_ignored():
    targets = torch.tensor([[3, IGNORE_INDEX, 5]])
    assert Batch(targets, targets).scored().tolist() == [[1.0, 0.0, 1.0]]
    weights = torch.tensor([[2.0, 7.0, 0.5]])
    assert Batch(targets, targets, weights=weights).scored().tolist() == [[2.0, 0.0, 0.5]]
