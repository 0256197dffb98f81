"""The kernels that run notebooks: this interpreter, no network, a client that does not oversleep."""

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
atexit.register(MINE.cleanup)  # said, or Python warns that it had to do it


class AttentiveChannel(AsyncZMQSocketChannel):
    """A channel that looks for a reply at least once a second.

    nbclient sends a widget's updates on the socket it waits on, and a reply that arrives just then wakes
    nobody (nbclient 312): the cell is done, and the wait goes on until its time is over."""

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message. Raises queue.Empty after `timeout` seconds without one."""
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
    """Starts kernels with the interpreter that is running, not with whatever `python3` is on the machine."""

    client_factory = Type(AttentiveClient)

    @default("kernel_spec_manager")
    def _this_interpreters_spec(self) -> NbvalKernelspecManager:
        return NbvalKernelspecManager()


def kernel_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a notebook's kernel sees: no network, the small scale, figures inline, TINYLM_DATA as given.

    What it trains is kept in a folder of this process: two passes side by side do not write over each other,
    nor over what a learner has in data/mine. IPython's and matplotlib's settings are there too, because a
    person's own change what is printed: with a list of fonts that are gone matplotlib complains, and
    two kernels that share a history wait for each other.

    One thread: models this small gain nothing from a second one, and lose much where another process wants it
    (notebook 05, on two cores: 45 CPU-seconds with two threads, 13 with one)."""
    inline = "module://matplotlib_inline.backend_inline"
    fixed = {"TINYLM_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": inline}
    fixed |= {key: str(Path(MINE.name, key)) for key in ("TINYLM_MINE", "IPYTHONDIR", "MPLCONFIGDIR")}
    return {key: value for key, value in environ.items() if key != "TINYLM_SCALE"} | fixed
