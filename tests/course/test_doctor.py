"""The doctor: planted faults are named, with the tensor where they begin; healthy ones are left alone."""

import math
from dataclasses import asdict

import pytest
import torch
from torch import nn

from tests.support.tiny import QUIET, V, make_batches, make_config, same, tiny_gpt, weights
from tinylm.batch import IGNORE_INDEX
from tinylm.course.doctor import Bands, Doctor, examine, first_bad, magnitudes, smooth
from tinylm.device import Precision
from tinylm.errors import ConfigError, Divergence, RunError
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.runs import paths
from tinylm.runs.records import Record, read_record
from tinylm.training.loop import train

BATCHES = make_batches()
UNCALLED = ("blocks", "position_embedding")  # a list and a table: nobody calls them
NAMES = [n or "the model" for n, _ in tiny_gpt(n_layer=2).named_modules() if n not in UNCALLED]


def in_float16():
    """float16's arithmetic, simulated on a processor."""
    return Precision(torch.device("cpu"), "float16", torch.amp.GradScaler("cpu"))


def patient(**changes):
    return tiny_gpt(**({"n_layer": 2} | changes))


def enlarged(model, name, times):
    with torch.no_grad():
        model.get_parameter(name).mul_(times)
    return model


def pair(step):
    batch = BATCHES.batch(step)
    return batch.tokens, batch.targets


HEALTHY = [{}, {"loss_fn": fused_loss()}, {"precision": in_float16(), "scale": 2.0**10}]


@pytest.mark.parametrize("asked", HEALTHY, ids=["plain", "fused", "float16"])
def test_first_bad_finds_nothing_in_a_healthy_model_and_leaves_it_as_it_was(asked):
    model = patient(dropout=0.3).train()
    before, random = weights(model), torch.get_rng_state()
    assert first_bad(model, *pair(0), **asked) is None
    assert same(before, weights(model)) and model.training and torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None and not p._backward_hooks for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_targets_that_are_not_given_are_the_tokens_that_come_next():
    tokens, seen = BATCHES.batch(0).tokens, []

    def loss_fn(model, batch):
        seen.append((batch.tokens, batch.targets))
        return next_token_loss(model, batch)

    assert first_bad(patient(), tokens, loss_fn=loss_fn) is None
    ((given, targets),) = seen
    assert torch.equal(given, tokens[:, :-1]) and torch.equal(targets, tokens[:, 1:])


def one_infinity(_, given, output):
    return output.index_put((torch.tensor([0]),), torch.tensor(math.inf))


def gradient_of_nan(_, given, output):
    output.register_hook(lambda gradient: gradient * math.nan)


@pytest.mark.parametrize("name", NAMES)
def test_first_bad_names_the_module_that_makes_it_forward_or_backward(name):
    for plant, part, holds in ((one_infinity, "output", "infinity"), (gradient_of_nan, "gradient", "nan")):
        model = patient()
        module = model if name == "the model" else model.get_submodule(name)
        module.register_forward_hook(plant)
        found = first_bad(model, *pair(0))
        assert (found.part, found.name, found.holds) == (part, name, holds)


def test_first_bad_names_the_input_of_the_module_after_a_fault_between_two():
    model = patient()
    plain = nn.functional.gelu
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nn.functional, "gelu", lambda x, *a, **k: plain(x, *a, **k).log())
        found = first_bad(model, *pair(0))
    assert (found.part, found.name, found.holds) == ("input", "blocks.0.mlp.down", "nan")
    assert "the log of 0" in found.cause


class Learners(nn.Module):
    """A model as one writes it oneself: `middle` stands between the embedding and the head."""

    def __init__(self, middle):
        super().__init__()
        self.embedding, self.middle, self.head = nn.Embedding(V, 8), middle, nn.Linear(8, V)

    def forward(self, tokens):
        return self.head(self.middle(self.embedding(tokens)))


class Masked(nn.Module):
    """Attention whose scores are masked by infinity before a module, or whose mask a module is given."""

    def __init__(self, given):
        super().__init__()
        self.given = given
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) if given else nn.Softmax(-1)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))
        return self.layer(x, mask) if self.given else self.layer(x @ x.mT + mask) @ x


@pytest.mark.parametrize("given", [False, True])
def test_first_bad_takes_no_mask_for_a_fault(given):
    model = Learners(Masked(given))
    assert first_bad(model, *pair(0)) is None
    found = first_bad(enlarged(model, "head.weight", math.inf), *pair(0))
    assert (found.part, found.name) == ("weight", "head.weight")
    model = Learners(Masked(given))
    model.head.register_forward_hook(one_infinity)
    assert first_bad(model, *pair(0)).name == "head"


