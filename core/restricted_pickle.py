"""Reads the arrays out of a pickle without running anything that it asks for.

FLAME models are published as pickles, and a pickle is a program: ``pickle.load`` calls whatever the
file names. Here the program is only followed. Each opcode moves inert data on a stack; what the
file wants called becomes a `_Call`, a note of the name, the arguments and the state; and at the end
the notes that stand for arrays are turned into arrays by functions of our own. A name outside
`_MAKERS` is refused as soon as it is read. No object of the file's choosing is ever imported.

What a model file may hold: numbers, text, lists, tuples, dictionaries with text for keys, numpy
arrays and scalars, scipy's csc, csr and coo matrices, and chumpy arrays (an extinct library of
Python 2, of which only the numbers are wanted). Python 2 pickles are read with latin-1 text.

Limits, so that a hostile file ends in a message and not in a frozen machine: an array is exactly as
large as the bytes that the file holds for it; all copies together stay below `COPIES` file sizes;
numbers of opcodes and levels are bounded; what refers to itself is refused.
"""

from __future__ import annotations

import codecs
import io
import pickletools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import scipy.sparse as sp

from core.errors import IdiolectError, read_failed

# A FLAME file has some 500 opcodes and six levels, and is 60 MB at the most.
MAX_FILE_BYTES = 1 << 30
MAX_DEPTH = 64
# Real files need one copy (latin-1 text to bytes), chumpy's Select another.
COPIES = 4
SPARE_BYTES = 1 << 20
# Larger dimensions than any file can fill; a bound keeps hostile integers out of the arithmetic.
MAX_DIMENSION = 1 << 40
MAX_DIMENSIONS = 8
# Integers up to here are their own hashes, so that few of them can be made to collide.
MAX_INTEGER_KEY = 1 << 31


@dataclass(frozen=True)
class Limits:
    """What a kind of file needs beyond the ordinary.

    Attributes:
        opcodes: Most instructions that are followed.
        integer_keys: Whether dictionaries may have keys that are integers, 0 to 2³¹ − 1.
    """

    opcodes: int = 100_000
    integer_keys: bool = False


MODEL_FILE = Limits()
INDEX_FILE = Limits(opcodes=20_000_000, integer_keys=True)
"""VOCASET keeps the place of each of its 123 341 frames in nested dictionaries."""


