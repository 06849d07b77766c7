"""The mix: what it promises of sums, levels and independence, on parts of plain tones and noise."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from desmezcla.datasets.render.mixing import mix
from desmezcla.datasets.render.mixing_loudness import SILENCE_LUFS, loudness_lufs
from desmezcla.datasets.render.mixing_master import Stems, master
from desmezcla.datasets.render.mixing_plan import MASTER_RANGE_DBFS, STEMS, choose_plan, family_of
from desmezcla.datasets.render.mixing_strips import choose_strip
from desmezcla.datasets.render.score import Hit, Note, Part, Section, Song, Syllable
from desmezcla.datasets.render.seeds import generator, song_seed

RATE = 16000
LENGTH_S = 6.0
SAMPLES = round(RATE * LENGTH_S)
Audio = NDArray[np.float32]

STARTS = np.arange(0, LENGTH_S, 0.5)
NOTES = tuple(Note(float(t), 0.45, 60, 0.8) for t in STARTS)
SUNG = tuple(Syllable(float(t), 0.45, 60, 0.8) for t in STARTS[2:10])
HITS = tuple(Hit(float(t), "kick" if i % 2 else "snare", 0.9) for i, t in enumerate(STARTS))
PARTS = (
    Part("lead", "vocals", "lead", "voice", SUNG),
    Part("double_left", "vocals", "double", "voice", SUNG),
    Part("drums", "drums", "drums", "kit", HITS),
    Part("shaker", "drums", "percussion", "kit", HITS),
    Part("bass", "bass", "bass", "bass", NOTES),
    Part("guitar_left", "other", "rhythm", "guitar", NOTES),
    Part("guitar_right", "other", "rhythm", "guitar", NOTES),
    Part("pad", "other", "pad", "organ", NOTES),
)
SECTIONS = (Section("verse", 0.0, 3.0, 0.3), Section("chorus", 3.0, 3.0, 1.0))
SONG = Song("pop", 120.0, 4, 0, "major", LENGTH_S, SECTIONS, (), PARTS)


@cache
def take(part: Part) -> Audio:
    rng = generator(1, part.name)
    channels = 1 if part.stem == "vocals" else 2
    audio = np.zeros((channels, SAMPLES), np.float32)
    pitch_hz = {"vocals": 300.0, "drums": 90.0, "bass": 60.0, "other": 500.0}[part.stem]
    time_s = np.arange(round(0.45 * RATE)) / RATE
    for event in part.events:
        sound = 0.2 * np.sign(np.sin(2 * np.pi * pitch_hz * time_s))
        sound = sound + 0.1 * rng.standard_normal((channels, len(time_s)))
        if isinstance(event, Hit):
            sound = sound * np.exp(-20 * time_s)
        at = round(event.start_s * RATE)
        room = audio[:, at : at + len(time_s)]
        room += sound[:, : room.shape[1]].astype(np.float32)
    return audio


def mixed(seed: int = 0, song: Song = SONG) -> Stems:
    return mix(song, take, seed=seed, sample_rate=RATE, samples=SAMPLES)


def rms_db(audio: Audio) -> float:
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-20))


def total(stems: Stems) -> Audio:
    return np.asarray(np.sum(list(stems.values()), axis=0), np.float32)


@pytest.fixture(scope="module")
def many() -> list[Stems]:
    styles = ("pop", "hard_rock", "metal", "house", "hip_hop", "folk")
    return [mixed(seed, replace(SONG, style=styles[seed % 6])) for seed in range(18)]


def test_there_are_four_stems_of_the_songs_length(many: list[Stems]) -> None:
    for stems in many:
        assert tuple(stems) == STEMS
        assert {audio.shape for audio in stems.values()} == {(2, SAMPLES)}
        assert {audio.dtype for audio in stems.values()} == {np.dtype(np.float32)}


def test_neither_the_mixture_nor_a_stem_reaches_full_scale(many: list[Stems]) -> None:
    # Four stems gain two levels of 16 bits at most by rounding.
    highest = 10 ** (-0.1 / 20) + 1e-5
    for stems in many:
        assert max(np.abs(audio).max() for audio in (total(stems), *stems.values())) <= highest
    assert max(np.abs(total(stems)).max() for stems in many) > 0.8


def test_masters_are_from_dynamic_to_loud(many: list[Stems]) -> None:
    levels_dbfs = [rms_db(total(stems)) for stems in many]
    lowest, highest = MASTER_RANGE_DBFS
    assert lowest - 4 < min(levels_dbfs) < -15
    assert -13 < max(levels_dbfs) < highest + 0.5


# Loudness relative to the mixture, LU. The three songs of MUSDB18 that were measured lie within.
SPANS_LU = {"vocals": (-9, -2), "drums": (-11, -5), "bass": (-11, -4), "other": (-10, -4)}


@pytest.mark.parametrize("stem", STEMS)
def test_loudness_of_a_stem_spans_what_songs_span(stem: str, many: list[Stems]) -> None:
    relative_lu = [
        loudness_lufs(stems[stem], RATE) - loudness_lufs(total(stems), RATE)  # type: ignore[index]
        for stems in many
    ]
    low, high = np.quantile(relative_lu, [0.1, 0.9])
    expected_low, expected_high = SPANS_LU[stem]
    assert expected_low - 2 < low < expected_low + 3.5
    assert expected_high - 2.5 < high < expected_high + 2.5


def test_bass_and_voice_are_in_the_middle_and_the_rest_is_wide(many: list[Stems]) -> None:
    def side_db(audio: Audio) -> float:
        return rms_db(audio[0] - audio[1]) - rms_db(audio[0] + audio[1])

    medians = {s: np.median([side_db(stems[s]) for stems in many]) for s in STEMS}
    assert medians["bass"] < -20
    assert medians["vocals"] < -8
    assert medians["other"] > medians["vocals"]


def test_the_same_seed_gives_the_same_samples_and_another_another_mix() -> None:
    first, again, other = mixed(3), mixed(3), mixed(4)
    for stem in STEMS:
        np.testing.assert_array_equal(first[stem], again[stem])
    assert not np.array_equal(first["vocals"], other["vocals"])


def test_a_change_to_one_part_leaves_the_settings_of_the_others() -> None:
    plan = choose_plan(SONG, generator(7, "mix"))
    fewer = replace(SONG, parts=PARTS[1:])
    assert choose_plan(fewer, generator(7, "mix")) == plan
    for part in PARTS:
        strips = [choose_strip(part, 1.0, plan, generator(7, "strip", part.name)) for _ in "12"]
        assert strips[0] == strips[1]
    names = ["lead", "double_left"]
    draws = [generator(7, "strip", name).random() for name in names]
    assert draws[0] != draws[1]


def test_a_stem_without_parts_and_a_silent_part_are_silent() -> None:
    parts = (*(p for p in PARTS if p.stem not in ("vocals", "bass")),)
    silent = Part("rest", "bass", "bass", "bass", ())
    stems = mixed(song=replace(SONG, parts=(*parts, silent)))
    assert not stems["vocals"].any()
    assert not stems["bass"].any()
    assert stems["drums"].any()


def test_a_song_of_silence_stays_silent() -> None:
    stems = mixed(song=replace(SONG, parts=(Part("rest", "bass", "bass", "bass", ()),)))
    assert not total(stems).any()


def test_the_master_does_the_same_to_all_stems() -> None:
    rng = np.random.default_rng(0)
    stems: Stems = {s: rng.normal(0, 0.3, (2, SAMPLES)).astype(np.float32) for s in STEMS}
    plan = replace(choose_plan(SONG, rng), master_dbfs=-9.0)
    done = master(stems, plan, RATE)
    # One gain for all: the ratio to the input is the same in each stem, sample by sample.
    usual = np.abs(stems["vocals"][0]) > 0.05
    usual &= np.abs(stems["bass"][0]) > 0.05
    gains = [done[s][0, usual] / stems[s][0, usual] for s in ("vocals", "bass")]
    np.testing.assert_allclose(gains[0], gains[1], rtol=1e-3)
    assert np.ptp(gains[0]) > 0.1


def test_a_master_reaches_its_level_if_it_may_drive_the_limiter() -> None:
    stems = {s: 0.05 * audio for s, audio in mixed(1).items()}
    plan = choose_plan(SONG, generator(0, "mix"))
    plan = replace(plan, master_dbfs=-12.0, drive_db=30.0, fade_s=0.0)
    assert rms_db(total(master(stems, plan, RATE))) == pytest.approx(-12.0, abs=0.5)
    gentle = replace(plan, drive_db=0.0, master_dbfs=-9.0)
    assert rms_db(total(master(stems, gentle, RATE))) < -12


def test_a_fade_out_ends_in_silence() -> None:
    plan = replace(choose_plan(SONG, generator(0, "mix")), fade_s=2.0)
    faded = total(master(mixed(1), plan, RATE))
    assert rms_db(faded[:, -800:]) < rms_db(faded[:, : 3 * RATE]) - 25


def test_the_kick_pushes_down_the_pads_of_a_house_track() -> None:
    seed = next(
        s for s in range(100)
        if choose_plan(replace(SONG, style="house"), generator(s, "mix")).duck_db > 6
    )  # fmt: skip
    plan = choose_plan(replace(SONG, style="house"), generator(seed, "mix"))
    pad = choose_strip(PARTS[7], 1.0, plan, generator(seed, "strip", "pad"))
    kit = choose_strip(PARTS[2], 1.0, plan, generator(seed, "strip", "drums"))
    assert pad.duck_db == plan.duck_db
    assert kit.duck_db == 0


@pytest.mark.parametrize(
    ("style", "family"),
    [("hard_rock", "rock"), ("metal", "metal"), ("drum_and_bass", "electronic"),
     ("hip_hop", "urban"), ("trap", "urban"), ("singer_songwriter", "acoustic"), ("soul", "pop")],
)  # fmt: skip
def test_a_style_tells_its_family(style: str, family: str) -> None:
    assert family_of(style) == family


def test_loudness_of_a_sine_is_the_recommendations() -> None:
    # BS.1770: 997 Hz at full scale in one channel of a pair is -3.01 LUFS.
    time_s = np.arange(48000 * 4) / 48000
    tone = np.sin(2 * np.pi * 997 * time_s).astype(np.float32)
    assert loudness_lufs(np.stack((tone, 0 * tone)), 48000) == pytest.approx(-3.01, abs=0.05)
    assert loudness_lufs(np.stack((tone, tone)), 48000) == pytest.approx(0.0, abs=0.05)


def test_loudness_ignores_pauses_and_knows_silence() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE * 4) / RATE).astype(np.float32)[None]
    with_pause = np.concatenate((tone, np.zeros_like(tone), 0.001 * tone), axis=1)
    assert loudness_lufs(with_pause, RATE) == pytest.approx(loudness_lufs(tone, RATE), abs=0.01)
    assert loudness_lufs(np.zeros((2, RATE), np.float32), RATE) == SILENCE_LUFS


def test_bass_sounds_softer_than_it_measures() -> None:
    time_s = np.arange(RATE * 2) / RATE
    low, middle, high = (
        loudness_lufs(np.sin(2 * np.pi * hz * time_s).astype(np.float32)[None], RATE)
        for hz in (40.0, 1000.0, 4000.0)
    )
    assert low < middle - 3
    assert high == pytest.approx(middle + 3.3, abs=0.6)


def test_songs_of_a_dataset_have_seeds_of_their_own() -> None:
    seeds = {song_seed(seed, index) for seed in range(10) for index in range(50)}
    assert len(seeds) == 500
    assert song_seed(3, 4) == song_seed(3, 4)
    assert all(0 <= seed < 2**63 for seed in seeds)
