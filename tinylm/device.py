"""The device: where tensors live, in which arithmetic, with which random numbers, and what this processor is.

Weights stay float32; float16 always comes with a gradient scaler, and no other arithmetic does. A machine is
described without host, user or path. Taught in 09_precision. Source: Micikevicius et al. 2018, section 3."""

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
    """The fastest device here: an NVIDIA GPU, else an Apple one, else the processor."""
    apple = "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device("cuda" if torch.cuda.is_available() else apple)


def supports_bf16(device: Device) -> bool:
    """Whether bfloat16 is fast here: a T4 can only emulate it, and a processor needs AMX or AVX512-BF16."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    for question in ("_is_amx_tile_supported", "_is_avx512_bf16_supported") * (kind == "cpu"):
        with contextlib.suppress(Exception):  # a private function: whatever happens in it, float32 works
            if getattr(torch.cpu, question)():
                return True
    return False


def resolve_dtype(device: Device, dtype: str = "auto") -> str:
    """What "auto" means on this device: on NVIDIA bfloat16 where it is fast, else float16; elsewhere float32,
    so that a processor that could do more repeats the runs of one that cannot. "tf32" is float32 whose matrix
    products such a GPU rounds to 10 bits of fraction.

    Raises ConfigError for a type that the device does not do well; a Precision made by hand overrides it."""
    kind = torch.device(device).type
    best = "float32" if kind != "cuda" else "bfloat16" if supports_bf16(device) else "float16"
    if dtype == "bfloat16" and not supports_bf16(device):
        reason = "a processor without AMX or AVX512-BF16" if kind == "cpu" else "this device"
        raise ConfigError(f"bfloat16 on {reason} is slower than {best}: use dtype auto")
    if dtype == "float16" and kind != "cuda":
        raise ConfigError(f"float16 on a {kind} device has no fast kernels: use dtype auto")
    if dtype == "tf32" and not (kind == "cuda" and supports_bf16(device)):  # both came with Ampere
        raise ConfigError(f"tf32 is for NVIDIA GPUs since Ampere, not for this {kind} device: use dtype auto")
    return best if dtype == "auto" else dtype


@dataclass(frozen=True)
class Precision:
    """A device, its arithmetic and its scaler: made once for a run, since the scaler remembers.

    Made by hand it may be any, such as float16 simulated on a processor: Precision(torch.device("cpu"),
    "float16", torch.amp.GradScaler("cpu")). Raises ConfigError for one of the two without the other."""

    device: torch.device
    dtype: str
    scaler: torch.amp.GradScaler

    def __post_init__(self) -> None:
        if self.scaler.is_enabled() != (needs := self.dtype == "float16"):
            found = f"{self.dtype} with{'out' * needs} a gradient scaler"
            raise ConfigError(f"{found}: float16 needs one, and nothing else does")

    @classmethod
    def of(cls, device: Device, dtype: str = "auto") -> Self:
        """The precision of a run on this device. Raises ConfigError as resolve_dtype does."""
        device, dtype = torch.device(device), resolve_dtype(device, dtype)
        # It leaves out the steps whose gradient overflows, as float16's does now and then; else it is off.
        return cls(device, dtype, torch.amp.GradScaler(device.type, enabled=dtype == "float16"))

    @property
    def is_synchronous(self) -> bool:
        """Whether Python waits for each operation anyway, so that a look at a number costs nothing."""
        return self.device.type == "cpu"

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Inside, a float32 matrix product on an NVIDIA GPU is TF32's, unless this dtype is float32.

        Some are left in any arithmetic: the backward pass of "tf32" and Muon's. Then the caller's is back."""
        matmul, exact = torch.backends.cuda.matmul, self.dtype == "float32"
        with contextlib.ExitStack() as after:
            if self.device.type == "cuda":
                try:
                    after.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
                    torch.set_float32_matmul_precision("highest" if exact else "high")
                except RuntimeError:  # where its newer name was used, torch refuses the question by the old
                    after.callback(setattr, matmul, "fp32_precision", matmul.fp32_precision)
                    matmul.fp32_precision = "ieee" if exact else "tf32"
            yield

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Inside, the matrix products of a forward pass run in this dtype."""
        cast_to = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.dtype)
        with self.products(), torch.autocast(self.device.type, cast_to, enabled=cast_to is not None):
            yield


@contextlib.contextmanager
def seeded_rng(device: Device, seed: int) -> Iterator[None]:
    """Inside, torch's global random numbers (dropout's) follow from `seed`; then the caller's are back."""
    modules = [torch] if torch.device(device).type == "cpu" else [torch, torch.get_device_module(device)]
    with contextlib.ExitStack() as after:
        for module in modules:
            after.callback(module.set_rng_state, module.get_rng_state())
        for generator in (torch.default_generator, *modules[1:]):  # torch.manual_seed would seed every device
            generator.manual_seed(seed)
        yield


def synchronize(device: Device) -> None:
    """Wait until the device has finished: without this a clock measures only how fast work is queued."""
    if torch.device(device).type != "cpu":
        torch.get_device_module(device).synchronize()


def copy_to(device: Device, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on this device. A GPU is not waited for: it fetches the numbers from pinned memory."""
    fetches = torch.device(device).type == "cuda"
    return (tensor.pin_memory() if fetches else tensor).to(device, non_blocking=fetches)


def describe_device(device: Device) -> str:
    """One line for a person, for example "AMD EPYC, 2 cores, 8 GiB" or "Tesla T4, 15 GiB"."""
    kind = torch.device(device).type
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    here = hardware()
    memory = f", {here['memory_gib']} GiB" if here["memory_gib"] else ""
    gpu = "" if kind == "cpu" else f", its {kind} GPU"
    return f"{here['cpu']}, {here['cores']} core{'s' * (here['cores'] != 1)}{memory}{gpu}"


def cpu_memory_bytes() -> int | None:
    """Main memory in bytes; None where the operating system does not tell."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def busy() -> str:
    """Return a sentence if other programs keep the cores of this machine busy, else an empty string.

    Ask before measuring a speed: the system's figure, an average over the last minute, counts this program
    too. Windows has no such figure."""
    cores = hardware()["cores"]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load < cores / 2:
        return ""
    return f"other programs are running (load {load:.1f} on {cores} cores): without them training is faster"


def hardware() -> dict[str, str | int | None]:
    """Processor, cores that this process may use, memory in GiB and system: enough to compare two runs."""
    memory = cpu_memory_bytes()
    told = re.search(r"model name\s*:\s*(.+)", CPUINFO.read_text() if CPUINFO.is_file() else "")
    return {
        "cpu": told[1].strip() if told else platform.processor() or platform.machine() or "unknown",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": None if memory is None else round(memory / 2**30),
        "system": platform.system(),
    }
