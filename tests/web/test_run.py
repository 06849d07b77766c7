"""Listening at an address, and serving until the end."""

import socket
import subprocess
import sys

import httpx
import pytest

from desmezcla.errors import ParameterError
from desmezcla.web.run import address_of, bind

SERVER = """
from desmezcla.web.app import make_app
from desmezcla.web.run import address_of, bind, run
app = make_app("test", host="127.0.0.1", token=None, static={})
listening = bind("127.0.0.1", 0)
print(address_of(listening, "127.0.0.1"), flush=True)
run(app, listening)
"""


def test_a_taken_port_is_refused_with_a_remedy() -> None:
    with bind("127.0.0.1", 0) as first, pytest.raises(ParameterError, match="choose another"):
        bind("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 80), ("127.0.0.1", 70000)])
def test_an_impossible_address_is_refused(host: str, port: int) -> None:
    with pytest.raises(ParameterError, match=f"--port {port}"):
        bind(host, port)


def test_addresses_are_those_that_browsers_open() -> None:
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert address_of(listening, "localhost") == f"http://localhost:{port}/"
        assert address_of(listening, "::1") == f"http://[::1]:{port}/"


def test_a_server_answers_and_ends_when_it_is_asked_to() -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVER], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert httpx.get(address + "static/web/base.css").status_code == 200
        process.terminate()
        assert process.wait(20) in (0, -15)
    port = int(address.rstrip("/").rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
