"""A reply of a kernel that woke nobody is found all the same."""

import asyncio
import time

import zmq
import zmq.asyncio
from jupyter_client.session import Session

from tests.authoring.kernel import AttentiveChannel


async def ask():
    """Return what get_msg gives when a message is there and the first look at the socket misses it."""
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
        Session(key=b"").send(left, "execute_reply", {"status": "ok"})
        return await AttentiveChannel(right, Session(key=b"")).get_msg(timeout=None)
    finally:
        context.destroy(linger=0)


def test_a_reply_that_woke_nobody_is_found_within_a_second():
    began = time.monotonic()
    assert asyncio.run(ask())["msg_type"] == "execute_reply"
    assert time.monotonic() - began < 10
