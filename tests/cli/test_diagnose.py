"""`desmezcla diagnose`."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

LAYERS = ("first", "second <b>")


def write_run(path: Path, *, stopped: bool = True, watched: bool = True) -> Path:
    """Write what a training of two epochs leaves behind."""
    (path / "diagnostics").mkdir(parents=True)
    (path / "recipe.yaml").write_text("model: {architecture: open_unmix}\nepochs: 2\nseed: 1\n")
    epochs = [
        {
            "epoch": n,
            "step": 5 * n,
            "lr": 0.001,
            "loss": {"total": 1 / n, "l1": 1 / n},
            "validation": {
                "loss": {"total": 2 / n, "l1": 2 / n},
                "sdr_db": {"vocals": 1.0 * n},
                "mean_sdr_db": None,
            },
            "examples_per_s": 10.0,
        }
        for n in (1, 2)
    ]
    session = {"started": "now", "git_commit": "abc123", "versions": {"torch": "9.9"}}
    record = {
        "seed": 1,
        "sessions": [session],
        "steps": 10,
        "epochs": epochs,
        "stopped": {"reason": "finished"} if stopped else None,
    }
    (path / "record.json").write_text(json.dumps(record))
    numbers = {"mean": 0.0, "std": 1.0, "max": 3.0, "zeros": 0.25, "nonfinite": 0.0}
    layer = {
        "kind": "Linear",
        "activation": numbers,
        "gradient": numbers,
        "weight": {"norm": 2.0, "gradient": 1.0, "update": 0.002, "dead": 0.75},
    }
    line = {"lr": 0.1, "loss": {"total": 1.0, "l1": 1.0}, "gradient_norm": 1.0}
    lines = [
        {"step": step, **line, "examples_per_s": None, "layers": dict.fromkeys(LAYERS, layer)}
        for step in (0, 4)
    ]
    if watched:
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (path / "diagnostics" / "steps.jsonl").write_text(text + '{"step": 8, "l')
    return path


class Page(HTMLParser):
    """Checks that elements are closed in their order, and collects what is asked for."""

    EMPTY = ("meta", "img", "line", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.alternatives: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        facts = dict(attrs)
        self.addresses += [facts[key] for key in ("src", "href") if key in facts]
        if tag == "img":
            self.alternatives.append(facts["alt"])
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_has_everything_in_it(desmezcla: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = desmezcla("diagnose", write_run(tmp_path / "run"), "--out", out, "--json")
    assert done.code == 0
    event = json.loads(done.out)
    assert event["event"] == "done"
    assert (event["state"], event["steps"]) == ("ended", 10)
    levels = {name: found["level"] for name, found in event["judgements"].items()}
    assert levels == {
        "Stability": "good",
        "Overfitting": "unknown",
        "Dead units": "warning",
        "Updates": "good",
        "Throughput": "good",
    }
    assert "Dead units: warning" in done.err
    text = out.read_text()
    page = Page(text)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert all(page.alternatives)
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    for part in ("Loss: l1", "abc123", "torch 9.9", "second &lt;b&gt;", "prefers-color-scheme"):
        assert part in text
    assert "second <b>" not in text
    assert text.count('class="heat"') == 5


def test_a_run_without_measured_steps_or_a_record_has_a_page(
    desmezcla: Callable[..., Any], tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", stopped=False, watched=False)
    assert desmezcla("diagnose", run, "-q").err == ""
    Page((run / "diagnostics" / "index.html").read_text())
    (run / "record.json").unlink()
    done = desmezcla("diagnose", run)
    assert done.code == 0
    assert "not known after 0 steps" in done.err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "recipe.yaml").unlink(), "has no recipe.yaml, so it is no run"),
        (lambda run: (run / "record.json").write_text("{"), "record.json is damaged"),
        (
            lambda run: (run / "record.json").write_text('{"epochs": [{}]}'),
            "record.json is damaged",
        ),
        (lambda run: (run / "recipe.yaml").write_text("- 1"), "recipe.yaml is damaged"),
        (
            lambda run: (run / "diagnostics" / "steps.jsonl").write_text("nonsense\n"),
            "line 1 of .*steps.jsonl is damaged",
        ),
        (
            lambda run: (run / "diagnostics" / "steps.jsonl").write_text('{"step": 1}\n'),
            "steps.jsonl is damaged",
        ),
    ],
)
def test_a_folder_that_is_no_run_or_is_damaged_is_named(
    spoil: Callable[[Path], Any],
    message: str,
    desmezcla: Callable[..., Any],
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "run")
    spoil(run)
    done = desmezcla("diagnose", run)
    assert done.code == 1
    assert re.search(message, done.err)
    assert not (run / "diagnostics" / "index.html").exists()


def test_a_folder_that_is_not_there_is_named(desmezcla: Callable[..., Any], tmp_path: Path) -> None:
    done = desmezcla("diagnose", tmp_path / "nothing")
    assert done.code == 1
    assert "nothing' does not exist" in done.err
    assert desmezcla("diagnose").code == 2
