"""The client that runs the notebooks: a reply that woke nobody is found all the same."""

import asyncio
import time
from queue import Empty

import pytest
import zmq
import zmq.asyncio
from jupyter_client.session import Session

from tests.authoring.kernel import AttentiveChannel


async def ask(*, timeout, send):
    """What get_msg gives when a message may be there and the first look at the socket misses it."""
    context = zmq.asyncio.Context()
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    poll, looks = right.poll, []

    async def poll_after_the_first(milliseconds=None):
        looks.append(milliseconds)
        if len(looks) > 1:
            return await poll(milliseconds)
        await asyncio.sleep(milliseconds / 1000)
        return 0

    try:
        left.bind("inproc://reply")
        right.connect("inproc://reply")
        right.poll = poll_after_the_first
        if send:
            Session(key=b"").send(left, "execute_reply", {"status": "ok"})
        return await AttentiveChannel(right, Session(key=b"")).get_msg(timeout=timeout)
    finally:
        context.destroy(linger=0)


def test_a_reply_that_woke_nobody_is_found_within_a_second():
    began = time.monotonic()
    assert asyncio.run(ask(timeout=None, send=True))["msg_type"] == "execute_reply"
    assert time.monotonic() - began < 10


def test_a_reply_that_never_comes_is_empty_when_the_time_is_over():
    began = time.monotonic()
    with pytest.raises(Empty):
        asyncio.run(ask(timeout=0.5, send=False))
    assert 0.4 < time.monotonic() - began < 10