class Again(nn.Module):
    """One module called twice, and one that makes two tensors; the second time it is bad."""

    def __init__(self, twice):
        super().__init__()
        self.twice, self.act, self.pair = twice, nn.Tanh(), Pair()

    def forward(self, x):
        if self.twice:
            return self.act(self.act(self.act(x)) * math.nan)
        return sum(self.pair(x))


class Pair(nn.Module):
    def forward(self, x):
        return x, x * math.inf


@pytest.mark.parametrize("twice, part, name", [(True, "input", "act"), (False, "output", "pair")])
def test_first_bad_looks_at_each_call_of_a_module_and_at_each_tensor_that_it_makes(twice, part, name):
    found = first_bad(Learners(Again(twice)), *pair(0))
    assert (found.part, found.name) == (part, f"middle.{name}")


def test_first_bad_leaves_a_models_own_memory_and_reads_frozen_and_compiled_ones_and_where_none_learns():
    class Norm(nn.BatchNorm1d):
        def forward(self, x):
            return super().forward(x.flatten(0, 1)).view(x.shape)

    model = Learners(Norm(8))
    before = weights(model)
    with torch.no_grad():
        assert first_bad(model, *pair(0)) is None
    assert same(before, weights(model))
    model.middle.register_forward_hook(one_infinity)
    assert first_bad(torch.compile(model, backend="eager"), *pair(0)).name == "middle"
    assert first_bad(patient().requires_grad_(False), *pair(0)) is None


@pytest.mark.parametrize("times, part", [(1e6, "output"), (1.0, "gradient")])
def test_first_bad_knows_float16s_overflow_by_a_look_in_float32(times, part):
    model = enlarged(patient(), "blocks.1.mlp.up.weight", times)
    tokens, targets = pair(0)
    found = first_bad(model, tokens, targets, precision=in_float16(), scale=2.0**24)
    size = magnitudes(model, tokens, targets, scale=2.0**24)[found.part, found.name]
    assert found.part == part and found.holds == "infinity" and size > 65_504
    assert f"float16 overflow: {size:,.0f} is above 65,504" in str(found)
    assert ("a scaler leaves such a step out" in str(found)) == (part == "gradient")
    assert first_bad(model, tokens, targets, scale=2.0**24) is None
    assert ("blocks.1.mlp.up.weight holds 58,042, so perhaps the learning rate" in str(found)) == (times > 1)
    if part == "output":
        assert found.name == "blocks.1.mlp.up"


def test_first_bad_knows_the_overflow_of_weights_that_are_float16_themselves():
    model = enlarged(patient(), "blocks.1.mlp.up.weight", 1e6).half()
    found = first_bad(model, *pair(0))
    assert found.name == "blocks.1.mlp.up" and "float16 overflow: 153,8" in found.cause
    assert all(weight.dtype == torch.float16 for weight in model.parameters())


def test_first_bad_knows_an_overflow_of_the_scores_which_no_module_returns():
    model = enlarged(patient(attention="explicit"), "blocks.1.attn.qkv.weight", 3e4)
    found = first_bad(model, *pair(0), precision=in_float16())
    assert (found.part, found.name) == ("input", "blocks.1.attn.proj")
    assert "float16's range: it is " in found.cause and "numbers above 65,504, or too small" in found.cause


@pytest.mark.parametrize("optimizer, rate", [("adamw", 1e3), ("adamw", 1e20), ("muon", 1e3)])
def test_first_bad_knows_a_rate_that_was_too_high_by_the_weights(optimizer, rate):
    model, done = patient(), []
    rates = {"learning_rate": rate, "muon_learning_rate": rate, "warmup_steps": 0, "steps": 50}
    config = make_config(optimizer=optimizer, **rates)
    with pytest.raises(Divergence):
        train(model, BATCHES, config, callbacks=[lambda state: done.append(state.progress.step)], **QUIET)
    found = first_bad(model, *pair(done[-1]))
    assert "the learning rate was too high: " in found.cause


def test_first_bad_finds_a_weight_that_a_loop_without_a_look_has_broken():
    model = patient()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    for step in range(3):
        next_token_loss(model, BATCHES.batch(step))[0].sum().backward()
        optimizer.step()
    found = first_bad(model, *pair(3))
    assert (found.part, found.name) == ("weight", "token_embedding.weight")
    assert str(found).startswith(f"the weight token_embedding.weight holds {found.holds}: an update before")


@pytest.mark.parametrize("loss_fn", [next_token_loss, fused_loss()])
def test_first_bad_knows_a_batch_without_a_scored_target(loss_fn):
    tokens, targets = pair(0)
    unscored = torch.full_like(targets, IGNORE_INDEX)
    found = first_bad(patient(), tokens, unscored, loss_fn=loss_fn)
    bad = "a bad batch: 0 of 21 targets are scored, so the mean is 0/0"
    assert str(found) == f"the loss of the batch holds nan: {bad}"


