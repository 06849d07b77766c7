"""One HTML page about a run, with everything in it: no script, and nothing from elsewhere."""

import html
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from desmezcla.training.checkpoint import write_durably
from desmezcla.training.diagnostics.charts import Series, heat_table, line_chart
from desmezcla.training.diagnostics.journal import DiagnosticsError
from desmezcla.training.diagnostics.reading import Run, read_run
from desmezcla.training.diagnostics.style import STYLE
from desmezcla.training.diagnostics.verdicts import Judgement, judgements


def diagnose(run: Path | str, out: Path | str | None = None) -> dict[str, Any]:
    """Write a page about a run, which may be running.

    Args:
        run: Its folder.
        out: The page; None for `diagnostics/index.html` in the run's folder.

    Returns:
        What the page says at its top: `state`, `steps`, and `judgements` by name.

    Errors:
        DiagnosticsError: if the folder is no run or is damaged, or the page cannot be written.
    """
    path = Path(run)
    found = read_run(path)
    target = Path(out) if out else path / "diagnostics" / "index.html"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, render(found).encode())
    except OSError as error:
        raise DiagnosticsError(
            f"{target} cannot be written ({error.strerror or error}); choose another place by --out"
        ) from error
    return {
        "run": str(path),
        "out": str(target),
        "state": found.state,
        "steps": found.last_step,
        "judgements": {j.name: {"level": j.level, "text": j.text} for j in judgements(found)},
    }


