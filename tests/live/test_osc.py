import logging
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from desmezcla.errors import ParameterError
from desmezcla.live.controls import osc
from desmezcla.live.controls.osc import LOOPBACK, OscControl, read_address
from desmezcla.live.mixer import Mixer

STEMS = ("vocals", "drums")


@pytest.fixture
def mixer() -> Mixer:
    return Mixer(STEMS, 44100)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osc, "_POLL_S", 0.01)


@pytest.fixture
def control(mixer: Mixer) -> Iterator[OscControl]:
    with OscControl(mixer, LOOPBACK, 0) as control:
        yield control


def message(address: str, *values: Any) -> bytes:
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value)
    datagram: bytes = builder.build().dgram
    return datagram


def follow(control: OscControl, address: str, *values: Any) -> list[bytes]:
    return list(control.handle(message(address, *values)))


def send(control: OscControl, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for datagram in datagrams:
            client.sendto(datagram, (LOOPBACK, control.port))


def wait_for(control: OscControl, messages: int) -> None:
    for _ in range(3000):
        if control.messages + control.wrong_messages >= messages:
            return
        time.sleep(0.01)
    raise AssertionError("waited for 30 s")


def test_messages_of_another_program_are_followed(control: OscControl, mixer: Mixer) -> None:
    send(
        control,
        message("/desmezcla/gain", "vocals", 0.25),
        message("/desmezcla/drums/gain", 2),
        message("/desmezcla/drums/mute", 1),
        message("/desmezcla/vocals/solo"),
    )
    wait_for(control, 4)
    assert mixer.gains() == {"vocals": 0.25, "drums": 2.0}
    assert (sorted(mixer.muted), mixer.soloed) == (["drums"], "vocals")
    assert (control.messages, control.wrong_messages) == (4, 0)


def test_the_gains_are_answered_to_the_sender(control: OscControl, mixer: Mixer) -> None:
    mixer.set_gain("drums", 0.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.sendto(message("/desmezcla/gains"), (LOOPBACK, control.port))
        answer = OscMessage(client.recv(4096))
    assert answer.address == "/desmezcla/gains"
    assert answer.params == ["vocals", 1.0, "drums", 0.5]


def test_a_bundle_is_several_messages(control: OscControl, mixer: Mixer) -> None:
    bundle = OscBundleBuilder(IMMEDIATELY)
    bundle.add_content(OscMessage(message("/desmezcla/vocals/gain", 0.5)))
    bundle.add_content(OscMessage(message("/desmezcla/nothing")))
    bundle.add_content(OscMessage(message("/desmezcla/drums/gain", 0.25)))
    list(control.handle(bundle.build().dgram))
    assert mixer.gains() == {"vocals": 0.5, "drums": 0.25}
    assert (control.messages, control.wrong_messages) == (2, 1)


@pytest.mark.parametrize(("value", "muted"), [(1, True), (0, False), (True, True), (0.0, False)])
def test_mute(control: OscControl, mixer: Mixer, value: Any, muted: bool) -> None:
    mixer.mute("vocals", not muted)
    follow(control, "/desmezcla/vocals/mute", value)
    assert ("vocals" in mixer.muted) == muted


def test_solo_ends_with_its_own_button_only(control: OscControl, mixer: Mixer) -> None:
    soloed = []
    for stem, value in [("vocals", 1), ("drums", 1), ("vocals", 0), ("drums", 0.0)]:
        follow(control, f"/desmezcla/{stem}/solo", value)
        soloed.append(mixer.soloed)
    assert soloed == ["vocals", "drums", "drums", None]
    assert control.wrong_messages == 0


WRONG = [
    ("/", ()),
    ("/gain", ("vocals", 1.0)),
    ("/desmezcla", ()),
    ("/desmezcla/gain", ()),
    ("/desmezcla/gain", ("vocals",)),
    ("/desmezcla/gain", (1.0, "vocals")),
    ("/desmezcla/gain", ("vocals", 1.0, 2.0)),
    ("/desmezcla/gain", ("piano", 1.0)),
    ("/desmezcla/gain", ("vocals", "loud")),
    ("/desmezcla/gain", ("vocals", None)),
    ("/desmezcla/gain", ("vocals", [1.0])),
    ("/desmezcla/vocals/gain", (5.0,)),
    ("/desmezcla/vocals/gain", (-0.5,)),
    ("/desmezcla/vocals/gain", (float("nan"),)),
    ("/desmezcla/vocals/gain", (float("inf"),)),
    ("/desmezcla/vocals/gain", ()),
    ("/desmezcla/vocals/mute", ()),
    ("/desmezcla/vocals/mute", ("on",)),
    ("/desmezcla/piano/mute", (1,)),
    ("/desmezcla/piano/solo", ()),
    ("/desmezcla/piano/solo", (0,)),
    ("/desmezcla/vocals/solo", (1, 2)),
    ("/desmezcla/vocals/solo/more", (1,)),
    ("/desmezcla/gains", (1,)),
]


@pytest.mark.parametrize(("address", "values"), WRONG)
def test_a_wrong_message_is_counted_and_logged_and_changes_nothing(
    control: OscControl,
    mixer: Mixer,
    caplog: pytest.LogCaptureFixture,
    address: str,
    values: tuple[Any, ...],
) -> None:
    assert follow(control, address, *values) == []
    assert (control.messages, control.wrong_messages) == (0, 1)
    assert (mixer.gains(), mixer.muted) == ({"vocals": 1.0, "drums": 1.0}, frozenset())
    assert mixer.soloed is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert address in record.getMessage()


def test_a_flood_of_wrong_messages_does_not_flood_the_log(
    control: OscControl, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        follow(control, "/desmezcla/piano/gain", 1.0)
    assert control.wrong_messages == 100
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 10
    assert "only counted" in caplog.records[9].getMessage()


def test_garbage_does_not_change_how_others_log(
    mixer: Mixer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    with OscControl(mixer, LOOPBACK, 0) as control:
        list(control.handle(b"/desmezcla/gain\0,X\0\0"))
        assert control.wrong_messages == 1
    assert root.handlers == []


BEGINNINGS = st.sampled_from([b"", b"/desmezcla/gain\0,", b"#bundle\0" + bytes(8), b"/\0\0\0,sf"])


@given(beginning=BEGINNINGS, garbage=st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_counted_and_harms_nobody(
    control: OscControl, mixer: Mixer, beginning: bytes, garbage: bytes
) -> None:
    before = control.messages + control.wrong_messages
    list(control.handle(beginning + garbage))
    assert control.messages + control.wrong_messages >= before
    assert mixer.gains() == {"vocals": 1.0, "drums": 1.0}


def test_after_garbage_it_still_listens(control: OscControl, mixer: Mixer) -> None:
    send(control, b"", b"garbage", b"/desmezcla/gain", b"#bundle\0", b"\xff" * 1000)
    send(control, message("/desmezcla/gains"))  # and who asked is gone before the answer comes
    send(control, message("/desmezcla/vocals/gain", 0.5))
    wait_for(control, 7)
    assert mixer.gains()["vocals"] == 0.5
    assert control.wrong_messages == 5


def test_a_port_that_is_taken_is_told(control: OscControl, mixer: Mixer) -> None:
    with pytest.raises(ParameterError, match=f"osc='{LOOPBACK}:{control.port}' cannot be listened"):
        OscControl(mixer, LOOPBACK, control.port)


def test_once_closed_the_port_is_free(mixer: Mixer) -> None:
    with OscControl(mixer, LOOPBACK, 0) as first:
        port = first.port
    with OscControl(mixer, LOOPBACK, port) as second:
        assert second.port == port


def test_an_address_that_is_not_of_this_machine_is_told(mixer: Mixer) -> None:
    with pytest.raises(ParameterError, match=r"192\.0\.2\.1:9000"):
        OscControl(mixer, "192.0.2.1", 9000)


def test_without_python_osc_it_is_told(mixer: Mixer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythonosc", None)
    with pytest.raises(ParameterError, match=r"pip install 'desmezcla\[live\]'"):
        OscControl(mixer, LOOPBACK, 0)


def test_by_default_only_this_machine_is_listened_to() -> None:
    assert read_address("9000") == ("127.0.0.1", 9000)


@pytest.mark.parametrize(
    "text", ["", "loud", "65536", "-1", ":9000", "[]:9000", "host:", "1.5", "²"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="HOST:PORT"):
        read_address(text)
