"""Tables in the shape of two publications, for any result.

"thesis" has the tables of H. Guerra Cornejo, "Separación automática de instrumentos musicales
utilizando aprendizaje máquina", Universidad de Sevilla, 2023: medians (6-1, 6-4, 6-8), SDR by
genre (6-2, 6-5, 6-9), all songs (6-3, 6-7, 6-10) and a ranking (6-6). "deepaudiosplit" has the one
table of that project's README. Their heads are as they are there.

Differences from the publications: how frames are aggregated is stated, and genres are the
dataset's own.
"""

import math
from collections.abc import Iterable, Mapping

from desmezcla.datasets.musdb import musdb_facts
from desmezcla.errors import EvaluationError, ParameterError
from desmezcla.evaluation.comparing.published import Figure, published
from desmezcla.evaluation.comparing.statistics import aggregate
from desmezcla.evaluation.comparing.text_table import TextTable
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import Results, TrackScores

LAYOUTS = ("thesis", "deepaudiosplit")

_THESIS_STEMS = {"vocals": "Voz", "drums": "Batería", "bass": "Bajo"}
_THESIS_METRICS = ("SDR", "SIR", "SAR")

# The genres of the thesis, and those of MUSDB18 that are theirs.
_THESIS_GENRES = {
    "Pop/Rock": ("Pop/Rock", "Pop", "Rock"),
    "Reggae/Rap": ("Reggae", "Rap"),
    "Electrónica": ("Electronic",),
    "Heavy Metal": ("Heavy Metal",),
}
_NO_GENRE = "Sin género"

_RANKING_HEADS = ("Modelo", "SDR (medio)", "SDR (bajo)", "SDR (batería)", "SDR (vocales)")
_RANKING_STEMS = ("mean", "bass", "drums", "vocals")

# Table 6-6, in its order: what it calls a system, and its name among the published figures.
_RANKING = {
    "Sparse HT Demucs": "Sparse HT Demucs, fine-tuned",
    "Hybrid Transformer Demucs": "HT Demucs, fine-tuned",
    "Band-Split RNN": "Band-Split RNN, +1.7k mixtures",
    "TFC-TDF-Unet": "TFC-TDF-UNet v3",
    "KUIELab-MDX-Net": "KUIELab-MDX-Net",
    "CWS-PResUNet": "CWS-PResUNet",
}
_RANKING_DATASET = "MUSDB18-HQ"

_DEEPAUDIOSPLIT_STEMS = {"bass": "Bass", "drums": "Drums", "other": "Other", "vocals": "Vocals"}

_FOUR_STEMS = ("vocals", "drums", "bass", "other")

_NOTHING = "–"

_FRAMES = "Score of a track: median over its finite frames."


def layout_tables(results: Results, layout: str) -> list[TextTable]:
    """Return the tables of a publication, filled with the scores of a system.

    Test tracks count; where there are none, all do. They stand in alphabetical order, and the score
    of a track is the median over its finite frames.

    Args:
        results: Of one system.
        layout: One of `LAYOUTS`.

    Errors:
        ParameterError: if there is no such layout.
        EvaluationError: if none of the layout's stems was scored, or tracks were scored with
            different settings.
    """
    if layout not in LAYOUTS:
        raise ParameterError(f"layout={layout!r} must be one of {', '.join(LAYOUTS)}")
    names = _THESIS_STEMS if layout == "thesis" else _DEEPAUDIOSPLIT_STEMS
    stems = {stem: name for stem, name in names.items() if stem in results.stems}
    if not stems:
        raise EvaluationError(
            f"{results.name!r} has no scores of {', '.join(names)}, which layout {layout!r} shows; "
            f"it has: {', '.join(results.stems) or 'none'}"
        )
    tracks = _test_tracks(results)
    settings = _only_config(results.name, tracks).describe() + "."
    if layout == "deepaudiosplit":
        return [_deepaudiosplit(results.name, tracks, stems, settings)]
    return [
        _medians(results.name, tracks, stems, settings),
        _by_genre(results.name, tracks, stems, settings),
        _by_track(results.name, tracks, stems, settings),
        _ranking(results.name, tracks, settings),
    ]


def _medians(
    name: str, tracks: list[TrackScores], stems: Mapping[str, str], settings: str
) -> TextTable:
    rows = [
        (label, *(_text(_median(tracks, stem, metric)) for metric in _THESIS_METRICS))
        for stem, label in stems.items()
    ]
    return TextTable(
        title=f"Mediana de las medidas de evaluación objetiva en dB: {name}",
        columns=("", *_THESIS_METRICS),
        rows=tuple(rows),
        notes=(f"{_FRAMES} Median of {_count(tracks)}.", settings),
    )


def _by_genre(
    name: str, tracks: list[TrackScores], stems: Mapping[str, str], settings: str
) -> TextTable:
    groups: dict[str, list[TrackScores]] = {genre: [] for genre in _THESIS_GENRES}
    for track in tracks:
        groups.setdefault(_thesis_genre(track), []).append(track)
    rows = [
        (label, *(_text(_median(group, stem, "SDR")) for group in groups.values()))
        for stem, label in stems.items()
    ]
    counts = ", ".join(f"{genre} {len(group)}" for genre, group in groups.items())
    return TextTable(
        title=f"Valores de SDR por géneros musicales: {name}",
        columns=("", *groups),
        rows=tuple(rows),
        notes=(f"{_FRAMES} Median of the tracks of a genre: {counts}.", settings),
    )