def render(run: Run) -> str:
    """Return the page as text."""
    name = html.escape(run.path.resolve().name)
    parts = [_head(run), *(_card(j) for j in judgements(run)), "</div>"]
    parts += [_losses(run), _training(run), _layers(run), _epochs(run), _facts(run)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: diagnostics</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(run: Run) -> str:
    model = (run.recipe.get("model") or {}).get("architecture", "")
    total = run.recipe.get("epochs")
    stopped = (run.record.get("stopped") or {}).get("reason")
    state = f"{run.state} ({stopped})" if run.state == "ended" and stopped else run.state
    return (
        f"<h1>{html.escape(run.path.resolve().name)}</h1>"
        f"<p>{html.escape(str(model))}: {run.last_step} steps, {len(run.epochs)} of {total} "
        f"epochs; <strong>{state}</strong></p><div class=cards>"
    )


def _card(judgement: Judgement) -> str:
    # The level also stands there as a word: colours alone do not reach everybody.
    return (
        f'<section class="card {judgement.level}"><h2>{judgement.name}</h2>'
        f"<p><b>{judgement.level}</b>: {html.escape(judgement.text)}</p></section>"
    )


def _losses(run: Run) -> str:
    epochs, steps = run.epochs, run.steps
    validated = [entry for entry in epochs if entry.get("validation")]
    names = [entry["loss"] for entry in epochs] + [line["loss"] for line in steps]
    charts = []
    for name in dict.fromkeys(key for terms in names for key in terms):
        series = [
            _series("step", steps, "loss", name),
            _series("training, epoch", epochs, "loss", name),
            _series("validation", validated, "validation", "loss", name),
        ]
        charts.append(line_chart(f"Loss: {name}", series))
    stems = dict.fromkeys(stem for e in validated for stem in e["validation"]["sdr_db"])
    if stems:
        series = [_series(stem, validated, "validation", "sdr_db", stem) for stem in stems]
        charts.append(line_chart("Validation: SDR, dB", series))
    return _section("Losses", charts)


def _training(run: Run) -> str:
    rate = [
        _series("steps", run.steps, "examples_per_s"),
        _series("epochs", run.epochs, "examples_per_s"),
    ]
    charts = [
        line_chart(
            "Learning rate",
            [_series("learning rate", run.steps or run.epochs, "lr")],
        ),
        line_chart("Examples per second", rate),
        line_chart(
            "Norm of the gradient",
            [_series("gradient", run.steps, "gradient_norm")],
            log=True,
        ),
    ]
    return _section("Learning rate, speed and gradient", charts)


def _layers(run: Run) -> str:
    names = run.layer_names()
    if not names:
        return "<section><h2>Layers</h2><p>No layer was measured.</p></section>"
    first, last = run.steps[0]["step"], run.steps[-1]["step"]
    tables = [
        heat_table(
            "Activations: deviation",
            "What a layer puts out. A value that rises or falls by orders of magnitude from layer "
            "to layer, or from step to step, is a bad sign.",
            {name: run.of_layer(name, "activation", "std") for name in names},
            log=True,
        ),
        heat_table(
            "Gradients: deviation",
            "What comes back to a layer's output. Much less in the first layers than in the last "
            "ones: they hardly learn.",
            {name: run.of_layer(name, "gradient", "std") for name in names},
            log=True,
        ),
        heat_table(
            "Updates in relation to weights",
            "Norm of a step's change over the norm of the weights; about 0.001 is usual.",
            {name: run.update_ratios(name) for name in names},
            log=True,
        ),
        heat_table(
            "Dead units",
            "Share of a layer's units that learnt nothing in the step: all of their gradient is 0.",
            {name: run.of_layer(name, "weight", "dead") for name in names},
        ),
        heat_table(
            "Zeros in activations",
            "Share of exact zeros in what a layer puts out.",
            {name: run.of_layer(name, "activation", "zeros") for name in names},
        ),
    ]
    return (
        f"<section><h2>Layers</h2><p>In the order of execution; {len(run.steps)} steps were "
        f"measured, from {first} to {last}.</p>{''.join(tables)}</section>"
    )


def _epochs(run: Run) -> str:
    """Return the numbers of the curves as a table."""
    if not run.epochs:
        return ""
    rows = []
    for entry in run.epochs:
        validation = entry.get("validation") or {"loss": {}, "mean_sdr_db": None}
        numbers = [
            entry["loss"]["total"],
            validation["loss"].get("total"),
            validation.get("mean_sdr_db"),
            entry["lr"],
            entry["examples_per_s"],
        ]
        cells = "".join(f"<td>{'–' if n is None else f'{n:.4g}'}</td>" for n in numbers)
        rows.append(f'<tr><th scope="row">{entry["epoch"]}</th>{cells}</tr>')
    columns = ("epoch", "training", "validation", "SDR, dB", "rate", "examples/s")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return (
        "<section><h2>Epochs</h2><details><summary>All numbers</summary><div class=wide>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "</details></section>"
    )


def _facts(run: Run) -> str:
    session = (run.record.get("sessions") or [{}])[-1]
    versions = ", ".join(f"{k} {v}" for k, v in (session.get("versions") or {}).items())
    hardware = ", ".join(f"{k} {v}" for k, v in (session.get("hardware") or {}).items())
    dataset = run.record.get("dataset") or {}
    facts = {
        "folder": str(run.path.resolve()),
        "begun or resumed": ", ".join(str(s["started"]) for s in run.record.get("sessions") or []),
        "git commit": session.get("git_commit") or "not known",
        "versions": versions or "not known",
        "hardware": hardware or "not known",
        "seed": run.record.get("seed", "not known"),
        "dataset": f"{dataset.get('name', 'not known')}, tracks {dataset.get('tracks', {})}",
        "renewed songs": "; ".join(
            f"from step {r['step']}: {r['songs']} songs of seed {r['seed']}"
            for r in run.record.get("renewals") or []
        )
        or "none",
    }
    rows = "".join(
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(str(value))}</dd>"
        for key, value in facts.items()
    )
    recipe = html.escape(yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True))
    return (
        f"<section><h2>The run</h2><dl>{rows}</dl>"
        f"<details><summary>Recipe</summary><pre>{recipe}</pre></details></section>"
    )


def _section(title: str, charts: list[str]) -> str:
    return f"<section><h2>{title}</h2><div class=charts>{''.join(charts)}</div></section>"


def _series(name: str, lines: list[dict[str, Any]], *keys: str) -> Series:
    """Return a line over the steps of what stands under some keys; what is not there is a gap."""
    y = []
    for line in lines:
        value: Any = line
        for key in keys:
            value = value.get(key) if value is not None else None
        y.append(np.nan if value is None else value)
    return Series(name, [float(line["step"]) for line in lines], np.array(y, np.float64))
