"""Devices without a GPU at hand: the GPU's answers are put in by monkeypatch, the processor's are real."""

import contextlib
import os
import platform

import pytest
import torch

from tinylm import device
from tinylm.device import Precision, resolve_dtype
from tinylm.errors import ConfigError


def pretend(monkeypatch, *, amx=False, avx512_bf16=False, native_bf16=False):
    """A processor with AMX, AVX512-BF16 or neither, beside a GPU that has bfloat16 or only emulates it."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16, raising=False)
    answer = lambda including_emulation=True: native_bf16 or including_emulation  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", answer)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize(
    "cuda, mps, best", [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_best_device_is_a_gpu_where_there_is_one(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device.best_device() == torch.device(best)


@pytest.mark.parametrize(
    "kind, machine, auto, taken",
    [
        ("cpu", {}, "float32", {"float32"}),
        ("cpu", {"amx": True, "native_bf16": True}, "float32", {"float32", "bfloat16"}),
        ("cpu", {"avx512_bf16": True}, "float32", {"float32", "bfloat16"}),
        ("mps", {"amx": True, "native_bf16": True}, "float32", {"float32"}),
        ("cuda", {"native_bf16": True}, "bfloat16", {"float32", "tf32", "bfloat16", "float16"}),
        ("cuda", {"native_bf16": False}, "float16", {"float32", "float16"}),  # a T4
    ],
)
def test_dtype_is_what_the_device_does_well_and_float16_alone_has_a_scaler(
    monkeypatch, kind, machine, auto, taken
):
    pretend(monkeypatch, **machine)
    assert resolve_dtype(kind) == auto
    for dtype in ("float32", "tf32", "bfloat16", "float16"):
        if dtype in taken:
            precision = Precision.of(kind, dtype)
            assert (precision.device, precision.dtype) == (torch.device(kind), dtype)
            assert precision.scaler.is_enabled() == (dtype == "float16")
            assert precision.is_synchronous == (kind == "cpu")
        else:
            with pytest.raises(ConfigError, match="use dtype auto"):
                Precision.of(kind, dtype)
    assert Precision.of(kind).dtype == auto


def test_precision_made_by_hand_may_be_any_but_float16_alone_has_a_scaler():
    for dtype in ("float32", "bfloat16", "float16"):
        for has_scaler in (True, False):
            scaler = torch.amp.GradScaler("cpu", enabled=has_scaler)
            if has_scaler == (dtype == "float16"):
                with Precision(torch.device("cpu"), dtype, scaler).autocast():
                    assert (torch.ones(3, 3) @ torch.ones(3, 3)).dtype == getattr(torch, dtype)
            else:
                with pytest.raises(
                    ConfigError, match=f"^{dtype} with(out)? a gradient scaler: float16 needs"
                ):
                    Precision(torch.device("cpu"), dtype, scaler)


@pytest.mark.parametrize("callers", ["highest", "high"])
@pytest.mark.parametrize(
    "kind, dtype, inside",
    [
        ("cuda", "float32", "highest"),
        ("cuda", "tf32", "high"),
        ("cuda", "float16", "high"),
        ("cpu", "bfloat16", None),
    ],
)
def test_float32_products_left_on_a_gpu_are_tf32s_but_in_float32_and_the_callers_setting_comes_back(
    monkeypatch, kind, dtype, inside, callers
):
    precision = Precision(torch.device(kind), dtype, torch.amp.GradScaler("cpu", enabled=dtype == "float16"))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # there is no GPU
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(callers)
    try:
        for context in (precision.products, precision.autocast):
            with pytest.raises(ZeroDivisionError), context():
                assert torch.get_float32_matmul_precision() == (inside or callers)
                raise ZeroDivisionError
            assert torch.get_float32_matmul_precision() == callers
    finally:
        torch.set_float32_matmul_precision(before)


def test_bfloat16_is_not_fast_when_the_question_itself_fails(monkeypatch):
    for question in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, question, raising=False)
    assert device.supports_bf16("cpu") is False


def test_processor_is_named_as_the_system_names_it(monkeypatch, tmp_path):
    told = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C\nflags\t\t: fpu avx2 amx_tile\n"
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")
    assert device.hardware()["cpu"] == "Intel(R) Xeon(R) Platinum 8481C"
    line = device.describe_device("cpu")
    assert line.startswith("Intel(R) Xeon(R) Platinum 8481C, ") and "core" in line and "\n" not in line


def test_hardware_of_a_system_that_tells_nothing_is_still_described(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "missing")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    told = device.hardware()
    assert told["cpu"] == platform.machine() and told["cores"] >= 1 and told["memory_gib"] is None
    assert "GiB" not in device.describe_device("cpu")
