import math
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from desmezcla.errors import ParameterError
from desmezcla.live.mixer import Level, Mixer

STEMS = ("vocals", "drums", "bass", "other")
RATE = 1000
RAMP_S = 0.05
RAMP = 50  # samples


def noise(samples: int = 400, seed: int = 0) -> NDArray[np.float32]:
    shape = (len(STEMS), 2, samples)
    return np.random.default_rng(seed).uniform(-0.2, 0.2, shape).astype(np.float32)


def ones(samples: int) -> NDArray[np.float32]:
    """Return stems of which the first is 1 and the others nothing: the output is its gain."""
    stems = np.zeros((len(STEMS), 1, samples), np.float32)
    stems[0] = 1
    return stems


def mixer(**gains: float) -> Mixer:
    return Mixer(STEMS, RATE, gains, ramp_s=RAMP_S)


def test_the_output_is_the_sum_of_the_stems_with_their_gains() -> None:
    stems = noise()
    np.testing.assert_array_equal(mixer().mix(stems), stems.sum(axis=0))
    gains = {"vocals": 0.0, "drums": 1.5, "bass": 4.0}
    wanted = 1.5 * stems[1] + 4 * stems[2] + stems[3]
    np.testing.assert_allclose(mixer(**gains).mix(stems), wanted, atol=1e-6)


def test_the_gains_of_the_beginning_are_there_from_the_first_sample() -> None:
    assert mixer(vocals=0.0).mix(ones(1))[0, 0] == 0


def test_the_stems_are_left_as_they_are() -> None:
    stems = noise()
    before = stems.copy()
    mix = mixer()
    mix.set_gain("vocals", 0.0)
    mix.mix(stems)
    np.testing.assert_array_equal(stems, before)


def test_a_gain_goes_to_its_new_value_in_a_straight_line() -> None:
    mix = mixer(vocals=1.0)
    mix.mix(ones(7))
    mix.set_gain("vocals", 2.0)
    heard = mix.mix(ones(RAMP + 10))[0]
    np.testing.assert_allclose(heard[:RAMP], 1 + np.arange(1, RAMP + 1) / RAMP, rtol=1e-6)
    np.testing.assert_array_equal(heard[RAMP - 1 :], 2)


