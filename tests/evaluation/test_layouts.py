"""Tables in the shape of the publications: shape, averages, words."""

import math
from collections.abc import Sequence
from statistics import mean, median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.datasets.musdb import musdb_facts
from desmezcla.errors import EvaluationError, ParameterError
from desmezcla.evaluation.comparing.layouts import LAYOUTS, layout_tables
from desmezcla.evaluation.comparing.published import deepaudiosplit_tracks, thesis_tracks
from desmezcla.evaluation.comparing.text_table import TextTable
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import Results, StemScores, TrackScores

_STEMS = ("vocals", "drums", "bass", "other")


def _scores(**metrics: Sequence[float]) -> StemScores:
    empty: Sequence[float] = ()
    frames = {name: np.array(metrics.get(name, empty), float) for name in ("ISR", "SIR", "SAR")}
    return {
        "SDR": np.array(metrics["SDR"], float),
        "ISR": frames["ISR"],
        "SIR": frames["SIR"],
        "SAR": frames["SAR"],
        "global_SDR": math.nan,
        "SI-SDR": math.nan,
    }


def _track(name: str, sdr_db: float, *, genre: str = "", split: str = "test") -> TrackScores:
    stems = {stem: _scores(SDR=[sdr_db], SIR=[2 * sdr_db], SAR=[-1.0]) for stem in _STEMS}
    return TrackScores(name, stems, BssEvalConfig(), split=split, genre=genre)


def _thesis_results(system: str) -> Results:
    """Return the thesis' own songs as results, under the names of MUSDB18's test tracks."""
    names = [name for name, facts in musdb_facts().items() if facts.split == "test"]
    values = {(f.id, f.stem, f.metric): f.value_db for f in thesis_tracks() if f.system == system}
    tracks = [
        TrackScores(
            name,
            {
                stem: _scores(**{m: [values[number, stem, m]] for m in ("SDR", "SIR", "SAR")})
                for stem in ("vocals", "drums", "bass")
            },
            BssEvalConfig(),
        )
        for number, name in enumerate(names, 1)
    ]
    return Results(system, tuple(tracks))


