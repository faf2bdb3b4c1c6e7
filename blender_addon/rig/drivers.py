"""Which property to key when a driver moves a shape key: simple drivers, turned round.

A driver is simple when its value is linear in one property, apart from being cut at zero or one:
a single variable, by itself or in an expression such as ``jaw * 0.5`` or ``max(0, -ctrl)``. Control
boards, mirrors of the head's keys on the teeth, and custom properties of a rig are all of this
kind. What is not simple is left alone, and told.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import bpy

# Drivers of drivers are followed so far; more would be a circle.
_DEPTH = 5
_LOCATIONS = {"LOC_X": 0, "LOC_Y": 1, "LOC_Z": 2}
_SINGLE_KINDS = ("AVERAGE", "SUM", "MIN", "MAX")  # of one variable: the variable


@dataclass(frozen=True)
class Property:
    """One animated number, and how a shape key follows it.

    Attributes:
        owner: the data-block that keeps the number.
        path: its data path.
        index: place in the path's array, 0 if it is none.
        gain: how far the key moves while the number goes from 0 to 1.
        offset: where the key stands at 0.
        one_sided: whether the key is cut at zero, so that the other side of the number is free.
    """

    owner: bpy.types.ID
    path: str
    index: int
    gain: float = 1.0
    offset: float = 0.0
    one_sided: bool = False


class NotSimpleError(Exception):
    """A driver that cannot be turned round."""


def keyed_property(owner: bpy.types.ID, path: str) -> Property:
    """The property to key so that this one moves: itself, unless a driver moves it.

    Raises:
        NotSimpleError: if a driver moves it that cannot be turned round.
    """
    found = Property(owner, path, 0)
    for _ in range(_DEPTH):
        curve = _driver_of(found)
        if curve is None:
            return found
        found = _through(curve, found)
    raise NotSimpleError("drivers of drivers")


def _driver_of(wanted: Property) -> bpy.types.FCurve | None:
    animation = getattr(wanted.owner, "animation_data", None)
    for curve in animation.drivers if animation else ():
        if curve.data_path == wanted.path and curve.array_index == wanted.index and not curve.mute:
            return curve
    return None


def _through(curve: bpy.types.FCurve, wanted: Property) -> Property:
    """The property that a driver reads, as seen from the key in the end."""
    driver = curve.driver
    if driver is None or len(driver.variables) != 1:
        raise NotSimpleError("it reads several properties")
    variable = driver.variables[0]
    if driver.type in _SINGLE_KINDS:
        gain, offset, cut = 1.0, 0.0, False
    else:
        gain, offset, cut = _linear(driver.expression, variable.name)
    shape_gain, shape_offset = _curve_shape(curve)
    gain, offset = shape_gain * gain, shape_gain * offset + shape_offset
    if abs(gain) < 1e-9:
        raise NotSimpleError("it does not follow what it reads")
    source = _source(variable)
    return Property(
        *source,
        gain=wanted.gain * gain,
        offset=wanted.gain * offset + wanted.offset,
        one_sided=wanted.one_sided or cut,
    )


def _source(variable: bpy.types.DriverVariable) -> tuple[bpy.types.ID, str, int]:
    target = variable.targets[0]
    if variable.type == "TRANSFORMS" and target.transform_space == "LOCAL_SPACE":
        axis = _LOCATIONS.get(target.transform_type)
        if axis is not None and target.id is not None:
            bone = target.bone_target
            path = f'pose.bones["{bpy.utils.escape_identifier(bone)}"].location'
            return target.id, path if bone else "location", axis
    if variable.type != "SINGLE_PROP" or target.id is None or not target.data_path:
        raise NotSimpleError("it reads no property")
    path, index = target.data_path, 0
    element = re.fullmatch(r"(.+)\[(\d+)\]", path)
    if element:
        path, index = element.group(1), int(element.group(2))
    try:
        target.id.path_resolve(path)
    except ValueError as error:
        raise NotSimpleError("what it reads does not exist") from error
    return target.id, path, index


def _curve_shape(curve: bpy.types.FCurve) -> tuple[float, float]:
    """Gain and offset of what the driver's own curve does to its value."""
    if not len(curve.keyframe_points) and not len(curve.modifiers):
        return 1.0, 0.0
    low, middle, high = (curve.evaluate(value) for value in (0.0, 0.5, 1.0))
    if abs(middle - (low + high) / 2) > 1e-4:
        raise NotSimpleError("it follows along a curve")
    return high - low, low


def _linear(expression: str, name: str) -> tuple[float, float, bool]:
    """Gain, offset and whether it is cut, of an expression in one variable.

    Raises:
        NotSimpleError: if it is not linear in the variable.
    """
    try:
        return _term(ast.parse(expression, mode="eval").body, name)
    except (SyntaxError, ZeroDivisionError, RecursionError) as error:
        raise NotSimpleError("its expression is not linear") from error


def _term(node: ast.expr, name: str) -> tuple[float, float, bool]:
    match node:
        case ast.Constant(value=int() | float() as number):
            return 0.0, float(number), False
        case ast.Name(id=found) if found == name:
            return 1.0, 0.0, False
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=inner):
            gain, offset, cut = _term(inner, name)
            factor = -1.0 if isinstance(sign, ast.USub) else 1.0
            return factor * gain, factor * offset, cut
        case ast.BinOp(left=left, op=operation, right=right):
            return _combined(_term(left, name), operation, _term(right, name))
        case ast.Call(func=ast.Name(id="min" | "max" | "clamp"), args=arguments):
            terms = [_term(argument, name) for argument in arguments]
            moving = [term for term in terms if term[0]]
            if len(moving) == 1 and len(terms) <= 3:
                return moving[0][0], moving[0][1], True
    raise NotSimpleError("its expression is not linear")


def _combined(
    left: tuple[float, float, bool], operation: ast.operator, right: tuple[float, float, bool]
) -> tuple[float, float, bool]:
    cut = left[2] or right[2]
    match operation:
        case ast.Add():
            return left[0] + right[0], left[1] + right[1], cut
        case ast.Sub():
            return left[0] - right[0], left[1] - right[1], cut
        case ast.Mult() if not left[0] or not right[0]:
            moving, factor = (left, right[1]) if left[0] else (right, left[1])
            return moving[0] * factor, moving[1] * factor, cut
        case ast.Div() if not right[0]:
            return left[0] / right[1], left[1] / right[1], cut
    raise NotSimpleError("its expression is not linear")
