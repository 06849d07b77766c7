"""The file that a test is described by."""

from pathlib import Path

import pytest
import yaml

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.listening.design import DESIGN_FILE, read_design

from .conftest import plain_design, written


def test_a_design_is_read_as_it_was_written(tmp_path: Path) -> None:
    design = plain_design(repeats=2)
    assert read_design(written(design, tmp_path / "t")) == design
    assert design.trials() == 4 * 3 + 2


def change(folder: Path, **values: object) -> None:
    path = folder / DESIGN_FILE
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": "red"}, "colour='red': Extra inputs are not permitted"),
        ({"format": 2}, "format"),
        ({"repeats": 100}, "at most half"),
        ({"conditions": [{"name": "a"}]}, "two or more"),
        ({"songs": []}, "its song is not among the songs"),
        ({"mushra": True}, "open_reference"),
        ({"consent": {"en": "x"}}, "text in en and in es"),
        ({"excerpts": []}, "no excerpt"),
    ],
)
def test_a_design_that_cannot_be_is_refused(
    values: dict[str, object], message: str, tmp_path: Path
) -> None:
    folder = written(plain_design(), tmp_path / "t")
    change(folder, **values)
    with pytest.raises(DesmezclaError, match=message):
        read_design(folder)


def test_names_of_files_cannot_lead_elsewhere(tmp_path: Path) -> None:
    folder = written(plain_design(), tmp_path / "t")
    design = yaml.safe_load((folder / DESIGN_FILE).read_text())
    design["excerpts"][0]["stimuli"][0]["file"] = "../../etc/passwd00000000"
    (folder / DESIGN_FILE).write_text(yaml.safe_dump(design))
    with pytest.raises(DesmezclaError, match="String should match pattern"):
        read_design(folder)


def test_a_missing_file_or_test_is_told(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no listening test"):
        read_design(tmp_path)
    folder = written(plain_design(), tmp_path / "t")
    next((folder / "audio").iterdir()).unlink()
    with pytest.raises(DesmezclaError, match=r"lacks 1 file\(s\)"):
        read_design(folder)
    (folder / DESIGN_FILE).write_text("a: [")
    with pytest.raises(DesmezclaError, match="cannot be used"):
        read_design(folder)
