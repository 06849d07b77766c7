"""Make `docs/models/`: a page for every architecture, and the table of all of them.

    python scripts/model_pages.py                   write the pages from the code and the figures
    python scripts/model_pages.py --measure         measure the figures first, of all models
    python scripts/model_pages.py --measure d3net   of some
    python scripts/model_pages.py --measure --quick d3net    without its receptive field

Texts, fields and recipes come from the code. The figures are measured (each model in a process of
its own) and kept in `docs/models/figures.json`, with the machine they were measured on; the column
"parity" is what the tests that compare a model with its original recorded when they ran.
"""

import argparse
import importlib
import inspect
import json
import platform
import re
import resource
import subprocess
import sys
import tempfile
import textwrap
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from desmezcla.models import ModelConfig, build_model, config_class, list_models
from desmezcla.releases.catalog import catalog

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "models"
FIGURES = PAGES / "figures.json"
RECIPES = ROOT / "src" / "desmezcla" / "recipes"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", help="keys of the models to measure; all if none")
    parser.add_argument("--measure", action="store_true", help="measure before writing")
    parser.add_argument("--quick", action="store_true", help="leave out the receptive field")
    parser.add_argument("--parity", action="store_true", help="measure the parity only")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.models[0], quick=options.quick)))
        return
    if options.measure:
        measure(options.models or list_models(), quick=options.quick)
    if options.parity or (options.measure and not options.models):
        write_figures(read_figures() | {"parity": parity()})
    write(PAGES)


# --- measuring --------------------------------------------------------------------------------


