"""Binary cross-entropy on logits inside JAX programs: under `jit`, `grad` and `vmap`, on the CPU.

A program compiled by JAX calls the compiled core in one of two ways, and `backend` tells which.
Where this package was built with ``LOGITLOSS_JAX``, XLA calls the core directly, by its foreign
function interface. Elsewhere it calls Python, by `jax.pure_callback`, which costs more a call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

import logitloss
from logitloss import _core
from logitloss.integrations._optional import require

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike
    from numpy.typing import NDArray

    from logitloss._functions import Reduction

jax = require("jax", "jax")
jnp = require("jax.numpy", "jax")

__all__ = ["backend", "bce_with_logits"]

_TARGET = "logitloss_bce_with_logits"
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = tuple(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))

Backend = Literal["ffi", "callback"]
_BACKEND: Backend = "ffi" if hasattr(_core, "jax_ffi_handler") else "callback"
if _BACKEND == "ffi":
    jax.ffi.register_ffi_target(_TARGET, _core.jax_ffi_handler(), platform="cpu")


class _Call(NamedTuple):
    """What of a call is known when it is traced; equal calls share a compiled program.

    The axes that are reduced over count from the last one, so that a batch, which adds
    dimensions in front, does not change them; None for elementwise losses.
    """

    backend: Backend
    label_smoothing: float
    ignore_index: float | None
    reduction: Reduction
    axis: tuple[int, ...] | None
    validate: bool


def backend() -> Backend:
    """Return how compiled programs call the core.

    Returns
    -------
    {'ffi', 'callback'}
        ``'ffi'`` where this package was built with
        ``pip install -C cmake.define.LOGITLOSS_JAX=ON``, else ``'callback'``.

    Examples
    --------
    >>> from logitloss.integrations.jax import backend
    >>> backend() in ("ffi", "callback")
    True
    """
    return _BACKEND


def bce_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: Reduction = "mean",
    axis: int | tuple[int, ...] | None = None,
    validate: bool = True,
) -> Array:
    """Binary cross-entropy between targets and logits, as a function of JAX.

    It means what `logitloss.bce_with_logits` means and is computed by the same core, and it can
    be used under `jax.jit`, `jax.vmap`, and in derivatives of any order and mode with respect to
    the logits. A derivative takes one pass over the data, with the value: `jax.value_and_grad`
    computes the gradient beside the value and multiplies it by what comes from outside.

    Parameters
    ----------
    logits : array_like
        Logits x, of any shape: float16, bfloat16, float32, or float64 where JAX is set to it.
    targets : array_like
        Targets y in [0, 1], of exactly the shape of `logits`: bool, any integer type of at least
        8 bits, float16, bfloat16, float32 or float64.
    weight : array_like, optional
        Multiplies an element's loss. A scalar, or an array that can be broadcast to
        ``logits.shape``; it is not written out.
    pos_weight : array_like, optional
        Multiplies the part of the positive label, likewise. An array of shape (C,) is per class
        on the last axis.
    label_smoothing : float
        e in [0, 1): y becomes y (1 - e) + e / 2. A number, not a traced value.
    where : array_like of bool, optional
        Can be broadcast to ``logits.shape``. Where it is False the element does not exist: its
        loss and derivatives are 0 and it is not counted, even if its logit, target or weight is
        NaN or infinite.
    ignore_index : float, optional
        A target that marks a missing label, such as -1, 255 or nan. A number, not a traced value.
    reduction : {'mean', 'sum', 'none', 'weighted_mean'}
        ``'mean'`` divides the sum of the weighted losses by the number of elements that exist,
        ``'weighted_mean'`` by the sum of their weights; ``'none'`` keeps one loss an element.
        Under `jax.vmap` each example has a reduction of its own.
    axis : int or tuple of int, optional
        Axes to reduce over, as in `numpy.sum`. None reduces over all.
    validate : bool
        Whether a target outside [0, 1], or NaN, of an element that exists is an error when the
        program runs. False applies the formula to any target.

    Returns
    -------
    jax.Array
        For ``reduction='none'`` an array of the shape and dtype of `logits`. A reduced value is
        float64 for float64 logits and float32 for any others, rounded once from a sum in
        float64; it is infinite where the sum is beyond the range of that type.

    Raises
    ------
    TypeError
        If an argument has a type or dtype that is not listed above, or a derivative with respect
        to anything but the logits is asked for.
    ValueError
        If a shape, an axis or an option does not fit.
    ValueError or jax.errors.JaxRuntimeError
        When the program runs, for a bad target; the message names its index and value. As with
        any error of a running program, JAX raises the second one where it notices only when a
        result is read, and none where no result is needed.

    Notes
    -----
    The gradient has the dtype of the logits. For float16 and bfloat16 it is kept in float32 until
    it has been multiplied by what comes from outside, so that loss scaling works.

    A mean over no element is nan and its gradient 0. XLA computes with subnormal numbers flushed
    to zero, and so does this function where XLA has a part in the result: in reduced values and
    in gradients.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from logitloss.integrations.jax import bce_with_logits
    >>> logits = jnp.array([2.0, -40.0, jnp.inf])
    >>> targets = jnp.array([1, 0, 1])
    >>> loss, gradient = jax.jit(jax.value_and_grad(bce_with_logits))(logits, targets)
    >>> print(f"{loss:.6f}")
    0.042309
    >>> print(f"{gradient[1]:.6e}")
    1.416118e-18
    """
    x, y = jnp.asarray(logits), jnp.asarray(targets)
    _check_dtype("logits", x, _FLOATS)
    _check_dtype("targets", y, ("bool", *_INTEGERS, *_FLOATS))
    if y.shape != x.shape:
        raise ValueError(
            f"targets must have the shape of logits: logits have shape {x.shape}, targets have "
            f"shape {y.shape}; they are never broadcast, so reshape one of them"
        )
    # The object refuses wrong options and has right ones in Python's own types.
    options = logitloss.BCEWithLogitsLoss(
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
        axis=axis,
        validate=validate,
    )._options
    call = _Call(
        _BACKEND,
        options["label_smoothing"],
        _comparable(options["ignore_index"]),
        options["reduction"],
        _axes_from_the_end(options["axis"], x.shape) if reduction != "none" else None,
        options["validate"],
    )
    given = {"weight": weight, "pos_weight": pos_weight, "where": where}
    factors = {
        name: _checked_factor(name, jnp.asarray(factor), x.shape)
        for name, factor in given.items()
        if factor is not None
    }
    value: Array = _loss(call, x, y, factors)
    return value


def _check_dtype(name: str, array: Array, allowed: Sequence[str]) -> None:
    if array.dtype.name not in allowed:
        raise TypeError(
            f"{name} must have dtype {', '.join(allowed[:-1])} or {allowed[-1]}, not "
            f"{array.dtype.name}"
        )


def _checked_factor(name: str, factor: Array, shape: tuple[int, ...]) -> Array:
    """Return a weight or a mask, or refuse one that cannot be broadcast to the logits."""
    if name == "where" and factor.dtype != bool:
        raise TypeError(
            f"where must have dtype bool, not {factor.dtype.name}; compare explicitly, as in "
            "where=(mask != 0)"
        )
    _check_dtype(name, factor, ("bool", *_INTEGERS, *_FLOATS))
    fits = factor.ndim <= len(shape) and all(
        given in (1, wanted)
        for given, wanted in zip(reversed(factor.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name} of shape {factor.shape} cannot be broadcast to logits of shape {shape}; its "
            "dimensions must be 1 or those of logits, aligned at the last axis: reshape it"
        )
    return factor


def _comparable(ignore_index: float | None) -> float | None:
    """Return the marker as a float; one and the same nan, which alone equals itself in a tuple."""
    if ignore_index is None:
        return None
    return math.nan if math.isnan(ignore_index) else float(ignore_index)


def _axes_from_the_end(
    axis: int | tuple[int, ...] | None, shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the reduced axes as negative numbers, or refuse one that is not there."""
    rank = len(shape)
    axes = tuple(range(rank)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for number in axes:
        if not -rank <= number < rank:
            raise ValueError(f"axis {number} is out of bounds for logits of shape {shape}")
    places = {number % rank for number in axes}
    if len(places) != len(axes):
        raise ValueError(f"axis {axis} names a dimension twice for logits of shape {shape}")
    return tuple(place - rank for place in sorted(places))


@partial(jax.jit, static_argnums=0, inline=True)
def _loss(call: _Call, logits: Array, targets: Array, factors: dict[str, Array]) -> Array:
    # Half-precision gradients would underflow before a scaled loss could lift them.
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # The handler and the callback repeat dimensions of length 1, so nothing is written out.
    shaped = {
        name: factor.reshape((1,) * (logits.ndim - factor.ndim) + factor.shape)
        for name, factor in factors.items()
    }
    (value,) = _derivatives(call, 0, wide, {"targets": targets, **shaped})
    return value.astype(logits.dtype) if call.axis is None else value


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _derivatives(
    call: _Call, order: int, logits: Array, others: dict[str, Array]
) -> tuple[Array, ...]:
    """Return the value and its derivatives up to the second, in one pass.

    Each element's loss depends on its own logit alone, so the second one is a diagonal.
    """
    kept = [
        length
        for place, length in enumerate(logits.shape, start=-logits.ndim)
        if call.axis is None or place not in call.axis
    ]
    value = jax.ShapeDtypeStruct(tuple(kept), logits.dtype)
    elementwise = jax.ShapeDtypeStruct(logits.shape, logits.dtype)
    results = (value, elementwise, elementwise)[: order + 1]
    compute = _by_ffi if call.backend == "ffi" else _by_callback
    return tuple(compute(call, results, {"logits": logits, **others}))


@partial(_derivatives.defjvp, symbolic_zeros=True)
def _derivatives_jvp(
    call: _Call, order: int, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    logits, others = primals
    tangent, other_tangents = tangents
    for name, other in other_tangents.items():
        if not isinstance(other, jax.custom_derivatives.SymbolicZero):
            raise TypeError(
                f"bce_with_logits has no derivative with respect to {name}, only to logits; pass "
                f"{name}=jax.lax.stop_gradient({name}) to treat it as a constant"
            )
    values = _derivatives(call, min(order + 1, 2), logits, others)
    changes = [jnp.sum(values[1] * tangent, axis=call.axis or ())]
    if order >= 1:
        changes.append(values[2] * tangent)
    if order >= 2:
        changes.append(_third_derivative(logits, values[2]) * tangent)
    return values[: order + 1], tuple(changes)


def _third_derivative(logits: Array, hessian: Array) -> Array:
    """Return the derivative of the hessian W s (1 - s): itself times 1 - 2 s = -tanh(x / 2)."""
    # The logit of an element that does not exist may be nan.
    return -hessian * jnp.tanh(jnp.where(hessian == 0, 0, logits) / 2)


def _by_ffi(call: _Call, results: tuple[Any, ...], operands: dict[str, Array]) -> list[Array]:
    """Let XLA call the core; the order of operands is that of the handler."""
    names = ("logits", "targets", "weight", "pos_weight", "where")
    compute = jax.ffi.ffi_call(_TARGET, list(results), vmap_method="expand_dims")
    given: list[Array] = compute(
        *(operands[name] for name in names if name in operands),
        has_weight="weight" in operands,
        has_pos_weight="pos_weight" in operands,
        has_where="where" in operands,
        label_smoothing=np.float64(call.label_smoothing),
        has_ignore_index=call.ignore_index is not None,
        ignore_index=np.float64(0.0 if call.ignore_index is None else call.ignore_index),
        reduction=call.reduction,
        reduced_axes=np.int64(sum(1 << -1 - axis for axis in call.axis or ())),
        validate=call.validate,
    )
    return given


def _by_callback(call: _Call, results: tuple[Any, ...], operands: dict[str, Array]) -> list[Array]:
    """Let XLA call Python, and Python the core."""
    given: list[Array] = jax.pure_callback(
        partial(_on_host, call, len(results)), list(results), operands, vmap_method="expand_dims"
    )
    return given


def _on_host(call: _Call, count: int, operands: dict[str, Array]) -> list[NDArray[Any]]:
    """Compute the value and its derivatives, `count` of them together, with NumPy's arrays."""
    arrays = {name: np.asarray(operand) for name, operand in operands.items()}
    shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    logits = np.broadcast_to(arrays.pop("logits"), shape)
    targets = np.broadcast_to(arrays.pop("targets"), shape)
    options: dict[str, Any] = {**arrays, **call._asdict()}
    del options["backend"]
    if count == 1:
        results = [logitloss.bce_with_logits(logits, targets, **options)]
    else:
        results = [*logitloss.bce_with_logits_value_and_grad(logits, targets, **options)]
    if count == 3:
        results.append(logitloss.bce_with_logits_grad_hess(logits, targets, **options)[1])
    return [np.asarray(result, dtype=logits.dtype) for result in results]
