import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from desmezcla.cli.models import app
from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.models import build_model
from desmezcla.releases.checkpoint import save_release
from desmezcla.releases.release import About, Release


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DESMEZCLA_OFFLINE", "1")
    return tmp_path / "home"


def run(*arguments: str) -> str:
    """Run `desmezcla models`, and return its standard output; its errors are raised."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def saved(folder: Path) -> Release:
    model = build_model("open_unmix", n_fft=64, hop_length=16, hidden_size=4, layers=1)
    return save_release(model, folder, About(name="small", license="MIT", description="Small."))


def test_importing_the_commands_is_light() -> None:
    code = (
        "import sys, desmezcla.cli.models\n"
        "print({'torch', 'numpy', 'httpx', 'pydantic', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_list_is_honest_about_every_release() -> None:
    text = run("list")
    assert "= openunmix" in text
    for expected in ("baseline", "CC-BY-NC-SA-4.0", "bundled", "none measured"):
        assert expected in text
    assert "vocals 7.21" in text
    assert "median of frames" in text
    records = {record["name"]: record for record in json.loads(run("list", "--json"))}
    assert records["umxhq"]["aliases"] == ["openunmix"]
    assert records["baseline"]["installed"]
    assert records["default"]["scores"][0]["values_db"].keys() == {
        "vocals",
        "drums",
        "bass",
        "other",
    }
    assert records["baseline"]["scores"] == []
    assert "far below" in records["baseline"]["description"]
    assert records["umxl"]["saw_musdb18_test"] is None
    assert records["umxhq"]["scores"][0]["values_db"]["bass"] == 5.07
    assert records["umxse"]["stems"] == ["speech", "noise"]
    assert not records["umxse"]["installed"]


def test_one_release_is_shown_with_its_card_and_nothing_is_fetched() -> None:
    assert "forbids commercial use" in run("show", "umxl")
    assert "Not installed." in run("show", "umxl")
    assert json.loads(run("show", "umxl", "--json"))["folder"] is None
    default = json.loads(run("show", "default", "--json"))
    assert default["name"] == "default"
    assert default["card"].startswith("# default")
    assert "Folder: " in run("show", "default")


def test_a_release_is_imported_verified_and_located(tmp_path: Path, home: Path) -> None:
    saved(tmp_path / "small")
    arguments = ["import", str(tmp_path / "small"), "--name", "mine"]
    assert "mine is installed in" in run(*arguments)
    assert run("path", "mine") == f"{home / 'releases' / 'mine'}\n"
    assert "model.safetensors, config.yaml, card.md" in run("verify", "mine")
    assert len(json.loads(run("verify", "mine", "--json"))["verified"]) == 3
    with pytest.raises(ReleaseError, match="--force"):
        run(*arguments)
    assert json.loads(run(*arguments, "--force", "--json"))["name"] == "mine"
    card = home / "releases" / "mine" / "card.md"
    card.write_text(card.read_text() + "changed")
    with pytest.raises(ReleaseError, match=r"card\.md has the sha256"):
        run("verify", "mine")


def test_what_cannot_be_done_is_raised(tmp_path: Path) -> None:
    saved(tmp_path / "small")
    with pytest.raises(ReleaseError, match="did you mean umxl"):
        run("show", "umxxl")
    with pytest.raises(ReleaseError, match="models download umxl"):
        run("path", "umxl")
    with pytest.raises(ReleaseError, match="forbids the network"):
        run("download", "umxl")
    with pytest.raises(ReleaseError, match=r"must hold vocals-bccbd9aa\.pth"):
        run("download", "umxl", "--from-dir", str(tmp_path))
    with pytest.raises(ParameterError, match="name='A'"):
        run("import", str(tmp_path / "small"), "--name", "A")
    with pytest.raises(ParameterError, match="format='zip'"):
        run("import", str(tmp_path / "small"), "--name", "a", "--format", "zip")


def test_download_of_what_is_there_changes_nothing() -> None:
    assert "default is installed in" in run("download", "default")
    assert json.loads(run("download", "baseline", "--json"))["license"] == "MIT"
