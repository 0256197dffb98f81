"""Hardware: what processor, how many cores, how much memory.

Knows the operating system's own answers. Refuses to know devices, tensors, and whose machine it is:
no host name, no user, no path ever leaves this room.
Taught in notebook 10_speed."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


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


def cores() -> int:
    """Cores that this process may use: a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Main memory in bytes; None where the operating system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def load() -> float | None:
    """How many processes wanted a core over the last minute; None where the operating system does not tell.

    A time that was measured while this was high is not the machine's."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def describe() -> dict[str, str | int | None]:
    """Processor, cores, memory in GiB and operating system: enough to compare two runs, no more."""
    memory = memory_bytes()
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "memory_gib": None if memory is None else round(memory / 2**30),
        "system": platform.system(),
    }


def _cpuinfo() -> str:
    try:
        return CPUINFO.read_text()
    except OSError:
        return ""
