"""The machine: described without its name, and forecasts that are plain arithmetic."""

import platform
from pathlib import Path

import pytest

from tinylm.model.config import parameter_counts
from tinylm.runs import machine
from tinylm.runs.forecast import flops_per_token
from tinylm.text.corpora import CORPORA


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "pack"))
    monkeypatch.setenv("TINYLM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def steady(monkeypatch):
    """Every model trains at a million floating-point operations a second."""
    monkeypatch.setattr(
        machine, "measure_speed", lambda model, **_: 1e6 / flops_per_token(model.config), raising=True
    )


def test_ladder_has_the_sizes_in_its_names():
    for rung, millions in zip(machine.ladder(), (0.8, 51, 124), strict=True):
        assert parameter_counts(rung.model)["total"] / 1e6 == pytest.approx(millions, rel=0.02)
        assert rung.name.startswith(f"{millions}M")
        rung.train.grad_accum_steps(rung.model.context_length)


def test_describe_lists_every_corpus_with_where_it_is():
    here = machine.describe()
    assert here["corpora"].keys() == CORPORA.keys()
    assert here["corpora"]["tinyshakespeare"] is None
    assert here["corpora"]["toyworld-plays"] == "generated"
    assert here["cores"] >= 1
    assert here["versions"]["python"] == platform.python_version()


def test_ladder_forecast_is_its_operations_over_the_measured_speed(steady):
    for row in machine.ladder_forecast():
        tokens = row.rung.train.steps * row.rung.train.tokens_per_step
        assert row.flops_per_second == pytest.approx(1e6)
        assert row.forecast.tokens == tokens
        assert row.forecast.seconds == pytest.approx(tokens * flops_per_token(row.rung.model) / 1e6)


def test_report_calls_a_forecast_a_forecast_and_names_neither_the_machine_nor_a_path(steady):
    report = machine.report()
    assert "forecast" in report
    for rung in machine.ladder():
        assert rung.name in report
    assert platform.node() not in report or len(platform.node()) < 3
    assert str(Path.home()) not in report
    assert str(Path(machine.__file__).parent) not in report
    assert "`python -m tinylm fetch tinyshakespeare` gets it" in report
