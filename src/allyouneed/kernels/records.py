"""Typed pointers and records: how compiled code sees tensors, arrays and structures.

A pointer is the address of values of one type, as in C: `p + n` advances it by n values, and `p[i]` reads or writes a
value. A record has named fields of 8 bytes; compiled code reads `record.field`, or `records[i]` in an array of records.
Bounds are not checked. Pointers do not keep their memory alive; on the Python side, `Record` objects do.
"""

from __future__ import annotations

import ctypes
import operator
import struct
from collections.abc import Callable, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, dataclass_transform, get_args, get_type_hints

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_getattr_generic, lower_setattr_generic, register_model

FLOAT, DOUBLE, INT, LONG = ir.FloatType(), ir.DoubleType(), ir.IntType(32), ir.IntType(64)
_WORD = 8  # bytes of a record's field


class Pointer(types.Type):
    """Numba type of a pointer to values of one type."""

    def __init__(self, name: str, element: types.Type, kind: ir.Type, size: int):
        self.element, self.kind, self.size = element, kind, size
        super().__init__(name)

    def __or__(self, other: None) -> Pointer:
        """Allow `Floats | None` as an annotation: every pointer may be null."""
        return self


class RecordType(types.Type):
    """Numba type of a pointer to a record."""

    def __init__(self, name: str, fields: dict[str, types.Type]):
        self.fields = fields
        super().__init__(name)

    @property
    def key(self) -> tuple[object, ...]:
        """Identity of the type; Numba keeps one instance of equal types."""
        return self.name, *self.fields.items()


Float64 = Annotated[float, "fp64"]  # annotation of a record field in fp64
if TYPE_CHECKING:
    Floats = Any
    Doubles = Any
    Longs = Any
else:
    Floats = Pointer("Floats", types.float32, FLOAT, 4)
    Doubles = Pointer("Doubles", types.float64, DOUBLE, 8)
    Longs = Pointer("Longs", types.int64, LONG, 8)


@dataclass_transform(kw_only_default=True)
class Record:
    """Base class of records: subclasses declare fields, which compiled code accesses by name.

    A field is an `int`, a `float` (fp32 in compiled code), a `Float64`, a pointer (`Floats`, `Doubles` or `Longs`; in
    Python a tensor or an array), or another record class (a record, or an array of records made by `array` or `empty`).
    Pointers and records may be None. The record holds references to its values, so that its pointers stay valid.
    """

    numba_type: ClassVar[RecordType]
    _converters: ClassVar[dict[str, Callable[[Any], int]]]

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls.numba_type = RecordType(cls.__qualname__, {name: numba_type(hints[name]) for name in cls.__annotations__})
        cls._converters = {name: converter(kind) for name, kind in cls.numba_type.fields.items()}

    def __init__(self, **values: Any):
        self.__dict__.update(values)
        words = [convert(values[name]) for name, convert in self._converters.items()]
        self._words = (ctypes.c_int64 * len(words))(*words)
        self.address = ctypes.addressof(self._words)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return type(self)(**{name: changes.get(name, getattr(self, name)) for name in self._converters})

    if TYPE_CHECKING:

        def __getitem__(self, index: int) -> Self:
            """Return the record at an index of an array, in compiled code."""

    @classmethod
    def array(cls, records: Sequence[Self]) -> Any:
        """Make a contiguous array of records, the value of a field of this class."""
        return _RecordArray(records)

    @classmethod
    def empty(cls, *shape: int) -> Any:
        """Allocate an array of uninitialised records, the value of a field of this class."""
        return np.empty((*shape, len(cls._converters)), dtype=np.int64)


class _RecordArray:
    def __init__(self, records: Sequence[Record]):
        self._records = records
        words = [word for record in records for word in record._words]
        self._words = (ctypes.c_int64 * len(words))(*words)
        self.address = ctypes.addressof(self._words)


def numba_type(annotation: Any) -> types.Type:
    """Return the Numba type for the annotation of a record field or a kernel parameter."""
    if isinstance(annotation, UnionType):
        annotation = next(choice for choice in get_args(annotation) if choice is not type(None))
    if isinstance(annotation, Pointer):
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation.numba_type
    if annotation is Float64:
        return types.float64
    return types.float32 if annotation is float else types.int64


def converter(kind: types.Type) -> Callable[[Any], int]:
    """Return the function that turns a Python value into a field of this type."""
    if kind is types.float32:
        return lambda value: int.from_bytes(struct.pack("<f", value), "little")  # the low half of the word
    if kind is types.float64:
        return lambda value: int.from_bytes(struct.pack("<d", value), "little", signed=True)
    return _word


