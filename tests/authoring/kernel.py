"""The kernels that run notebooks: this interpreter, no network, a client that misses no reply."""

import atexit
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from nbval.kernel import NbvalKernelspecManager
from traitlets import Type, default

MINE = tempfile.TemporaryDirectory(prefix="tinylm-")  # of this process
atexit.register(MINE.cleanup)  # otherwise Python warns that it had to clean up


class AttentiveChannel(AsyncZMQSocketChannel):
    """A channel that looks for a reply at least once a second.

    nbclient sends a widget's updates on the socket that it waits on. A reply that arrives at that moment
    wakes nobody (nbclient 312): the cell is done, and nbclient waits until its time-out."""

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the next message. Raises queue.Empty after `timeout` seconds without one."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return await super().get_msg(timeout=max(0.0, min(1.0, end - time.monotonic())))
            except Empty:
                if time.monotonic() >= end:
                    raise


class AttentiveClient(AsyncKernelClient):
    """A client whose shell channel is attentive."""

    shell_channel_class = Type(AttentiveChannel)


class ThisInterpreter(AsyncKernelManager):
    """Start kernels with the running interpreter, not with the `python3` that the machine has."""

    client_factory = Type(AttentiveClient)

    @default("kernel_spec_manager")
    def _this_interpreters_spec(self) -> NbvalKernelspecManager:
        return NbvalKernelspecManager()


def kernel_environment(environ: Mapping[str, str], mine: str = "given") -> dict[str, str]:
    """Return the environment of a notebook's kernel: no network, the small scale, figures inline.

    TINYLM_DATA stays as it is. What a notebook trains and keeps goes to a folder of this process, so two
    passes at the same time do not overwrite each other or a learner's data/mine. `mine` is its name there:
    notebooks as given must not find the answers of solved ones. The settings of IPython and matplotlib are
    there too. A person's own would change what is printed: matplotlib complains about fonts that are gone,
    and two kernels that share a history wait for each other.

    One thread: models this small gain nothing from a second thread and lose much when another process wants
    the core (notebook 05, on two cores: 45 CPU-seconds with two threads, 13 with one)."""
    inline = "module://matplotlib_inline.backend_inline"
    fixed = {"TINYLM_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": inline}
    fixed |= {key: str(Path(MINE.name, key)) for key in ("IPYTHONDIR", "MPLCONFIGDIR")}
    fixed["TINYLM_MINE"] = str(Path(MINE.name, mine))
    return {key: value for key, value in environ.items() if key != "TINYLM_SCALE"} | fixed
