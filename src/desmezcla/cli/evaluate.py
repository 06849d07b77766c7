"""`desmezcla evaluate`: scores of a release on a dataset, of estimates, or of a song by itself."""

import math
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from desmezcla.cli.options import (
    AddressOption,
    BatchSizeOption,
    DeviceOption,
    EngineKind,
    EngineKindOption,
    JsonOption,
    OverlapOption,
    Precision,
    PrecisionOption,
    QuietOption,
    SeedOption,
    SegmentOption,
    ShiftsOption,
    VerboseOption,
    read_names,
    read_number,
    read_separator,
)
from desmezcla.errors import ParameterError

if TYPE_CHECKING:  # at run time it would slow down `desmezcla --help`
    from collections.abc import Callable, Sequence

    from desmezcla.batch.evaluating import Evaluated
    from desmezcla.batch.events import Report
    from desmezcla.datasets.track import Dataset
    from desmezcla.evaluation.running.systems import System


class BssVersion(str, Enum):
    """Versions of BSS Eval."""

    v4 = "v4"
    v3 = "v3"


class SplitName(str, Enum):
    """Parts of a dataset."""

    train = "train"
    valid = "valid"
    test = "test"
    all = "all"


def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            help="Release, an oracle (oracle_irm, …) or mixture; can be repeated.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder or manifest of a dataset.")
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="True stems: a dataset, or the stems of one track."),
    ] = None,
    estimates: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Stems of any program, as TRACK/STEM.EXT."),
    ] = None,
    blind: Annotated[
        Path | None,
        typer.Option(metavar="SONG", help="Report on the stems of a song without references."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Output folder; evaluation/NAME if not given."),
    ] = None,
    kind: Annotated[
        str, typer.Option(help="Layout of the dataset; found out if not given.")
    ] = "auto",
    split: Annotated[
        SplitName | None,
        typer.Option(help="Part of the dataset; test with --data, all with --references."),
    ] = None,
    tracks: Annotated[
        str, typer.Option(metavar="PATTERN", help="Tracks by their names, as in 'A*'.")
    ] = "*",
    stems: Annotated[
        str | None, typer.Option(help="Stems to score, as in vocals,drums; all if not given.")
    ] = None,
    window: Annotated[
        str, typer.Option(metavar="SECONDS|track", help="Length of a frame of BSS Eval.")
    ] = "1.0",
    hop: Annotated[
        float, typer.Option(metavar="SECONDS", help="From one frame to the next.")
    ] = 1.0,
    bss_version: Annotated[BssVersion, typer.Option(help="Of BSS Eval.")] = BssVersion.v4,
    excerpts: Annotated[
        int, typer.Option(min=0, help="Of how many tracks excerpts are kept, to listen to.")
    ] = 3,
    save_stems: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the estimates, as TRACK/STEM.wav.")
    ] = None,
    device: DeviceOption = "auto",
    segment: SegmentOption = None,
    overlap: OverlapOption = 0.25,
    shifts: ShiftsOption = 0,
    seed: SeedOption = 0,
    batch_size: BatchSizeOption = 1,
    precision: PrecisionOption = Precision.auto,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            help="Tracks to evaluate at the same time: 1, or as many as the cluster has room for.",
        ),
    ] = None,
    engine: EngineKindOption = EngineKind.local,
    address: AddressOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results of an earlier evaluation.")
    ] = False,
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Score separation against true stems.

    --model with --data separates a dataset and scores what comes out; --references with
    --estimates scores stems of any program; --blind needs no references. An interrupted command
    goes on where it was.
    """
    from desmezcla.batch.engines import Engine
    from desmezcla.batch.evaluating import EvaluationJob, run_evaluation
    from desmezcla.cli.report import reporter
    from desmezcla.evaluation.config import BssEvalConfig
    from desmezcla.evaluation.running.estimates import open_references
    from desmezcla.evaluation.running.scoring import TrackOptions

    models = _models(model, data=data, references=references, estimates=estimates, blind=blind)
    if estimates is not None and (segment, overlap, shifts, batch_size) != (None, 0.25, 0, 1):
        raise ParameterError(
            "--segment, --overlap, --shifts and --batch-size need --model: estimates are scored "
            "as they are"
        )
    if save_stems is not None and data is None:
        raise ParameterError(
            f"--save-stems={str(save_stems)!r} needs --data: it keeps what is made"
        )
    running = {"device": device} | read_separator(
        segment=segment,
        overlap=overlap,
        shifts=shifts,
        seed=seed,
        precision=precision,
        batch_size=batch_size,
    )
    workers = Engine(engine.value, jobs, address, (device,))
    window_s = math.inf if window == "track" else read_number("window", window, "seconds, or track")
    options = TrackOptions(
        BssEvalConfig(window_s, hop, bss_version.value), read_names(stems), device
    )
    with reporter(as_json=json_lines, quiet=quiet, verbose=verbose) as report:
        if blind is not None:
            folder = out or Path("evaluation", "blind", blind.stem)
            text = _blind(blind, models, estimates, running, folder, report, quiet=quiet)
            failed = 0
        else:
            chosen = split or (SplitName.test if data else SplitName.all)
            dataset = open_references(
                data or references or Path(),
                kind=kind,
                splits=None if chosen is SplitName.all else (chosen.value,),
                pattern=tracks,
            )
            systems = _systems(models, estimates, running, dataset, quiet=quiet)
            several = len(systems) > 1
            ended = [
                run_evaluation(
                    EvaluationJob(
                        open_system=open_system,
                        out=out if out and not several else (out or Path("evaluation")) / name,
                        options=options,
                        excerpts=excerpts,
                        save=save_stems / name if save_stems and several else save_stems,
                        split=chosen.value,
                        overwrite=overwrite,
                    ),
                    dataset,
                    report,
                    # One job of this machine needs no process of its own.
                    engine=None if workers.is_single else workers,
                )
                for name, open_system in systems.items()
            ]
            text, failed = _ended(ended, report)
    if not (quiet or json_lines):
        typer.echo(text, nl=False)
    if failed:
        raise typer.Exit(1)


def _models(
    models: list[str] | None,
    *,
    data: Path | None,
    references: Path | None,
    estimates: Path | None,
    blind: Path | None,
) -> list[str]:
    """Check what was asked for together, and return the releases to run."""
    forms = {
        "--model with --data": data and not (references or estimates or blind),
        "--references with --estimates": (
            references and estimates and not (models or data or blind)
        ),
        "--blind with --model or --estimates": (
            blind and not (data or references or (models and estimates))
        ),
    }
    if not any(forms.values()):
        raise ParameterError(f"one of these must be given, and not two: {'; '.join(forms)}")
    models = models or ([] if estimates else ["default"])
    if blind is not None and len(models) > 1:
        raise ParameterError(f"--model={', '.join(models)}: --blind takes one release")
    return models


def _systems(
    models: list[str],
    estimates: Path | None,
    running: dict[str, Any],
    dataset: "Dataset",
    *,
    quiet: bool,
) -> "dict[str, Callable[[], System]]":
    """Return what makes each system, by its name."""
    from desmezcla.evaluation.running.estimates import open_estimates
    from desmezcla.evaluation.running.systems import EstimatesSystem, open_system

    if estimates is not None:
        name = estimates.resolve().name
        return {name: partial(EstimatesSystem, open_estimates(estimates, dataset.tracks), name)}
    names = [_fetched(model, quiet=quiet) for model in models]
    if len(set(names)) < len(names):
        raise ParameterError(f"--model={', '.join(names)} must name each system once")
    return {
        name: partial(open_system, model, **running)
        for name, model in zip(names, models, strict=True)
    }


def _fetched(model: str, *, quiet: bool) -> str:
    """Fetch a release that is not on this machine, and return its name."""
    from desmezcla.cli.report import download_bar
    from desmezcla.evaluation.running.oracle import ORACLES
    from desmezcla.releases.release import Release
    from desmezcla.releases.store import find_release, locate_release

    if model in ORACLES:
        return model
    if not (quiet or isinstance(locate_release(model), Release)):
        typer.echo(f"{model} is not on this machine yet: fetching it", err=True)
        with download_bar(model) as bar:
            return find_release(model, progress=bar).name
    return find_release(model).name


def _blind(
    song: Path,
    models: list[str],
    estimates: Path | None,
    running: dict[str, Any],
    out: Path,
    report: "Report",
    *,
    quiet: bool,
) -> str:
    """Report on the stems of a song without references, and return the report as text."""
    from desmezcla.evaluation.blind import blind_from_files, blind_from_separator, write_blind
    from desmezcla.evaluation.blind import text as text_of
    from desmezcla.inference.files import Progress
    from desmezcla.inference.offline import Separator

    name = str(song)
    report({"event": "start", "input": name})

    def progress(now: Progress) -> None:
        report({"event": "progress", "input": name, "fraction": now.fraction, "eta_s": now.eta_s})

    if estimates is not None:
        found = blind_from_files(song, estimates)
    else:
        _fetched(models[0], quiet=quiet)
        found = blind_from_separator(Separator(models[0], **running), song, progress=progress)
    outputs = {kind: str(path) for kind, path in write_blind(found, out).items()}
    report({"event": "file", "input": name, "outputs": outputs, "skipped": False})
    report({"event": "done", "input": None, "done": 1, "failed": 0})
    return text_of(found)


def _ended(ended: "Sequence[Evaluated]", report: "Report") -> tuple[str, int]:
    """Report the end, and return the table of all scores and how many tracks have failed."""
    from desmezcla.evaluation.comparing.text_table import markdown
    from desmezcla.evaluation.running.result_tables import overall_scores, overall_table

    failed = sum(one.failed for one in ended)
    results = [one.results for one in ended if one.results is not None]
    done = {"done": sum(one.done for one in ended), "failed": failed}
    report({"event": "done", "input": None, **done, "scores": overall_scores(results)})
    return (markdown(overall_table(results)) if results else ""), failed
