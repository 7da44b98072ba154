from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from daemon.channel import MAX_FRAME_BYTES, Channel, ChannelClosed, ChannelTimeout

HEADER = struct.Struct(">IB")


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    other = Channel(theirs)
    yield ours, other
    ours.close()
    other.close()


@pytest.fixture
def raw() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel, and the bare socket of a peer that sends what a test likes."""
    ours, theirs = Channel.pair()
    with theirs:
        yield ours, theirs
    ours.close()


def frame(message: Any, n_fds: int = 0) -> bytes:
    body = json.dumps(message).encode()
    return HEADER.pack(len(body), n_fds) + body


def n_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_messages_come_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    """Both ways, several at once, with any text: also lone surrogates of file names."""
    ours, theirs = ends
    messages: list[dict[str, Any]] = [{"n": 1}, {"text": "caf\u00e9 語 \U0001f399"}, {"name": "caf\udce9"}, {}]
    for message in messages:
        ours.send(message)
    assert [theirs.receive(5).message for _ in messages] == messages
    theirs.send({"back": True})
    assert ours.receive(5).message == {"back": True}


def test_a_frame_may_come_in_any_pieces(raw: tuple[Channel, socket.socket]) -> None:
    """Byte by byte, and several frames in one piece."""
    channel, peer = raw
    for byte in frame({"n": 1}):
        with pytest.raises(ChannelTimeout):
            channel.receive(0)
        peer.sendall(bytes([byte]))
    assert channel.receive(5).message == {"n": 1}
    peer.sendall(frame({"n": 2}) + frame({"n": 3}) + frame({"n": 4})[:3])
    assert channel.receive(5).message == {"n": 2}
    assert channel.receive(5).message == {"n": 3}
    peer.sendall(frame({"n": 4})[3:])
    assert channel.receive(5).message == {"n": 4}


def test_a_timeout_loses_nothing(raw: tuple[Channel, socket.socket]) -> None:
    """What has come of a message before the timeout counts after it."""
    channel, peer = raw
    whole = frame({"text": "x" * 1000})
    peer.sendall(whole[:500])
    with pytest.raises(ChannelTimeout):
        channel.receive(0.01)
    peer.sendall(whole[500:])
    assert channel.receive(5).message == {"text": "x" * 1000}


def test_a_message_larger_than_any_buffer_comes_whole(ends: tuple[Channel, Channel]) -> None:
    """The sender waits for the reader; a timeout of the reader does not disturb it."""
    ours, theirs = ends
    message = {"text": "x" * 3_000_000}
    sender = threading.Thread(target=ours.send, args=(message,))
    sender.start()
    assert theirs.receive(10).message == message
    sender.join(10)
    assert not sender.is_alive()


def test_many_threads_may_send(ends: tuple[Channel, Channel]) -> None:
    """Frames of several threads do not mix."""
    ours, theirs = ends

    def send(n: int) -> None:
        for _ in range(10):
            ours.send({"n": n, "x": "x" * 50_000})

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    numbers = [theirs.receive(10).message["n"] for _ in range(40)]
    for thread in threads:
        thread.join(10)
    assert sorted(numbers) == sorted(list(range(4)) * 10)


def test_descriptors_arrive_with_their_message(ends: tuple[Channel, Channel]) -> None:
    """They are the same files under other numbers, not inherited by programs that the receiver starts."""
    ours, theirs = ends
    reading, writing = os.pipe()
    ours.send({"fds": 2}, [reading, writing])
    received = theirs.receive(5)
    assert len(received.fds) == 2
    os.write(received.fds[1], b"through")
    assert os.read(reading, 100) == b"through"
    assert not any(os.get_inheritable(fd) for fd in received.fds)
    for fd in (reading, writing, *received.fds):
        os.close(fd)


def test_descriptors_are_not_given_to_an_earlier_message(ends: tuple[Channel, Channel]) -> None:
    """One read may bring a message without descriptors together with those of the next."""
    ours, theirs = ends
    with open("/dev/null", "rb") as one, open("/dev/zero", "rb") as other:
        ours.send({"n": 1})
        ours.send({"n": 2}, [one.fileno()])
        ours.send({"n": 3})
        ours.send({"n": 4}, [other.fileno(), one.fileno()])
        received = [theirs.receive(5) for _ in range(4)]
    assert [(each.message["n"], len(each.fds)) for each in received] == [(1, 0), (2, 1), (3, 0), (4, 2)]
    assert os.readlink(f"/proc/self/fd/{received[3].fds[0]}") == "/dev/zero"
    for each in received:
        for fd in each.fds:
            os.close(fd)


def test_descriptors_that_nobody_took_are_closed(ends: tuple[Channel, Channel]) -> None:
    """A channel that closes in the middle of a message leaks no descriptor."""
    n_before = n_open()
    ours, theirs = Channel.pair()
    with theirs, open("/dev/null", "rb") as file:
        socket.send_fds(theirs, [frame({"n": 1}, 1)[:4]], [file.fileno()])
        with pytest.raises(ChannelTimeout):
            ours.receive(0)
    ours.close()
    assert n_open() == n_before


def test_a_peer_that_closes_is_noticed(ends: tuple[Channel, Channel]) -> None:
    """Messages sent before are still read; then both directions say that the other end is gone."""
    ours, theirs = ends
    theirs.send({"last": 1})
    theirs.close()
    assert ours.receive(5).message == {"last": 1}
    with pytest.raises(ChannelClosed):
        ours.receive(5)
    with pytest.raises(ChannelClosed):
        ours.send({"n": 1})


def test_a_peer_that_closes_in_a_message_is_noticed(raw: tuple[Channel, socket.socket]) -> None:
    """Half a message is none."""
    channel, peer = raw
    peer.sendall(frame({"n": 1})[:-1])
    peer.close()
    with pytest.raises(ChannelClosed):
        channel.receive(5)


def test_close_wakes_a_thread_that_waits(ends: tuple[Channel, Channel]) -> None:
    """A reader inside receive() sees the end at once, without a timeout of its own."""
    ours, _ = ends
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(ChannelClosed):
            ours.receive()
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    ours.close()
    assert ended.wait(10)
    thread.join(10)


def test_a_closed_channel_says_so() -> None:
    """Neither call touches a descriptor whose number may be another file's by now; closing again is fine."""
    ours, theirs = Channel.pair()
    theirs.close()
    ours.close()
    ours.close()
    with pytest.raises(ChannelClosed):
        ours.receive(0)
    with pytest.raises(ChannelClosed):
        ours.send({})


