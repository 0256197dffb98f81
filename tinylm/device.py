"""The device: where tensors are, in which arithmetic they are computed, and what this machine is.

Weights are always float32. float16 always comes with a gradient scaler, and no other arithmetic does. A
machine is described without its name, a user or a path. Taught in 09_precision. Source: Micikevicius et al.
2018, section 3."""

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from tinylm.errors import ConfigError

Device = torch.device | str
CPUINFO = Path("/proc/cpuinfo")


def best_device() -> torch.device:
    """Return the fastest device: an NVIDIA GPU, otherwise an Apple GPU, otherwise the CPU."""
    apple = "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device("cuda" if torch.cuda.is_available() else apple)


def supports_bf16(device: Device) -> bool:
    """Return whether bfloat16 is fast here: a T4 can only emulate it, and a CPU needs AMX or AVX512-BF16."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    with contextlib.suppress(Exception):  # private functions: if they change, float32 still works
        return kind == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False


def resolve_dtype(device: Device, dtype: str = "auto") -> str:
    """Return the arithmetic that a name means on this device.

    "auto" is bfloat16 on an NVIDIA GPU where it is fast, otherwise float16, and float32 on any other device:
    a CPU that could do more then repeats the runs of one that cannot. "tf32" is float32 with matrix products
    that an NVIDIA GPU rounds to 10 bits of mantissa. Raises ConfigError for an arithmetic that is slow here;
    a Precision built by hand is not checked."""
    kind, is_modern = torch.device(device).type, supports_bf16(device)
    fast = {"auto": True, "float32": True, "bfloat16": is_modern, "float16": kind == "cuda"}
    fast["tf32"] = kind == "cuda" and is_modern  # TF32 and bfloat16 came with the same GPUs
    if not fast.get(dtype):
        raise ConfigError(f"{dtype} on a {kind} device has no fast kernels: use dtype auto")
    best = "float32" if kind != "cuda" else "bfloat16" if is_modern else "float16"
    return best if dtype == "auto" else dtype


@dataclass(frozen=True)
class Precision:
    """A device, its arithmetic and its gradient scaler. A run has one, because the scaler has a state.

    Built by hand it may be any, for example float16 simulated on a CPU: Precision(torch.device("cpu"),
    "float16", torch.amp.GradScaler("cpu")). Raises ConfigError for float16 without a scaler, or a scaler
    without float16."""

    device: torch.device
    dtype: str
    scaler: torch.amp.GradScaler

    def __post_init__(self) -> None:
        if self.scaler.is_enabled() != (self.dtype == "float16"):
            found = f"{self.dtype} {'with' if self.scaler.is_enabled() else 'without'} a gradient scaler"
            raise ConfigError(f"{found}: float16 needs one, and nothing else does")

    @classmethod
    def of(cls, device: Device, dtype: str = "auto") -> Self:
        """Return the precision of a run on this device. Raises ConfigError as resolve_dtype does."""
        device, dtype = torch.device(device), resolve_dtype(device, dtype)
        # The scaler skips the steps whose gradients overflow, which happens in float16 only.
        return cls(device, dtype, torch.amp.GradScaler(device.type, enabled=dtype == "float16"))

    @property
    def is_synchronous(self) -> bool:
        """Whether Python waits for each operation anyway, so that reading a number costs nothing."""
        return self.device.type == "cpu"

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Compute float32 matrix products on an NVIDIA GPU in TF32 inside, unless this dtype is float32.

        Every arithmetic has some: those of the backward pass of "tf32", and Muon's. Afterwards the setting is
        what it was."""
        before = torch.get_float32_matmul_precision()
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("highest" if self.dtype == "float32" else "high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute the matrix products of a forward pass in this dtype inside."""
        cast_to = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.dtype)
        with self.products(), torch.autocast(self.device.type, cast_to, enabled=cast_to is not None):
            yield


@contextlib.contextmanager
def seeded_rng(device: Device, seed: int) -> Iterator[None]:
    """Seed torch's global random numbers (dropout uses them) inside, and restore their state afterwards."""
    modules = [torch] if torch.device(device).type == "cpu" else [torch, torch.get_device_module(device)]
    with contextlib.ExitStack() as after:
        for module in modules:
            after.callback(module.set_rng_state, module.get_rng_state())
        for generator in (torch.default_generator, *modules[1:]):  # torch.manual_seed would seed every device
            generator.manual_seed(seed)
        yield


def synchronize(device: Device) -> None:
    """Wait until the device has finished. Without this a clock measures only how fast work is queued."""
    if torch.device(device).type != "cpu":
        torch.get_device_module(device).synchronize()


def copy_to(device: Device, tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor on this device. A GPU copies it from pinned memory while Python goes on."""
    fetches = torch.device(device).type == "cuda"
    return (tensor.pin_memory() if fetches else tensor).to(device, non_blocking=fetches)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of which each process keeps a part (--fsdp) whole, and any other as it is.

    All processes must call it, for the same tensors in the same order."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def describe_device(device: Device) -> str:
    """Return one line about the device, for example "AMD EPYC, 2 cores, 8 GiB" or "Tesla T4, 15 GiB"."""
    kind = torch.device(device).type
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    here = hardware()
    memory = f", {here['memory_gib']} GiB" if here["memory_gib"] else ""
    gpu = "" if kind == "cpu" else f", its {kind} GPU"
    return f"{here['cpu']}, {here['cores']} core{'s' * (here['cores'] != 1)}{memory}{gpu}"


def cpu_memory_bytes() -> int | None:
    """Return the main memory in bytes, or None if the operating system does not say."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def busy() -> str:
    """Return a sentence if other programs keep the cores of this machine busy, else an empty string.

    Ask before measuring a speed: the system's figure, an average over the last minute, counts this program
    too. Windows has no such figure."""
    cores = hardware()["cores"]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    told = f"other programs are running (load {load:.1f} on {cores} cores): without them training is faster"
    return told if load >= cores / 2 else ""


def hardware() -> dict[str, str | int | None]:
    """Return the CPU, the cores that this process may use, the memory in GiB and the operating system."""
    named = re.search(r"model name\s*:\s*(.+)", CPUINFO.read_text() if CPUINFO.is_file() else "")
    return {
        "cpu": named[1].strip() if named else platform.processor() or platform.machine() or "unknown",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": round((cpu_memory_bytes() or 0) / 2**30) or None,
        "system": platform.system(),
    }
