"""Files of `torch.save`: what is read, and that nothing of a hostile one is run."""

import builtins
import importlib
import io
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from desmezcla.errors import ReleaseError
from desmezcla.releases import pickle_reader
from desmezcla.releases.pickle_reader import Inert
from desmezcla.releases.torch_file import read_state, read_torch_file


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.content = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.content


class Built:
    """Pickled as an object whose state is set."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        Path(state["path"]).touch()


def same(got: object, expected: object) -> bool:
    if isinstance(expected, torch.Tensor):
        return isinstance(got, torch.Tensor) and torch.equal(got, expected)
    if isinstance(expected, dict):
        return isinstance(got, dict) and all(same(got[k], v) for k, v in expected.items())
    if isinstance(expected, list):
        return isinstance(got, list) and all(map(same, got, expected))
    return got == expected


@pytest.mark.parametrize("zipped", [True, False])
def test_values_containers_and_tensors_come_back(tmp_path: Path, zipped: bool) -> None:
    both = torch.arange(12.0).reshape(3, 4)
    content = {
        "plain": [1, -70000, 2**40, -1.5, "ü", True, False, None, (), (1,), (1, 2, 3, 4), [], {}],
        "fraction": Fraction(39, 5),
        "ordered": OrderedDict(a=1),
        "module": torch.nn.Linear(2, 3).state_dict(),  # which has an attribute
        "views": [both, both.T, both[1:, ::2], torch.tensor(3), torch.empty(0, 4)],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        0: [
            torch.tensor([1, 2]).to(dtype)
            for dtype in (torch.half, torch.bfloat16, torch.double, torch.long, torch.int)
        ],
        "bytes": torch.tensor([True, False]),
    }
    torch.save(content, tmp_path / "a.th", _use_new_zipfile_serialization=zipped)
    got: Any = read_torch_file(tmp_path / "a.th")
    assert same(got, content)
    views = got["views"]
    assert views[0].data_ptr() == views[1].data_ptr()
    if not zipped:
        views[0] += 1  # not memory that must not be written


def test_names_of_the_caller_stand_for_what_it_says(tmp_path: Path) -> None:
    content = {
        "klass": Fraction,
        "metric": np.float64(1.5),
        "more": Built(),
        "state": {"w": torch.ones(2)},
    }
    torch.save(content, tmp_path / "a.th")
    module = Built.__module__
    names = {
        "fractions.Fraction": "the class",
        f"{np.float64(0).__reduce__()[0].__module__}.scalar": Inert("scalar"),
        "numpy.dtype": Inert("dtype"),
        "_codecs.encode": Inert("encode"),
        f"{module}.Built": Inert("Built"),
        "copy_reg._reconstructor": Inert("new"),
        "__builtin__.object": Inert("object"),
    }
    got = read_torch_file(tmp_path / "a.th", names)
    assert isinstance(got, dict)
    assert isinstance(got["metric"], Inert)
    assert isinstance(got["more"], Inert)
    with pytest.raises(ReleaseError, match=r"refused: it names .*scalar"):
        read_torch_file(tmp_path / "a.th")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def hostile(trap: Path) -> dict[str, object]:
    """Return values that do something when they are unpickled freely."""
    return {
        "system": Call(os.system, f"touch {trap}"),
        "eval": Call(builtins.eval, f"open({str(trap)!r}, 'w').close()"),
        "import": Call(importlib.import_module, "antigravity_of_the_test"),
        "nested": {"a": [({"b": Call(os.mkdir, str(trap))},)]},
        "in a key": {Call(os.mkdir, str(trap)): 1},
        "getattr": Call(getattr, Fraction, "__init__"),
        "bytes": Call(bytearray, 10**13),
        "fraction": Call(Fraction, "1e999999999"),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", list(hostile(Path())))
def test_a_hostile_pickle_is_refused_and_does_nothing(
    tmp_path: Path, name: str, zipped: bool
) -> None:
    trap, path = tmp_path / "trap", tmp_path / "a.th"
    (tmp_path / "antigravity_of_the_test.py").write_text(f"open({str(trap)!r}, 'w').close()")
    sys.path.insert(0, str(tmp_path))
    try:
        torch.save(hostile(trap)[name], path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ReleaseError, match=r"a\.th (was refused|cannot be read)"):
            read_torch_file(path)
        assert "antigravity_of_the_test" not in sys.modules
    finally:
        sys.path.remove(str(tmp_path))
    assert not trap.exists()


def write_pickle(path: Path, program: bytes) -> None:
    """Write an archive with a pickle that no Python object gives."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", bytes(16))


