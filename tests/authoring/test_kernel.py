"""A reply of a kernel that woke nobody is found all the same."""

import asyncio
from queue import Empty

from jupyter_client.channels import AsyncZMQSocketChannel

from tests.authoring.kernel import AttentiveChannel


def test_a_reply_that_woke_nobody_is_found_within_a_second(monkeypatch):
    async def missed_at_first(channel, timeout):
        looks.append(timeout)
        if len(looks) == 1:
            raise Empty
        return "the reply"

    looks, channel = [], AttentiveChannel.__new__(AttentiveChannel)  # without a socket
    monkeypatch.setattr(AsyncZMQSocketChannel, "get_msg", missed_at_first)
    assert asyncio.run(channel.get_msg(timeout=None)) == "the reply"
    assert len(looks) == 2 and max(looks) <= 1
