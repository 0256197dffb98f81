"""What is told about a machine, and what never is."""

import getpass
import json
import os
import platform
import socket

from tinylm import hardware

INTEL = (
    "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C\nflags\t\t: fpu avx2 amx_bf16 amx_tile\n"
)


def test_the_processor_is_named_as_the_system_names_it(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(INTEL)
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    assert hardware.cpu_name() == "Intel(R) Xeon(R) Platinum 8481C"
    assert {"amx_tile", "amx_bf16"} <= hardware.cpu_flags()


def test_a_system_that_tells_nothing_still_gets_a_description(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "missing")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert hardware.cpu_name() == platform.machine()
    assert hardware.cpu_flags() == frozenset()
    assert hardware.describe()["cores"] >= 1
    assert hardware.describe()["memory_gib"] is None


def test_the_description_names_no_host_no_user_and_no_path():
    told = json.dumps(hardware.describe())
    assert set(hardware.describe()) == {"cpu", "cores", "memory_gib", "system"}
    for secret in (socket.gethostname(), platform.node(), os.path.expanduser("~"), os.getcwd()):
        assert not secret or secret not in told
    assert f'"{getpass.getuser()}"' not in told


def test_the_load_is_a_number_of_processes_or_unknown(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (1.2345, 9.0, 9.0), raising=False)
    assert hardware.load() == 1.23
    monkeypatch.delattr(os, "getloadavg")
    assert hardware.load() is None
