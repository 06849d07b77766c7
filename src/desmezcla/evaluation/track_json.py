"""Scores of a track as JSON in museval's schema, which other programs read.

    {"targets": [{"name": "vocals",
                  "frames": [{"time": 0.0, "duration": 1.0,
                              "metrics": {"SDR": …, "SIR": …, "SAR": …, "ISR": …}}, …],
                  "track_metrics": {"global_SDR": …, "SI-SDR": …}}, …],
     "desmezcla": {…}}

The frames are museval's, to the fifth decimal and with NaN for what is not finite, as it writes
them. `track_metrics` and `desmezcla` are this project's and ignored by others.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from desmezcla.errors import EvaluationError
from desmezcla.evaluation.config import BssEvalConfig
from desmezcla.evaluation.scores import (
    FRAME_METRICS,
    PEAK_HOP_S,
    TRACK_METRICS,
    StemScores,
    TrackScores,
)
from desmezcla.version import VERSION

_DECIMALS = 5


def track_json(scores: TrackScores) -> str:
    """Return the scores of a track as JSON; the same scores give the same text."""
    config = scores.config
    content = {
        "targets": [_target(stem, values, config) for stem, values in scores.stems.items()],
        "desmezcla": {
            "version": VERSION,
            "config": {k: _plain(v) for k, v in config.as_dict().items()},
            "split": scores.split,
            "genre": scores.genre,
            "duration_s": round(scores.duration_s, _DECIMALS),
            "notes": list(scores.notes),
            "peak_hop_s": PEAK_HOP_S,
            "peaks": [round(peak, 3) for peak in scores.peaks],
        },
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_track_json(path: Path, *, split: str = "test") -> TrackScores:
    """Read the scores of a track that this project, museval or another program wrote.

    Args:
        path: A file; the track is named after it.
        split: What the track is said to belong to, where the file does not say it.

    Errors:
        EvaluationError: if the file cannot be read or is no such JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        own = content.get("desmezcla", {})
        stems = {str(target["name"]): _stem_scores(target) for target in content["targets"]}
        config = _own_config(own["config"]) if own else _config(content["targets"])
        return TrackScores(
            track=path.name.removesuffix(".json"),
            stems=stems,
            config=config,
            split=str(own.get("split", split)),
            genre=str(own.get("genre", "")),
            duration_s=float(own.get("duration_s", _end_s(content["targets"]))),
            peaks=tuple(float(peak) for peak in own.get("peaks", ())),
            notes=tuple(str(note) for note in own.get("notes", ())),
        )
    except OSError as error:
        raise EvaluationError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EvaluationError(
            f"{str(path)!r} holds no scores in museval's JSON schema "
            f"({type(error).__name__}: {error}); evaluate the track again"
        ) from error


def _target(stem: str, values: StemScores, config: BssEvalConfig) -> dict[str, Any]:
    frames = [
        {
            "time": index * config.hop_s,
            "duration": _plain(config.window_s),
            "metrics": {
                "SDR": _rounded(values["SDR"][index]),
                "SIR": _rounded(values["SIR"][index]),
                "SAR": _rounded(values["SAR"][index]),
                "ISR": _rounded(values["ISR"][index]),
            },
        }
        for index in range(len(values["SDR"]))
    ]
    track_metrics = {
        "global_SDR": _rounded(values["global_SDR"]),
        "SI-SDR": _rounded(values["SI-SDR"]),
    }
    return {"name": stem, "frames": frames, "track_metrics": track_metrics}


def _rounded(value: float) -> float:
    return round(float(value), _DECIMALS) if math.isfinite(value) else math.nan


def _plain(value: Any) -> Any:
    """Write an infinite window as the largest number, which any reader of JSON takes."""
    return value if not isinstance(value, float) or math.isfinite(value) else 1e308


def _stem_scores(target: dict[str, Any]) -> StemScores:
    frames = [frame["metrics"] for frame in target["frames"]]
    arrays = {
        metric: np.array([_number(frame[metric]) for frame in frames], np.float64)
        for metric in FRAME_METRICS
    }
    track = target.get("track_metrics", {})
    values = {metric: _number(track.get(metric)) for metric in TRACK_METRICS}
    return {
        "SDR": arrays["SDR"],
        "ISR": arrays["ISR"],
        "SIR": arrays["SIR"],
        "SAR": arrays["SAR"],
        "global_SDR": values["global_SDR"],
        "SI-SDR": values["SI-SDR"],
    }


def _number(value: Any) -> float:
    """Take a number, or null and the like for one that is missing."""
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else math.nan


def _own_config(content: dict[str, Any]) -> BssEvalConfig:
    window_s = float(content["window_s"])
    return BssEvalConfig(**{**content, "window_s": math.inf if window_s > 1e300 else window_s})


def _config(targets: list[dict[str, Any]]) -> BssEvalConfig:
    """Tell window and hop from the frames of another program's file."""
    frames = next((t["frames"] for t in targets if t["frames"]), None)
    if frames is None:
        return BssEvalConfig()
    window_s = float(frames[0]["duration"])
    hop_s = float(frames[1]["time"]) - float(frames[0]["time"]) if len(frames) > 1 else window_s
    return BssEvalConfig(window_s=window_s, hop_s=hop_s)


def _end_s(targets: list[dict[str, Any]]) -> float:
    ends = [float(f["time"]) + float(f["duration"]) for t in targets for f in t["frames"][-1:]]
    return max(ends, default=0.0)
