"""Inputs for the tests: numbers spread over bit patterns, memory layouts, comparison of bits."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike

from oracle import FORMATS, Array

BFLOAT16: Final = np.dtype(ml_dtypes.bfloat16)
LOGIT_DTYPES: Final = (np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64))
WIDE_LOGIT_DTYPES: Final = (np.dtype(np.float32), np.dtype(np.float64))
INT_DTYPES: Final = tuple(np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8))
TARGET_DTYPES: Final = (np.dtype(np.bool_), *INT_DTYPES, *LOGIT_DTYPES)
NUMERIC_DTYPES: Final = (*INT_DTYPES, *LOGIT_DTYPES)

LAYOUTS: Final = ("c", "fortran", "reversed", "sliced", "moved", "unaligned", "readonly")
WRITEABLE_LAYOUTS: Final = tuple(layout for layout in LAYOUTS if layout != "readonly")


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return the name that test ids show."""
    return str(dtype.name)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Tell whether the dtype can hold soft targets."""
    return dtype in FORMATS


def _bits_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"u{dtype.itemsize}")


def spread_logits(dtype: Any, count: int, seed: int = 0) -> Array:
    """Return finite numbers of both signs spread evenly over bit patterns.

    Half of them cover the whole format. The other half lie between 2**-30 and 2**10, where the
    results vary most. Zeros, subnormals, the largest numbers and the edges of the exponential's
    range come first, as far as ``count`` allows.
    """
    dtype = np.dtype(dtype)
    form = FORMATS[dtype]
    unsigned = _bits_dtype(dtype)
    rng = np.random.default_rng(seed)

    def pattern(exponent: int) -> int:
        return (exponent - form.min_exponent + 1) << form.fraction_bits

    largest = pattern(form.max_exponent + 1) - 1
    low, high = pattern(max(-30, form.min_exponent)), pattern(10)
    special = [0, 1, 2, pattern(form.min_exponent) - 1, pattern(form.min_exponent), largest]
    edges = np.array([0.5, 1, 2, 17, 40, 87.3, 88.8, 103.9, 104.1, 708.4, 744.4, 745.2, 746])
    usable = edges[edges < float(np.asarray(largest, unsigned).view(dtype))].astype(dtype)
    first = np.concatenate([np.array(special, unsigned), usable.view(unsigned)])
    half = max(count - 2 * first.size, 0) // 2
    everywhere = rng.integers(0, largest + 1, half, dtype=unsigned)
    middle = rng.integers(low, high + 1, max(count - 2 * first.size - half, 0), dtype=unsigned)
    sign = np.asarray(1 << (8 * dtype.itemsize - 1), unsigned)
    rest = np.concatenate([everywhere, middle])
    rest ^= np.where(rng.random(rest.size) < 0.5, sign, np.asarray(0, unsigned))
    patterns = np.concatenate([first, first ^ sign, rest])[:count]
    return np.asarray(patterns.view(dtype))


def hard_targets(dtype: Any, count: int, seed: int = 1) -> Array:
    """Return zeros and ones in random order."""
    return np.random.default_rng(seed).integers(0, 2, count).astype(dtype)


def soft_targets(dtype: Any, count: int, seed: int = 2) -> Array:
    """Return numbers in [0, 1]: even ones, ones next to 0 and next to 1, and exact 0 and 1."""
    rng = np.random.default_rng(seed)
    even = rng.random(count)
    tiny = np.exp2(-rng.integers(1, 24, count))
    choices = [even, tiny, 1 - tiny, np.round(even)]
    return np.choose(rng.integers(0, 4, count), choices).astype(dtype)


def all_patterns(dtype: Any) -> Array:
    """Return all 65536 numbers of a 16-bit format, infinities and NaNs among them."""
    return np.arange(65536, dtype=np.uint16).view(dtype)


def junk(dtype: np.dtype[Any]) -> Any:
    """Return a value that would be noticed in any result: NaN, or an integer out of range."""
    return np.asarray(float("nan") if is_float(dtype) else 7).astype(dtype)


def lay_out(values: Array, layout: str) -> Array:
    """Return the same values in another memory layout, with junk in the gaps."""
    if layout == "c":
        return np.array(values, order="C")
    if layout == "fortran":
        return np.array(values, order="F")
    if layout == "reversed":
        backwards = np.array(np.flip(values), order="C")
        return np.asarray(backwards[_every_axis(values, slice(None, None, -1))])
    if layout == "sliced":
        return _sliced(values)
    if layout == "moved":
        if values.ndim < 2:
            return _sliced(values)
        return np.moveaxis(np.array(np.moveaxis(values, 0, -1), order="C"), -1, 0)
    if layout == "unaligned":
        return _unaligned(values)
    if layout == "readonly":
        copy = np.array(values, order="C")
        copy.flags.writeable = False
        return copy
    raise ValueError(f"there is no layout {layout!r}")


def _sliced(values: Array) -> Array:
    room = np.full([2 * n + 1 for n in values.shape], junk(values.dtype), dtype=values.dtype)
    view = np.asarray(room[_every_axis(values, slice(1, None, 2))])
    view[...] = values
    return view


def _every_axis(values: Array, one: slice) -> Any:
    """Return an index that applies one slice to each axis and gives a view in 0 dimensions too."""
    return (*(one,) * values.ndim, ...)


def _unaligned(values: Array) -> Array:
    memory = np.empty(values.nbytes + 1, dtype=np.uint8)
    view: Array = np.ndarray(values.shape, values.dtype, memory.data, offset=1)
    view[...] = values
    return view


def repeated(values: Array) -> Array:
    """Return a view of stride zero that repeats the first entry along the first axis."""
    if values.ndim == 0 or values.shape[0] == 0:
        return values
    return np.broadcast_to(np.array(values[:1], order="C"), values.shape)


def bits(values: ArrayLike) -> Array:
    """Return the bit patterns in C order, all NaNs as one pattern."""
    array = np.array(values, order="C")
    if is_float(array.dtype):
        array = np.where(np.isnan(array), np.asarray(float("nan")).astype(array.dtype), array)
    return np.asarray(array.reshape(-1).view(_bits_dtype(array.dtype)))


def same_bits(first: ArrayLike, second: ArrayLike) -> bool:
    """Tell whether two results agree in dtype, in shape and in every bit."""
    one, two = np.asarray(first), np.asarray(second)
    if one.dtype != two.dtype or one.shape != two.shape:
        return False
    return bool(np.array_equal(bits(one), bits(two)))
