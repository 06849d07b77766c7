"""The instruments: every key plays in tune, at its level, and only where there are notes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from desmezcla.datasets.render.instruments import INSTRUMENTS, play
from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.score import PIECES, Hit, Note, Part, Song
from desmezcla.errors import ParameterError

Audio = NDArray[np.float32]

RATE = 44100
KITS = tuple(key for key in INSTRUMENTS if key.startswith("kit_") or key == "percussion")
TONAL = tuple(key for key in INSTRUMENTS if key not in (*KITS, "noise_riser"))
MATERIAL = Path(__file__).parents[4] / "shared" / "material"


@pytest.fixture(scope="module")
def material() -> Material:
    if not (MATERIAL / "index.tsv").is_file():
        pytest.skip("the material folder ../shared/material is not here")
    return Material(MATERIAL)


def render(
    key: str,
    events: tuple[Note, ...] | tuple[Hit, ...],
    *,
    seconds: float = 2.0,
    seed: int = 0,
    material: Material | None = None,
    rate: int = RATE,
) -> Audio:
    part = Part("part", "drums" if key in KITS else "other", "comp", key, events)
    song = Song("pop", 120.0, 4, 0, "major", seconds, (), (), (part,))
    rng = np.random.default_rng(seed)
    samples = round(seconds * rate)
    return play(part, song, rng=rng, material=material, sample_rate=rate, samples=samples)


def phrase(key: str) -> tuple[Note, ...] | tuple[Hit, ...]:
    if key in KITS:
        return tuple(Hit(0.4 + 0.05 * i, piece, 0.3 + 0.035 * i) for i, piece in enumerate(PIECES))
    low = 33 if "bass" in key else 57
    return tuple(
        Note(0.4 + 0.2 * i, 0.1 + 0.1 * (i % 2), low + (0, 4, 7, 12)[i], 0.5 + 0.15 * i)
        for i in range(4)
    )


def active_db(audio: Audio) -> float:
    """Return the level of the frames that are within 35 dB of the loudest."""
    frames = audio[:, : audio.shape[1] // 4410 * 4410].reshape(2, -1, 4410)
    power = np.mean(frames.astype(np.float64) ** 2, axis=(0, 2))
    return float(10 * np.log10(np.mean(power[power >= power.max() * 10**-3.5])))


def cents_from(audio: Audio, pitch: float, rate: int = RATE) -> float:
    """Return how far the harmonics lie from those of a pitch: the best of a comb of four teeth."""
    mono = audio.mean(axis=0)
    size = 1 << (4 * len(mono) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono)), size))
    cents = np.arange(-120, 121)
    hz = 440 * 2 ** ((pitch - 69) / 12 + cents / 1200)
    bins = np.round(np.arange(1, 5)[:, None] * hz * size / rate).astype(int)
    return float(cents[np.argmax(spectrum[np.minimum(bins, size // 2)].sum(axis=0))])


def check(audio: Audio, key: str) -> None:
    assert audio.shape == (2, 2 * RATE)
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all()
    assert -26 < active_db(audio) < -16
    # The surface noise of a worn record is faded in over a twentieth of a second.
    assert np.abs(audio[:, : round(0.34 * RATE)]).max() < 1e-5
    assert np.abs(audio.mean(axis=1)).max() < 3e-4
    assert np.abs(audio[:, -1]).max() < 1e-3


@pytest.mark.parametrize("key", INSTRUMENTS)
def test_plays_at_its_level_without_offset_and_only_where_there_are_events(key: str) -> None:
    check(render(key, phrase(key)), key)


@pytest.mark.parametrize("key", INSTRUMENTS)
def test_plays_with_recordings(key: str, material: Material) -> None:
    check(render(key, phrase(key), seed=3, material=material), key)


@pytest.mark.parametrize("key", TONAL)
@pytest.mark.parametrize("recorded", [False, True])
def test_is_in_tune(key: str, recorded: bool, request: pytest.FixtureRequest) -> None:
    chosen = request.getfixturevalue("material") if recorded else None
    pitch = 36.0 if "bass" in key else 64.0
    audio = render(key, (Note(0.1, 1.2, pitch, 0.8),), seconds=1.4, seed=1, material=chosen)
    # Without the attack; detuned voices and vibrato average out over a second.
    assert abs(cents_from(audio[:, round(0.25 * RATE) : round(1.3 * RATE)], pitch)) <= 20


@pytest.mark.parametrize("key", ["kit_acoustic", "bass_finger", "piano", "supersaw", "violin"])
def test_same_seed_same_bytes_and_another_seed_another_instrument(
    key: str, material: Material
) -> None:
    first = render(key, phrase(key), seed=5, material=material)
    assert np.array_equal(first, render(key, phrase(key), seed=5, material=material))
    assert not np.allclose(first, render(key, phrase(key), seed=6, material=material), atol=1e-3)


@given(
    st.lists(
        st.builds(
            Note,
            start_s=st.floats(0, 1.2),
            duration_s=st.floats(0.01, 1.0),
            pitch=st.integers(24, 100).map(float),
            velocity=st.floats(0.05, 1.0),
        ),
        max_size=4,
    ),
    st.sampled_from([key for key in INSTRUMENTS if key not in KITS]),
    st.sampled_from([8000, 22050]),
)
@settings(max_examples=40, deadline=None)
def test_any_notes_at_any_rate_give_a_finite_signal_of_the_asked_length(
    notes: list[Note], key: str, rate: int
) -> None:
    ordered = tuple(sorted(notes, key=lambda note: note.start_s))
    audio = render(key, ordered, seconds=1.0, rate=rate)
    assert audio.shape == (2, rate)
    assert np.isfinite(audio).all()


@pytest.mark.parametrize("key", ["piano", "organ", "strings", "synth_bass", "guitar_distorted"])
def test_falls_silent_after_its_last_note(key: str) -> None:
    audio = render(key, (Note(0.1, 0.3, 52.0, 0.9),), seconds=4.0)
    assert np.abs(audio[:, 2 * RATE :]).max() < 1e-4 * np.abs(audio).max()


@pytest.mark.parametrize("key", ["organ", "strings", "violin", "synth_lead", "supersaw"])
def test_notes_neither_begin_nor_end_with_a_click(key: str) -> None:
    audio = render(key, (Note(0.3, 0.5, 57.0, 0.8),), seconds=1.6, seed=2).mean(axis=0)
    # A click is a jump that the highs of the held note do not have.
    highs = np.abs(np.diff(audio, n=4))
    held = highs[round(0.5 * RATE) : round(0.7 * RATE)].max()
    around = np.concatenate([highs[: round(0.302 * RATE)], highs[round(0.8 * RATE) :]])
    assert around.max() < 1.5 * held + 1e-3


def test_long_notes_of_held_recordings_go_on(material: Material) -> None:
    audio = render("saxophone", (Note(0.1, 8.0, 60.0, 0.8),), seconds=9.0, material=material)
    early, late = (active_db(audio[:, a * RATE : (a + 1) * RATE]) for a in (2, 6))
    assert abs(early - late) < 6


def test_nothing_to_play_is_silence() -> None:
    assert not render("piano", ()).any()


@pytest.mark.parametrize(
    ("key", "events", "said"),
    [
        ("kazoo", (), "kazoo"),
        ("piano", (Hit(0.0, "kick", 0.8),), "plays notes"),
        ("kit_rock", (Note(0.0, 1.0, 60.0, 0.8),), "plays hits"),
        ("kit_rock", (Hit(0.0, "gong", 0.8),), "gong"),
    ],
)
def test_what_it_cannot_play_is_named(
    key: str, events: tuple[Note, ...] | tuple[Hit, ...], said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        render(key, events)