def tensor_program(size: str, stride: str, *, count: str = "K\x04", offset: str = "K\x00") -> bytes:
    """Return a pickle of one tensor over 4 floats."""
    storage = f"((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu{count}tQ"
    text = f"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n{storage}{offset}{size}{stride}\x89}}tR."
    return text.encode("latin-1")


HUGE = "\x8a\x06\x00\x00\x00\x00\x00\x01"  # 2^40


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"cposix\nsystem\n(U\x04truetR.", "it names 'posix.system'"),
        (b"(U\x04trueiposix\nsystem\n.", "it has the instruction INST"),
        (b"(cposix\nsystem\nU\x04trueo.", "it names 'posix.system'"),
        (b"\x8c\x05posix\x8c\x06system\x93.", "it has the instruction SHORT_BINUNICODE"),
        (b"\x82\x01.", "it has the instruction EXT1"),
        (b"ccollections\nOrderedDict\n}U\x08__call__U\x01asb.", "sets attributes of a Function"),
        (b"ccollections\nOrderedDict\n)\x81.", "makes an object of a Function"),
        (b"ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01s.", "does not end with one value"),
        (b"ccollections\nOrderedDict\nX\x01\x00\x00\x00aK\x01s.", "sets items of a Function"),
        (b"ccollections\nOrderedDict\n(]]K\x01aa\x85tR.", "cannot be read"),
        (b"U\x01a)R.", "it calls a str"),
        (b"}))K\x01s.", "it has a key of the type tuple|sets items"),
        (b"}(K\x01u.", "cannot be read"),
        (b"U\x07storageQ.", "refers to data of another kind"),
        (b"(K\x01K\x02tQ.", "cannot be read|refers to data"),
        (b"h\x05.", "KeyError"),
        (b"a.", "cannot be read"),
        (b"", "cannot be read"),
        (b"K\x01K\x02.", "does not end with one value"),
        (tensor_program(f"({HUGE}t", "(K\x00t"), "claims tensors of 4398046511104"),
        (tensor_program("(K\x05t", "(K\x01t"), "reaches beyond its data|claims"),
        (tensor_program("(K\x02t", "(K\x04t"), "reaches beyond its data"),
        (tensor_program("(K\x02t", "(K\x01t", offset="K\x03"), "reaches beyond its data"),
        (tensor_program("(K\x02t", "(J\xff\xff\xff\xfft"), "has the size -1"),
        (tensor_program("(K\x04t", "(K\x01t", count=HUGE), "claims tensors of 4398046511104"),
        (tensor_program("(K\x04t", "(K\x01t", count="K\x08"), "has 16 bytes, not 32"),
        (tensor_program("(K\x04t", ")"), "describes a tensor wrongly"),
    ],
)
def test_a_forged_pickle_is_refused(tmp_path: Path, program: bytes, message: str) -> None:
    path = tmp_path / "a.th"
    write_pickle(path, program)
    with pytest.raises(ReleaseError, match=message):
        read_torch_file(path)


