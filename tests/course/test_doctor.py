"""The doctor: planted faults are named, with the tensor where they begin; healthy runs are left alone."""

import math

import pytest
import torch
from torch import nn

from tests.support.tiny import QUIET, T, V, make_batches, make_config, same, tiny_gpt, weights
from tinylm.batch import IGNORE_INDEX, Batch
from tinylm.course.doctor import WIDE, examine, first_bad, healthy_band, training_curve
from tinylm.device import Precision
from tinylm.errors import Divergence, RunError
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.runs import paths
from tinylm.runs.records import Record, read_record
from tinylm.training.loop import train

BATCHES = make_batches()
UNCALLED = ("blocks", "position_embedding")  # a list and a table: nobody calls them
NAMES = [n or "the model" for n, _ in tiny_gpt(n_layer=2).named_modules() if n not in UNCALLED]


def in_float16():
    """float16's arithmetic, simulated on a CPU."""
    return Precision(torch.device("cpu"), "float16", torch.amp.GradScaler("cpu"))


def patient(**changes):
    return tiny_gpt(**({"n_layer": 2} | changes))


def enlarged(model, name, times):
    with torch.no_grad():
        model.get_parameter(name).mul_(times)
    return model


HEALTHY = [{}, {"loss_fn": fused_loss}, {"precision": in_float16()}]


@pytest.mark.parametrize("asked", HEALTHY, ids=["plain", "fused", "float16"])
def test_first_bad_finds_nothing_in_a_healthy_model_and_leaves_it_as_it_was(asked):
    model = patient(dropout=0.3).train()
    before, random = weights(model), torch.get_rng_state()
    assert first_bad(model, BATCHES.batch(0), **asked) is None
    assert same(before, weights(model)) and model.training and torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None and not p._backward_hooks for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def one_infinity(_, given, output):
    return output.index_put((torch.tensor([0]),), torch.tensor(math.inf))


def gradient_of_nan(_, given, output):
    output.register_hook(lambda gradient: gradient * math.nan)


@pytest.mark.parametrize("name", NAMES)
def test_first_bad_names_the_module_that_makes_it_forward_or_backward(name):
    plants = {
        f"output of {name} holds infinity": one_infinity,
        f"gradient of {name} holds nan": gradient_of_nan,
    }
    for what, plant in plants.items():
        model = patient()
        (model if name == "the model" else model.get_submodule(name)).register_forward_hook(plant)
        assert first_bad(model, BATCHES.batch(0)).startswith(f"the {what}: ")


def test_first_bad_names_the_input_of_the_module_after_a_fault_between_two(monkeypatch):
    model = patient()
    plain = nn.functional.gelu
    monkeypatch.setattr(nn.functional, "gelu", lambda x, *a, **k: plain(x, *a, **k).log())
    found = first_bad(model, BATCHES.batch(0))
    assert found.startswith("the input of blocks.0.mlp.down holds nan: ") and "the log of 0" in found


def around(middle):
    """A model as one writes it oneself: modules 0, 1 and 2 are the embedding, `middle` and the head."""
    return nn.Sequential(nn.Embedding(V, 8), middle, nn.Linear(8, V))


class Masked(nn.ModuleList):
    """Attention twice: infinity masks the scores that one module reads, the other is given its mask."""

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))
        return self[1](self[0](x @ x.mT + mask) @ x, mask)


def test_first_bad_takes_no_mask_for_a_fault():
    layers = nn.Softmax(-1), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = around(Masked(layers))
    assert first_bad(model, BATCHES.batch(0)) is None
    model[2].register_forward_hook(one_infinity)
    assert "output of 2 holds" in first_bad(model, BATCHES.batch(0))
    found = first_bad(enlarged(model, "2.weight", math.inf), BATCHES.batch(0))
    assert found.startswith("the weight 2.weight holds infinity: an update before broke it")


class Again(nn.ModuleList):
    """One module called three times: the third call is given what is bad."""

    def forward(self, x):
        return self[0](self[0](self[0](x)) * math.nan)