def test_what_announces_too_much_is_a_broken_peer(raw: tuple[Channel, socket.socket]) -> None:
    """No memory is set aside for a length that no message of ours has."""
    channel, peer = raw
    peer.sendall(HEADER.pack(MAX_FRAME_BYTES + 1, 0))
    with pytest.raises(ChannelClosed, match="announced"):
        channel.receive(5)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b""])
def test_what_is_no_json_is_a_broken_peer(raw: tuple[Channel, socket.socket], body: bytes) -> None:
    """A frame that is not understood ends the conversation; it is no crash of ours."""
    channel, peer = raw
    peer.sendall(HEADER.pack(len(body), 0) + body)
    with pytest.raises(ChannelClosed, match="no JSON"):
        channel.receive(5)


def test_too_large_a_message_is_refused_before_it_is_sent(ends: tuple[Channel, Channel]) -> None:
    """The sender learns of it, and the channel is still good."""
    ours, theirs = ends
    with pytest.raises(ValueError, match="over the limit"):
        ours.send({"text": "x" * MAX_FRAME_BYTES})
    with pytest.raises(ValueError, match="descriptors"):
        ours.send({}, [0, 0, 0, 0, 0])
    ours.send({"n": 1})
    assert theirs.receive(5).message == {"n": 1}