def load_restricted(path: str | Path, *, setting: str = "", limits: Limits = MODEL_FILE) -> Any:
    """Reads a pickle file; see the module for what it may hold.

    Args:
        path: The file.
        setting: Name of the user's setting that names the file, for errors.
        limits: What its kind of file needs.

    Returns:
        Plain data; arrays are read-only, sets are lists.

    Raises:
        IdiolectError: "missing_file", "unreadable_file"; "unsafe_file" when it asks for anything
            that a model file does not need, by name; "broken_file" when it is cut off or garbled.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise read_failed(path, error, setting=setting) from error
    return loads_restricted(data, path.name, setting=setting, limits=limits)


def loads_restricted(
    data: bytes, name: str, *, setting: str = "", limits: Limits = MODEL_FILE
) -> Any:
    """As `load_restricted`, for bytes; `name` is what errors call them."""
    try:
        if len(data) > MAX_FILE_BYTES:
            raise _UnsafeError(f"it is larger than {MAX_FILE_BYTES >> 20} MB")
        return _Reader(COPIES * len(data) + SPARE_BYTES).value(_follow(data, limits))
    except _UnsafeError as problem:
        raise IdiolectError(
            f"{name} was not read: {problem}.",
            hint="Take the file from where it was first published; this one may do harm.",
            code="unsafe_file",
            setting=setting,
        ) from problem
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as problem:
        raise IdiolectError(
            f"{name} is not a whole pickle file ({_shortened(str(problem))}).",
            hint="Download it again.",
            code="broken_file",
            setting=setting,
        ) from problem


class _UnsafeError(Exception):
    """The file asks for something that a model file does not need."""


@dataclass(frozen=True)
class _Name:
    """A name that the file mentions: the key of a maker in `_MAKERS`."""

    name: str


@dataclass(eq=False)
class _Call:
    """Something that the file wants made: by what, from which arguments, with which state."""

    maker: _Name
    arguments: tuple[Any, ...]
    state: Any = None


# ------------------------------------------------------------------- following the program

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_ARGUMENTS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": list,
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _opcodes(data: bytes, limit: int) -> Iterator[tuple[str, Any]]:
    """Name and argument of each opcode."""
    file = io.BytesIO(data)
    for _ in range(limit):
        opcode = _OPCODES.get(file.read(1).decode("latin-1"))
        if opcode is None:
            raise ValueError("it breaks off or is garbled")
        if opcode.name == "STRING":  # Python 2's own, which pickletools takes for ASCII
            quoted = pickletools.read_stringnl(file, decode=False)
            yield opcode.name, codecs.escape_decode(quoted)[0].decode("latin-1")
        else:
            yield opcode.name, opcode.arg.reader(file) if opcode.arg else None
    raise _UnsafeError(f"it has more than {limit} steps")


def _follow(data: bytes, limits: Limits) -> Any:
    """The value that the pickle leaves on its stack, with `_Call` where it wants something made."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument in _opcodes(data, limits.opcodes):
        match opcode:
            case _ if opcode in _ARGUMENTS:
                stack.append(argument)
            case _ if opcode in _CONSTANTS:
                stack.append(_CONSTANTS[opcode]())
            case _ if opcode in _TUPLES:
                stack[-_TUPLES[opcode] :] = [tuple(stack[-_TUPLES[opcode] :])]
            case "MARK":
                marks.append(len(stack))
            case "POP_MARK":
                since_mark()
            case "POP":
                stack.pop()
            case "DUP":
                stack.append(stack[-1])
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "LIST" | "FROZENSET":
                stack.append(since_mark())
            case "APPEND":
                item = stack.pop()
                _expect(stack[-1], list).append(item)
            case "APPENDS" | "ADDITEMS":
                items = since_mark()
                _expect(stack[-1], list).extend(items)
            case "DICT":
                stack.append(_with_items({}, since_mark(), limits))
            case "SETITEM":
                items = [stack.pop(-2), stack.pop()]
                _with_items(stack[-1], items, limits)
            case "SETITEMS":
                items = since_mark()
                _with_items(stack[-1], items, limits)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_allowed(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_allowed(stack.pop(-2), stack.pop()))
            case "REDUCE" | "NEWOBJ":
                arguments = _expect(stack.pop(), tuple)
                stack.append(_call(stack.pop(), arguments))
            case "BUILD":
                state = stack.pop()
                _expect(stack[-1], _Call).state = state
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case _:
                raise _UnsafeError(f"it uses the pickle instruction {opcode}")
    raise ValueError("it has no end")


def _expect(value: Any, kind: type | UnionType) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind}, found {type(value)}")
    return value


def _with_items(target: Any, items: list[Any], limits: Limits) -> dict[Any, Any]:
    """`target` with keys and values from a flat list. Keys are text: other hashes can be forged."""

    def fits(key: Any) -> bool:
        is_index = type(key) is int and 0 <= key < MAX_INTEGER_KEY
        return isinstance(key, str) or (limits.integer_keys and is_index)

    keys = items[::2]
    if not all(map(fits, keys)):
        raise _UnsafeError("a dictionary has a key that is not text")
    _expect(target, dict).update(zip(keys, items[1::2], strict=True))
    return target


def _call(maker: Any, arguments: tuple[Any, ...]) -> _Call:
    """A note to have `maker` called. Python 2 wraps some classes in copy_reg._reconstructor."""
    if not isinstance(maker, _Name):
        raise _UnsafeError("it wants something called that is only data")
    if maker.name == "copyreg._reconstructor":
        return _call(arguments[0], ())
    if _MAKERS[maker.name] is None:
        raise _UnsafeError(f"it wants {maker.name} called")
    return _Call(maker, arguments)


# Modules that changed their names: Python 2 to 3, numpy 1 to 2, scipy before 1.8, chumpy.
_RENAMED = (
    (re.compile(r"__builtin__"), "builtins"),
    (re.compile(r"copy_reg"), "copyreg"),
    (re.compile(r"numpy\.core\.(.*)"), r"numpy._core.\1"),
    (re.compile(r"scipy\.sparse\._?(csc|csr|coo)"), "scipy.sparse"),
)


