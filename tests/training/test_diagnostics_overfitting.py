"""The rule for overfitting, and the files that a kill cannot spoil."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desmezcla.training.diagnostics.config import Overfitting
from desmezcla.training.diagnostics.journal import DiagnosticsError, Journal
from desmezcla.training.diagnostics.overfitting import judge


def epochs(training: Any, validation: Any) -> list[dict[str, Any]]:
    return [
        {"epoch": n, "loss": {"total": t}, "validation": {"loss": {"total": v}}}
        for n, (t, v) in enumerate(zip(training, validation, strict=True), 1)
    ]


def test_a_model_whose_losses_part_overfits() -> None:
    n = np.arange(40)
    training = 1 / (1 + 0.2 * n)
    validation = 0.1 + training + 0.02 * np.maximum(0, n - 10)
    found = [judge(epochs(training[:k], validation[:k]), Overfitting()) for k in range(1, 41)]
    first = next(k for k, verdict in enumerate(found, 1) if verdict.overfits)
    assert 13 < first < 30
    assert all(verdict.overfits for verdict in found[first - 1 :])
    assert found[first - 1].strikes == Overfitting().patience + 1


def test_a_constant_gap_and_a_gap_that_grows_while_validation_improves_are_fine() -> None:
    n = np.arange(40)
    falling = np.exp(-n / 20)
    assert not judge(epochs(falling, falling + 0.5), Overfitting()).overfits
    assert not judge(epochs(falling, 0.5 + 0.5 * falling), Overfitting()).overfits


def test_the_trend_is_the_slope_of_the_gap() -> None:
    n = np.arange(8)
    rule = Overfitting(smoothing=0, window=4)
    verdict = judge(epochs(np.zeros(8), 1 + 0.1 * n), rule)
    assert verdict.trend == pytest.approx(0.1 / 1.7)
    assert verdict.gap == pytest.approx(1.7)
    assert verdict.strikes == 5
    gaps = np.random.default_rng(0).uniform(1, 2, 8)
    noisy = judge(epochs(np.zeros(8), gaps), rule)
    assert noisy.trend == pytest.approx(np.polyfit(np.arange(4), gaps[-4:], 1)[0] / gaps[-1])


def test_epochs_before_a_renewal_and_those_without_validation_do_not_count() -> None:
    entries = epochs(np.zeros(20), np.linspace(1, 3, 20))
    assert judge(entries, Overfitting()).overfits
    assert judge(entries, Overfitting(), since=17).trend is None
    for entry in entries:
        del entry["validation"]
    assert judge(entries, Overfitting()) == judge([], Overfitting())


def test_a_line_that_was_cut_off_is_not_read_and_later_steps_go(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "steps.jsonl")
    assert journal.read() == []
    for step in range(4):
        journal.append({"step": step, "x": [step / 3, float("nan")]})
    whole = journal.path.read_bytes()
    assert journal.read()[1] == {"step": 1, "x": [0.3333, None]}
    for cut in range(len(whole)):
        journal.path.write_bytes(whole[:cut])
        assert [line["step"] for line in journal.read()] == list(range(whole[:cut].count(b"\n")))
    journal.path.write_bytes(whole[:-3])
    journal.keep_before(2)
    journal.append({"step": 2})
    assert [line["step"] for line in journal.read()] == [0, 1, 2]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "steps.jsonl")
    journal.path.write_bytes(b'{"step": 0}\n{"step": "one"}\n')
    with pytest.raises(DiagnosticsError, match=r"line 2 of .*steps.jsonl is damaged"):
        journal.read()
