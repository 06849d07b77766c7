"""The live tab's line: sound in, mixed stems out, sample by sample in step."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from desmezcla.inference.realtime import StreamSeparator
from desmezcla.studio.live_process import read_message, write_message
from desmezcla.studio.settings import Settings

Audio = NDArray[np.float32]
ADDRESS = "ws://127.0.0.1/api/live"
BLOCK = 1024
START: dict[str, Any] = {"model": "realtime", "sample_rate": 44100, "channels": 2, "gains": {}}


def noise(blocks: int) -> Audio:
    """Return sound. Shape: returns `[n, C]`."""
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((blocks * BLOCK, 2))).astype(np.float32)


def exchanged(socket: WebSocketTestSession, sound: Audio) -> Audio:
    """Send sound and return what comes back. Shape: both `[n, C]`."""
    back = []
    for start in range(0, len(sound), BLOCK):
        socket.send_bytes(sound[start : start + BLOCK].tobytes())
        back.append(np.frombuffer(socket.receive_bytes(), np.float32).reshape(-1, 2))
    return np.concatenate(back)


def test_what_comes_back_is_the_mix_of_the_stems_in_step(client: TestClient) -> None:
    sound = noise(12)
    gains = {"vocals": 0.0, "drums": 2.0}
    with client.websocket_connect(ADDRESS) as socket:
        socket.send_json(START | {"gains": gains})
        facts = socket.receive_json()
        back = exchanged(socket, sound)
    separator = StreamSeparator("realtime")
    assert facts["stems"] == list(separator.stems)
    assert facts["latency_samples"] == separator.latency_samples
    assert len(sound) - len(back) <= facts["latency_samples"]
    stems = separator.process(np.ascontiguousarray(sound.T))  # [S, C, n]
    wanted = np.array([gains.get(stem, 1.0) for stem in separator.stems])
    expected = np.einsum("s,scn->nc", wanted, stems)
    np.testing.assert_allclose(back, expected[: len(back)], atol=1e-5)


def test_gains_change_while_it_runs(client: TestClient) -> None:
    with client.websocket_connect(ADDRESS) as socket:
        socket.send_json(START)
        stems = socket.receive_json()["stems"]
        assert np.abs(exchanged(socket, noise(8))[-BLOCK:]).max() > 0
        socket.send_json({"gains": dict.fromkeys(stems, 0.0)})
        assert np.abs(exchanged(socket, noise(8))[-BLOCK:]).max() == 0


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (START | {"model": "baseline"}, "cannot run live; choose from"),
        (START | {"model": "../x"}, "cannot run live"),
        (START | {"sample_rate": 1}, "sample_rate"),
        (START | {"channels": 9}, "channels"),
        (START | {"gains": {"vocals": -1}}, "gains"),
        (START | {"gains": {"kazoo": 1}}, "no stem 'kazoo'"),
        (START | {"more": 1}, "more"),
        ("nonsense", "not understood"),
    ],
)
def test_a_wrong_beginning_is_refused(client: TestClient, first: Any, words: str) -> None:
    with client.websocket_connect(ADDRESS) as socket:
        socket.send_text(first if isinstance(first, str) else json.dumps(first))
        assert words in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


@pytest.mark.parametrize("wrong", [b"abc", bytes(2 << 20)])
def test_a_wrong_block_ends_the_session(client: TestClient, wrong: bytes) -> None:
    with client.websocket_connect(ADDRESS) as socket:
        socket.send_json(START)
        socket.receive_json()
        socket.send_bytes(wrong)
        assert "whole samples" in socket.receive_json()["error"]


def test_there_is_one_session_at_a_time(
    make_client: Callable[..., TestClient], settings: Settings
) -> None:
    with (
        make_client(settings) as client,
        client.websocket_connect(ADDRESS) as first,
    ):
        first.send_json(START)
        first.receive_json()
        with client.websocket_connect(ADDRESS) as second:
            assert "run already" in second.receive_json()["error"]
        assert exchanged(first, noise(3)).shape[1] == 2


def test_a_page_elsewhere_cannot_listen(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(ADDRESS, headers={"Origin": "https://evil.example"}),
    ):
        pass


def test_the_process_says_what_is_wrong_and_ends_with_its_input() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "desmezcla.studio.live_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        write_message(process.stdin, b"j", json.dumps(START | {"model": "baseline"}).encode())
        process.stdin.close()
        message = read_message(process.stdout)
        assert message is not None
        assert "looks ahead and cannot run on a stream" in json.loads(message[1])["error"]
        assert read_message(process.stdout) is None
    assert process.returncode == 0