def _allowed(module: Any, name: Any) -> _Name:
    """The name, if it is one of `_MAKERS`."""
    full = f"{_expect(module, str)}.{_expect(name, str)}"
    for pattern, replacement in _RENAMED:
        if pattern.fullmatch(module):
            module = pattern.sub(replacement, module)
    if f"{module}.{name}" not in _MAKERS:
        raise _UnsafeError(f"it asks for {_shortened(full)}, which no face model needs")
    return _Name(f"{module}.{name}")


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "…"


# ------------------------------------------------------------------ making what is allowed


class _Reader:
    """Turns followed data into values, each part once."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._made: dict[int, Any] = {}
        self._open: set[int] = set()

    def spend(self, count: int) -> None:
        """Account for a copy of `count` bytes."""
        self._budget -= count
        if self._budget < 0:
            raise _UnsafeError("it unfolds into far more data than it holds")

    def value(self, node: Any) -> Any:
        """The value of a node; parts that several others share are made once."""
        if isinstance(node, _Name):
            raise _UnsafeError(f"it holds {node.name} itself where data is expected")
        if not isinstance(node, list | tuple | dict | _Call):
            return node
        if id(node) not in self._made:
            if id(node) in self._open:
                raise _UnsafeError("a part of it contains itself")
            if len(self._open) == MAX_DEPTH:
                raise _UnsafeError(f"it is nested more than {MAX_DEPTH} levels deep")
            self._open.add(id(node))
            self._made[id(node)] = self._make(node)
            self._open.remove(id(node))
        return self._made[id(node)]

    def _make(self, node: list[Any] | tuple[Any, ...] | dict[str, Any] | _Call) -> Any:
        if isinstance(node, _Call):
            maker = _MAKERS[node.maker.name]
            if maker is None:  # unreachable by `_call`; here for the reader's peace
                raise _UnsafeError(f"it wants {node.maker.name} called")
            return maker(self, node)
        if isinstance(node, dict):
            return {key: self.value(item) for key, item in node.items()}
        return type(node)(self.value(item) for item in node)


def _collection(reader: _Reader, call: _Call) -> Any:
    """set([…]) and its like: the list itself."""
    return reader.value(_expect(call.arguments[0], list | tuple)) if call.arguments else []


def _text_as_bytes(reader: _Reader, call: _Call) -> bytes:
    """Python 3 writes bytes in old protocols as _codecs.encode(text, 'latin1'), b'' as bytes()."""
    if not call.arguments:
        return b""
    text, encoding = (_expect(argument, str) for argument in call.arguments)
    if encoding not in ("latin1", "latin-1"):
        raise _UnsafeError(f"it uses the text encoding {_shortened(encoding)}")
    reader.spend(len(text))
    return text.encode("latin-1")


def _dtype(reader: _Reader, call: _Call) -> np.dtype:
    """numpy.dtype(code, align, copy) with its byte order in the state."""
    code = _expect(call.arguments[0], str)
    if not re.fullmatch(r"[biuf][1248]|[SUO][0-9]{1,9}", code):
        raise _UnsafeError(f"it has an array of the type {_shortened(code)}")
    _, order, parts, names, fields = (call.state or (3, "|", None, None, None))[:5]
    if (parts, names, fields) != (None, None, None):
        raise _UnsafeError("it has an array of records")
    return np.dtype(code).newbyteorder(order) if order in ("<", ">") else np.dtype(code)


def _array(reader: _Reader, call: _Call) -> Any:
    """What _reconstruct(ndarray, (0,), 'b') makes; shape, type, order, bytes are in the state."""
    _, shape, dtype, fortran, content = call.state
    return _shaped(reader, content, dtype, shape, "F" if fortran else "C")


def _array_from_buffer(reader: _Reader, call: _Call) -> Any:
    """What _frombuffer(bytes, dtype, shape, order), numpy's way in protocol 5, makes."""
    content, dtype, shape, order = call.arguments
    return _shaped(reader, content, dtype, shape, order)


def _scalar(reader: _Reader, call: _Call) -> Any:
    """What numpy's scalar(dtype, bytes) makes."""
    dtype, content = call.arguments
    return _shaped(reader, content, dtype, (), "C")[()]


