"""All scores of an evaluation as one table, in the files `scores.csv` and `scores.parquet`."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from desmezcla.evaluation.comparing.statistics import aggregate
from desmezcla.evaluation.comparing.tables import frame_table, track_table
from desmezcla.evaluation.comparing.text_table import TextTable
from desmezcla.evaluation.optional import require
from desmezcla.evaluation.results import read_results
from desmezcla.evaluation.scores import METRICS, TRACK_METRICS, Results

TABLE_FILES = ("scores.csv", "scores.parquet")


def require_tables() -> None:
    """Raise where the packages are missing that tables need: better before the work than after.

    Errors:
        DesmezclaError: if pandas or pyarrow is not installed.
    """
    for module in ("pandas", "pyarrow"):
        require(module)


def table_contents(folder: Path) -> tuple[Results, dict[str, bytes]]:
    """Read the scores of an evaluation, and make the content of its tables.

    Each row is a score: of a frame, which begins at time_s, or of a track, without time_s.

    Returns:
        The results, and the content of each file by its name.

    Errors:
        EvaluationError: if there are no scores, or a file of them is damaged.
    """
    pandas = require("pandas")
    results = read_results(folder)
    tracks = track_table([results])
    tracks = tracks[tracks["metric"].isin(TRACK_METRICS)].assign(time_s=float("nan"))
    frames = frame_table([results])
    table = pandas.concat([frames, tracks[frames.columns]], ignore_index=True)
    buffer = io.BytesIO()
    table.to_parquet(buffer, engine="pyarrow", index=False)
    csv = table.to_csv(index=False, lineterminator="\n", float_format="%.9g").encode("utf-8")
    return results, dict(zip(TABLE_FILES, (csv, buffer.getvalue()), strict=True))


def overall_scores(
    results: Sequence[Results],
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the median over tracks of the median over frames, by system, stem and metric.

    What has no finite value is None, as JSON has it.
    """
    tracks = track_table(results)
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for (system, stem, metric), group in tracks.groupby(["system", "stem", "metric"], sort=False):
        score = aggregate(group["score"].to_numpy(), "median")
        values = found.setdefault(system, {}).setdefault(stem, {})
        values[metric] = round(score, 5) if math.isfinite(score) else None
    return found


def overall_table(results: Sequence[Results]) -> TextTable:
    """Return what `overall_scores` does as a table for people."""
    rows = [
        (system, stem, *(_cell(values[metric]) for metric in METRICS))
        for system, stems in overall_scores(results).items()
        for stem, values in stems.items()
    ]
    counts = ", ".join(f"{result.name}: {len(result.tracks)}" for result in results)
    return TextTable(
        title="Scores in dB",
        columns=("System", "Stem", *METRICS),
        rows=tuple(rows),
        notes=(
            "Median of frames (global_SDR and SI-SDR have one value for a track), then median of "
            "tracks; what is not defined is left out",
            f"Tracks: {counts}",
            results[0].tracks[0].config.describe(),
        ),
    )


def _cell(score: float | None) -> str:
    # Zero is added since what is rounded to -0.0 would be written so.
    return "—" if score is None else f"{round(score, 2) + 0.0:.2f}"
