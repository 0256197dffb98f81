"""The client that runs the notebooks: a reply that woke nobody is found all the same."""

import asyncio
import time
from queue import Empty

import pytest
import zmq
import zmq.asyncio
from jupyter_client.session import Session

from tests.authoring.kernel import Attentive


def ask(*, oversleep, timeout, send=True):
    """What get_msg gives when a message is there and the first `oversleep` looks at the socket miss it."""

    async def asked():
        context = zmq.asyncio.Context()
        left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        try:
            left.bind("inproc://reply")
            right.connect("inproc://reply")
            session, looks, poll = Session(key=b""), [], right.poll

            async def poll_after_some(milliseconds=None):
                looks.append(milliseconds)
                if len(looks) > oversleep:
                    return await poll(milliseconds)
                await asyncio.sleep(milliseconds / 1000)
                return 0

            right.poll = poll_after_some
            if send:
                session.send(left, "execute_reply", {"status": "ok"})
            return await Attentive(right, session).get_msg(timeout=timeout)
        finally:
            context.destroy(linger=0)

    return asyncio.run(asked())


@pytest.mark.parametrize("timeout", [60.0, None])
def test_a_reply_that_woke_nobody_is_found_within_a_second(timeout):
    began = time.monotonic()
    assert ask(oversleep=1, timeout=timeout)["msg_type"] == "execute_reply"
    assert time.monotonic() - began < 10


def test_a_reply_that_never_comes_is_empty_when_the_time_is_over():
    began = time.monotonic()
    with pytest.raises(Empty):
        ask(oversleep=0, timeout=1.5, send=False)
    assert 1.4 < time.monotonic() - began < 10
