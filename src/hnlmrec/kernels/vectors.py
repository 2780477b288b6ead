"""Pieces of float32 rows as values that compiled loops keep in vector registers.

A loop over the columns of a row reads and writes its sum in memory at each turn; a sum that is one
of these stays in registers. LLVM splits a width into what the processor has, so any will do.
Nothing here checks bounds.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, register_model

# what the calling loops allow for their own numbers, too
_FLAGS = ("reassoc", "contract", "nsz", "arcp")
_LINE = 16  # float32 numbers in a cache line
# its declared type leaves out that the first argument is not for the caller
_intrinsic: Any = intrinsic


class Vector(types.Type):
    """``width`` float32 numbers."""

    def __init__(self, width: int) -> None:
        super().__init__(name=f"Vector({width})")
        self.width = width


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.FloatType(), kind.width))


def _address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Where ``table[row, column]`` is; table, row and column are the first arguments."""
    kind, (table, row, column) = signature.args[0], args[:3]
    array = context.make_array(kind)(context, builder, table)
    return cgutils.get_item_pointer(context, builder, kind, array, [row, column])


def _splat(context: Any, builder: Any, number: Any, width: int) -> Any:
    """``width`` times the same number."""
    one = ir.Constant(ir.VectorType(number.type, width), ir.Undefined)
    one = builder.insert_element(one, number, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    return builder.shuffle_vector(one, one, lanes)


@_intrinsic(prefer_literal=True)
def load(typing: Any, table: Any, row: Any, column: Any, width: Any) -> Any:
    """``table[row, column : column + width]``; the width is a constant."""
    kind = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature, args)
        pointer = context.get_value_type(kind).as_pointer()
        return builder.load(builder.bitcast(address, pointer), align=4)

    return kind(table, types.intp, types.intp, width), generate


@_intrinsic
def store(typing: Any, table: Any, row: Any, column: Any, vector: Any) -> Any:
    """Write ``vector`` to ``table[row, column:]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature, args)
        builder.store(args[3], builder.bitcast(address, args[3].type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(table, types.intp, types.intp, vector), generate


@_intrinsic
def scaled(typing: Any, vector: Any, scale: Any) -> Any:
    """``scale * vector``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        scales = _splat(context, builder, args[1], vector.width)
        return builder.fmul(args[0], scales, flags=_FLAGS)

    return vector(vector, types.float32), generate


@_intrinsic
def add_scaled(typing: Any, total: Any, scale: Any, vector: Any) -> Any:
    """``total + scale * vector``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        scales = _splat(context, builder, args[1], vector.width)
        product = builder.fmul(args[2], scales, flags=_FLAGS)
        return builder.fadd(args[0], product, flags=_FLAGS)

    return vector(vector, types.float32, vector), generate


@_intrinsic
def times(typing: Any, left: Any, right: Any) -> Any:
    """``left * right``, number by number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(args[0], args[1], flags=_FLAGS)

    return left(left, right), generate


@_intrinsic
def over_root(typing: Any, above: Any, below: Any, epsilon: Any) -> Any:
    """``above / (sqrt(below) + epsilon)``, number by number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(args[1].type, [args[1].type])
        name = f"llvm.sqrt.v{below.width}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        root = builder.call(function, [args[1]])
        shifted = builder.fadd(root, _splat(context, builder, args[2], below.width))
        return builder.fdiv(args[0], shifted)

    return above(above, below, types.float32), generate


@_intrinsic
def dot(typing: Any, left: Any, right: Any) -> Any:
    """``(left * right).sum()``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.fmul(args[0], args[1], flags=_FLAGS)
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), product.type])
        name = f"llvm.vector.reduce.fadd.v{left.width}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [ir.FloatType()(0), product], fastmath=_FLAGS)

    return types.float32(left, right), generate


@_intrinsic
def above(typing: Any, table: Any, row: Any, column: Any, limit: Any) -> Any:
    """Which of ``table[row, column : column + 64]`` are above ``limit``: a bit each, uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), 64)
        address = _address(context, builder, signature, args)
        numbers = builder.load(builder.bitcast(address, vector.as_pointer()), align=4)
        limits = _splat(context, builder, args[3], 64)
        return builder.bitcast(builder.fcmp_ordered(">", numbers, limits), ir.IntType(64))

    return types.uint64(table, types.intp, types.intp, types.float32), generate


@_intrinsic
def lowest(typing: Any, bits: Any) -> Any:
    """Number of the lowest bit that is set, of a uint64 above 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.uint64(types.uint64), generate


@_intrinsic(prefer_literal=True)
def prefetch(typing: Any, table: Any, row: Any, column: Any, width: Any) -> Any:
    """Ask for ``table[row, column : column + width]``, which is read soon."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        name = "llvm.prefetch.p0i8"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        address = _address(context, builder, signature, args)
        for offset in range(0, width.literal_value, _LINE):
            line = builder.gep(address, [ir.IntType(64)(offset)])
            # to read, to be kept near, data
            builder.call(function, [builder.bitcast(line, byte), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(table, types.intp, types.intp, width), generate