def test_first_bad_looks_at_each_call_of_a_module():
    found = first_bad(around(Again([nn.Tanh()])), BATCHES.batch(0))
    assert found.startswith("the input of 1.0 holds nan")


def test_first_bad_leaves_buffers_and_reads_frozen_and_compiled_models():
    model = around(nn.BatchNorm1d(T))  # it normalises each position
    before = weights(model)
    with torch.no_grad():
        assert first_bad(model, BATCHES.batch(0)) is None
    assert same(before, weights(model))
    model[1].register_forward_hook(one_infinity)
    assert "output of 1 holds" in first_bad(torch.compile(model, backend="eager"), BATCHES.batch(0))
    assert first_bad(patient().requires_grad_(False), BATCHES.batch(0)) is None


@pytest.mark.parametrize(
    "part, weight, times, changes, value",
    [
        ("output of blocks.1.mlp.up", "blocks.1.mlp.up.weight", 1e6, {}, "infinity"),
        # the scores overflow, and no module returns them
        ("input of blocks.1.attn.proj", "blocks.1.attn.qkv.weight", 3e4, {"attention": "explicit"}, "nan"),
    ],
)
def test_first_bad_knows_float16s_overflow_from_a_pass_in_float32(part, weight, times, changes, value):
    model = enlarged(patient(**changes), weight, times)
    found = first_bad(model, BATCHES.batch(0), precision=in_float16())
    assert found.startswith(f"the {part} holds {value}: float16's range is too small: float32 gives ")
    assert first_bad(model, BATCHES.batch(0)) is None


@pytest.mark.parametrize("rate", [1e3, 1e20])
def test_first_bad_knows_a_rate_that_was_too_high_by_the_weights(rate):
    model, done = patient(), []
    config = make_config(learning_rate=rate, warmup_steps=0, steps=50)
    with pytest.raises(Divergence):
        train(model, BATCHES, config, callbacks=[lambda state: done.append(state.progress.step)], **QUIET)
    assert "the learning rate was too high: " in first_bad(model, BATCHES.batch(done[-1]))


@pytest.mark.parametrize("loss_fn", [next_token_loss, fused_loss])
def test_first_bad_knows_a_batch_without_a_scored_target(loss_fn):
    batch = BATCHES.batch(0)
    unscored = Batch(batch.tokens, torch.full_like(batch.targets, IGNORE_INDEX))
    found = first_bad(patient(), unscored, loss_fn=loss_fn)
    assert found.startswith("the loss of the batch holds nan: a bad batch: 0 of 21 targets are scored, so")


def test_first_bad_looks_at_the_norm_as_the_step_does():
    """Each gradient is finite, and their squares are not."""
    model = enlarged(patient(tied_head=False), "head.weight", 1e21)
    assert first_bad(model, BATCHES.batch(0)).startswith("the norm of all gradients holds infinity")


def seeds():
    """What is recorded of healthy and of sick runs: (name, record) of each."""
    kept = read_record(paths.DATA / "runs" / "doctor_seeds.jsonl")
    names = ("step", "loss", "update_ratio")
    for run in kept.measurements:
        columns = zip(*(run[name] for name in names), strict=True)
        steps = [dict(zip(names, line, strict=True)) for line in columns]
        yield run["name"], Record(kept.header, steps, [{"step": 250, "loss": run["validation_loss"]}])


RUNS = list(seeds())
ALL_HEALTHY = [run for name, run in RUNS if name == "healthy"]
OTHERS = ALL_HEALTHY[:5]  # they make the bands


def altered(header=None, evaluations=None, **line):
    """A healthy run that is none of the five, with other values in its header or in each of its lines."""
    run = ALL_HEALTHY[5]
    steps = [old | line for old in run.steps]
    return Record(run.header | (header or {}), steps, evaluations or run.evaluations)


