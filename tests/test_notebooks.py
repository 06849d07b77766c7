"""The notebooks are run, and what they show is compared with what is known of their songs."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

# Run apart: the warnings of the packages that start kernels are not those of this program.
RUN = """
import sys, nbformat
from nbclient import NotebookClient
source, target = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
try:
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
finally:
    nbformat.write(notebook, target)
"""

# What is asked of the kernel after the last cell.
ASKED = {
    "explore_dataset": """{
        "tracks": tracks.to_dict("list"),
        "levels_dbfs": files.set_index(["track", "stem"])["rms_dbfs"].unstack().to_dict(),
        "residuals_db": residuals.set_index("track")["residual_db"].to_dict(),
        "findings": len(findings),
        "shapes": {name: signal.shape for name, signal in audio.items()},
        "widths_db": widths,
        "correlations": {title: matrix.tolist() for title, matrix in correlations.items()},
    }""",
    "analyse_results": """{
        "frames": len(frames),
        "overall": overall.query("metric == @METRIC").to_dict("records"),
        "scores": chosen[["system", "track", "genre", "stem", "score"]].to_dict("records"),
        "tests": paired_tests(tracks, METRIC).to_dict("records"),
        "scored": scored[["track", "stem", "score", "level_db"]].to_dict("records"),
        "published": others.reset_index().to_dict("records"),
    }""",
}

Cells = list[Any]


def executed(name: str, place: Path) -> Cells:
    """Run a notebook where no other program's settings and no release but the package's are."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    question = f"import json\nprint(json.dumps({ASKED[name]}, default=float))"
    notebook.cells.append(nbformat.v4.new_code_cell(question, id="question"))  # type: ignore[no-untyped-call]
    source, target = place / "source.ipynb", place / "target.ipynb"
    nbformat.write(notebook, source)  # type: ignore[no-untyped-call]
    own = {
        "DESMEZCLA_HOME": "home",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(source), str(target)],
        cwd=place,
        env={
            **os.environ,
            **{variable: str(place / folder) for variable, folder in own.items()},
            "DESMEZCLA_OFFLINE": "1",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return list(nbformat.read(target, as_version=4).cells)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return executed("explore_dataset", tmp_path_factory.mktemp("explore"))


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return executed("analyse_results", tmp_path_factory.mktemp("analyse"))


def outputs(cells: Cells) -> Iterator[Any]:
    for cell in cells:
        yield from cell.get("outputs", [])


def answer(cells: Cells) -> Any:
    return json.loads(cells[-1].outputs[0].text)


def count(cells: Cells, kind: str) -> int:
    return sum(kind in output.get("data", {}) for output in outputs(cells))


def warned(cells: Cells) -> list[str]:
    texts = [output.text for output in outputs(cells) if output.get("name") == "stderr"]
    return [text for text in texts if "Warning" in text]


def test_a_dataset_is_explored(explored: Cells) -> None:
    assert count(explored, "image/png") == 8
    assert warned(explored) == []
    players = [o for o in outputs(explored) if "<audio" in o.get("data", {}).get("text/html", "")]
    assert len(players) == 5
    tables = [o for o in outputs(explored) if "<table" in o.get("data", {}).get("text/html", "")]
    assert len(tables) == 5


def test_what_is_shown_of_a_dataset_is_what_its_songs_are(explored: Cells) -> None:
    shown = answer(explored)
    assert shown["tracks"]["track"] == [f"Song {number}" for number in range(1, 7)]
    assert shown["tracks"]["length_s"] == [5, 6, 7, 8, 9, 10]
    assert shown["tracks"]["split"] == ["train"] * 4 + ["test"] * 2
    assert shown["findings"] == 0
    # In ballads the voice was made 7 dB louder, of songs in which all voices are about as loud.
    vocals_db = np.array(list(shown["levels_dbfs"]["vocals"].values()))
    np.testing.assert_allclose(vocals_db[::2].mean() - vocals_db[1::2].mean(), 7, atol=1)
    *plain_db, mastered_db = shown["residuals_db"].values()
    assert max(plain_db) < -60
    assert -40 < mastered_db < -20
    assert list(shown["shapes"]) == ["mixture", "vocals", "drums", "bass", "other"]
    assert all(shape == [2, 220500] for shape in shown["shapes"].values())
    assert shown["widths_db"]["bass"] == -60, "it is played in the middle"
    assert max(shown["widths_db"], key=shown["widths_db"].get) == "other"
    for matrix in map(np.array, shown["correlations"].values()):
        np.testing.assert_allclose(np.diag(matrix), 1)
        np.testing.assert_allclose(matrix, matrix.T)
    assert np.abs(np.array(shown["correlations"]["Samples"]) - np.eye(4)).max() < 0.1


def test_results_are_analysed(analysed: Cells) -> None:
    assert count(analysed, "image/png") == 7
    assert warned(analysed) == []
    texts = "".join(output.get("text", "") for output in outputs(analysed))
    assert "BSS Eval v4, frames of 1 s every 1 s, filters of 512 samples" in texts
    assert texts.count("6 tracks scored, 0 failed") == 3
    tables = [o for o in outputs(analysed) if "<table" in o.get("data", {}).get("text/html", "")]
    assert len(tables) == 9


def test_what_is_shown_of_results_follows_from_their_scores(analysed: Cells) -> None:
    shown = answer(analysed)
    # Songs of 4 to 9 s, four stems, three systems.
    assert shown["frames"] == 39 * 4 * 3
    assert len(shown["scores"]) == 6 * 4 * 3
    medians = {
        (row["system"], row["stem"]): (row["low"], row["score"], row["high"])
        for row in shown["overall"]
    }
    for (system, stem), (low, median, high) in medians.items():
        own = [r["score"] for r in shown["scores"] if (r["system"], r["stem"]) == (system, stem)]
        assert median == pytest.approx(np.median(own))
        assert min(own) <= low <= median <= high <= max(own)
    for stem in ("vocals", "drums", "bass", "other"):
        mixture, baseline, oracle = (
            medians[system, stem][1] for system in ("mixture", "baseline", "oracle_irm1")
        )
        assert mixture < baseline < oracle


def test_tests_and_levels_of_the_analysis(analysed: Cells) -> None:
    shown = answer(analysed)
    assert len(shown["tests"]) == 4 * 3
    for row in shown["tests"]:
        # With six songs, all to one side, the test gives 2 of 64 orders of signs.
        if row["system_a"] == "mixture":
            assert row["p"] == pytest.approx(2 / 64)
        assert row["p"] <= row["p_holm"] <= 1
    vocals = [row for row in shown["scored"] if row["stem"] == "vocals"]
    levels_db = [row["level_db"] for row in vocals]
    assert len(vocals) == 6
    assert max(levels_db) < 0
    assert np.corrcoef(levels_db, [row["score"] for row in vocals])[0, 1] > 0.7
    umx = [row for row in shown["published"] if row["system"] == "UMX"]
    assert [row["vocals"] for row in umx] == [6.32]


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["analyse_results", "explore_dataset"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_names_of_machines(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    nbformat.validate(notebook)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        assert "execution" not in cell["metadata"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert re.findall(r"(?<![\w.])/(?:home|tmp|root|work|Users|mnt)\b|[A-Z]:\\\\", text) == []