def _by_track(
    name: str, tracks: list[TrackScores], stems: Mapping[str, str], settings: str
) -> TextTable:
    cells = [(metric, stem) for metric in _THESIS_METRICS for stem in stems]
    rows = [
        (str(number), *(_text(_score(track, stem, metric)) for metric, stem in cells))
        for number, track in enumerate(tracks, 1)
    ]
    heads = tuple(label.upper() for label in stems.values())
    return TextTable(
        title=f"Valores de los resultados de la evaluación objetiva: {name}",
        columns=("ID canción", *heads * len(_THESIS_METRICS)),
        rows=tuple(rows),
        groups=(("", 1), *((metric, len(stems)) for metric in _THESIS_METRICS)),
        notes=(f"dB. {_FRAMES}", settings, _legend(tracks)),
    )


def _ranking(name: str, tracks: list[TrackScores], settings: str) -> TextTable:
    scores = {stem: _median(tracks, stem, "SDR") for stem in _FOUR_STEMS}
    scored = {stem: score for stem, score in scores.items() if math.isfinite(score)}
    scores["mean"] = aggregate(list(scored.values()), "mean")
    rows = [(name, *(_text(scores[stem]) for stem in _RANKING_STEMS))]
    figures = {label: _published_row(system) for label, system in _RANKING.items()}
    for label, row in figures.items():
        texts = (_text(row[stem].value_db) for stem in _RANKING_STEMS)
        rows.append((f"{label} (publicado)", *texts))
    return TextTable(
        title=f"Algoritmos con mejores resultados en MUSDB18-HQ, y {name}",
        columns=_RANKING_HEADS,
        rows=tuple(rows),
        notes=(
            f"{name}: {_count(tracks)}, median of finite frames, median of tracks; SDR (medio) is "
            f"the mean of {', '.join(scored) or 'no stem'}. {settings}",
            f"Publicado: as published, on the 50 test tracks of {_RANKING_DATASET}; SDR (medio) "
            "includes the stem other.",
            *(_published_note(label, row["mean"]) for label, row in figures.items()),
        ),
    )


def _deepaudiosplit(
    name: str, tracks: list[TrackScores], stems: Mapping[str, str], settings: str
) -> TextTable:
    scores = [[_score(track, stem, "SDR") for stem in stems] for track in tracks]
    rows = [(str(number), *map(_text, row)) for number, row in enumerate(scores, 1)]
    means = [aggregate(column, "mean") for column in zip(*scores, strict=True)]
    units = (f"{_text(mean)} dB" if math.isfinite(mean) else _NOTHING for mean in means)
    return TextTable(
        title=f"Resultados Cuantitativos (SDR): {name}",
        columns=("#", *(f"{label} (dB)" for label in stems.values())),
        rows=(*rows, ("Media", *units)),
        notes=(
            f"SDR. {_FRAMES} Media: mean of {_count(tracks)}.",
            settings,
            _legend(tracks),
        ),
    )


def _test_tracks(results: Results) -> list[TrackScores]:
    test = [track for track in results.tracks if track.split == "test"]
    return sorted(test or results.tracks, key=lambda track: (track.track.casefold(), track.track))


def _only_config(name: str, tracks: Iterable[TrackScores]) -> BssEvalConfig:
    configs = dict.fromkeys(track.config for track in tracks)
    if len(configs) > 1:
        different = "; ".join(config.describe() for config in configs)
        raise EvaluationError(
            f"the tracks of {name!r} were scored with different settings ({different}), which must "
            "not stand in one table; evaluate them again with one"
        )
    return next(iter(configs))


def _score(track: TrackScores, stem: str, metric: str) -> float:
    if stem not in track.stems:
        return math.nan
    return aggregate(track.stems[stem][metric], "median")  # type: ignore[literal-required]


def _median(tracks: Iterable[TrackScores], stem: str, metric: str) -> float:
    return aggregate([_score(track, stem, metric) for track in tracks], "median")


def _thesis_genre(track: TrackScores) -> str:
    """Return the column of a track; results of museval do not tell the genre, MUSDB18 does."""
    facts = musdb_facts().get(track.track)
    genre = track.genre or (facts.genre if facts else "")
    for column, genres in _THESIS_GENRES.items():
        if genre in genres:
            return column
    return genre or _NO_GENRE


def _published_row(system: str) -> dict[str, Figure]:
    """Return the figures of a system, of the source that has all columns."""
    figures = published(
        system, metric="SDR", dataset=_RANKING_DATASET, comparable=("yes", "likely")
    )
    return {figure.stem: figure for figure in figures}


def _published_note(label: str, figure: Figure) -> str:
    extra = "" if figure.extra_data == "none" else f"; trained on {figure.extra_data} more"
    note = f"; {figure.note[0].lower()}{figure.note[1:]}" if figure.note else ""
    return f"{label}: {figure.source} ({figure.url}); {figure.definition}{extra}{note}."


def _legend(tracks: Iterable[TrackScores]) -> str:
    return "; ".join(f"{number} = {track.track}" for number, track in enumerate(tracks, 1)) + "."


def _count(tracks: list[TrackScores]) -> str:
    return f"{len(tracks)} track{'s' if len(tracks) != 1 else ''}"


def _text(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else _NOTHING
