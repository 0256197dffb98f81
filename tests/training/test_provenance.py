"""What must not change is named when it has, and the weights are part of it."""

import json

import pytest
import torch

from tests.support.tiny import Tiny, make_batches, make_config, tiny_gpt
from tinylm.errors import CheckpointError
from tinylm.training.provenance import check_unchanged, default_provenance, fingerprint


@pytest.mark.parametrize("long", [["a" * 30] * 30, "a" * 900], ids=["list", "text"])
def test_differences_are_named_by_field_with_both_values_in_short(long):
    was = {"train": {"seed": 1, "schedule": "cosine"}, "gone": 2, "same": [1, 2]}
    now = {"train": {"seed": 3, "schedule": "linear"}, "new": "x", "same": [1, 2]}
    check_unchanged("step_7", was, was)
    with pytest.raises(CheckpointError) as raised:
        check_unchanged("step_7", was, now)
    assert str(raised.value) == (
        "step_7 belongs to another run: train.seed was 1 and is 3, train.schedule was cosine and is linear, "
        "gone was 2 and is not there, new was not there and is x; resume with what was saved, or start a new "
        "run"
    )
    with pytest.raises(CheckpointError, match=r"params was .{50,75} \(\d+ characters\) and is \[\];"):
        check_unchanged("step_7", {"params": long}, {"params": []})


def test_default_provenance_is_plain_json_of_model_training_and_batches():
    made = default_provenance(tiny_gpt(), make_config(), make_batches())
    assert json.loads(json.dumps(made)) == made
    assert made["train"]["seed"] == 5 and made["model"]["n_embd"] == 6
    assert made["batches"] == make_batches().fingerprint()
    assert default_provenance(Tiny(), make_config(), make_batches())["model"] == "Tiny"


def test_fingerprint_covers_parameters_and_persistent_buffers_and_no_other_buffer():
    def made(name=None, persistent=True):
        model = Tiny()
        model.register_buffer("load", torch.zeros(3), persistent=persistent)
        if name:
            model.state_dict(keep_vars=True).get(name, model.load).data[0] += 1e-7
        return fingerprint(model)

    assert made() == made() != made("load") and made() != made("norm.bias") != made("load")
    assert made(persistent=False) == made("load", persistent=False)
