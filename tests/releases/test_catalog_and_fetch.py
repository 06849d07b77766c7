import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from desmezcla.errors import ReleaseError
from desmezcla.releases import catalog as catalog_module
from desmezcla.releases.catalog import CatalogEntry, SourceFile, aliases, catalog
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.fetch import fetch_release
from desmezcla.releases.importers import importer
from desmezcla.releases.store import find_release, list_releases, user_folder, verify_release


def test_the_catalog_of_open_unmix_is_as_published() -> None:
    entries = {name: entry for name, entry in catalog().items() if entry.format == "open_unmix"}
    assert sorted(entries) == ["umx", "umxhq", "umxl", "umxse"]
    for entry in entries.values():
        assert entry.sources[0].startswith("https://doi.org/10.5281/zenodo.")
        assert tuple(file.stem for file in entry.files) == entry.stems
        assert importer(entry.format) is not None
        for file in entry.files:
            record = entry.sources[0].rpartition(".")[2]
            assert file.url.startswith(f"https://zenodo.org/records/{record}/files/{file.stem}")
            # The convention of torch hub: the name ends with the first digits of the sha256.
            assert file.digits["sha256"].startswith(file.url[-12:-4])
    assert all(file.sha256 for file in catalog()["umxhq"].files)
    assert [entry.name for entry in catalog().values() if entry.non_commercial] == ["umxl"]


def test_a_file_needs_a_checksum() -> None:
    with pytest.raises(ValueError, match="needs its sha256"):
        SourceFile(url="https://example.org/a.pth")
    with pytest.raises(ValueError, match="pattern"):
        SourceFile(url="https://example.org/a.pth", sha256_prefix="1234567")


def test_every_entry_names_its_members_by_known_names() -> None:
    assert aliases()["spleeter"] == "spleeter_4stems"
    assert all(info.name != alias for info in list_releases() for alias in aliases())


@pytest.fixture
def published(
    server: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    open_unmix_state: Callable[..., dict[str, torch.Tensor]],
) -> CatalogEntry:
    """Publish a small two-stem release on the server, in a catalog of its own."""
    folder = tmp_path / "published"
    folder.mkdir()
    files = []
    for seed, stem in enumerate(("speech", "noise")):
        torch.save(open_unmix_state(seed=seed, channels=1), folder / "new.pth")
        content = (folder / "new.pth").read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        name = f"{stem}_{digest[:8]}.pth"
        (folder / "new.pth").rename(folder / name)
        files.append({"url": f"{server.url}/{name}", "stem": stem, "sha256_prefix": digest[:8]})
    entry = {
        "name": "small",
        "model": "open_unmix",
        "stems": ["speech", "noise"],
        "sample_rate": 16000,
        "channels": 1,
        "license": "CC-BY-NC-4.0",
        "trained_on": "nothing",
        "scores": [
            {"dataset": "d", "averaging": "a", "source": "s", "values_db": {"speech": 1.0}},
        ],
        "format": "open_unmix",
        "settings": {"sample_rate": 16000, "hop_length": 32},
        "size_bytes": 1000,
        "files": files,
    }
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "all.yaml").write_text(
        yaml.safe_dump({"aliases": {"nick": "small"}, "releases": [entry]})
    )
    monkeypatch.setattr(catalog_module, "CATALOG", tmp_path / "catalog")
    monkeypatch.setattr(catalog_module, "_content", catalog_module._content.__wrapped__)

    def serve(handler: BaseHTTPRequestHandler) -> None:
        content = (folder / handler.path.rpartition("/")[2]).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    server.answers = [serve]
    return catalog()["small"]


def test_a_catalog_release_is_fetched_on_first_use_only(
    server: Any, published: CatalogEntry, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert [(i.name, i.installed) for i in list_releases() if i.name == "small"] == [
        ("small", False)
    ]
    seen: list[int] = []
    release = find_release("nick", progress=lambda done, total: seen.append(done))
    assert "no commercial use" in caplog.text
    assert seen
    assert (release.name, release.info.stems) == ("small", ("speech", "noise"))
    assert release.info.scores[0].values_db == {"speech": 1.0}
    assert "forbids commercial use" in (release.folder / "card.md").read_text()
    model = load_model("small")
    assert (model.spec.sample_rate, model.config.hop_length) == (16000, 32)
    assert len(server.requests) == 2
    find_release("small")
    assert len(server.requests) == 2
    assert list((home / "downloads").rglob("*.pth*")) == []
    verify_release(release)


def test_two_at_once_install_it_once(server: Any, published: CatalogEntry) -> None:
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(fetch_release, published) for _ in range(3)]
        assert len({job.result().sha256 for job in jobs}) == 1
    assert len(server.requests) == 2
    assert [path.name for path in user_folder().iterdir()] == ["small"]


def test_a_mirror_is_asked_instead(
    server: Any, published: CatalogEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_release(published, mirror=f"{server.url}/first/")
    monkeypatch.setenv("DESMEZCLA_MIRROR", f"{server.url}/second")
    fetch_release(published, replace=True)
    folders = [request["path"].rpartition("/")[0] for request in server.requests]
    assert folders == ["/first", "/first", "/second", "/second"]


def test_an_offline_folder_needs_no_network_and_keeps_its_files(
    server: Any, published: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESMEZCLA_OFFLINE", "1")
    with pytest.raises(ReleaseError, match="forbids the network"):
        find_release("small")
    folder = shutil.copytree(tmp_path / "published", tmp_path / "offline")
    monkeypatch.setenv("DESMEZCLA_OFFLINE_DIR", str(folder))
    find_release("small")
    assert len(list(folder.iterdir())) == 2
    damaged = folder / published.files[0].filename
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ReleaseError, match=r"wrong checksum: expected sha256 beginning with"):
        fetch_release(published, from_dir=folder, replace=True)
    damaged.unlink()
    with pytest.raises(ReleaseError, match="does not exist, but the offline folder must hold"):
        fetch_release(published, from_dir=folder, replace=True)
    assert server.requests == []
    verify_release(find_release("small"))  # what was installed before is untouched


def test_a_file_with_the_right_checksum_but_no_model_installs_nothing(
    server: Any, published: CatalogEntry
) -> None:
    (first, second) = published.files
    content = json.dumps({}).encode()
    wrong = SourceFile(url=first.url, stem="speech", sha256=hashlib.sha256(content).hexdigest())

    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    server.answers = [serve, *server.answers]
    with pytest.raises(ReleaseError):
        fetch_release(published.model_copy(update={"files": (wrong, second)}))
    assert list(user_folder().glob("*")) == []
