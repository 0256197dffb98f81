"""State: what an optimiser remembers goes out as plain data and comes back; what differs is named."""

import json

import pytest
import torch

from tests.support.tiny import Tiny, bits_of, make_batches, make_config, sgd, tiny_gpt
from tinylm.errors import CheckpointError
from tinylm.training.optim import Optimizers, adamw
from tinylm.training.progress import (
    Progress,
    TrainingState,
    check_unchanged,
    differences,
    optimizer_data,
    restore_optimizer,
)
from tinylm.training.step import build_optimizer, train_step


def torchs_muon(model):
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if all(p is not m for m in matrices)]
    return Optimizers(torch.optim.Muon(matrices, lr=0.01), torch.optim.Adam(rest, lr=0.01, amsgrad=True))


OPTIMIZERS = {
    "adamw": lambda m: build_optimizer(m, make_config()),
    "muon": lambda m: build_optimizer(m, make_config(optimizer="muon")),
    "torch's muon": torchs_muon,
    "momentum": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "rprop": lambda m: torch.optim.Rprop(m.parameters(), lr=0.01),  # tensors of another shape, tuples
    "forgetful": lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimisers_memory_comes_back_bit_for_bit_through_json_and_tensors(kind):
    model, other = tiny_gpt(), tiny_gpt()
    optimizer, fresh = OPTIMIZERS[kind](model), OPTIMIZERS[kind](other)
    for step in range(3):
        train_step(model, optimizer, make_batches(), step=step, config=make_config())
    data, tensors = optimizer_data(model, optimizer)
    data = json.loads(json.dumps(data))
    before = bits_of(tensors)
    restore_optimizer(other, fresh, data, tensors)
    assert bits_of(fresh.state_dict()) == bits_of(optimizer.state_dict())
    other.load_state_dict(model.state_dict())
    for m, o in ((model, optimizer), (other, fresh)):
        train_step(m, o, make_batches(), step=3, config=make_config())
    assert bits_of(fresh.state_dict()) == bits_of(optimizer.state_dict())
    assert bits_of(other.state_dict()) == bits_of(model.state_dict())
    if kind != "forgetful":
        assert before


def test_what_was_restored_is_a_copy():
    model = tiny_gpt()
    optimizer = OPTIMIZERS["adamw"](model)
    train_step(model, optimizer, make_batches(), step=0, config=make_config())
    data, tensors = optimizer_data(model, optimizer)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    before = bits_of(tensors)
    restore_optimizer(model, optimizer, data, tensors)
    train_step(model, optimizer, make_batches(), step=1, config=make_config())
    assert bits_of(tensors) == before


def test_the_memory_is_called_by_the_parameters_names():
    model = Tiny()
    optimizer = adamw(model, learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.1)
    train_step(model, optimizer, make_batches(), step=0, config=make_config())
    data, tensors = optimizer_data(model, optimizer)
    assert tensors["head.bias/exp_avg"].shape == model.head.bias.shape
    assert data["groups"][0]["params"] == ["embedding.weight", "head.weight"]


def test_an_optimiser_of_another_model_is_refused():
    with pytest.raises(CheckpointError, match="5 of the optimiser's 5 parameters are none of the model's"):
        optimizer_data(Tiny(), sgd(Tiny()))


def test_counters_know_the_best_loss_and_how_long_ago_it_was():
    assert Progress().best is None and Progress().since_best == 0
    progress = Progress(losses=[(5, 2.0), (10, 1.5), (15, 1.5), (20, 1.7)])
    assert progress.best == (10, 1.5) and progress.since_best == 2


def state(**changes):
    model = tiny_gpt()
    config = make_config(**changes)
    return TrainingState(
        model, build_optimizer(model, config), torch.amp.GradScaler(enabled=False), config, None
    )


def test_an_evaluation_is_due_at_each_interval_and_at_the_end_and_only_once():
    for every, expected in ((4, [4, 8, 10]), (0, [10])):
        s = state(eval_every=every)
        due = []
        for step in range(11):
            s.progress.step = step
            due += [step] if s.evaluation_is_due() else []
            s.progress.losses += [(step, 1.0)] if s.evaluation_is_due() else []
            assert not s.evaluation_is_due()
        assert due == expected


def test_differences_name_each_field_with_both_values():
    was = {"train": {"seed": 1, "steps": 10}, "gone": 2, "same": [1, 2]}
    now = {"train": {"seed": 3, "steps": 10}, "new": "x", "same": [1, 2]}
    assert [*differences(was, was)] == []
    assert [*differences(was, now)] == [
        "train.seed was 1 and is 3",
        "gone was 2 and is not there",
        "new was not there and is x",
    ]
    with pytest.raises(
        CheckpointError, match=r"step_7 belongs to another run: train.seed was 1 and is 3, gone"
    ):
        check_unchanged("step_7", was, now)


def test_a_long_value_is_shortened_in_a_sentence():
    (told,) = differences({"params": ["a" * 30] * 30}, {"params": []})
    assert len(told) < 150 and "characters)" in told


def test_the_identity_is_plain_json_and_holds_neither_rate_nor_counters():
    s = state()
    s.batches = make_batches()
    before = s.identity()
    assert json.loads(json.dumps(before)) == before
    train_step(s.model, s.optimizer, s.batches, step=0, config=s.config)
    assert s.identity() == before
    assert before["train"]["seed"] == 5 and before["batches"]["seed"] == 5
    assert before["optimizer"]["groups"]["0"]["weight_decay"] == 0.1
