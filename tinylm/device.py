"""The device: where tensors live, in which arithmetic, with which random numbers, and what this processor is.

Weights stay float32; float16 always comes with a gradient scaler, bfloat16 and float32 never do. What is told
about the machine holds no host name, no user and no path.
Taught in notebook 09_precision. Source: Micikevicius et al. 2018, section 3."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from tinylm.errors import ConfigError

Device = torch.device | str
DTypeName = Literal["auto", "float32", "bfloat16", "float16"]
CPUINFO = Path("/proc/cpuinfo")


def best_device() -> torch.device:
    """The fastest device here: an NVIDIA GPU, else an Apple one, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def has_amx() -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware (Intel AMX)."""
    asked = getattr(torch.cpu, "_is_amx_tile_supported", None)
    try:
        return bool(asked()) if asked is not None else {"amx_tile", "amx_bf16"} <= cpu_flags()
    except Exception:  # a private function: whatever happens in it, float32 works
        return False


def supports_bf16(device: Device) -> bool:
    """Whether bfloat16 is fast here, not merely possible: a T4 can only emulate it."""
    device = torch.device(device)
    if device.type == "cpu":
        return has_amx()
    if device.type != "cuda":
        return False
    try:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    except TypeError:  # an older torch has no such question: Ampere (8.0) was the first to have bfloat16
        return torch.cuda.get_device_capability(device) >= (8, 0)


def default_dtype(device: Device) -> DTypeName:
    """ "float32" on processors and Apple GPUs; on NVIDIA "bfloat16" where it is fast, else "float16"."""
    if torch.device(device).type != "cuda":
        return "float32"
    return "bfloat16" if supports_bf16(device) else "float16"


def resolve_dtype(device: Device, dtype: DTypeName) -> DTypeName:
    """What "auto" means on this device. Raises ConfigError for a type that it does not do well."""
    device = torch.device(device)
    if dtype == "auto":
        return default_dtype(device)
    if dtype == "bfloat16" and not supports_bf16(device):
        reason = "a processor without AMX" if device.type == "cpu" else "this device"
        raise ConfigError(f"bfloat16 on {reason} is slower than {default_dtype(device)}: use dtype auto")
    if dtype == "float16" and device.type != "cuda":
        raise ConfigError(f"float16 on a {device.type} device has no fast kernels: use dtype auto")
    return dtype


def autocast(device: Device, dtype: DTypeName) -> contextlib.AbstractContextManager:
    """A context in which matrix products run in `dtype`; for float32 it does nothing."""
    return _autocast(torch.device(device), resolve_dtype(device, dtype))


def scaler(device: Device, dtype: DTypeName) -> torch.amp.GradScaler:
    """A gradient scaler: at work for float16 on a GPU, switched off (and free) for everything else."""
    device = torch.device(device)
    enabled = device.type == "cuda" and resolve_dtype(device, dtype) == "float16"
    return torch.amp.GradScaler(device.type, enabled=enabled)


@dataclass(frozen=True)
class Precision:
    """A device, its arithmetic and its scaler: made once for a run, since the scaler remembers."""

    device: torch.device
    dtype: DTypeName
    scaler: torch.amp.GradScaler

    @classmethod
    def of(cls, device: Device, dtype: DTypeName = "auto") -> Precision:
        """The precision of a run on this device. Raises ConfigError as resolve_dtype does."""
        return cls(torch.device(device), resolve_dtype(device, dtype), scaler(device, dtype))

    @property
    def is_synchronous(self) -> bool:
        """Whether Python waits for each operation anyway, so that a look at a number costs nothing."""
        return self.device.type == "cpu"

    @property
    def skips_overflow(self) -> bool:
        """Whether the scaler leaves out steps whose gradient overflowed: float16's need it now and then."""
        return self.dtype == "float16"

    def autocast(self) -> contextlib.AbstractContextManager:
        """A context in which matrix products run in this dtype."""
        return _autocast(self.device, self.dtype)


def _autocast(device: torch.device, dtype: DTypeName) -> contextlib.AbstractContextManager:
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, getattr(torch, dtype))


@contextlib.contextmanager
def seeded_rng(device: Device, seed: int) -> Iterator[None]:
    """Inside, torch's global random numbers (dropout's) follow from `seed`; then the caller's are back."""
    device = torch.device(device)
    accelerator = None if device.type == "cpu" else torch.get_device_module(device)
    state = torch.default_generator.get_state()
    accelerator_state = accelerator.get_rng_state() if accelerator else None
    try:
        torch.default_generator.manual_seed(seed)
        if accelerator:
            accelerator.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(state)
        if accelerator:
            accelerator.set_rng_state(accelerator_state)


def synchronize(device: Device) -> None:
    """Wait until the device has finished: without this a clock measures only how fast work is queued."""
    device = torch.device(device)
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def copy_to(device: Device, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on this device. A GPU is not waited for: it fetches the numbers itself, out of pinned memory."""
    device = torch.device(device)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def describe_device(device: Device) -> str:
    """One line for a person, for example "AMD EPYC, 2 cores, 8 GiB" or "Tesla T4, 15 GiB"."""
    device = torch.device(device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    here = hardware()
    cores = "1 core" if here["cores"] == 1 else f"{here['cores']} cores"
    memory = "" if here["memory_gib"] is None else f", {here['memory_gib']} GiB"
    gpu = "" if device.type == "cpu" else f", its {device.type} GPU"
    return f"{here['cpu']}, {cores}{memory}{gpu}"


def cpu_name() -> str:
    """The processor's model name, for example "AMD EPYC 7B13"; "unknown" where nobody tells."""
    for line in _cpuinfo().splitlines():
        if line.lower().startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def cpu_flags() -> frozenset[str]:
    """What the processor says it can do (Linux), for example {"avx2", "amx_bf16"}; empty elsewhere."""
    for line in _cpuinfo().splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def cpu_cores() -> int:
    """Cores that this process may use: a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_memory_bytes() -> int | None:
    """Main memory in bytes; None where the operating system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def load_average() -> float | None:
    """How many processes wanted a core over the last minute; None where the operating system does not tell.

    A time that was measured while this was high is not the machine's."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def hardware() -> dict[str, str | int | None]:
    """Processor, cores, memory in GiB and operating system: enough to compare two runs, no more."""
    memory = cpu_memory_bytes()
    return {
        "cpu": cpu_name(),
        "cores": cpu_cores(),
        "memory_gib": None if memory is None else round(memory / 2**30),
        "system": platform.system(),
    }


def _cpuinfo() -> str:
    try:
        return CPUINFO.read_text()
    except OSError:
        return ""