def measure(keys: Iterable[str], *, quick: bool) -> None:
    """Measure models one after the other, and keep the figures after each."""
    for key in keys:
        command = [sys.executable, __file__, "--one", key, *(["--quick"] if quick else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{key}: {done.stderr}")
        content = read_figures() | {"machine": machine()}
        content["models"][key] = json.loads(done.stdout.splitlines()[-1])
        print(key, content["models"][key], flush=True)
        write_figures(content)


def measured(key: str, *, quick: bool) -> dict[str, Any]:
    """Return the figures of one model with the values of its paper, in this process."""
    import torch

    from desmezcla.inference import facts
    from desmezcla.inference.device import keep_freed_buffers

    keep_freed_buffers()
    torch.set_num_threads(1)
    before_mib = peak_mib()
    model = build_model(key)
    rate = model.spec.sample_rate
    speed = facts.times_real_time(model)
    added_mib = peak_mib() - before_mib
    figures: dict[str, Any] = {
        "parameters": facts.parameters(model),
        "times_real_time": float(f"{speed:.3g}"),
        "memory_mib": round(added_mib),
        "onnx": model.core() is not None,
    }
    if not quick:
        segment_s = model.spec.segment_samples / rate / speed
        # Every halving of the error is a run of the model.
        reach = facts.reach(model, resolution=0.01 if segment_s < 5 else 0.1)
        figures["past_s"] = round(reach.past_samples / rate, 3)
        figures["future_s"] = round(reach.future_samples / rate, 3)
        figures["whole_segment"] = reach.whole_segment
    operations = facts.operations_per_s(model)
    figures["gops_per_s"] = None if operations is None else float(f"{operations / 1e9:.3g}")
    return figures


def peak_mib() -> float:
    """Return the most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> str:
    """Return what the figures were measured on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    version = torch.__version__.partition("+")[0]
    return f"one core of {processor}, PyTorch {version}"


def parity() -> dict[str, list[str]]:
    """Run the tests that compare models with their originals; return what they recorded."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-k",
            "parity or import or tfc_tdf",
            "tests/models",
        ]
        command += ["tests/releases", f"--junit-xml={report}"]
        subprocess.run(command, cwd=ROOT, check=True)
        records = [
            record.attrib["value"]
            for record in ElementTree.parse(report).iter("property")
            if record.attrib["name"] == "parity"
        ]
    found: dict[str, list[str]] = {}
    for record in sorted(set(records)):
        key, *rest = record.split("|")
        found.setdefault(key, []).append(", ".join(part.strip() for part in rest))
    return found


def read_figures() -> dict[str, Any]:
    if not FIGURES.exists():
        return {"machine": "", "models": {}, "parity": {}}
    content: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return content


def write_figures(content: dict[str, Any]) -> None:
    PAGES.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    FIGURES.write_text(text + "\n", encoding="utf-8")


# --- writing ----------------------------------------------------------------------------------


def write(folder: Path) -> None:
    """Write all pages into a folder."""
    content = read_figures()
    folder.mkdir(parents=True, exist_ok=True)
    for key in list_models():
        (folder / f"{key}.md").write_text(page(key, content), encoding="utf-8")
    (folder / "README.md").write_text(table(content), encoding="utf-8")


def table(content: dict[str, Any]) -> str:
    """Return the page with the table of all architectures."""
    lines = [
        "# Models",
        "",
        "Every architecture with the configuration of its paper, and random weights. Made by",
        "`python scripts/model_pages.py --measure`.",
        "",
        "- **Operations** are the multiplications and additions of products, convolutions,",
        "  attention and LSTMs, 10⁹ per second of audio.",
        "- **Speed** is how many seconds of audio are separated in one second, segment by segment,",
        f"  in float32 on {content['machine']}; **memory** is what that adds to the process.",
        "- **Latency** is what a causal model looks ahead; the others need their whole segment.",
        "- **Parity** is the largest difference from the original program with the same weights,",
        "  as the tests measured it; all of it is on the page of the model.",
        "",
        "| model | parameters | operations | speed | memory, MiB | segment | latency | ONNX "
        "| parity |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key in list_models():
        spec, figures = build_spec(key), content["models"].get(key, {})
        records = content["parity"].get(key, [])
        lines.append(
            f"| [`{key}`]({key}.md) | {millions(figures.get('parameters'))} | "
            f"{figures.get('gops_per_s') or '–'} | {figures.get('times_real_time', '–')} | "
            f"{figures.get('memory_mib', '–')} | {seconds(spec.segment_samples, spec)} | "
            f"{seconds(spec.latency_samples, spec) if spec.causal else '–'} | "
            f"{'yes' if figures.get('onnx') else 'no'} | {shortest(records)} |"
        )
    return "\n".join([*lines, "", ORACLES, ""])


ORACLES = """Ideal masks and the multichannel Wiener filter from the true stems, which bound what a
separator can reach, need those stems and so are no models; they are evaluated by name, as
[the oracles](../oracles.md)."""


def shortest(records: list[str]) -> str:
    """Return the peers of some records, each with its largest difference."""
    worst: dict[str, float] = {}
    for record in records:
        peer, value = record.split(", ")[0], float(record.rsplit(", ", 1)[-1])
        worst[peer] = max(worst.get(peer, 0.0), value)
    return "; ".join(f"{peer}: {value:.0e}" for peer, value in worst.items()) or "–"


def page(key: str, content: dict[str, Any]) -> str:
    """Return the page of one architecture."""
    module = importlib.import_module(f"desmezcla.models.{key}")
    config, spec = config_class(key), build_spec(key)
    title, _, text = inspect.cleandoc(module.__doc__ or "").partition("\n")
    figures = content["models"].get(key, {})
    lines = [f"# `{key}`", "", title, "", sections(text.strip()), "", "## Figures", ""]
    lines += ["With the values of its configuration below:", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts(spec, figures)]
    if records := content["parity"].get(key):
        lines += ["", "Largest difference from the original with the same weights:", ""]
        lines += [f"- {record}" for record in records]
    lines += ["", "## Configuration", "", "| field | default | what it is |", "|---|---|---|"]
    meanings = attributes(config)
    for name, field in config.model_fields.items():
        default = json.dumps(field.get_default(call_default_factory=True), default=str)
        lines.append(f"| `{name}` | `{default}` | {meanings[name]} |")
    lines += ["", "## Use", "", *usage(key)]
    return "\n".join([*lines, ""])


def sections(text: str) -> str:
    """Return a docstring whose sections ("Reference:" and so on) are Markdown."""

    def section(match: re.Match[str]) -> str:
        return f"**{match[1]}**\n\n{textwrap.dedent(match[2])}"

    return re.sub(r"^([A-Z][\w ]+):\n((?: {4}.*\n?|\n)+)", section, text, flags=re.M).strip()


def facts(spec: Any, figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of the table of figures."""
    gops = figures.get("gops_per_s")
    if "past_s" not in figures:
        reach = "not measured"
    elif figures["whole_segment"]:
        reach = "the whole segment"
    else:
        reach = f"{figures['past_s']} s back, {figures['future_s']} s ahead"
    return [
        ("stems", ", ".join(spec.stems)),
        ("audio", f"{spec.sample_rate} Hz, {'stereo' if spec.channels == 2 else 'mono'}"),
        ("segment", seconds(spec.segment_samples, spec)),
        ("parameters", millions(figures.get("parameters"))),
        ("operations per second of audio", f"{gops} · 10⁹" if gops else "not counted"),
        ("receptive field", reach),
        ("latency", seconds(spec.latency_samples, spec) if spec.causal else "not causal"),
        ("ONNX", "yes" if figures.get("onnx") else "no"),
    ]


def usage(key: str) -> list[str]:
    """Return what can be done with an architecture: build, train, fetch."""
    lines = ["```python", "from desmezcla import build_model", "", f'model = build_model("{key}")']
    lines += ["```"]
    if (RECIPES / f"{key}.yaml").exists():
        address = f"../../src/desmezcla/recipes/{key}.yaml"
        lines += ["", f"Train it with [its recipe]({address}): `desmezcla train {key} --data DIR`."]
        # A recipe whose name begins with the model's is a variant of it.
        for path in sorted(RECIPES.glob(f"{key}_*.yaml")):
            if yaml.safe_load(path.read_text())["model"]["architecture"] == key:
                lines += [f"Variant: [`{path.stem}`](../../src/desmezcla/recipes/{path.name})."]
    names = [name for name, entry in sorted(catalog().items()) if entry.model == key]
    if names:
        lines += ["", f"Trained by its authors: {', '.join(f'`{name}`' for name in names)}; fetch"]
        lines += [f"one with `desmezcla models download {names[0]}`."]
    return lines


def attributes(config: type[ModelConfig]) -> dict[str, str]:
    """Return what the docstrings of a configuration and its bases say of each field."""
    found: dict[str, str] = {}
    for cls in reversed(config.__mro__):
        if not (issubclass(cls, ModelConfig) and cls.__doc__):
            continue
        section = inspect.cleandoc(cls.__doc__).partition("Attributes:\n")[2]
        for name, text in re.findall(r"^    (\w+): (.+(?:\n {5,}.+)*)", section, flags=re.M):
            found[name] = " ".join(text.split()).replace("|", "\\|")
    return found


def build_spec(key: str) -> Any:
    """Return the specification of an architecture with the values of its paper."""
    import torch

    with torch.device("meta"):
        return build_model(key).spec


def millions(count: int | None) -> str:
    """Return a number of parameters for people."""
    if count is None:
        return "–"
    return "none" if count == 0 else f"{count / 1e6:.3g} million"


def seconds(samples: int, spec: Any) -> str:
    """Return a time for people: milliseconds below a second."""
    value = samples / spec.sample_rate
    return f"{1000 * value:.1f} ms" if value < 1 else f"{value:.3g} s"


if __name__ == "__main__":
    main()