def test_a_change_in_the_middle_of_a_ramp_goes_on_from_there() -> None:
    mix = mixer(vocals=1.0)
    mix.set_gain("vocals", 0.0)
    first = mix.mix(ones(RAMP // 2))[0]
    mix.set_gain("vocals", 2.0)
    second = mix.mix(ones(RAMP))[0]
    assert first[-1] == pytest.approx(0.5)
    assert second[0] == pytest.approx(0.5 + 1.5 / RAMP)
    assert second[-1] == 2.0


def test_a_change_of_one_stem_leaves_the_ramp_of_another_as_it_is() -> None:
    mix, alone = mixer(), mixer()
    for one in (mix, alone):
        one.set_gain("vocals", 0.0)
        one.mix(ones(20))
    mix.set_gain("drums", 3.0)
    np.testing.assert_array_equal(mix.mix(ones(60)), alone.mix(ones(60)))


Changes = list[tuple[int, str, float]]
CHANGES = st.lists(
    st.tuples(st.integers(0, 300), st.sampled_from(STEMS), st.floats(0, 4, allow_subnormal=False)),
    max_size=6,
)


@given(changes=CHANGES, cuts=st.lists(st.integers(0, 300), max_size=30))
def test_any_cut_into_blocks_gives_the_same_samples(changes: Changes, cuts: list[int]) -> None:
    stems = noise(300)

    def run(edges: list[int]) -> NDArray[np.float32]:
        mix = mixer()
        at, heard = 0, []
        for edge in [*sorted({*edges, *(when for when, _, _ in changes)}), 300]:
            heard.append(mix.mix(stems[..., at:edge]))
            at = edge
            for when, stem, gain in changes:
                if when == edge:
                    mix.set_gain(stem, gain)
        return np.concatenate(heard, axis=1)

    np.testing.assert_array_equal(run(cuts), run([]))


@given(changes=CHANGES)
def test_no_gain_ever_jumps(changes: Changes) -> None:
    """Whatever is set and when: from one sample to the next, at most the whole way by the ramp."""
    mix = mixer()
    heard = []
    for index in range(320):
        for when, stem, gain in changes:
            if when == index:
                mix.set_gain(stem, gain)
        heard.append(mix.mix(ones(1))[0, 0])
    assert np.abs(np.diff([1.0, *heard])).max() <= 4 / RAMP + 1e-6


def test_muting_and_soloing_keep_the_gains() -> None:
    stems = noise(RAMP)

    def steady() -> NDArray[np.float32]:
        mix.mix(stems)
        return mix.mix(stems)

    mix = mixer(drums=0.5)
    mix.mute("vocals", True)
    np.testing.assert_allclose(steady(), 0.5 * stems[1] + stems[2] + stems[3], atol=1e-6)
    mix.solo("drums")
    np.testing.assert_array_equal(steady(), np.float32(0.5) * stems[1])
    mix.solo("vocals")
    assert not steady().any(), "muted, even alone"
    mix.mute("vocals", False)
    np.testing.assert_array_equal(steady(), stems[0])
    mix.solo(None)
    assert (mix.muted, mix.soloed) == (frozenset(), None)
    assert mix.gains() == {"vocals": 1.0, "drums": 0.5, "bass": 1.0, "other": 1.0}


def test_a_reset_returns_to_the_gains_of_the_beginning() -> None:
    mix = mixer(drums=0.5)
    mix.set_gain("drums", 2.0)
    mix.set_gain("bass", 0.0)
    mix.mute("vocals", True)
    mix.solo("other")
    mix.reset()
    assert mix.gains() == {"vocals": 1.0, "drums": 0.5, "bass": 1.0, "other": 1.0}
    assert (mix.muted, mix.soloed) == (frozenset(), None)
    mix.mix(noise(RAMP))
    np.testing.assert_array_equal(mix.mix(noise()), mixer(drums=0.5).mix(noise()))


def test_levels_of_what_is_heard() -> None:
    mix = mixer(drums=0.5, bass=0.0)
    time = np.arange(1000) / RATE
    stems = np.zeros((4, 2, 1000), np.float32)
    stems[0] = 1.0  # a constant: its root mean square is its peak
    stems[1] = np.sin(2 * np.pi * 10 * time)
    stems[2] = 1.0
    for start in range(0, 1000, 130):
        mix.mix(stems[..., start : start + 130])
    levels = mix.levels()
    assert levels["vocals"] == Level(0.0, 0.0)
    assert levels["drums"].peak_db == pytest.approx(20 * math.log10(0.5), abs=0.01)
    assert levels["drums"].rms_db == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.01)
    assert levels["bass"] == levels["other"] == Level(-math.inf, -math.inf)
    assert levels["output"].peak_db == pytest.approx(20 * math.log10(1.5), abs=0.01)
    mix.mix(stems[..., :1] * 0.1)
    assert mix.levels()["vocals"].peak_db == pytest.approx(-20, abs=0.01), "since the last call"
    assert mix.levels()["vocals"] == Level(-math.inf, -math.inf)


def test_no_block_is_lost_to_the_meters_when_they_are_read_in_between() -> None:
    """The reader takes what it finds at any time; in the end it has seen every sample once."""
    mix = mixer()
    stems = ones(10)
    blocks, energy = 2000, 0.0
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=lambda: [mix.mix(stems) for _ in range(blocks)])
        thread.start()
        taken = []
        while thread.is_alive() or mix._meter:
            if mix._meter:
                taken.append(mix._meter.popleft())
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    energy = sum(float(measured.squares[0]) for measured in taken)
    assert energy == blocks * 10
    assert sum(measured.samples for measured in taken) == blocks * 10


def test_what_is_beyond_full_scale_is_counted_and_left() -> None:
    mix = mixer(vocals=2.0)
    stems = ones(10)
    stems[0, 0, 5:] = 0.5
    np.testing.assert_array_equal(mix.mix(stems)[0], [2.0] * 5 + [1.0] * 5)
    assert mix.clipped_samples == 5


@pytest.mark.parametrize("gain", [-0.1, 4.1, math.nan, math.inf, -math.inf])
def test_a_gain_out_of_range_is_refused(gain: float) -> None:
    mix = mixer()
    with pytest.raises(ParameterError, match=r"of drums must be from 0 to 4"):
        mix.set_gain("drums", gain)
    with pytest.raises(ParameterError, match=r"of drums must be from 0 to 4"):
        mixer(drums=gain)
    assert mix.gains()["drums"] == 1.0


def test_an_unknown_stem_is_refused_with_those_that_there_are() -> None:
    mix = mixer()
    message = r"stem='piano' must be one of vocals, drums, bass, other"
    for change in (
        lambda: mix.set_gain("piano", 1.0),
        lambda: mix.mute("piano", True),
        lambda: mix.solo("piano"),
        lambda: mixer(piano=1.0),
    ):
        with pytest.raises(ParameterError, match=message):
            change()


@pytest.mark.parametrize(
    "arguments",
    [
        {"stems": ()},
        {"stems": ("vocals", "vocals")},
        {"stems": ("vocals", "output")},
        {"sample_rate": 0},
        {"ramp_s": -1.0},
        {"ramp_s": math.nan},
    ],
)
def test_what_makes_no_mixer_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        Mixer(**{"stems": STEMS, "sample_rate": RATE, **arguments})  # type: ignore[arg-type]


def test_a_block_of_another_shape_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"\[4, C, n\]"):
        mixer().mix(np.zeros((3, 2, 10), np.float32))


def test_an_empty_block_changes_nothing() -> None:
    mix = mixer()
    mix.set_gain("vocals", 0.0)
    assert mix.mix(np.zeros((4, 2, 0), np.float32)).shape == (2, 0)
    assert mix.mix(ones(1))[0, 0] == pytest.approx(1 - 1 / RAMP)
