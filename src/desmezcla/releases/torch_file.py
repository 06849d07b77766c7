"""Checkpoints written by `torch.save`, read without running anything of the file.

Such a file is a pickle beside the numbers of its tensors: an archive with a member for each, or,
before 2020, one after the other. The pickle is read by `pickle_reader`, the numbers as numbers.
(PyTorch's own restricted reader ran code until version 2.6, and it lets a file of a few bytes ask
for any amount of memory.) No tensor may claim more than the file has bytes.
"""

import io
import math
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from desmezcla.errors import ReleaseError
from desmezcla.releases.pickle_reader import Function, RefusedError, read_pickle

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

_STORAGES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.pth` file.

    Errors:
        ReleaseError: if the file is no checkpoint, is damaged, or holds anything else.
    """
    state = read_torch_file(path)
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise ReleaseError(
            f"{path} is no state dict: it must map names to plain tensors of numbers; save "
            "model.state_dict() alone"
        )
    return state


def read_torch_file(path: Path, names: Mapping[str, object] | None = None) -> object:
    """Return the content of a checkpoint: plain values, containers and tensors.

    Args:
        path: The file.
        names: What further names in the pickle stand for; see `pickle_reader.read_pickle`.

    Errors:
        ReleaseError: if the file is no checkpoint, is damaged, or holds anything else.
    """
    with _reading(path), path.open("rb") as stream:
        reader = _Reader(path.stat().st_size, names or {})
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                return reader.read_archive(archive)
        stream.seek(0)
        return reader.read_stream(stream)


class _Reader:
    """Reads one file, and keeps account of the memory that it asks for.

    Args:
        size_bytes: Size of the file.
        names: Names that are allowed besides those of tensors.
    """

    def __init__(self, size_bytes: int, names: Mapping[str, object]) -> None:
        self.size_bytes = size_bytes
        self.claimed_bytes = 0
        self.buffers: dict[str, bytearray] = {}
        self.names = {
            **names,
            **{f"torch.{name}": dtype for name, dtype in _STORAGES.items()},
            "collections.OrderedDict": Function(dict),
            "fractions.Fraction": Function(_fraction),
            "torch._utils._rebuild_parameter": Function(_parameter),
            "torch._utils._rebuild_tensor_v2": Function(self.tensor),
        }

    def read_archive(self, archive: zipfile.ZipFile) -> object:
        """Read the format of today."""
        items = archive.infolist()
        stored = all(item.compress_type == zipfile.ZIP_STORED for item in items)
        if not stored or sum(item.file_size for item in items) > self.size_bytes:
            raise RefusedError("it is compressed, which PyTorch's files are not")
        pickles = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(pickles) != 1:
            raise ValueError(f"the archive has {len(pickles)} pickles instead of one")
        folder = pickles[0].partition("/")[0]
        order = f"{folder}/byteorder"
        if order in archive.namelist() and archive.read(order) != sys.byteorder.encode():
            raise RefusedError("its numbers have the other order of bytes")

        def load(key: str, size_bytes: int) -> bytearray:
            content = bytearray(archive.read(f"{folder}/data/{key}"))
            if len(content) != size_bytes:
                raise ValueError(f"the data {key} has {len(content)} bytes, not {size_bytes}")
            return content

        return self.read_object(io.BytesIO(archive.read(pickles[0])), load)

    def read_stream(self, stream: IO[bytes]) -> object:
        """Read the format of before 2020: four pickles, a list of data, the data."""
        if read_pickle(stream, {}) != _MAGIC or read_pickle(stream, {}) != _PROTOCOL:
            raise ValueError("it does not begin as PyTorch's files do")
        read_pickle(stream, {})  # about the machine that wrote it
        content = self.read_object(stream, lambda key, size_bytes: bytearray(size_bytes))
        keys = read_pickle(stream, {})
        if not isinstance(keys, list) or set(keys) != set(self.buffers):
            raise ValueError("the list of its data does not fit")
        for key in keys:
            stream.read(8)  # the number of values, which the pickle says, too
            if stream.readinto(self.buffers[key]) != len(self.buffers[key]):  # type: ignore[attr-defined]
                raise ValueError(f"the data {key} is cut off")
        return content

    def read_object(self, stream: IO[bytes], load: Callable[[str, int], bytearray]) -> object:
        """Read the pickle that refers to the data, which `load` gives by key and size."""

        def persistent(identifier: Any) -> object:
            kind, dtype, key, _, count, *view = identifier
            if kind != "storage" or not isinstance(dtype, torch.dtype) or any(view):
                raise RefusedError("it refers to data of another kind")
            if not isinstance(key, str) or not re.fullmatch(r"\d{1,20}", key):
                raise RefusedError(f"it has data with the name {key!a:.40}")
            size_bytes = _whole(count) * dtype.itemsize
            if key not in self.buffers:
                self.check_claim(size_bytes + sum(map(len, self.buffers.values())))
                self.buffers[key] = load(key, size_bytes)
            if len(self.buffers[key]) != size_bytes:
                raise RefusedError(f"it says two sizes of the data {key}")
            return _Storage(self.buffers[key], dtype)

        return read_pickle(stream, self.names, persistent)

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> Tensor:
        """Return a tensor that looks at a part of the data."""
        if not isinstance(storage, _Storage) or len(size) != len(stride) or len(size) > 8:
            raise RefusedError("it describes a tensor wrongly")
        shape, steps = [_whole(n) for n in size], [_whole(n) for n in stride]
        count = math.prod(shape)
        # A few bytes may describe a tensor of any shape; copying it would fill the memory.
        self.claimed_bytes += count * storage.dtype.itemsize
        self.check_claim(self.claimed_bytes)
        if count == 0:
            return torch.empty(shape, dtype=storage.dtype)
        last = _whole(offset) + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        if last >= len(storage.buffer) // storage.dtype.itemsize:
            raise RefusedError("it has a tensor that reaches beyond its data")
        values = torch.frombuffer(storage.buffer, dtype=storage.dtype)
        return values.as_strided(shape, steps, _whole(offset))

    def check_claim(self, claimed_bytes: int) -> None:
        """Refuse tensors that are larger than the file."""
        if claimed_bytes > self.size_bytes:
            raise RefusedError(
                f"it has {self.size_bytes} bytes, but claims tensors of {claimed_bytes}"
            )


class _Storage:
    """The numbers of one or more tensors."""

    def __init__(self, buffer: bytearray, dtype: torch.dtype) -> None:
        self.buffer, self.dtype = buffer, dtype


def _parameter(value: object, *_: object) -> object:
    return value


def _fraction(*arguments: Any) -> Fraction:
    """Return a fraction from its text or from its two numbers."""
    if len(arguments) == 1 and re.fullmatch(r"-?\d{1,18}(/\d{1,18})?", str(arguments[0])):
        return Fraction(str(arguments[0]))
    numerator, denominator = arguments
    return Fraction(int(numerator), int(denominator))


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise RefusedError(f"it has the size {value!a:.40}")
    return value


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise ReleaseError(
            f"{path} was refused: {error}; only files of tensors and plain values are read, since "
            "others might run code, so save its state dict alone"
        ) from error
    except Exception as error:  # a damaged archive or pickle may fail with nearly any type
        raise ReleaseError(
            f"{path} cannot be read as a PyTorch checkpoint ({type(error).__name__}: "
            f"{_first_line(error)}); it is damaged or of another kind"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