def test_the_forged_tensor_is_read_where_it_is_right(tmp_path: Path) -> None:
    write_pickle(tmp_path / "a.th", tensor_program("(K\x02K\x02t", "(K\x02K\x01t"))
    got = read_torch_file(tmp_path / "a.th")
    assert isinstance(got, torch.Tensor)
    assert got.tolist() == [[0, 0], [0, 0]]


def test_deep_and_endless_structures_are_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.th"
    write_pickle(path, b"]" * 50_000 + b"a" * 49_999 + b".")
    assert isinstance(read_torch_file(path), list)
    doubled = b"K\x01" + b"q\x00h\x00\x86" * 2000 + b"."  # a tuple of 2^2000 numbers
    write_pickle(path, doubled)
    assert isinstance(read_torch_file(path), tuple)
    write_pickle(path, b"}" + doubled[:-1] + b"K\x01s.")
    with pytest.raises(ReleaseError, match="it has a key of the type tuple"):
        read_torch_file(path)
    monkeypatch.setattr(pickle_reader, "MAX_INSTRUCTIONS", 1000)
    write_pickle(path, b"]" + b"]a" * 600 + b".")
    with pytest.raises(ReleaseError, match="it has more than 1000 instructions"):
        read_torch_file(path)


def bomb(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", tensor_program("(K\x04t", "(K\x01t"))
        archive.writestr("archive/data/0", bytes(50_000_000))


def test_hostile_files_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.th"
    tracemalloc.start()
    try:
        for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            bomb(path, method)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(ReleaseError, match="it is compressed"):
                read_torch_file(path)
            assert tracemalloc.get_traced_memory()[1] - before < 5_000_000
        for program in (
            tensor_program("(K\x04t", "(K\x01t", count=HUGE),
            tensor_program(f"({HUGE}t", "(K\x00t"),
            b"cbuiltins\nbytearray\n(" + HUGE.encode("latin-1") + b"tR.",
            b"K\x01r\xff\xff\xff\xff.",  # Python's own reader would keep 2^32 places for this
        ):
            write_pickle(path, program)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                read_torch_file(path)
            except ReleaseError:
                assert program[-2:] != b"\xff."
            assert tracemalloc.get_traced_memory()[1] - before < 5_000_000
    finally:
        tracemalloc.stop()


def test_an_old_file_cannot_claim_more_than_it_has(tmp_path: Path) -> None:
    """The format of before 2020 says the sizes before the data come."""
    path = tmp_path / "a.th"
    stream = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, stream, 2)
    stream.write(tensor_program("(K\x04t", "(K\x01t", count=HUGE))
    path.write_bytes(stream.getvalue())
    with pytest.raises(ReleaseError, match="claims tensors of 4398046511104"):
        read_torch_file(path)
    torch.save({"a": torch.ones(1000)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for cut in (1, 30, 4000, 4100):
        path.write_bytes(content[:-cut])
        with pytest.raises(ReleaseError, match=r"cannot be read|claims tensors of 4000"):
            read_torch_file(path)


def test_an_archive_of_the_other_order_of_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.th"
    write_pickle(path, b"K\x01.")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", b"big" if sys.byteorder == "little" else b"little")
    with pytest.raises(ReleaseError, match="the other order of bytes"):
        read_torch_file(path)


def test_other_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.th"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ReleaseError, match="has 0 pickles instead of one"):
        read_torch_file(path)
    path.write_bytes(struct.pack("<q", 1) * 100)
    with pytest.raises(ReleaseError, match=r"was refused|cannot be read"):
        read_torch_file(path)
    with pytest.raises(ReleaseError, match="cannot be read"):
        read_torch_file(tmp_path / "nothing.th")


def test_a_state_dict_has_tensors_only(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.th")
    assert list(read_state(tmp_path / "a.th")) == ["a"]
    for content in ({"a": 1}, [torch.ones(1)], {1: torch.ones(1)}):
        torch.save(content, tmp_path / "a.th")
        with pytest.raises(ReleaseError, match="is no state dict"):
            read_state(tmp_path / "a.th")