def test_first_bad_looks_at_the_norm_as_the_step_does():
    """Each gradient is finite, and their squares are not."""
    model = enlarged(patient(tied_head=False), "head.weight", 1e21)
    found = first_bad(model, *pair(0))
    assert (found.part, found.name) == ("norm", "all gradients")
    assert first_bad(patient(), *pair(0), scale=2.0**90) is None  # a scaler takes it off


def record(lines, evaluations=(), **changes):
    """A record of these steps; `changes` are in its header."""
    plan = make_config(**{"log_every": 1, "steps": len(lines)} | changes.pop("train", {})).to_json()
    same = {"recipe": "tiny", "data": "random", "tokenizer": "abc", "parameters": 5, "train": plan}
    return Record(same | changes, list(lines), list(evaluations))


def lines(seed, steps=60, worse=0.0, ratio=0.01, start=0):
    """Logged steps that fall from 4 to 2, with a noise that `seed` decides."""
    noise = torch.randn(steps, generator=torch.Generator().manual_seed(seed)).mul(0.05).tolist()
    said = [
        {"step": step, "loss": 2 + 2 * math.exp(-step / 10) + noise[step] + worse, "update_ratio": ratio}
        for step in range(steps)
    ]
    return said[start:]


def evaluated(loss, step=60):
    return [{"step": step, "loss": loss}]


@pytest.fixture(scope="module")
def bands():
    return Bands.of([record(lines(seed), evaluated(2 + seed / 100)) for seed in range(5)])


def test_healthy_curve_and_one_that_comes_late_stay_in_the_band(bands):
    for seed in range(5, 40):
        assert examine(record(lines(seed), evaluated(2.02)), bands) == []
        assert examine(record(lines(seed, start=seed)), bands) == []  # a run that was resumed there


def test_bands_are_as_wide_as_the_deviation_says_and_no_narrower_than_a_hundredth(bands):
    low, high = bands.validation[60]
    deviation = torch.tensor([2 + seed / 100 for seed in range(5)]).std().item()
    assert (low + high) / 2 == pytest.approx(2.02) and high - 2.02 == pytest.approx(6 * deviation * 1.2**0.5)
    narrow = Bands.of([record(lines(0), evaluated(2.0)) for _ in range(3)])
    assert narrow.validation[60] == pytest.approx((1.98, 2.02))
    middle = sum(smooth([line["loss"] for line in lines(seed)])[30] for seed in range(5)) / 5
    assert sum(bands.training[30]) / 2 == pytest.approx(middle)


@pytest.mark.parametrize(
    "sick, why",
    [
        ({"worse": 1.0}, "its first updates were as large as theirs, so look at its data"),
        (
            {"worse": 1.0, "ratio": 0.1},
            "first updates were 10 times as large as theirs, so the learning rate",
        ),
        ({"worse": 1.0, "ratio": 0.001}, "0.1 times as large as theirs, so the learning rate is too low"),
        ({"worse": 1.0, "ratio": None}, ": look at its data"),
        ({"worse": -1.0}, "better than they can"),
        ({"worse": -1.0, "ratio": 0.1}, "better than they can"),
        ({"worse": math.nan}, "theirs, so look at its data"),
    ],
)
def test_sick_curve_is_told_once_with_its_step_both_numbers_and_the_likely_cause(bands, sick, why):
    (said,) = examine(record(lines(7, **sick), evaluated(2.02)), bands)
    loss, (low, high) = lines(7, **sick)[0]["loss"], bands.training[0]
    went = f"5 healthy runs stay between {low:.3f} and {high:.3f}: "
    assert said.startswith(f"step 0: the training loss (smoothed) is {loss:.3f}, {went}") and why in said


def test_validation_loss_is_told_beside_and_null_in_a_record_is_nan(bands):
    said = examine(record(lines(7), evaluated(1.0)), bands)
    assert len(said) == 1 and "step 60: the validation loss is 1.000" in said[0] and "better than" in said[0]
    broken = [line | {"loss": None} if line["step"] > 30 else line for line in lines(7)]
    said = examine(record(broken, evaluated(None)), bands)
    assert [words.split(",")[0] for words in said] == [
        "step 31: the training loss (smoothed) is nan",
        "step 60: the validation loss is nan",
    ]


