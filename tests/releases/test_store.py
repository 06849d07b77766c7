import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.models import build_model
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About, Member, ReleaseFile, Scores, card_text, read_release
from desmezcla.releases.store import (
    BUNDLED,
    check_name,
    find_release,
    list_releases,
    locate_release,
    user_folder,
    verify_release,
)

BAG: dict[str, Any] = {
    "name": "both",
    "stems": ["vocals", "drums"],
    "sample_rate": 44100,
    "channels": 2,
    "members": [{"release": "a", "weights": {"vocals": 1.0}}, {"release": "b"}],
}


def save(name: str, folder: Path | None = None, **fields: Any) -> Path:
    model = build_model("open_unmix", n_fft=64, hop_length=16, hidden_size=4, layers=1, **fields)
    return save_release(model, folder or user_folder() / name, About(name=name)).folder


def test_listing_imports_neither_torch_nor_httpx() -> None:
    code = (
        "import sys; from desmezcla.releases.store import find_release, list_releases\n"
        "assert len(list_releases()) >= 5; find_release('default')\n"
        "print({'torch', 'httpx', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["baseline", "default", "realtime"])
def test_releases_of_the_package_are_complete_and_honest(name: str) -> None:
    release = find_release(name)
    assert (release.name, release.bundled, release.folder) == (name, True, BUNDLED / name)
    assert release.info.stems == ("vocals", "drums", "bass", "other")
    assert verify_release(release) == ("model.safetensors", "config.yaml", "card.md")
    (info,) = [info for info in list_releases() if info.name == name]
    assert (info.installed, info.bundled) == (True, True)
    assert info.causal == (name == "realtime")
    assert bool(info.scores) == (name != "baseline")
    assert ("far below" in info.description) == (name == "baseline")
    model = load_model(name)
    assert model.spec.stems == release.info.stems


def test_an_alias_stands_for_a_name() -> None:
    (info,) = [info for info in list_releases() if info.name == "umxhq"]
    assert info.aliases == ("openunmix",)
    assert locate_release("openunmix") == locate_release("umxhq")
    own = save("openunmix")
    assert find_release("openunmix").folder == own


def test_names_are_looked_up_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = save("elsewhere", tmp_path / "work" / "umxhq")
    monkeypatch.chdir(tmp_path / "work")
    assert find_release(outside).name == find_release(str(outside)).name == "elsewhere"
    assert find_release("umxhq").name == "elsewhere"  # a folder of that name stands here
    monkeypatch.chdir(tmp_path)
    mine = save("umxhq")
    assert find_release("umxhq").folder == mine  # the user's own goes before the catalog's
    save("baseline")
    assert not find_release("baseline").bundled
    infos = {info.name: info for info in list_releases()}
    assert infos["umxhq"].installed
    assert not infos["baseline"].bundled


def test_what_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="'umxqh' does not exist; did you mean umxhq"):
        find_release("umxqh")
    with pytest.raises(ReleaseError, match=r"known are baseline, .*default, .*umx"):
        find_release("zzzzzzzzz")
    with pytest.raises(ReleaseError, match="does not exist"):
        find_release("a" * 500)
    with pytest.raises(ReleaseError, match="desmezcla models download umxl"):
        find_release("umxl", download=False)
    for path in (tmp_path, "./nothing", "../umxl", "a\\b"):
        with pytest.raises(ReleaseError, match="not a release folder"):
            find_release(path)


def test_a_damaged_release_is_an_error_but_the_list_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = save("mine")
    for content in ("name: [", "name: mine", "[]", "\xff"):
        (folder / "release.yaml").write_bytes(content.encode("latin-1"))
        with pytest.raises(ReleaseError, match=r"release\.yaml"):
            find_release("mine")
    assert "mine" not in [info.name for info in list_releases()]
    assert "left out of the list" in caplog.text


def test_a_renamed_folder_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    folder = save("mine")
    folder.rename(folder.with_name("yours"))
    with pytest.raises(ReleaseError, match="holds the release 'mine'"):
        find_release("yours")
    assert {"mine", "yours"}.isdisjoint(info.name for info in list_releases())


@pytest.mark.parametrize(
    "change",
    [
        {"members": [], "model": None},
        {"model": "open_unmix"},
        {"members": [{"release": "a", "weights": {"vocals": 1.0}}]},
        {"members": [{"release": "a", "weights": {"vocals": -1.0}}, {"release": "b"}]},
        {"members": [{"release": "a", "weights": {"vocals": float("nan")}}]},
        {"stems": []},
        {"channels": 3},
        {"name": "Upper"},
        {"sha256": {"../secret": "0" * 64}},
        {"unknown_key": 1},
    ],
)
def test_release_yaml_has_rules(change: dict[str, Any]) -> None:
    ReleaseFile.model_validate(BAG)
    with pytest.raises(ValueError, match="validation error"):
        ReleaseFile.model_validate(BAG | change)


def test_a_bag_is_found_listed_and_never_loaded_as_a_model() -> None:
    folder = user_folder() / "both"
    folder.mkdir(parents=True)
    (folder / "release.yaml").write_text(yaml.safe_dump(BAG))
    release = find_release("both")
    first, second = release.info.members
    assert [m.weight(s) for m in (first, second) for s in ("vocals", "drums")] == [1, 0, 1, 1]
    assert first == Member(release="a", weights={"vocals": 1.0})
    assert len(release.sha256) == 64
    assert [i.model for i in list_releases() if i.name == "both"] == ["bag"]
    with pytest.raises(ReleaseError, match=r"bag of several models.*\(a, b\)"):
        load_model("both")


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", ".a", "a b", "ñ", "a.", "a" * 65, "-a"])
def test_names_that_are_not_allowed(name: str) -> None:
    with pytest.raises(ParameterError, match="choose another"):
        check_name(name)


def test_a_card_tells_licence_and_averaging() -> None:
    scores = Scores(
        dataset="D", averaging="mean of tracks", source="S", values_db={"vocals": 1.234}
    )
    info = read_release(save("mine")).info
    assert "None measured" in card_text(info)
    assert "commercial" not in card_text(info)
    card = card_text(
        info.model_copy(update={"scores": (scores,), "license": "CC-BY-NC-SA-4.0"}),
    )
    assert "SDR in dB on D, mean of tracks (S)" in card
    assert "| vocals | 1.23 |" in card
    assert "forbids commercial use" in card
