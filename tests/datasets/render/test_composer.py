"""What every composed song must be, over seeds and styles."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desmezcla.datasets.render.composer import STYLES, compose
from desmezcla.datasets.render.score import PIECES, Hit, Note, Part, Song, Syllable
from desmezcla.errors import ParameterError

DRUMS = {"kit_acoustic", "kit_rock", "kit_jazz", "kit_electronic", "kit_808", "kit_house",
         "kit_lofi", "percussion"}  # fmt: skip
BASSES = {"bass_finger", "bass_pick", "bass_slap", "bass_fretless", "bass_upright", "synth_bass",
          "sub_bass", "fm_bass"}  # fmt: skip
OTHERS = {
    "piano", "electric_piano", "organ", "clavinet", "guitar_acoustic", "guitar_nylon",
    "guitar_clean", "guitar_crunch", "guitar_distorted", "guitar_lead", "strings", "pizzicato",
    "violin", "cello", "brass", "trumpet", "saxophone", "flute", "clarinet", "synth_pad",
    "synth_lead", "synth_pluck", "synth_brass", "supersaw", "fm_bell", "mallet", "accordion",
    "harmonica", "sitar", "banjo", "harp", "noise_riser",
}  # fmt: skip
ROLES = {"lead", "double", "harmony", "backing", "drums", "percussion", "bass", "rhythm", "comp",
         "pad", "arpeggio", "melody", "fill"}  # fmt: skip

seeds = st.integers(0, 2**32 - 1)
few = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def song(seed: int, style: str | None = None, duration_s: float | None = None) -> Song:
    return compose(np.random.default_rng(seed), style=style, duration_s=duration_s)


@lru_cache
def usual_songs() -> tuple[Song, ...]:
    """Thirty songs as `compose` draws them."""
    return tuple(song(seed) for seed in range(30))


def notes(part: Part) -> list[Note]:
    return [event for event in part.events if isinstance(event, Note)]


def syllables(part: Part) -> list[Syllable]:
    return [event for event in part.events if isinstance(event, Syllable)]


def sung_share(composed: Song) -> float:
    """Share of a grid of moments, 20 ms apart, at which a voice sounds."""
    grid = np.zeros(int(composed.duration_s / 0.02) + 1, bool)
    for part in composed.parts:
        if part.stem == "vocals":
            for note in notes(part):
                grid[int(note.start_s / 0.02) : int(note.end_s / 0.02)] = True
    return float(grid.mean())


def check_events(composed: Song) -> None:
    for part in composed.parts:
        assert part.events, part.name
        starts = [event.start_s for event in part.events]
        assert starts == sorted(starts), part.name
        assert starts[0] >= 0, part.name
        assert all(0 < event.velocity <= 1 for event in part.events), part.name
        if part.stem == "drums":
            assert all(isinstance(e, Hit) and e.piece in PIECES for e in part.events), part.name
            assert starts[-1] < composed.duration_s
        else:
            played = notes(part)
            assert len(played) == len(part.events)
            assert all(note.duration_s > 0 for note in played), part.name
            assert all(note.end_s <= composed.duration_s + 1e-9 for note in played), part.name


def monophonic(played: Sequence[Note]) -> bool:
    return all(a.end_s <= b.start_s for a, b in pairwise(played))


@pytest.mark.parametrize("style", STYLES)
def test_every_style_composes_a_sound_song(style: str) -> None:
    composed = song(7, style, 50.0)
    assert composed.style == style
    assert STYLES[style].tempo_bpm[0] <= composed.tempo_bpm * 4 / (
        8 if composed.beats_per_bar == 6 else 4
    ) <= STYLES[style].tempo_bpm[1]  # fmt: skip
    check_events(composed)


def test_there_are_many_styles_and_pop_and_rock_lead() -> None:
    assert len(STYLES) >= 18
    heaviest = sorted(STYLES, key=lambda name: -STYLES[name].weight)[:3]
    assert {"pop", "rock"} <= set(heaviest)


@few
@given(seeds, st.sampled_from(sorted(STYLES)), st.floats(2.0, 90.0))
def test_events_lie_in_the_song_whatever_its_length(
    seed: int, style: str, duration_s: float
) -> None:
    composed = song(seed, style, duration_s)
    assert composed.duration_s == duration_s
    check_events(composed)
    assert max(c.start_s + c.duration_s for c in composed.chords) <= duration_s + 1e-9
    assert max(s.start_s + s.duration_s for s in composed.sections) <= duration_s + 1e-9


@pytest.mark.parametrize("index", range(30))
def test_parts_are_named_once_and_played_on_known_instruments(index: int) -> None:
    composed = usual_songs()[index]
    check_events(composed)
    assert 120 <= composed.duration_s <= 270
    names = [part.name for part in composed.parts]
    assert len(set(names)) == len(names)
    known = {"vocals": {"voice"}, "drums": DRUMS, "bass": BASSES, "other": OTHERS}
    assert all(part.instrument in known[part.stem] for part in composed.parts)
    assert {part.role for part in composed.parts} <= ROLES
    counts = {stem: sum(part.stem == stem for part in composed.parts) for stem in known}
    assert counts["vocals"] <= 6
    assert counts["drums"] <= 2
    assert counts["bass"] <= 1
    assert 1 <= counts["other"] <= 7


@few
@given(seeds)
def test_bass_and_voices_sound_one_note_at_a_time_in_their_ranges(seed: int) -> None:
    for part in song(seed, duration_s=80.0).parts:
        if part.stem == "bass":
            assert monophonic(notes(part))
            assert all(26 <= note.pitch <= 55 for note in notes(part))
        elif part.stem == "vocals":
            assert monophonic(notes(part)), part.name
            if part.role == "lead":
                assert all(48 <= note.pitch <= 76 for note in notes(part))
        elif part.instrument.startswith("guitar"):
            assert all(40 <= note.pitch <= 86 for note in notes(part)), part.name


@few
@given(seeds)
def test_sections_and_chords_fill_the_song_without_gaps(seed: int) -> None:
    composed = song(seed, duration_s=100.0)
    for events in (composed.sections, composed.chords):
        starts = [event.start_s for event in events]
        ends = [event.start_s + event.duration_s for event in events]
        assert starts == pytest.approx([0.0, *ends[:-1]])
    last = composed.sections[-1]
    assert last.start_s + last.duration_s == pytest.approx(composed.duration_s)
    assert all(0 <= section.energy <= 1 for section in composed.sections)


@few
@given(seeds, st.sampled_from(sorted(STYLES)))
def test_the_same_seed_is_the_same_song_and_another_is_another(seed: int, style: str) -> None:
    assert song(seed, style, 40.0) == song(seed, style, 40.0)
    assert song(seed, style, 40.0) != song(seed ^ 1, style, 40.0)


def test_somebody_sings_for_about_half_of_a_song() -> None:
    shares = [sung_share(composed) for composed in usual_songs()]
    sung = [share for share in shares if share > 0]
    assert len(sung) >= 27
    assert all(0.38 <= share <= 0.72 for share in sung)
    assert 0.45 <= np.mean(sung) <= 0.62
    assert np.std(sung) > 0.03


def test_choruses_repeat_words_and_melody() -> None:
    composed = song(1, "pop", 200.0)
    lead = next(part for part in composed.parts if part.role == "lead")
    choruses = [s for s in composed.sections if s.kind == "chorus"]
    first, second = (
        [
            (event.word, event.pitch)
            for event in syllables(lead)
            if s.start_s + 0.2 <= event.start_s < s.start_s + s.duration_s - 1
        ]
        for s in choruses[:2]
    )
    assert len(first) > 8
    shared = sum(a[0] == b[0] for a, b in zip(first, second, strict=False))
    assert shared > 0.8 * min(len(first), len(second))


def test_doubles_sing_the_words_of_the_lead_a_little_apart() -> None:
    found = 0
    for seed in range(8):
        parts = song(seed, "rnb", 90.0).parts
        leads = [e for part in parts if part.role == "lead" for e in syllables(part)]
        doubles = [e for part in parts if part.role == "double" for e in syllables(part)]
        if not doubles:
            continue
        found += 1
        assert {event.word for event in doubles} <= {event.word for event in leads}
        # What would begin before the song begins with it.
        assert {e.start_s for e in doubles} & {e.start_s for e in leads} <= {0.0}
    assert found >= 2


def test_rap_speech_and_choirs_occur() -> None:
    manners = {
        event.manner
        for style in ("hip_hop", "techno", "soul")
        for seed in range(6)
        for part in song(seed, style, 100.0).parts
        if part.stem == "vocals"
        for event in syllables(part)
    }
    assert manners == {"sung", "rap", "speech", "ooh"}


def test_phrases_begin_with_a_breath_gap() -> None:
    composed = song(5, "singer_songwriter", 120.0)
    lead = syllables(next(part for part in composed.parts if part.role == "lead"))
    gaps = [b.start_s - a.end_s for a, b in pairwise(lead) if b.first]
    assert len(gaps) > 5
    assert np.median(gaps) > 0.15


def test_a_double_guitar_plays_the_same_with_its_own_timing() -> None:
    parts = {part.name: part for part in song(0, "metal", 60.0).parts}
    left, right = parts["rhythm_guitar_left"], parts["rhythm_guitar_right"]
    a, b = notes(left), notes(right)
    assert abs(len(a) - len(b)) <= 2
    assert a != b
    assert left.instrument == right.instrument
    assert {round(note.pitch) for note in a} == {round(note.pitch) for note in b}


def test_strummed_strings_sound_one_after_another() -> None:
    parts = song(2, "country", 60.0).parts
    guitar = next(part for part in parts if part.name.startswith("acoustic_guitar"))
    gaps = np.diff([note.start_s for note in notes(guitar)])
    # Within a stroke, strings are struck milliseconds apart, never at once.
    within = gaps[gaps < 0.02]
    assert len(within) > len(gaps) / 2
    assert np.median(within) > 0.002


def test_chords_of_the_score_are_what_the_bass_plays() -> None:
    composed = song(3, "rock", 120.0)
    bass = next(part for part in composed.parts if part.stem == "bass")
    on_root = 0
    strong = 0
    for chord in composed.chords:
        near = [n for n in notes(bass) if abs(n.start_s - chord.start_s) < 0.03]
        strong += len(near)
        on_root += sum(round(n.pitch) % 12 == chord.root for n in near)
    assert strong > 10
    assert on_root > 0.85 * strong


def test_quiet_sections_have_fewer_players_than_full_ones() -> None:
    def events_per_second(composed: Song, kind: str) -> float:
        spans = [s for s in composed.sections if s.kind == kind]
        count = sum(
            s.start_s <= event.start_s < s.start_s + s.duration_s
            for s in spans
            for part in composed.parts
            if part.stem != "vocals"
            for event in part.events
        )
        return count / max(1e-9, sum(s.duration_s for s in spans))

    quiet = np.mean([events_per_second(composed, "intro") for composed in usual_songs()])
    full = np.mean([events_per_second(composed, "chorus") for composed in usual_songs()])
    assert quiet < 0.8 * full


def test_time_is_beaten_on_a_tom_in_some_songs_and_on_cymbals_in_most() -> None:
    def tom_share(composed: Song) -> float:
        kit = [e for p in composed.parts if p.role == "drums" for e in p.events]
        pieces = [event.piece for event in kit if isinstance(event, Hit)]
        return sum(piece.startswith("tom") for piece in pieces) / max(1, len(pieces))

    shares = [tom_share(composed) for composed in usual_songs()]
    assert 2 <= sum(share > 0.2 for share in shares) <= 15


def test_long_songs_use_several_kinds_of_sections() -> None:
    kinds = [{section.kind for section in composed.sections} for composed in usual_songs()]
    assert all(len(found) >= 3 for found in kinds)
    assert set().union(*kinds) >= {"intro", "verse", "chorus", "solo", "break", "outro"}


def test_metres_of_three_and_six_occur_and_bars_have_their_length() -> None:
    metres = {song(seed, "folk", 20.0).beats_per_bar for seed in range(30)}
    assert metres == {3, 4, 6}


def test_composing_does_not_change_what_it_returned_before() -> None:
    rng = np.random.default_rng(4)
    first = compose(rng, duration_s=20.0)
    copy = replace(first)
    compose(rng, duration_s=20.0)
    assert first == copy


@pytest.mark.parametrize("duration_s", [0.0, -3.0, 1e6, float("nan")])
def test_an_impossible_duration_is_refused(duration_s: float) -> None:
    with pytest.raises(ParameterError, match="duration_s"):
        song(0, None, duration_s)


def test_an_unknown_style_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ParameterError, match=r"'polka'.*pop.*reggae"):
        song(0, "polka")