def test_band_is_the_mean_and_six_relative_deviations_and_no_narrower_than_a_hundredth():
    curves = [{60: 2 + seed / 100, 80: 1 + seed / 200, 90 + seed: 1.0} for seed in range(5)]
    band = healthy_band(curves)
    deviation = torch.tensor([2 + seed / 100 for seed in range(5)]).std().item()
    assert band.keys() == {60, 80}  # the steps that all of them have
    assert band[60] == pytest.approx([2.02 + side * WIDE * deviation * 1.2**0.5 for side in (-1, 1)])
    assert band[80] == pytest.approx([edge / 2 for edge in band[60]])
    assert healthy_band([{60: 2.0}] * 3)[60] == pytest.approx((1.98, 2.02))
    assert healthy_band([{}] * 3) == {}


@pytest.mark.parametrize(
    "line, why",
    [
        ({"loss": 9.0}, "its first updates were as large as theirs, so look at its data"),
        ({"loss": 9.0, "update_ratio": None}, "look at its data"),
        ({"loss": 0.1}, "lower than theirs, so a setting differs, or the model sees its targets"),
    ],
)
def test_sick_curve_is_told_once_with_its_step_both_numbers_and_the_likely_cause(line, why):
    (said,) = examine(altered(**line), OTHERS)
    low, high = healthy_band([training_curve(other) for other in OTHERS])[0]
    loss = f"step 0: the training loss (smoothed) is {line['loss']:.3f}"
    assert said.startswith(f"{loss}, 5 healthy runs stay between {low:.3f} and {high:.3f}: {why}")


def test_null_in_a_record_is_nan_and_both_losses_are_told():
    said = examine(altered(evaluations=[{"step": 250, "loss": None}], loss=None), OTHERS)
    told = ["step 0: the training loss (smoothed) is nan", "step 250: the validation loss is nan"]
    assert [words.split(",")[0] for words in said] == told


def test_examine_wants_three_records_that_compare_and_the_course_must_have_them():
    two, odd = OTHERS[:2], altered({"parameters": 6})
    for others in (two, [*two, odd]):
        with pytest.raises(RunError, match=f"{len(others)} records make no band: give 3 or more"):
            examine(altered(), others)
    with pytest.raises(RunError, match=r"3 or more healthy ones, .* ships 0: type `python -m tinylm train "):
        examine(odd)
    with pytest.raises(RunError, match="the run has not logged a step yet"):
        examine(Record(odd.header, [], []))


@pytest.mark.parametrize("recipe", ["shakespeare_baseline", "shakespeare_fast"])
def test_no_run_of_the_course_leaves_the_band_of_the_four_others(recipe):
    kept = [read_record(paths.DATA / "runs" / f"{recipe}-seed{seed}.jsonl") for seed in range(1, 6)]
    for mine in kept:
        assert examine(mine) == examine(mine, [other for other in kept if other is not mine]) == []


ALWAYS = ("rate × 10", "rate / 3", "rate / 30", "all targets shuffled", "a tenth of the targets shuffled")
ALWAYS += ("targets are the tokens", "validation text trained on")
SEEN = dict.fromkeys(ALWAYS, 4)  # of two seeds' training and validation losses, how many left the band
SEEN |= {"mask forgotten": 2, "rate × 3": 1, "no clipping": 1, "no warm-up": 0, "healthy": 0}


def test_none_of_twenty_healthy_seeds_is_flagged_and_sick_runs_are_when_the_record_says():
    """The five seeds that make the bands are not among the twenty. A wrong learning rate is named in the runs
    that have one, and in no others."""
    assert len(ALL_HEALTHY) == 25
    found = dict.fromkeys(SEEN, 0)
    for name, run in RUNS:
        if run not in OTHERS:
            said = examine(run, OTHERS)
            found[name] += len(said)
            words = [way for way in ("high", "low") if f"the learning rate is too {way}" in " ".join(said)]
            assert words == {"rate × 10": ["high"], "rate / 3": ["low"], "rate / 30": ["low"]}.get(name, [])
    assert found == SEEN
