"""Make a release of the package from its training run, with its card.

    python scripts/make_release.py NAME RUN [--real REAL.json] [--rendered RENDERED.json]

The weights are the last ones of the run. The files of scores come from
`benchmarks/real_songs.py … --json`. A first call without them gives the release that they are
measured with; a second call then writes them into the card.
"""

import argparse
import datetime
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from desmezcla.releases.checkpoint import load_model, save_release, summary_of
from desmezcla.releases.release import About, Scores, card_text, read_release
from desmezcla.releases.store import BUNDLED

STEMS = ("vocals", "drums", "bass", "other")
LICENSE = "GPL-3.0-or-later"
METRIC = "SDR of BSS Eval v4"
AVERAGING = "median of frames of 1 s, median of songs"
DESCRIPTIONS = {
    "default": "DeepSampler, small and quick: four stems of any song, trained on rendered songs.",
    "realtime": "DeepSampler for live use, with a latency of 23 ms, trained on rendered songs.",
}
RECIPES = {"default": "deepsampler", "realtime": "deepsampler_quality"}
Systems = dict[str, dict[str, list[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=sorted(DESCRIPTIONS))
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("--real", type=Path, help="scores on real songs")
    parser.add_argument("--rendered", type=Path, help="scores on rendered songs, held out")
    options = parser.parse_args()

    model = load_model(read_release(options.run / "release-last"))
    record = json.loads((options.run / "record.json").read_text(encoding="utf-8"))
    dataset = Path(record["dataset"]["root"]) / "dataset.yaml"
    songs = yaml.safe_load(dataset.read_text(encoding="utf-8"))
    tables = {
        "three real songs": read(options.real),
        "20 rendered songs with voices and kits not trained on": read(options.rendered),
    }
    about = About(
        name=options.name,
        license=LICENSE,
        trained_on=f"{record['dataset']['training_tracks']} songs rendered by desmezcla, of "
        f"{songs['settings']['duration_s']:g} s",
        saw_musdb18_test=False,
        scores=tuple(
            Scores(
                metric=METRIC,
                dataset=title,
                averaging=AVERAGING,
                source="benchmarks/real_songs.py",
                values_db=dict(zip(STEMS, median(systems[options.name]), strict=True)),
            )
            for title, systems in tables.items()
            if options.name in systems
        ),
        description=DESCRIPTIONS[options.name],
    )
    parts = [
        card_text(summary_of(model, about)).rstrip(),
        *(table(title, systems) for title, systems in tables.items() if systems),
        training(record, options.name),
        sources(songs["sources"]),
    ]
    card = "\n\n".join(parts) + "\n"
    release = save_release(model, BUNDLED / options.name, about, card=card, replace=True)
    print(f"{release.folder}: {release.size_bytes / 1e6:.2f} MB")


def read(path: Path | None) -> Systems:
    """Return scores by system and song; nothing without a file."""
    return json.loads(path.read_text(encoding="utf-8")) if path else {}


def median(songs: dict[str, list[float]]) -> list[float]:
    """Return the median over the songs, of each stem."""
    return [round(float(value), 2) for value in np.nanmedian(list(songs.values()), axis=0)]


def table(title: str, systems: Systems) -> str:
    """Return a table of the medians, and of each song where there are few."""
    lines = [f"## On {title}", "", f"{METRIC}, dB; {AVERAGING}.", ""]
    lines += [f"| song | system | {' | '.join(STEMS)} |", "|---|---|---|---|---|---|"]
    names = next(iter(systems.values()))
    if len(names) <= 5:
        for song in names:
            lines += [row(song, name, scores[song]) for name, scores in systems.items()]
    lines += [row("median", name, median(scores)) for name, scores in systems.items()]
    return "\n".join(lines)


def row(song: str, system: str, values: list[float]) -> str:
    return f"| {song} | {system} | {' | '.join(f'{value:.2f}' for value in values)} |"


def training(record: dict[str, Any], name: str) -> str:
    """Say how the weights came about, so that anyone can do it again."""
    first = record["sessions"][0]
    hardware, wall = first["hardware"], datetime.timedelta(seconds=round(record["wall_s"]))
    versions = ", ".join(f"{key} {value}" for key, value in first["versions"].items())
    commits = dict.fromkeys(str(session["git_commit"]) for session in record["sessions"])
    lines = [
        "## Training",
        "",
        "```bash",
        f"desmezcla train {RECIPES[name]} --material MATERIAL --out runs/{name}",
        "```",
        "",
        "MATERIAL is a folder of the sounds below. Everything else is in the recipe, which comes "
        "with the package, the renderer's settings included; `docs/experiments.md` tells the "
        "reasons.",
        "",
        f"- {record['steps']} steps in {wall} on {hardware['device']} ({processor()}, "
        f"{hardware['machine']}, {hardware['threads']} threads); seed {record['seed']}; "
        f"commit {', '.join(commits)}; {versions}",
    ]
    return "\n".join(lines)


def processor() -> str:
    """Return what the processor calls itself, where Linux tells."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    names = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def sources(collections: list[dict[str, Any]]) -> str:
    """List what the songs were made of."""
    lines = [
        "## Sources of the sounds, and the licence",
        "",
        "The songs were composed, played, sung and mixed by `desmezcla data render` from the "
        "collections below and from synthesis (eSpeak NG's voices among it). No recording of music "
        "was used, and none of MUSDB18. Some collections are under the GPL, so the weights are "
        f"{LICENSE}; whoever separates songs with them owes nothing for the stems.",
        "",
        "| collection | licences | authors |",
        "|---|---|---|",
    ]
    for entry in collections:
        licences, authors = (", ".join(entry[key]) for key in ("licences", "authors"))
        lines.append(f"| {entry['source']} | {licences} | {authors} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
