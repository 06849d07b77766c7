import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

import mido
import mido.ports
import pytest

from desmezcla.errors import ParameterError
from desmezcla.live.controls.midi import MidiControl, gain_of, input_names, read_map
from desmezcla.live.mixer import Mixer

PORTS = ["Midi Through:Midi Through Port-0 14:0", "nanoKONTROL2:nanoKONTROL2 CTRL 20:0", "nano 2"]
NANO = PORTS[1]


class FakeInput(mido.ports.BaseInput):  # type: ignore[misc]
    """A port to which a test gives messages; `broken` makes it fail as an unplugged one may."""

    open: ClassVar[dict[str, "FakeInput"]] = {}
    broken: Exception | None = None

    def _open(self, **_: Any) -> None:
        if self.name == "nano 2":
            raise OSError("unknown port or busy")
        self.open[self.name] = self

    def _close(self) -> None:
        del self.open[self.name]

    def _receive(self, block: bool = True) -> None:
        if self.broken:
            raise self.broken


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = ModuleType("fake_midi")
    module.Input = FakeInput  # type: ignore[attr-defined]
    module.get_devices = lambda **_: [  # type: ignore[attr-defined]
        {"name": name, "is_input": True, "is_output": False} for name in PORTS
    ]
    monkeypatch.setitem(sys.modules, "fake_midi", module)
    before = mido.backend
    mido.set_backend("fake_midi")
    yield module
    mido.set_backend(before)


@pytest.fixture
def mixer() -> Mixer:
    return Mixer(("vocals", "drums"), 44100)


def change(control: int, value: int, channel: int = 0) -> mido.Message:
    return mido.Message("control_change", channel=channel, control=control, value=value)


def wait_for_gain(mixer: Mixer, stem: str, gain: float) -> None:
    for _ in range(3000):
        if mixer.gains()[stem] == gain:
            return
        time.sleep(0.01)
    raise AssertionError(f"{mixer.gains()}")


@pytest.mark.usefixtures("backend")
def test_faders_set_gains(mixer: Mixer) -> None:
    with MidiControl(mixer, NANO, {"vocals": 7, "drums": 8}) as control:
        assert control.port == NANO
        port = FakeInput.open[NANO]
        for message in (change(7, 0), change(8, 50), change(7, 127, channel=9)):
            port._messages.append(message)
        wait_for_gain(mixer, "vocals", 1.27)
        assert mixer.gains()["drums"] == 0.5
    assert FakeInput.open == {}, "the port is closed"


def test_the_curve_of_a_fader() -> None:
    assert [gain_of(value) for value in (0, 50, 100, 127)] == [0.0, 0.5, 1.0, 1.27]


@pytest.mark.usefixtures("backend")
def test_other_messages_change_nothing(mixer: Mixer) -> None:
    with MidiControl(mixer, NANO, {"vocals": 7}) as control:
        for message in (
            change(8, 0),
            mido.Message("note_on", note=7, velocity=0),
            mido.Message("pitchwheel", pitch=0),
            mido.Message("sysex", data=[7, 0]),
        ):
            control.handle(message)
    assert mixer.gains() == {"vocals": 1.0, "drums": 1.0}


@pytest.mark.usefixtures("backend")
def test_a_part_of_a_name_will_do_if_it_is_the_only_one(mixer: Mixer) -> None:
    with MidiControl(mixer, "nanokontrol2", {"vocals": 7}) as control:
        assert control.port == NANO
    with pytest.raises(ParameterError, match="is the name of several ports") as raised:
        MidiControl(mixer, "nano", {"vocals": 7})
    assert all(name in str(raised.value) for name in PORTS)


@pytest.mark.usefixtures("backend")
def test_a_port_that_is_not_there_is_told_with_those_that_are(mixer: Mixer) -> None:
    with pytest.raises(ParameterError, match="is no MIDI port") as raised:
        MidiControl(mixer, "launchpad", {"vocals": 7})
    assert all(name in str(raised.value) for name in PORTS)


def test_no_ports_at_all_is_told(mixer: Mixer, backend: Any) -> None:
    backend.get_devices = lambda **_: []
    with pytest.raises(ParameterError, match="none; is the controller plugged in"):
        MidiControl(mixer, "launchpad", {"vocals": 7})


@pytest.mark.usefixtures("backend")
def test_a_port_that_is_in_use_is_told(mixer: Mixer) -> None:
    with pytest.raises(ParameterError, match=r"'nano 2' cannot be opened .*busy"):
        MidiControl(mixer, "nano 2", {"vocals": 7})


@pytest.mark.usefixtures("backend")
def test_an_unknown_stem_is_refused(mixer: Mixer) -> None:
    with pytest.raises(ParameterError, match="stem='piano'"):
        MidiControl(mixer, NANO, {"piano": 7})
    assert FakeInput.open == {}


@pytest.mark.usefixtures("backend")
def test_a_port_that_goes_away_is_told_once(mixer: Mixer, caplog: pytest.LogCaptureFixture) -> None:
    with MidiControl(mixer, NANO, {"vocals": 7}) as control:
        FakeInput.open[NANO].broken = OSError("device is gone")
        control._thread.join(30)
    assert [record.getMessage() for record in caplog.records] == [
        f"midi: {NANO!r} is not heard any more: device is gone; the music goes on"
    ]


def test_a_missing_backend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mido, "get_input_names", mido.Backend("no_such_backend").get_input_names)
    with pytest.raises(ParameterError, match=r"pip install 'desmezcla\[midi\]'"):
        input_names()


def test_without_mido_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(ParameterError, match=r"pip install 'desmezcla\[midi\]'"):
        input_names()


def test_a_backend_without_a_system_to_talk_to_is_told(mixer: Mixer, backend: Any) -> None:
    def fails(**_: Any) -> None:
        raise RuntimeError("no sequencer")

    backend.get_devices = fails
    with pytest.raises(ParameterError, match=r"system's MIDI cannot be used .no sequencer"):
        MidiControl(mixer, NANO, {"vocals": 7})


def test_the_map_is_read() -> None:
    assert read_map("vocals=7,drums=8") == {"vocals": 7, "drums": 8}
    assert read_map(" vocals = 0 , drums = 127 ") == {"vocals": 0, "drums": 127}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "as in vocals=7"),
        ("vocals", "as in vocals=7"),
        ("vocals=", "as in vocals=7"),
        ("=7", "as in vocals=7"),
        ("vocals=128", "as in vocals=7"),
        ("vocals=-1", "as in vocals=7"),
        ("vocals=7.5", "as in vocals=7"),
        ("vocals=²", "as in vocals=7"),
        ("vocals=7,", "as in vocals=7"),
        ("vocals=7,vocals=8", "each stem and each control once"),
        ("vocals=7,drums=7", "each stem and each control once"),
    ],
)
def test_a_wrong_map_is_refused(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        read_map(text)
