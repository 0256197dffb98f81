"""The machine: described without its name, and forecasts that are plain arithmetic."""

import os
import platform
from pathlib import Path

import pytest

from tinylm.model.cost import flops_per_token
from tinylm.runs import machine
from tinylm.text.corpora import CORPORA

pytestmark = pytest.mark.usefixtures("nothing_at_hand")


@pytest.fixture
def steady(monkeypatch):
    """Every model trains at a million floating-point operations a second."""
    monkeypatch.setattr(machine, "measure_speed", lambda model, **_: 1e6 / flops_per_token(model.config))


def test_ladder_forecast_is_its_operations_over_the_measured_speed(steady):
    for name, expected in machine.ladder_forecast().items():
        model, train = machine.ladder()[name]
        assert expected.tokens == train.steps * train.tokens_per_step
        assert expected.flops == expected.tokens * flops_per_token(model)
        assert expected.seconds == pytest.approx(expected.flops / 1e6)


@pytest.mark.parametrize("load, said", [(0.4, False), (7.5, True), (None, False)])
def test_forecast_says_when_other_programs_keep_the_cores_busy(steady, monkeypatch, load, said):
    monkeypatch.setattr(machine.device, "hardware", lambda: {"cpu": "Z80", "cores": 2, "memory_gib": 8})
    if load is None:  # Windows
        monkeypatch.delattr(os, "getloadavg", raising=False)
    else:
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert ("other programs are running (load 7.5 on 2 cores)" in machine.report()) == said


def test_report_calls_a_forecast_a_forecast_and_names_neither_the_machine_nor_a_path(steady):
    report = machine.report()
    assert "forecast" in report and "`python -m tinylm fetch tinyshakespeare` gets it" in report
    assert all(name in report for name in [*machine.ladder(), *CORPORA])
    assert platform.node() not in report or len(platform.node()) < 3
    for path in (Path.home(), Path(machine.__file__).parent):
        assert str(path) not in report
