"""Pickles read without running anything: no name in them is ever looked up.

A pickle is a program for a small machine with a stack. Python's own machine imports whatever the
program names and calls it. This one knows the instructions that `torch.save` writes, plain values,
and a table of names that its caller gives; any other name or instruction ends the reading.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

# Files of the largest known models have some ten thousand instructions. Each may make an object
# of a hundred bytes or so.
MAX_INSTRUCTIONS = 1_000_000


class RefusedError(Exception):
    """The pickle holds something that may not be read."""


@dataclass(frozen=True)
class Function:
    """A function of ours that stands for the one that the pickle names."""

    call: Callable[..., object]


@dataclass(frozen=True)
class Inert:
    """Stands for a class or an object that is not needed; what is put into it is dropped."""

    name: str


Persistent = Callable[[object], object]

_CONSTANTS: dict[str, Callable[[], object]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NEWFALSE": lambda: False,
    "NEWTRUE": lambda: True,
    "NONE": lambda: None,
}
_VALUES = frozenset(
    {"BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE", "LONG1", "SHORT_BINSTRING"}
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(
    stream: IO[bytes], names: Mapping[str, object], persistent: Persistent | None = None
) -> object:
    """Return the value of the pickle at the position of a stream, which is left behind it.

    Args:
        stream: The bytes.
        names: What a name `module.name` in the pickle stands for: a `Function`, which may be
            called with what the pickle says, an `Inert`, or a constant.
        persistent: Returns the value for a persistent identifier.

    Errors:
        RefusedError: if the pickle names anything else or has an unknown instruction.
        Exception: of nearly any type, if it is damaged.
    """
    machine = _Machine(names, persistent)
    for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
        if count == MAX_INSTRUCTIONS:
            raise RefusedError(f"it has more than {MAX_INSTRUCTIONS} instructions")
        machine.step(instruction.name, argument)
    if len(machine.stack) != 1 or machine.marked:
        raise ValueError("the pickle does not end with one value")
    return machine.stack[0]


class _Machine:
    """The stack of a pickle, what it remembers, and what its instructions do."""

    def __init__(self, names: Mapping[str, object], persistent: Persistent | None) -> None:
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memory: dict[int, Any] = {}
        self.others: dict[str, Callable[[], None]] = {
            "APPEND": lambda: self.append([self.stack.pop()]),
            "APPENDS": lambda: self.append(self.pop_to_mark()),
            "BINPERSID": self.persist,
            "BUILD": self.build,
            "MARK": self.mark,
            "NEWOBJ": self.new_object,
            "REDUCE": self.reduce,
            "SETITEM": lambda: self.set_items(self.pop(2)),
            "SETITEMS": lambda: self.set_items(self.pop_to_mark()),
            "STOP": lambda: None,
            "TUPLE": lambda: self.push(tuple(self.pop_to_mark())),
        }

    def step(self, name: str, argument: Any) -> None:
        """Do what one instruction says."""
        if name in _VALUES:
            self.push(argument)
        elif name in _CONSTANTS:
            self.push(_CONSTANTS[name]())
        elif name in _TUPLES:
            self.push(tuple(self.pop(_TUPLES[name])))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memory[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.push(self.memory[argument])
        elif name == "GLOBAL":
            self.push(self.look_up(argument.replace(" ", ".", 1)))
        elif name in self.others:
            self.others[name]()
        elif name != "PROTO":
            raise RefusedError(f"it has the instruction {name}")

    def look_up(self, name: str) -> object:
        """Return what a name stands for."""
        if name not in self.names:
            raise RefusedError(f"it names {name[:80]!a}")
        return self.names[name]

    def pop(self, count: int) -> list[Any]:
        """Take the uppermost values, in the order in which they came."""
        if count > len(self.stack):
            raise ValueError("the stack is empty")
        values, self.stack[-count:] = self.stack[-count:], []
        return values

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def mark(self) -> None:
        """Begin a stack of its own, which the next `pop_to_mark` takes."""
        self.marked.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        """Take all values since the mark."""
        values, self.stack = self.stack, self.marked.pop()
        return values

    def append(self, values: list[Any]) -> None:
        """Put values into the list below them."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(values)
        elif not isinstance(target, Inert):
            raise RefusedError(f"it appends to a {type(target).__name__}")

    def set_items(self, values: list[Any]) -> None:
        """Put keys and values into the dictionary below them."""
        target = self.stack[-1]
        if isinstance(target, Inert):
            return
        if type(target) is not dict:
            raise RefusedError(f"it sets items of a {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # A key of nested tuples could exhaust the stack of the processor when it is hashed.
            if not isinstance(key, str | int):
                raise RefusedError(f"it has a key of the type {type(key).__name__}")
            target[key] = value

    def reduce(self) -> None:
        """Call a function of ours with the arguments above it."""
        function, arguments = self.pop(2)
        if isinstance(function, Inert):
            self.push(function)
        elif isinstance(function, Function) and isinstance(arguments, tuple):
            self.push(function.call(*arguments))
        else:
            raise RefusedError(f"it calls a {type(function).__name__}")

    def new_object(self) -> None:
        """Make an object of a class, which only an `Inert` may stand for."""
        owner, _ = self.pop(2)
        if not isinstance(owner, Inert):
            raise RefusedError(f"it makes an object of a {type(owner).__name__}")
        self.push(owner)

    def build(self) -> None:
        """Drop the attributes of an object; dictionaries of modules have some, too."""
        target, _ = self.pop(2)
        if not isinstance(target, Inert) and type(target) is not dict:
            raise RefusedError(f"it sets attributes of a {type(target).__name__}")
        self.push(target)

    def persist(self) -> None:
        """Replace an identifier by what it identifies."""
        if self.persistent is None:
            raise RefusedError("it refers to data outside")
        self.push(self.persistent(self.stack.pop()))
