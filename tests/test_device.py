"""Devices without a GPU at hand: the GPU's answers are put in by monkeypatch, the processor's are real."""

import getpass
import json
import os
import platform
import socket
from typing import get_args

import pytest
import torch

from tinylm import device
from tinylm.device import Precision
from tinylm.errors import ConfigError
from tinylm.training import config


@pytest.fixture
def no_amx(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)


@pytest.fixture
def amx(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)


def pretend_gpu(monkeypatch, *, native_bf16):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: native_bf16 or including_emulation
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_best_device_is_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.best_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.best_device().type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.best_device() == torch.device("cpu")


def test_t4_has_no_bfloat16_although_it_can_emulate_it(monkeypatch):
    pretend_gpu(monkeypatch, native_bf16=False)
    assert not device.supports_bf16("cuda")
    assert device.resolve_dtype("cuda", "auto") == "float16"


def test_bfloat16_is_used_without_a_scaler_where_a_gpu_has_it(monkeypatch):
    pretend_gpu(monkeypatch, native_bf16=True)
    assert device.resolve_dtype("cuda", "auto") == "bfloat16"
    assert not Precision.of("cuda").scaler.is_enabled()
    assert not Precision.of("cuda", "bfloat16").scaler.is_enabled()


def test_float16_always_comes_with_a_scaler(monkeypatch):
    pretend_gpu(monkeypatch, native_bf16=False)
    assert Precision.of("cuda").scaler.is_enabled()
    assert Precision.of("cuda", "float16").scaler.is_enabled()
    assert not Precision.of("cuda", "float32").scaler.is_enabled()


def test_processor_computes_in_float32_unless_asked(no_amx):
    assert device.resolve_dtype("cpu", "auto") == "float32"
    assert Precision.of("cpu").dtype == "float32"
    assert not Precision.of("cpu").scaler.is_enabled()


def test_bfloat16_is_refused_on_a_processor_without_amx_and_taken_with_it(no_amx, monkeypatch):
    with pytest.raises(ConfigError, match="without AMX is slower than float32: use dtype auto"):
        Precision.of("cpu", "bfloat16")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert Precision.of("cpu", "bfloat16").dtype == "bfloat16"
    assert Precision.of("cpu", "auto").dtype == "float32"


@pytest.mark.parametrize("name", ["cpu", "mps"])
def test_float16_is_refused_where_it_has_no_kernels(name):
    with pytest.raises(ConfigError, match="float16 on a"):
        device.resolve_dtype(name, "float16")


def test_bfloat16_on_a_t4_is_refused_with_what_to_use(monkeypatch):
    pretend_gpu(monkeypatch, native_bf16=False)
    with pytest.raises(ConfigError, match="slower than float16: use dtype auto"):
        device.resolve_dtype("cuda", "bfloat16")


def test_amx_is_no_when_the_question_itself_fails(monkeypatch):
    def broken():
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", broken, raising=False)
    assert device.has_amx() is False


def test_autocast_changes_matrix_products_only_when_asked(amx):
    a = torch.ones(3, 3)
    with Precision.of("cpu", "float32").autocast():
        assert (a @ a).dtype == torch.float32
    with Precision.of("cpu", "bfloat16").autocast():
        assert (a @ a).dtype == torch.bfloat16
    assert (a @ a).dtype == torch.float32


def test_seeded_rng_repeats_inside_and_leaves_the_callers_numbers_alone():
    def dropped():
        return torch.nn.functional.dropout(torch.ones(101))

    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = torch.rand(7)
        torch.manual_seed(5)
        with device.seeded_rng("cpu", 11):
            first = dropped()
        with pytest.raises(KeyError), device.seeded_rng("cpu", 11):
            again = dropped()
            raise KeyError  # the caller's state comes back on the way out of an error too
        with device.seeded_rng("cpu", 12):
            other = dropped()
        assert torch.equal(torch.rand(7), expected)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_device_is_described_in_one_line():
    line = device.describe_device("cpu")
    assert device.hardware()["cpu"] in line and "core" in line and "\n" not in line
    device.synchronize("cpu")


def test_precision_waits_only_for_the_processor_and_skips_steps_only_in_float16(monkeypatch):
    assert device.Precision.of("cpu", "float32").is_synchronous
    assert not device.Precision(torch.device("meta"), "float32", None).is_synchronous
    for dtype in ("float32", "bfloat16", "float16"):
        made = device.Precision(torch.device("cpu"), dtype, None)
        assert made.skips_overflow == (dtype == "float16")


def test_dtype_names_are_those_that_a_training_may_ask_for():
    assert get_args(device.DTypeName) == get_args(config.DTypeName)


INTEL = (
    "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C\nflags\t\t: fpu avx2 amx_bf16 amx_tile\n"
)


def test_processor_is_named_as_the_system_names_it(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(INTEL)
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")
    assert device.hardware()["cpu"] == "Intel(R) Xeon(R) Platinum 8481C"


def test_hardware_of_a_system_that_tells_nothing_is_still_described(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "missing")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert device.hardware()["cpu"] == platform.machine()
    assert device.hardware()["cores"] >= 1
    assert device.hardware()["memory_gib"] is None


def test_hardware_names_no_host_no_user_and_no_path():
    told = json.dumps(device.hardware())
    assert set(device.hardware()) == {"cpu", "cores", "memory_gib", "system"}
    for secret in (socket.gethostname(), platform.node(), os.path.expanduser("~"), os.getcwd()):
        assert not secret or secret not in told
    assert f'"{getpass.getuser()}"' not in told


def test_num_threads_holds_inside_and_the_callers_number_is_back_after():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), device.num_threads(3):
        assert torch.get_num_threads() == 3
        raise KeyError
    assert torch.get_num_threads() == before


def test_suggested_threads_are_one_for_little_work_and_never_more_than_torch_has():
    with device.num_threads(3):
        assert [device.suggested_threads(flops) for flops in (2e6, 0.9e9, 1.1e9, 1e15)] == [1, 1, 3, 3]
    with device.num_threads(1):
        assert device.suggested_threads(1e15) == 1