def _shaped(reader: _Reader, content: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """An array that is as large as its bytes; of objects, their list or the only one."""
    dtype, content = _expect(reader.value(dtype), np.dtype), reader.value(content)
    shape = _checked_shape(reader.value(shape))
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if isinstance(content, str):  # Python 2
        reader.spend(len(content))
        content = content.encode("latin-1")
    held = len(content)
    claimed = count if dtype.hasobject else count * dtype.itemsize
    if held != claimed:
        raise _UnsafeError(f"an array claims {claimed} bytes or objects and has {held}")
    if dtype.hasobject:
        return _expect(content, list) if shape else content[0]
    array = np.frombuffer(_expect(content, bytes | bytearray), dtype, count)
    array.flags.writeable = False  # parts may be shared, so nobody may write to one of them
    return array.reshape(shape, order="F" if order == "F" else "C")


def _checked_shape(shape: Any) -> tuple[int, ...]:
    shape = tuple(_expect(shape, tuple | list))
    if len(shape) > MAX_DIMENSIONS or not all(
        isinstance(n, int) and 0 <= n <= MAX_DIMENSION for n in shape
    ):
        raise _UnsafeError("an array has an impossible shape")
    return shape


def _sparse(kind: Callable[..., Any]) -> Callable[[_Reader, _Call], Any]:
    """A scipy matrix from its attributes, with every index checked."""

    def make(reader: _Reader, call: _Call) -> Any:
        state = {key: reader.value(item) for key, item in _expect(call.state, dict).items()}
        shape = _checked_shape(state.get("_shape", state.get("shape")))
        if "indptr" in state:
            arrays = [state["data"], state["indices"], state["indptr"]]
        else:
            coordinates = state.get("coords") or (state.get("row"), state.get("col"))
            arrays = [state["data"], *coordinates]
        reader.spend(2 * sum(_expect(array, np.ndarray).nbytes for array in arrays))
        if "indptr" not in state:
            return kind((arrays[0], tuple(arrays[1:])), shape=shape)
        matrix = kind(tuple(arrays), shape=shape)
        matrix.check_format(full_check=True)
        return matrix

    return make


def _chumpy(name: str) -> Callable[[_Reader, _Call], np.ndarray]:
    """The numbers of a chumpy object: those of its attribute `x` (an array) or `a` (an operand)."""

    def make(reader: _Reader, call: _Call) -> np.ndarray:
        state = _expect(call.state, dict)
        values = reader.value(state["x" if name == "Ch" else "a"])
        values = np.asarray(_expect(values, np.ndarray | np.generic | int | float))
        if name == "transpose":
            axes = reader.value(state.get("axes"))
            return values.transpose(axes and _checked_shape(axes))
        if name == "Reshape":
            new_shape = reader.value(state["newshape"])
            return values.reshape(new_shape)
        if name == "Select":
            chosen = _expect(reader.value(state["idxs"]), np.ndarray)
            reader.spend(chosen.size * values.itemsize + values.nbytes)
            values = values.ravel()[chosen]
            shape = reader.value(state.get("preferred_shape"))
            return values if shape is None else values.reshape(_checked_shape(shape))
        return values

    return make


# Everything that a file may name. None: it may be mentioned as an argument, never called.
_MAKERS: dict[str, Callable[[_Reader, _Call], Any] | None] = {
    "builtins.object": None,
    "builtins.set": _collection,
    "builtins.frozenset": _collection,
    "builtins.list": _collection,
    "builtins.tuple": _collection,
    "builtins.bytes": _text_as_bytes,
    "builtins.bytearray": _text_as_bytes,
    "_codecs.encode": _text_as_bytes,
    "copyreg._reconstructor": None,
    "numpy.ndarray": None,
    "numpy.dtype": _dtype,
    "numpy._core.multiarray._reconstruct": _array,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _array_from_buffer,
    "scipy.sparse.csc_matrix": _sparse(sp.csc_matrix),
    "scipy.sparse.csr_matrix": _sparse(sp.csr_matrix),
    "scipy.sparse.coo_matrix": _sparse(sp.coo_matrix),
    "chumpy.ch.Ch": _chumpy("Ch"),
    "chumpy.reordering.Select": _chumpy("Select"),
    "chumpy.reordering.transpose": _chumpy("transpose"),
    "chumpy.reordering.Reshape": _chumpy("Reshape"),
}
