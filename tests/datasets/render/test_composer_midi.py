"""The MIDI library, on archives that the tests make, and songs that draw from it."""

import io
import json
import tarfile
from pathlib import Path

import mido
import numpy as np
import pytest

from desmezcla.datasets.render.composer import MidiLibrary, compose
from desmezcla.datasets.render.composer.harmony import parse_progression
from desmezcla.datasets.render.composer.midi import CHORDS_FILE, GROOVE_FILE, NOTTINGHAM_FILE
from desmezcla.datasets.render.score import Song
from desmezcla.errors import DatasetError

MATERIAL = Path(__file__).parents[4] / "shared" / "material" / "midi"
TICKS = 480


def midi_bytes(tracks: list[list[tuple[float, float, int, int]]], metre: tuple[int, int]) -> bytes:
    """Return a MIDI file of tracks of start and length in quarters, pitch and velocity."""
    midi = mido.MidiFile(ticks_per_beat=TICKS)
    for notes in tracks:
        track = mido.MidiTrack()
        track.append(
            mido.MetaMessage("time_signature", numerator=metre[0], denominator=metre[1], time=0)
        )
        marks = [(round(s * TICKS), 1, p, v) for s, _, p, v in notes]
        marks += [(round((s + n) * TICKS), 0, p, 0) for s, n, p, _ in notes]
        now = 0
        for tick, on, pitch, velocity in sorted(marks):
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, note=pitch, velocity=velocity, time=tick - now))
            now = tick
        midi.tracks.append(track)
    stream = io.BytesIO()
    midi.save(file=stream)
    return stream.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"folder/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def beat(bars: int) -> list[tuple[float, float, int, int]]:
    """Kick on 1 and 3, snare on 2 and 4, a hat on swung eighths."""
    notes: list[tuple[float, float, int, int]] = []
    for quarter in range(4 * bars):
        notes.append((quarter, 0.1, 36 if quarter % 2 == 0 else 38, 110))
        notes += [(quarter, 0.1, 42, 80), (quarter + 0.62, 0.1, 42, 60)]
    return notes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = (
        "style,bpm,beat_type,time_signature,midi_filename\n"
        "rock/groove1,120,beat,4-4,d/beat.mid\n"
        "rock,120,fill,4-4,d/fill.mid\n"
        "rock,120,beat,4-4,d/not-in-the-archive.mid\n"
    )
    fill = [(0.25 * i, 0.1, 48 - i // 4, 100) for i in range(16)]
    archive(
        tmp_path / GROOVE_FILE,
        {
            "info.csv": table.encode(),
            "d/beat.mid": midi_bytes([beat(8)], (4, 4)),
            "d/fill.mid": midi_bytes([fill], (4, 4)),
        },
    )
    melody = [(float(i), 1.0, 67 + (i * 2) % 7, 90) for i in range(32)]
    chords = [(4.0 * b, 4.0, 43 + above, 90) for b in range(8) for above in (0, 4, 7)]
    archive(
        tmp_path / NOTTINGHAM_FILE,
        {"tune.mid": midi_bytes([melody, chords], (4, 4)), "index.tsv": b"tune.mid\tA tune\n"},
    )
    (tmp_path / CHORDS_FILE).parent.mkdir()
    lists = {"prog_maj": ["I V vi IV =Hopeful", "I H =Broken"], "prog_min": ["i VI VII =Dark"]}
    (tmp_path / CHORDS_FILE).write_text(json.dumps(lists), encoding="utf-8")
    return tmp_path


def test_the_library_lists_what_its_archives_hold(folder: Path) -> None:
    library = MidiLibrary(folder)
    assert [(g.style, g.kind, g.metre) for g in library.grooves] == [
        ("rock", "beat", "4/4"),
        ("rock", "fill", "4/4"),
    ]
    assert library.tunes == ("tune.mid",)
    # A progression with a numeral that cannot be read is left out.
    assert library.progressions == {"major": ("I V vi IV",), "minor": ("i VI VII",)}


def test_strokes_have_their_times_pieces_and_velocities(folder: Path) -> None:
    library = MidiLibrary(folder)
    groove = library.select(("rock",), kind="beat", metre="4/4")[0]
    strokes = library.strokes(groove)
    assert len(strokes) == 8 * 4 * 3
    assert strokes[0][1] == "kick"
    assert strokes[0][2] == pytest.approx(110 / 127)
    assert {start % 1 for start, piece, _ in strokes if piece == "snare"} == {0.0}
    offbeats = [start % 1 for start, piece, _ in strokes if piece == "hihat_closed" and start % 1]
    assert offbeats == pytest.approx([0.62] * 32, abs=1 / TICKS)


def test_melodies_have_notes_and_chords(folder: Path) -> None:
    melody = MidiLibrary(folder).melody("tune.mid")
    assert melody.metre == "4/4"
    assert melody.notes[1] == (1.0, 1.0, 69)
    assert melody.chords[0] == (0.0, 4.0, (43, 47, 50))


def test_without_gpl_material_there_are_no_tunes(folder: Path) -> None:
    (folder / NOTTINGHAM_FILE).unlink()
    assert MidiLibrary(folder, nottingham=False).tunes == ()
    with pytest.raises(DatasetError, match="nottingham"):
        MidiLibrary(folder)


def composed(midi: MidiLibrary, style: str, seed: int, *, duration_s: float = 40.0) -> Song:
    return compose(np.random.default_rng(seed), style=style, duration_s=duration_s, midi=midi)


def test_songs_follow_the_recorded_groove_and_its_swing(folder: Path) -> None:
    library = MidiLibrary(folder)
    swung = 0
    for seed in range(10):
        first, second = composed(library, "rock", seed), composed(MidiLibrary(folder), "rock", seed)
        assert first == second
        for part in first.parts:
            if part.name == "drums" and first.beats_per_bar == 4:
                beat_s = 60 / first.tempo_bpm
                places = [e.start_s / beat_s % 1 for e in part.events]
                swung += sum(abs(p - 0.62) < 0.02 for p in places) > 20
    assert swung >= 3


def test_folk_plays_the_traditional_tune_where_nobody_sings(folder: Path) -> None:
    library = MidiLibrary(folder)
    other = MidiLibrary(folder, nottingham=False)
    with_tune = [composed(library, "folk", seed, duration_s=130.0) for seed in range(7)]
    without = [composed(other, "folk", seed, duration_s=130.0) for seed in range(7)]
    # The tune stands on one chord, so its passages do too.
    assert sum(a.chords != b.chords for a, b in zip(with_tune, without, strict=True)) >= 2


@pytest.mark.parametrize("name", [GROOVE_FILE, NOTTINGHAM_FILE])
def test_a_damaged_archive_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match=path.name):
        MidiLibrary(folder)


def test_a_missing_progression_file_is_named(folder: Path) -> None:
    (folder / CHORDS_FILE).unlink()
    with pytest.raises(DatasetError, match="chord_progressions"):
        MidiLibrary(folder)


def test_a_member_that_is_not_midi_is_named(folder: Path) -> None:
    table = "style,bpm,beat_type,time_signature,midi_filename\nrock,120,beat,4-4,a.mid\n"
    archive(folder / GROOVE_FILE, {"info.csv": table.encode(), "a.mid": b"not a MIDI file"})
    library = MidiLibrary(folder)
    with pytest.raises(DatasetError, match=r"a\.mid"):
        library.strokes(library.grooves[0])


def test_an_archive_without_a_table_is_refused(folder: Path) -> None:
    archive(folder / GROOVE_FILE, {"a.mid": midi_bytes([beat(1)], (4, 4))})
    with pytest.raises(DatasetError, match="table"):
        MidiLibrary(folder)


def test_numerals_are_roots_and_tones() -> None:
    assert parse_progression("I vi bVIIM Vdom7 ii7 #IVdim") == [
        (0, (0, 4, 7)),
        (9, (0, 3, 7)),
        (10, (0, 4, 7)),
        (7, (0, 4, 7, 10)),
        (2, (0, 3, 7, 10)),
        (6, (0, 3, 6)),
    ]
    with pytest.raises(DatasetError, match="'Hm'"):
        parse_progression("I Hm")


@pytest.mark.skipif(not MATERIAL.is_dir(), reason="the material folder is not beside the checkout")
def test_the_real_library_feeds_songs() -> None:
    library = MidiLibrary(MATERIAL)
    assert len(library.select(("rock",), kind="beat", metre="4/4")) > 50
    assert len(library.tunes) > 100
    assert len(library.progressions["major"]) > 40
    assert len(library.progressions["minor"]) > 40
    for style in ("rock", "funk", "jazz", "folk"):
        assert composed(library, style, 1) == composed(library, style, 1)