def test_bands_want_three_records_that_compare_and_the_course_must_have_them():
    two, other = [record(lines(0)), record(lines(1))], record(lines(2), parameters=6)
    for records in (two, [*two, other]):
        with pytest.raises(RunError, match=f"{len(records)} records make no band: give 3 or more"):
            Bands.of(records)
    with pytest.raises(RunError, match="the course has 0 records with the text, model, steps"):
        examine(record(lines(0)))
    for changes, why in (
        ({"what": "benchmark"}, "this benchmark record has no curve"),
        ({"train": None}, "this training record has no curve"),
    ):
        odd = record(lines(0))
        odd.header.update(changes)
        with pytest.raises(RunError, match=why):
            examine(odd)
    with pytest.raises(RunError, match="the run has not logged a step yet"):
        examine(record([], train={"steps": 60}))


def test_doctor_says_in_the_run_what_examine_says_of_its_record_and_refuses_a_run_of_another_plan():
    def run(seed, *more, **changes):
        """What a record of this run holds, as far as the doctor reads it."""
        steps, seen, config = [], [], make_config(steps=40, log_every=1, eval_every=20, **changes)

        def write(state):
            if state.evaluation is not None:
                seen.append({"step": state.progress.step, "loss": state.evaluation})
            else:
                steps.append(asdict(state.result))

        batches, evaluate = make_batches(seed=seed), lambda state: state.progress.step / 20
        train(patient(), batches, config, evaluate=evaluate, callbacks=[write, *more], **QUIET)
        return record(steps, seen, train=config.to_json())

    healthy, said = Bands.of([run(seed) for seed in range(3)]), []
    doctor = Doctor(healthy, say=said.append)
    sick = run(3, doctor, learning_rate=3.0)
    assert said == examine(sick, healthy) == list(doctor.found.values()) and len(said) == 1
    assert "the training loss" in said[0] and "the learning rate is too high" in said[0]
    with pytest.raises(ConfigError, match="the bands are of other runs, schedule was cosine and is linear"):
        run(3, doctor, schedule="linear")


@pytest.mark.parametrize("recipe", ["shakespeare_baseline", "shakespeare_fast"])
def test_no_run_of_the_course_leaves_the_band_of_the_four_others(recipe):
    for seed in range(1, 6):
        kept = read_record(paths.DATA / "runs" / f"{recipe}-seed{seed}.jsonl")
        assert Bands.like(kept).n == 4 and examine(kept) == []


def seeds():
    """What is recorded of healthy and of sick runs: (name, settings, record) of each."""
    kept = read_record(paths.DATA / "runs" / "doctor_seeds.jsonl")
    header = kept.header | {"what": "training", "data": kept.header["reading"]["corpus"], "parameters": 0}
    for run in kept.measurements:
        columns = zip(*(run[name] for name in ("step", "loss", "update_ratio")), strict=True)
        steps = [dict(zip(("step", "loss", "update_ratio"), line, strict=True)) for line in columns]
        yield run["name"], Record(header, steps, evaluated(run["validation_loss"], header["train"]["steps"]))


SEEN = {  # where the training loss of each one's two seeds left the band; None where it did not
    "rate × 10": [40, 30],
    "rate × 3": [None, None],
    "rate / 3": [40, 40],
    "rate / 30": [20, 20],
    "no warm-up": [None, None],
    "no clipping": [None, None],
    "all targets shuffled": [40, 30],
    "a tenth of the targets shuffled": [100, 90],
    "targets are the tokens": [0, 0],
    "mask forgotten": [None, None],
    "validation text trained on": [170, 180],
}
UNSEEN = {"no warm-up"}  # by the validation loss too: here it does no harm
SOMETIMES = {"no clipping", "rate × 3"}  # in one seed of two: the first is a little worse, the second better


def test_none_of_twenty_healthy_seeds_is_flagged_and_sick_runs_are_when_the_record_says():
    """The five seeds that make the bands are not among the twenty."""
    runs = list(seeds())
    healthy = [run for name, run in runs if name == "healthy"]
    bands = Bands.of(healthy[:5])
    assert [examine(run, bands) for run in healthy[5:]] == [[]] * 20
    for name, steps in SEEN.items():
        said = [examine(run, bands) for other, run in runs if other == name]
        training = [next((line for line in found if "training" in line), None) for found in said]
        begin = [line and int(line.split(":")[0].removeprefix("step ")) for line in training]
        assert begin == steps, name
        ended = sum("validation" in line for found in said for line in found)
        assert ended == (0 if name in UNSEEN else 1 if name in SOMETIMES else 2), name
    assert {name for name, _ in runs} == {"healthy", *SEEN}


def test_recorded_rates_are_named_and_those_of_other_sick_runs_are_not():
    runs = list(seeds())
    bands = Bands.of([run for name, run in runs if name == "healthy"][:5])
    for name, run in runs:
        worse = [line for line in examine(run, bands) if "better than" not in line]
        high, low = (any(f"learning rate is too {way}" in line for line in worse) for way in ("high", "low"))
        assert (high, low) == (name == "rate × 10", name in ("rate / 3", "rate / 30"))
