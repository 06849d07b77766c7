"""The rooms of the package: imports point upwards only, and no file outgrows its room."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "desmezcla"
FILES = sorted(SOURCE.rglob("*.py"))

# From top to bottom; a room imports from itself and from rooms above it. `__main__` and the
# package's own `__init__`, which imports lazily, may use them all.
ROOMS = (
    "version",
    "version",
    "errors",
    "spec",
    "audio",
    "dsp",
    "nn",
    "models",
    "releases",
    "inference",
    "datasets",
    "losses",
    "evaluation",
    "training",
    "exporting",
    "batch",
    "live",
    "web",
    "listening",
    "studio",
    "cli",
    "__main__",
    "__init__",
)
MAX_LINES = 400


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield the line and the room of every import of the package, wherever in the file it stands.

    Args:
        tree: The parsed file.
        package: Parts of the package that the file is in, for relative imports.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            root, _, rest = name.partition(".")
            if root == "desmezcla":
                room = rest.partition(".")[0]
                # What is no room is one of the public names, which stand in `__init__`.
                yield node.lineno, room if room in ROOMS else "__init__"


def wrong_imports(code: str, room: str, package: tuple[str, ...]) -> list[str]:
    allowed = ROOMS[: ROOMS.index(room) + 1]
    return [
        f"line {line}: {room} imports {imported}, which lies below it"
        for line, imported in imported_rooms(ast.parse(code), package)
        if imported not in allowed
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_from_rooms_above_it(path: Path) -> None:
    assert room_of(path) in ROOMS, f"add the room {room_of(path)!r} to ROOMS, in its place"
    package = ("desmezcla", *path.relative_to(SOURCE).parts[:-1])
    assert wrong_imports(path.read_text(encoding="utf-8"), room_of(path), package) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_file_is_too_long(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: is it one room, or two?"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_the_library_neither_prints_nor_leaves_stubs(path: Path) -> None:
    names = {
        (node.lineno, node.id)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name)
    }
    assert not [line for line, name in names if name == "NotImplementedError"]
    if room_of(path) != "cli":
        assert not [line for line, name in names if name == "print"]


@pytest.mark.parametrize(
    "code",
    [
        "from desmezcla.inference import Separator",
        "import desmezcla.cli",
        "def f():\n    from desmezcla.models import open_unmix",
        "from ..inference import chunks",
        "from desmezcla import inference",
        "import desmezcla",
        "from desmezcla import Separator",
    ],
)
def test_an_import_of_a_lower_room_is_found(code: str) -> None:
    assert len(wrong_imports(code, "dsp", ("desmezcla", "dsp"))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "import desmezcla.errors",
        "from desmezcla.version import VERSION",
        "from desmezcla.audio.reader import AudioReader",
        "from . import stft",
        "from .stft import istft",
        "from ..errors import ParameterError",
        "import torch",
    ],
)
def test_an_import_of_the_own_or_an_upper_room_passes(code: str) -> None:
    assert wrong_imports(code, "dsp", ("desmezcla", "dsp")) == []