def _cell(table: TextTable, row: str, column: str) -> str:
    cells = next(cells for cells in table.rows if cells[0] == row)
    return cells[table.columns.index(column)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_row_has_a_cell_for_every_column(layout: str) -> None:
    tables = layout_tables(Results("ours", (_track("a", 1), _track("b", 2))), layout)
    assert len(tables) == (4 if layout == "thesis" else 1)
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert sum(width for _, width in table.groups) in (0, len(table.columns))
        assert "ours" in table.title
        assert any("frames of 1 s every 1 s" in note for note in table.notes)


def test_the_thesis_tables_come_out_of_the_thesis_songs() -> None:
    medians, genres, songs, _ = layout_tables(
        _thesis_results("Open-Unmix with convolutions, Guerra 2023"), "thesis"
    )
    assert medians.columns == ("", "SDR", "SIR", "SAR")
    assert [row[0] for row in medians.rows] == ["Voz", "Batería", "Bajo"]
    # Table 6-8 has 3.41, 2.05 and 0.98.
    assert _cell(medians, "Voz", "SDR") == "3.41"
    assert _cell(medians, "Voz", "SAR") == "2.05"
    assert _cell(medians, "Bajo", "SAR") == "0.98"
    assert genres.columns == ("", "Pop/Rock", "Reggae/Rap", "Electrónica", "Heavy Metal")
    assert songs.groups == (("", 1), ("SDR", 3), ("SIR", 3), ("SAR", 3))
    assert songs.columns == ("ID canción", *("VOZ", "BATERÍA", "BAJO") * 3)
    # Table 6-10.
    line = "28 -44.21 8.26 0.27 -40.33 12.45 3.88 -0.44 11.69 -0.96"
    assert songs.rows[27] == tuple(line.split())
    assert "28 = PR - Happy Daze" in songs.notes[-1]


def test_genres_are_those_of_the_dataset() -> None:
    results = _thesis_results("DeepConvSep, Guerra 2023")
    genres = layout_tables(results, "thesis")[1]
    rap = [
        float(track.stems["vocals"]["SDR"][0])
        for track in results.tracks
        if musdb_facts()[track.track].genre in ("Rap", "Reggae")
    ]
    assert len(rap) == 5
    assert _cell(genres, "Voz", "Reggae/Rap") == f"{median(rap):.2f}"
    assert "Pop/Rock 37, Reggae/Rap 5, Electrónica 4, Heavy Metal 4" in genres.notes[0]


def test_other_genres_get_columns_of_their_own() -> None:
    tracks = (
        _track("a", 1, genre="Rock"),
        _track("b", 3, genre="Pop"),
        _track("c", 5, genre="Jazz"),
        _track("d", 7),
    )
    table = layout_tables(Results("ours", tracks), "thesis")[1]
    assert table.columns[-2:] == ("Jazz", "Sin género")
    assert table.rows[0] == ("Voz", "2.00", "–", "–", "–", "5.00", "7.00")


def test_the_ranking_is_table_6_6_below_our_row() -> None:
    tracks = (_track("a", 1), _track("b", 2))
    table = layout_tables(Results("ours", tracks), "thesis")[3]
    heads = ("Modelo", "SDR (medio)", "SDR (bajo)", "SDR (batería)", "SDR (vocales)")
    assert table.columns == heads
    assert table.rows == (
        ("ours", "1.50", "1.50", "1.50", "1.50"),
        ("Sparse HT Demucs (publicado)", "9.20", "10.47", "10.83", "9.37"),
        ("Hybrid Transformer Demucs (publicado)", "9.00", "10.39", "10.08", "9.20"),
        ("Band-Split RNN (publicado)", "8.97", "8.16", "10.15", "10.47"),
        ("TFC-TDF-Unet (publicado)", "8.34", "8.45", "8.44", "9.59"),
        ("KUIELab-MDX-Net (publicado)", "7.47", "7.83", "7.20", "8.97"),
        ("CWS-PResUNet (publicado)", "6.77", "5.93", "6.38", "8.92"),
    )
    for row, note in zip(table.rows[1:], table.notes[2:], strict=True):
        assert note.startswith(row[0].removesuffix(" (publicado)") + ": ")
        assert "https://" in note


def test_the_mean_of_the_ranking_names_the_stems_it_is_made_of() -> None:
    results = _thesis_results("Open-Unmix, Guerra 2023")
    table = layout_tables(results, "thesis")[3]
    # Table 6-4: 5.98, 5.45, 4.92.
    assert table.rows[0][1:] == (f"{mean([5.98, 5.455, 4.92]):.2f}", "4.92", "5.46", "5.98")
    assert "the mean of vocals, drums, bass." in table.notes[0]


def test_deepaudiosplit_comes_out_of_its_songs() -> None:
    values = {(f.id, f.stem): f.value_db for f in deepaudiosplit_tracks()}
    tracks = tuple(
        TrackScores(
            f"song {number:02}",
            {stem: _scores(SDR=[values[number, stem]]) for stem in _STEMS},
            BssEvalConfig(),
        )
        for number in range(1, 11)
    )
    (table,) = layout_tables(Results("DeepAudioSplit", tracks), "deepaudiosplit")
    assert table.columns == ("#", "Bass (dB)", "Drums (dB)", "Other (dB)", "Vocals (dB)")
    assert table.rows[0] == ("1", "2.49", "1.87", "4.33", "3.61")
    assert table.rows[9] == ("10", "3.86", "2.05", "3.11", "5.08")
    # Printed there: 3.32, cut off instead of rounded.
    assert table.rows[10] == ("Media", "3.33 dB", "2.03 dB", "2.51 dB", "3.40 dB")


def test_what_is_not_finite_is_left_out() -> None:
    frames = _scores(SDR=[1.0, math.nan, 3.0, math.inf, -math.inf, 20.0])
    silent = _scores(SDR=[math.nan, math.nan])
    tracks = (
        TrackScores("a", {"vocals": frames}, BssEvalConfig()),
        TrackScores("b", {"vocals": silent}, BssEvalConfig()),
        TrackScores("c", {"vocals": _scores(SDR=[5.0]), "bass": silent}, BssEvalConfig()),
    )
    results = Results("ours", tracks)
    medians, _, songs, _ = layout_tables(results, "thesis")
    assert medians.rows == (("Voz", "4.00", "–", "–"), ("Bajo", "–", "–", "–"))
    assert [row[1:3] for row in songs.rows] == [("3.00", "–"), ("–", "–"), ("5.00", "–")]
    (table,) = layout_tables(results, "deepaudiosplit")
    assert table.rows[-1] == ("Media", "–", "4.00 dB")


def test_only_test_tracks_count_where_there_are_some() -> None:
    test, train = _track("b", 2), _track("a", 10, split="train")
    assert layout_tables(Results("x", (train, test)), "thesis")[2].rows[0][1] == "2.00"
    assert layout_tables(Results("x", (train,)), "thesis")[2].rows[0][1] == "10.00"


@given(st.permutations(["Al James", "AM Contra", "Ben Carrigan", "BKS", "Zeno"]))
@settings(max_examples=20, deadline=None)
def test_songs_stand_in_alphabetical_order(names: list[str]) -> None:
    tracks = tuple(_track(name, len(name)) for name in names)
    (table,) = layout_tables(Results("x", tracks), "deepaudiosplit")
    legend = "1 = Al James; 2 = AM Contra; 3 = Ben Carrigan; 4 = BKS; 5 = Zeno."
    assert table.notes[-1] == legend
    assert [row[1] for row in table.rows[:-1]] == ["8.00", "9.00", "12.00", "3.00", "4.00"]


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ParameterError, match="layout='book' must be one of thesis"):
        layout_tables(Results("x", (_track("a", 1),)), "book")


def test_results_without_the_stems_of_a_layout_are_refused() -> None:
    piano = TrackScores("a", {"piano": _scores(SDR=[1.0])}, BssEvalConfig())
    for results in (Results("x", (piano,)), Results("x", ())):
        with pytest.raises(EvaluationError, match="has no scores of vocals, drums, bass"):
            layout_tables(results, "thesis")


def test_scores_of_different_settings_are_refused() -> None:
    stems = {"vocals": _scores(SDR=[1.0])}
    tracks = (
        TrackScores("a", stems, BssEvalConfig()),
        TrackScores("b", stems, BssEvalConfig(version="v3")),
    )
    with pytest.raises(EvaluationError, match="different settings"):
        layout_tables(Results("x", tracks), "thesis")