def _word(value: Any) -> int:
    kind = type(value)  # the most frequent cases first: a call of a kernel converts about a hundred values
    if kind is int:
        return value
    if kind is np.ndarray:
        return value.__array_interface__["data"][0]
    if isinstance(value, torch.Tensor):
        return value.data_ptr()
    if isinstance(value, Record | _RecordArray):
        return value.address
    return 0 if value is None else operator.index(value)


def reinterpret(taken: types.Type, returned: types.Type) -> Any:
    """Make an intrinsic that reinterprets an address as a value of another type, or vice versa."""

    @intrinsic
    def cast(typing, value):
        return returned(taken), lambda context, builder, signature, values: values[0]

    return cast


# Conversions of an address that was read from memory to a pointer, and of a pointer to its address.
floats_at, longs_at = reinterpret(types.int64, Floats), reinterpret(types.int64, Longs)
address_of = reinterpret(Floats, types.int64)


@intrinsic
def no_floats(typing):
    """Return the null pointer to fp32 values."""
    return Floats(), lambda context, builder, signature, values: LONG(0)


@intrinsic
def copy_record(typing, source, target):
    """Copy all fields of a record to another of the same class."""

    def code(context, builder, signature, values):
        for index in range(len(source.fields)):
            value = builder.load(pointer_to(builder, LONG, values[0], LONG(index)), typ=LONG, align=_WORD)
            builder.store(value, pointer_to(builder, LONG, values[1], LONG(index)), align=_WORD)
        return context.get_dummy_value()

    return types.void(source, target), code


def pointer_to(builder, kind, address, index):
    """Return an LLVM pointer to the element with an index in an array of LLVM type `kind` at an address."""
    return builder.gep(builder.inttoptr(address, ir.PointerType()), [index], source_etype=kind)


# ---- Numba typing and lowering of pointers and records


@register_model(Pointer)
@register_model(RecordType)
class _AddressModel(models.PrimitiveModel):
    def __init__(self, manager, front_end_type):
        super().__init__(manager, front_end_type, LONG)


@infer_global(operator.add)
@infer_global(operator.iadd)
class _Advance(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(args[0], args[0], types.int64)
        return None


@lower_builtin(operator.add, Pointer, types.Integer)
@lower_builtin(operator.iadd, Pointer, types.Integer)
def _advance(context, builder, signature, values):
    return builder.add(values[0], builder.mul(values[1], LONG(signature.args[0].size)))


@infer_global(operator.getitem)
class _Read(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(args[0].element, args[0], types.int64)
        if isinstance(args[0], RecordType) and isinstance(args[1], types.Integer):
            return signature(args[0], args[0], types.int64)
        return None


@lower_builtin(operator.getitem, Pointer, types.Integer)
def _read(context, builder, signature, values):
    pointer = signature.args[0]
    return builder.load(pointer_to(builder, pointer.kind, *values), typ=pointer.kind, align=pointer.size)


@lower_builtin(operator.getitem, RecordType, types.Integer)
def _read_record(context, builder, signature, values):
    size = _WORD * len(signature.args[0].fields)
    return builder.add(values[0], builder.mul(values[1], LONG(size)))


@infer_global(operator.setitem)
class _Write(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.int64, args[0].element)
        return None


@lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)
def _write(context, builder, signature, values):
    pointer = signature.args[0]
    builder.store(values[2], pointer_to(builder, pointer.kind, *values[:2]), align=pointer.size)
    return context.get_dummy_value()


@infer_global(bool)
class _IsNotNull(AbstractTemplate):
    def generic(self, args, kws):
        is_address = len(args) == 1 and isinstance(args[0], Pointer | RecordType)
        return signature(types.boolean, *args) if is_address else None


@lower_builtin(bool, Pointer)
@lower_builtin(bool, RecordType)
def _is_not_null(context, builder, signature, values):
    return builder.icmp_unsigned("!=", values[0], LONG(0))


@infer_getattr
class _Fields(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, record, name):
        return record.fields.get(name)


@lower_getattr_generic(RecordType)
def _read_field(context, builder, record, value, name):
    pointer, kind = _field(builder, record, value, name)
    return builder.load(pointer, typ=kind, align=_WORD)


@lower_setattr_generic(RecordType)
def _write_field(context, builder, signature, values, name):
    pointer, _ = _field(builder, signature.args[0], values[0], name)
    builder.store(values[1], pointer, align=_WORD)
    return context.get_dummy_value()


def _field(builder, record, value, name):
    kind = {types.float32: FLOAT, types.float64: DOUBLE}.get(record.fields[name], LONG)
    address = builder.add(value, LONG(_WORD * list(record.fields).index(name)))
    return pointer_to(builder, kind, address, LONG(0)), kind
