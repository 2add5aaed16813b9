"""The loss functions of `logitloss` over `dask.array`, lazily and block by block.

Each block of the logits is handed to the compiled function of the same name once, with the blocks
of targets, weights and masks that belong to it. Gradients and hessians keep the chunks of the
logits. Reduced values are put together from float64 sums of the blocks.

A gradient of a mean needs to know what the mean divides by before the first block can be
finished. Without masks that follows from the shape. With `where` or `ignore_index`, for
``'weighted_mean'`` with weights, and for logits of unknown shape, it is summed in a first lazy
pass over masks, targets or weights, which does not read the logits. What that pass reads is read
again in the second one, and not kept in between, as far as Dask can merge the reading of a block
and the counting in it into one task: rechunked masks are kept.

Examples
--------
>>> import dask.array as da
>>> import numpy as np
>>> from logitloss.integrations.dask import bce_with_logits_value_and_grad
>>> logits = da.from_array(np.linspace(-4.0, 4.0, 9), chunks=4)
>>> targets = da.from_array(np.array([0, 0, 0, 1, -1, 0, 1, 1, 1]), chunks=4)
>>> value, gradient = bce_with_logits_value_and_grad(logits, targets, ignore_index=-1)
>>> gradient
dask.array<..., shape=(9,), dtype=float64, chunksize=(4,), chunktype=numpy.ndarray>
>>> round(float(value.compute()), 6)
0.376732
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from logitloss import _core, _functions
from logitloss.integrations._exact import (
    pairwise_total,
    scale_in_place,
    split_quotient,
    two_sum,
)
from logitloss.integrations._optional import require

if TYPE_CHECKING:
    from dask.array import Array
    from numpy.typing import ArrayLike, NDArray

    from logitloss._functions import Reduction

dask = require("dask", "dask")
da = require("dask.array", "dask")

__all__ = [
    "bce_with_logits",
    "bce_with_logits_grad",
    "bce_with_logits_grad_hess",
    "bce_with_logits_value_and_grad",
]

_COMPUTE_CHUNKS = "call its compute_chunk_sizes() first"

# The compiled functions by what they return, in their order.
_FUNCTIONS: dict[tuple[str, ...], Callable[..., Any]] = {
    ("value",): _functions.bce_with_logits,
    ("gradient",): _functions.bce_with_logits_grad,
    ("value", "gradient"): _functions.bce_with_logits_value_and_grad,
    ("gradient", "hessian"): _functions.bce_with_logits_grad_hess,
}


def bce_with_logits(
    logits: Array,
    targets: Array | ArrayLike,
    *,
    weight: Array | ArrayLike | None = None,
    pos_weight: Array | ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: Array | ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: Reduction = "mean",
    axis: int | tuple[int, ...] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> Array:
    """Binary cross-entropy between targets and logits; see `logitloss.bce_with_logits`.

    Parameters
    ----------
    logits : dask.array.Array
        Logits x of any shape, of the dtypes that the function over NumPy arrays takes. Chunk
        sizes may be unknown (nan).
    targets : dask.array.Array or array_like
        Targets y in [0, 1], of exactly the shape of `logits`. Other chunks than those of `logits`
        are changed to them; where sizes are unknown, there must be as many and they must agree.
    weight, pos_weight, where : dask.array.Array, array_like or number, optional
        As over NumPy arrays: they can be broadcast to ``logits.shape``, and each block gets its
        part.
    label_smoothing, ignore_index, reduction, axis
        As over NumPy arrays.
    validate : bool
        Raise `ValueError`, when it is computed, for a target outside [0, 1]. The error names the
        first one of the block that failed first: its index in the whole array, or, where chunk
        sizes are unknown, in its block.
    num_threads : int, optional
        Most threads for each block. None is one, as Dask works on several blocks at a time.

    Returns
    -------
    dask.array.Array
        Of shape () and dtype float64 for a full reduction, a float64 array for one over `axis`,
        and for ``reduction='none'`` an array of the shape, dtype and chunks of `logits` (float64
        for integers). A mean over no element is nan, with the `RuntimeWarning` of the function
        over NumPy arrays in the process that computes it.

    Raises
    ------
    TypeError
        If `logits` is no Dask array, another argument is a Dask collection but no array, or a
        type or dtype does not fit.
    ValueError
        If a shape, an axis or an option does not fit, or chunks of unknown size would have to be
        changed. A bad target is found when the result is computed.

    Notes
    -----
    There is no `out`: a lazy result has no memory to be given. Reduced values agree with those
    over NumPy arrays to rounding in float64, and are the same bits in every run with the same
    chunks. A sum of blocks that float64 cannot hold is infinite, also where its mean would fit.

    Examples
    --------
    >>> import dask.array as da
    >>> import logitloss.integrations.dask
    >>> logits = da.linspace(-3.0, 3.0, 6, chunks=2).reshape(3, 2)
    >>> targets = logits > 1.0
    >>> loss = logitloss.integrations.dask.bce_with_logits(logits, targets, axis=0)
    >>> loss.compute().round(6)
    array([0.213018, 0.413018])
    """
    options = {
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "validate": validate,
        "num_threads": num_threads,
    }
    factors = {"weight": weight, "pos_weight": pos_weight, "where": where}
    call = _Call(logits, targets, factors, None, reduction, axis, options)
    (value,) = call.results("value")
    return value


def bce_with_logits_grad(
    logits: Array,
    targets: Array | ArrayLike,
    *,
    weight: Array | ArrayLike | None = None,
    pos_weight: Array | ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: Array | ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: Reduction = "mean",
    axis: int | tuple[int, ...] | None = None,
    grad_output: Array | ArrayLike | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> Array:
    """Gradient of binary cross-entropy; see `logitloss.bce_with_logits_grad`.

    Parameters
    ----------
    logits, targets, weight, pos_weight, label_smoothing, where, ignore_index, reduction, axis
        As for `bce_with_logits` of this module.
    grad_output : dask.array.Array, array_like or number, optional
        Factor of the derivatives: a scalar, or an array of the shape of the reduced value.
    validate, num_threads
        As for `bce_with_logits` of this module.

    Returns
    -------
    dask.array.Array
        The gradient, of the shape, dtype and chunks of `logits`, float64 for integers.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits` of this module.

    Notes
    -----
    The bits are those of the function over NumPy arrays, whatever the chunks are, but for one
    case. Where several outputs have divisors of their own (means over `axis` with masks, weights
    of a ``'weighted_mean'`` or an array as `grad_output`), a float32 quotient is rounded in
    another place: no difference was seen in 2e8 gradients, but another last bit is not excluded.

    Examples
    --------
    >>> import dask.array as da
    >>> from logitloss.integrations.dask import bce_with_logits_grad
    >>> logits = da.from_array([0.0, 40.0, -40.0], chunks=2)
    >>> bce_with_logits_grad(logits, [1, 1, 0], reduction="sum").compute()
    array([-5.00000000e-01, -4.24835426e-18,  4.24835426e-18])
    """
    options = {
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "validate": validate,
        "num_threads": num_threads,
    }
    factors = {"weight": weight, "pos_weight": pos_weight, "where": where}
    call = _Call(logits, targets, factors, grad_output, reduction, axis, options)
    (gradient,) = call.results("gradient")
    return gradient


def bce_with_logits_value_and_grad(
    logits: Array,
    targets: Array | ArrayLike,
    *,
    weight: Array | ArrayLike | None = None,
    pos_weight: Array | ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: Array | ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: Reduction = "mean",
    axis: int | tuple[int, ...] | None = None,
    grad_output: Array | ArrayLike | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> tuple[Array, Array]:
    """Loss and gradient, each block computed once; see `logitloss.bce_with_logits_value_and_grad`.

    Parameters
    ----------
    logits, targets, weight, pos_weight, label_smoothing, where, ignore_index, reduction, axis
        As for `bce_with_logits` of this module.
    grad_output, validate, num_threads
        As for `bce_with_logits_grad` of this module.

    Returns
    -------
    value, gradient : dask.array.Array
        As `bce_with_logits` and `bce_with_logits_grad` of this module return them. Compute them
        together, with ``dask.compute(value, gradient)``: then every block is visited once.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits` of this module.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> from logitloss.integrations.dask import bce_with_logits_value_and_grad
    >>> logits = da.from_array([1.0, -2.0], chunks=1)
    >>> value, gradient = dask.compute(*bce_with_logits_value_and_grad(logits, [1, 0]))
    >>> round(float(value), 6)
    0.220095
    >>> gradient.round(6)
    array([-0.134471,  0.059601])
    """
    options = {
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "validate": validate,
        "num_threads": num_threads,
    }
    factors = {"weight": weight, "pos_weight": pos_weight, "where": where}
    call = _Call(logits, targets, factors, grad_output, reduction, axis, options)
    value, gradient = call.results("value", "gradient")
    return value, gradient


def bce_with_logits_grad_hess(
    logits: Array,
    targets: Array | ArrayLike,
    *,
    weight: Array | ArrayLike | None = None,
    pos_weight: Array | ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: Array | ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: Reduction = "mean",
    axis: int | tuple[int, ...] | None = None,
    grad_output: Array | ArrayLike | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> tuple[Array, Array]:
    """Gradient and diagonal of the hessian; see `logitloss.bce_with_logits_grad_hess`.

    Parameters
    ----------
    logits, targets, weight, pos_weight, label_smoothing, where, ignore_index, reduction, axis
        As for `bce_with_logits` of this module.
    grad_output, validate, num_threads
        As for `bce_with_logits_grad` of this module.

    Returns
    -------
    gradient, hessian : dask.array.Array
        Of the shape, dtype and chunks of `logits`, float64 for integers.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits` of this module.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> from logitloss.integrations.dask import bce_with_logits_grad_hess
    >>> logits = da.from_array([0.0, 2.0], chunks=1)
    >>> lazy = bce_with_logits_grad_hess(logits, [True, False], reduction="sum")
    >>> gradient, hessian = dask.compute(*lazy)
    >>> gradient.round(6), hessian.round(6)
    (array([-0.5     ,  0.880797]), array([0.25    , 0.104994]))
    """
    options = {
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "validate": validate,
        "num_threads": num_threads,
    }
    factors = {"weight": weight, "pos_weight": pos_weight, "where": where}
    call = _Call(logits, targets, factors, grad_output, reduction, axis, options)
    gradient, hessian = call.results("gradient", "hessian")
    return gradient, hessian


class _Call:
    """A checked call: operands with the chunks of the logits, and the lazy results."""

    def __init__(
        self,
        logits: Array,
        targets: Any,
        factors: dict[str, Any],
        grad_output: Any,
        reduction: Reduction,
        axis: int | tuple[int, ...] | None,
        options: dict[str, Any],
    ) -> None:
        if not isinstance(logits, da.Array):
            raise TypeError(
                f"logits must be a dask.array.Array, not {type(logits).__name__}: wrap them with "
                "dask.array.from_array, or call the function of the same name in logitloss, "
                "which takes NumPy arrays"
            )
        self.logits = logits
        targets = _as_array(targets, "targets")
        factors = {name: _as_operand(factor, name) for name, factor in factors.items()}
        _check_options(logits, targets, factors["where"], reduction, axis, options)
        self.reduction = reduction
        self.axes = _plain_axes(axis, logits.ndim) if reduction != "none" else ()
        self.options = {**options, "num_threads": options["num_threads"] or 1}
        self.targets = _with_chunks_of(logits, targets)
        self.factors = {
            name: _broadcastable(factor, logits, name) for name, factor in factors.items()
        }
        self.grad_output = self._aligned_grad_output(grad_output)
        is_floating = np.dtype(logits.dtype).kind not in "iu"
        self.dtype = np.dtype(logits.dtype if is_floating else np.float64)

    def results(self, *names: str) -> tuple[Array, ...]:
        """Return the named results, which share one task a block."""
        has_derivatives = names != ("value",)
        divisor = self._divisor(has_derivatives)
        blocks = da.map_blocks(
            _evaluate_block,
            self.logits,
            self.targets,
            self.factors["weight"],
            self.factors["pos_weight"],
            self.factors["where"],
            self.grad_output,
            divisor,
            names=names,
            reduction=self.reduction,
            axes=self.axes,
            sums_denominators=divisor is None and self._is_mean,
            options=self.options,
            meta=np.empty((0,) * self.logits.ndim, dtype=object),
        )
        return tuple(
            self._value(blocks, k, divisor)
            if name == "value" and self.reduction != "none"
            else blocks.map_blocks(_item, k, meta=self._meta(self.dtype))
            for k, name in enumerate(names)
        )

    @property
    def _is_mean(self) -> bool:
        return self.reduction in ("mean", "weighted_mean")

    def _meta(self, dtype: Any = np.float64, more_dimensions: int = 0) -> NDArray[Any]:
        return np.empty((0,) * (self.logits.ndim + more_dimensions), dtype=dtype)

    def _value(self, blocks: Array, k: int, divisor: Array | float | None) -> Array:
        """Return the reduced value, from what each block has summed."""
        sums = blocks.map_blocks(
            _item, k, **self._partial(columns=4), meta=self._meta(np.float64, 1)
        )
        sums = self._totals(sums)
        every = tuple(range(self.logits.ndim))
        is_array = isinstance(divisor, da.Array)
        value = da.blockwise(
            _value_of_sums,
            every,
            sums,
            (*every, len(every)),
            divisor,
            every if is_array else None,
            divides=self._is_mean,
            concatenate=True,
            align_arrays=False,
            token="value",
            dtype=np.float64,
            meta=self._meta(),
        )
        return value.squeeze(axis=self.axes) if self.axes else value

    def _partial(self, columns: int) -> dict[str, Any]:
        """Return what `map_blocks` is told of results with `columns` numbers a block and output."""
        chunks = tuple(
            (1,) * len(lengths) if k in self.axes else lengths
            for k, lengths in enumerate(self.logits.chunks)
        )
        return {"chunks": (*chunks, (columns,)), "new_axis": [len(chunks)]}

    def _totals(self, partial: Array) -> Array:
        """Return the sums over the blocks along the reduced axes, which keep the length 1."""
        if not self.axes:
            return partial
        return da.reduction(
            partial,
            chunk=_sum_of_pairs,
            aggregate=_sum_of_pairs,
            axis=self.axes,
            keepdims=True,
            dtype=np.float64,
            meta=self._meta(np.float64, 1),
        )

    def _divisor(self, has_derivatives: bool) -> Array | float | None:
        """Return what a mean divides by; None where nothing does, or blocks of values count it."""
        if not self._is_mean:
            return None
        weight = self.factors["weight"] if self.reduction == "weighted_mean" else None
        where, ignore_index = self.factors["where"], self.options["ignore_index"]
        count = math.prod(self.logits.shape[k] for k in self.axes)
        has_masks = where is not None or ignore_index is not None
        if not (has_masks or isinstance(weight, da.Array) or math.isnan(count)):
            return float(count) * (1.0 if weight is None else self._rounded(weight))
        return self._summed_divisor(weight) if has_derivatives else None

    def _rounded(self, weight: Any) -> float:
        """Return a weight as the compute type has it."""
        return float(np.asarray(weight).astype(_compute_type(self.dtype)))

    def _summed_divisor(self, weight: Array | float | None) -> Array:
        """Sum what exists over the whole array; the first of two passes, without the logits.

        Dask keeps what two tasks share until the second of them has run. Here that would be all
        masks, as no block can be finished before the last one has been counted. So the tasks of
        this pass are merged with those that make the masks before anything else can share them.
        """
        where = self.factors["where"]
        sums = da.map_blocks(
            _denominators_of_block,
            self._carrier(where, weight),
            weight,
            where,
            ignore_index=self.options["ignore_index"],
            axes=self.axes,
            compute_type=_compute_type(self.dtype),
            **self._partial(columns=2),
            dtype=np.float64,
            meta=self._meta(np.float64, 1),
        )
        (sums,) = dask.optimize(sums)
        every = tuple(range(self.logits.ndim))
        return da.blockwise(
            _sum_of_parts,
            every,
            self._totals(sums),
            (*every, len(every)),
            concatenate=True,
            align_arrays=False,
            token="divisor",
            dtype=np.float64,
            meta=self._meta(),
        )

    def _carrier(self, where: Array | None, weight: Array | float | None) -> Array:
        """Return an array of the shape and chunks of the logits that costs the least to read."""
        factor = where if where is not None else weight
        has_unknown_shape = any(math.isnan(length) for length in self.logits.shape)
        if self.options["ignore_index"] is not None or has_unknown_shape:
            return self.targets
        return da.broadcast_to(factor, self.logits.shape, chunks=self.logits.chunks)

    def _aligned_grad_output(self, grad_output: Any) -> Any:
        """Return the factor of the derivatives with length 1 along the reduced axes."""
        factor = _as_operand(grad_output, "grad_output")
        if factor is None or not isinstance(factor, da.Array):
            return factor
        if factor.ndim == 0:
            return factor[(None,) * self.logits.ndim]
        kept = [k for k in range(self.logits.ndim) if k not in self.axes]
        shape = tuple(self.logits.shape[k] for k in kept)
        if not _same_shape(factor.shape, shape):
            raise ValueError(
                f"grad_output must be a scalar or have the shape of the value, {shape}, not "
                f"{factor.shape}"
            )
        factor = factor[
            tuple(None if k in self.axes else slice(None) for k in range(self.logits.ndim))
        ]
        return _broadcastable(factor, self.logits, "grad_output")


# --- Operands ----------------------------------------------------------------------------------


def _as_array(given: Any, name: str) -> Array:
    """Return an argument as a Dask array."""
    operand = _as_operand(given, name)
    return operand if isinstance(operand, da.Array) else da.asarray(np.asarray(operand))


def _as_operand(given: Any, name: str) -> Any:
    """Return an argument as None, a number or a Dask array of a dtype that can be used."""
    if given is None:
        return None
    if isinstance(given, da.Array):
        _core.as_factor(given._meta, name)
        return given
    if dask.is_dask_collection(given):
        raise TypeError(
            f"{name} must be a dask.array.Array, an array or a number, not "
            f"{type(given).__name__}; a DataFrame or Series has to_dask_array(lengths=True)"
        )
    checked = _core.as_factor(given, name)
    if name == "where":
        return da.asarray(np.asarray(given))
    return checked if isinstance(checked, float) else da.asarray(checked)


def _check_options(
    logits: Array,
    targets: Array,
    where: Array | None,
    reduction: Any,
    axis: Any,
    options: dict[str, Any],
) -> None:
    """Let the compiled function refuse dtypes and options, on arrays without elements."""
    for item in axis if isinstance(axis, tuple) else (axis,):
        is_number = isinstance(item, (int, np.integer))
        is_beyond = is_number and not -logits.ndim <= item < logits.ndim
        if is_beyond and reduction != "none":
            raise ValueError(f"axis {item} is out of bounds for logits of shape {logits.shape}")
    none: tuple[int, ...] = (0,) * logits.ndim
    if not isinstance(logits._meta, np.ndarray):
        raise TypeError(
            f"the blocks of logits must be NumPy arrays, not {type(logits._meta).__name__}"
        )
    _functions.bce_with_logits_grad(
        logits._meta.reshape(none) if logits.ndim else np.zeros((), logits.dtype),
        np.zeros(none, targets.dtype),
        where=None if where is None else np.ones((), where.dtype),
        reduction=reduction,
        axis=axis,
        **options,
    )


def _plain_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the reduced axes, counted from the front; the compiled function has checked them."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(int(item) % ndim for item in given))


def _same_length(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _same_shape(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(map(_same_length, one, other))


def _with_chunks_of(logits: Array, targets: Array) -> Array:
    """Return targets with the chunks of the logits."""
    if not _same_shape(targets.shape, logits.shape):
        unknown = [length for length in (*targets.shape, *logits.shape) if math.isnan(length)]
        advice = (
            f"where only one of them has a known length, {_COMPUTE_CHUNKS}"
            if unknown and targets.ndim == logits.ndim
            else "they are never broadcast, so reshape one of them"
        )
        raise ValueError(
            f"targets must have the shape of logits: logits have shape {logits.shape}, targets "
            f"have shape {targets.shape}; {advice}"
        )
    return _rechunked(targets, dict(enumerate(logits.chunks)), "targets")


def _broadcastable(factor: Any, logits: Array, name: str) -> Any:
    """Return a factor whose blocks are those of the logits along each axis that it has."""
    if not isinstance(factor, da.Array):
        return factor
    lacking = logits.ndim - factor.ndim
    fits = lacking >= 0 and all(
        length == 1 or _same_length(length, logits.shape[lacking + k])
        for k, length in enumerate(factor.shape)
    )
    if not fits:
        raise ValueError(
            f"{name} of shape {factor.shape} cannot be broadcast to logits of shape "
            f"{logits.shape}: its dimensions must be 1 or those of logits, aligned at the last "
            f"axis; reshape it, and where a length is nan, {_COMPUTE_CHUNKS}"
        )
    chunks = {
        k: (1,) if length == 1 else logits.chunks[lacking + k]
        for k, length in enumerate(factor.shape)
    }
    return _rechunked(factor, chunks, name)


def _rechunked(array: Array, chunks: dict[int, tuple[float, ...]], name: str) -> Array:
    """Return an array with other chunks along the axes of known length."""
    known = {}
    for k, wanted in chunks.items():
        if not any(map(math.isnan, (*wanted, *array.chunks[k]))):
            known[k] = wanted
        elif len(wanted) != len(array.chunks[k]):
            raise ValueError(
                f"{name} has {len(array.chunks[k])} chunks of unknown size along axis {k} where "
                f"logits have {len(wanted)}; {_COMPUTE_CHUNKS}, on both"
            )
    return array.rechunk(known) if known else array


# --- What a block computes ---------------------------------------------------------------------


def _compute_type(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """Return the type in which the compiled functions compute for logits of a dtype."""
    return np.float64 if dtype == np.float64 else np.float32


@dataclass(frozen=True)
class _Scale:
    """What derivatives are multiplied by: by the compiled function, and then by high + low."""

    grad_output: Any
    high: NDArray[np.float64] | None = None
    low: NDArray[np.float64] | None = None
    count: NDArray[np.float64] | None = None


def _scale(
    grad_output: Any, divisor: Any, dtype: Any, kept: tuple[int, ...], counts: bool
) -> _Scale:
    """Return the quotient of a factor and a divisor, in two parts where one does not hold it.

    The compiled functions keep the quotient of float64 derivatives in two parts, on processors
    with a fused multiply-add; for narrower ones a float64 is all that they keep.
    """
    if divisor is None:
        return _Scale(_result_shaped(grad_output, kept))
    high, low = split_quotient(1.0 if grad_output is None else grad_output, divisor)
    is_narrow = dtype != np.float64 or _core.isa() == "baseline"
    if is_narrow or not low.any():
        return _Scale(_result_shaped(high, kept))
    # Where the divisor is infinite so is the quotient's rest undefined, as in the core.
    is_undefined = np.isnan(low)
    if is_undefined.any():
        return _Scale(_result_shaped(np.where(is_undefined, np.nan, high), kept))
    is_count = counts and grad_output is None
    return _Scale(None, high, low, np.asarray(divisor, dtype=np.float64) if is_count else None)


def _result_shaped(factor: Any, kept: tuple[int, ...]) -> Any:
    """Return a factor as the compiled functions take it: a number, or one for each output."""
    if factor is None or np.size(factor) == 1:
        return None if factor is None else float(np.asarray(factor).reshape(()))
    factor = np.ascontiguousarray(factor)
    return factor.reshape([factor.shape[k] for k in kept])


def _evaluate_block(
    logits: NDArray[Any],
    targets: NDArray[Any],
    weight: Any,
    pos_weight: Any,
    where: Any,
    grad_output: Any,
    divisor: Any,
    *,
    names: tuple[str, ...],
    reduction: str,
    axes: tuple[int, ...],
    sums_denominators: bool,
    options: dict[str, Any],
    block_info: Any = None,
) -> tuple[NDArray[Any], ...]:
    """Return the named results of one block, with a partial sum for a reduced value."""
    logits = np.asarray(logits)
    is_reduced = reduction != "none"
    arguments = {"weight": weight, "pos_weight": pos_weight, "where": where, **options}
    arguments.update(reduction="sum", axis=axes) if is_reduced else arguments.update(
        reduction="none"
    )
    has_derivatives = names != ("value",)
    dtype = logits.dtype if logits.dtype.kind not in "iu" else np.dtype(np.float64)
    kept = tuple(k for k in range(logits.ndim) if k not in axes)
    if has_derivatives:
        scale = _scale(grad_output, divisor, dtype, kept, counts=reduction == "mean")
        arguments["grad_output"] = scale.grad_output
    try:
        given = _FUNCTIONS[names](logits, targets, **arguments)
    except ValueError as error:
        raise ValueError(_with_global_index(str(error), block_info)) from None
    results = list(given) if isinstance(given, tuple) else [given]
    for k, name in enumerate(names):
        if name == "value" and is_reduced:
            denominators = None
            if sums_denominators:
                denominators = _denominators_of_block(
                    targets,
                    weight if reduction == "weighted_mean" else None,
                    where,
                    ignore_index=options["ignore_index"],
                    axes=axes,
                    compute_type=_compute_type(dtype),
                )
            results[k] = _partial_sums(results[k], logits.shape, axes, denominators)
        elif name != "value" and scale.high is not None and scale.low is not None:
            shaped = [np.broadcast_to(part, logits.shape) for part in (scale.high, scale.low)]
            count = None if scale.count is None else np.broadcast_to(scale.count, logits.shape)
            scale_in_place(results[k], *shaped, count=count)
    return tuple(results)


def _with_global_index(message: str, block_info: Any) -> str:
    """Return an error's text with the index in the whole array in the place of the block's."""
    starts = [start for start, _ in block_info[0]["array-location"]]
    found = re.search(r"targets\[([\d, ]+)\]", message)
    if found is None:
        return message
    if any(map(math.isnan, starts)):
        block = tuple(block_info[0]["chunk-location"])
        return f"{message} (index within block {block}, as chunk sizes are unknown)"
    index = [int(number) for number in found.group(1).split(",")]
    place = ", ".join(str(int(start) + k) for start, k in zip(starts, index, strict=True))
    return f"{message[: found.start(1)]}{place}{message[found.end(1) :]}"


def _partial_sums(
    losses: Any,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    denominators: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return the sums of losses and denominators, each high and low, behind a last axis."""
    kept = [1 if k in axes else length for k, length in enumerate(shape)]
    sums = np.zeros((*kept, 4))
    sums[..., 0] = np.reshape(losses, kept)
    if denominators is not None:
        sums[..., 2:] = denominators
    return sums


def _denominators_of_block(
    carrier: NDArray[Any],
    weight: Any,
    where: Any,
    *,
    ignore_index: float | None,
    axes: tuple[int, ...],
    compute_type: Any,
) -> NDArray[np.float64]:
    """Return how many elements exist, or the sum of their weights, as high and low."""
    shape = np.shape(carrier)
    exists = np.broadcast_to(np.asarray(True if where is None else where), shape)
    if ignore_index is not None:
        exists = exists & ~_equals(carrier, ignore_index)
    kept = [1 if k in axes else length for k, length in enumerate(shape)]
    if weight is None:
        count = np.count_nonzero(exists, axis=axes) if axes else exists
        high = np.asarray(count, dtype=np.float64)
        return np.stack([high.reshape(kept), np.zeros(kept)], axis=-1)
    factor = np.asarray(weight).astype(compute_type).astype(np.float64)
    terms = np.where(exists, np.broadcast_to(factor, shape), 0.0)
    terms = np.moveaxis(terms, axes, range(-len(axes), 0)) if axes else terms[..., None]
    kept_lengths = [length for k, length in enumerate(shape) if k not in axes]
    high, low = pairwise_total(terms.reshape(*kept_lengths, math.prod(shape[k] for k in axes)))
    return np.stack([high.reshape(kept), low.reshape(kept)], axis=-1)


def _equals(targets: NDArray[Any], value: float) -> NDArray[np.bool_]:
    """Compare targets with a number by value, not by the number rounded to their type."""
    targets = np.asarray(targets)
    if math.isnan(value):
        return np.asarray(targets != targets)
    if targets.dtype.kind in "biu":
        if not float(value).is_integer():
            return np.zeros(targets.shape, dtype=np.bool_)
        return np.asarray(targets == int(value))
    return np.asarray(targets.astype(np.float64) == value)


def _item(results: tuple[NDArray[Any], ...], k: int) -> NDArray[Any]:
    """Return one of the results of a block."""
    return results[k]


# --- Sums over blocks --------------------------------------------------------------------------


def _sum_of_pairs(
    pairs: NDArray[np.float64], axis: Any = None, keepdims: bool = True
) -> NDArray[np.float64]:
    """Add numbers that are stored as (high, low, high, low, ...) along the last axis."""
    del keepdims  # Dask passes it, and it is always true.
    for k in axis:
        parts = np.moveaxis(pairs, k, 0)
        total = np.array(parts[:1])
        for part in parts[1:]:
            with np.errstate(over="ignore", invalid="ignore"):
                high, error = two_sum(total[..., 0::2], part[..., 0::2])
                total[..., 1::2] += part[..., 1::2] + np.where(np.isfinite(high), error, 0.0)
            total[..., 0::2] = high
        pairs = np.moveaxis(total, 0, k)
    return pairs


def _sum_of_parts(pair: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return high + low."""
    return np.asarray(pair[..., 0] + pair[..., 1])


def _value_of_sums(
    sums: NDArray[np.float64], divisor: Any, *, divides: bool
) -> NDArray[np.float64]:
    """Return the sums of the losses, divided by the divisor or by the summed denominators."""
    total = _sum_of_parts(sums)
    if not divides:
        return total
    divisor = _sum_of_parts(sums[..., 2:]) if divisor is None else np.asarray(divisor)
    is_undefined = np.broadcast_to(divisor == 0.0, total.shape)
    if is_undefined.any():
        warnings.warn(
            "Mean of empty slice, or of weights that sum to zero.", RuntimeWarning, stacklevel=2
        )
    with np.errstate(all="ignore"):
        return np.where(is_undefined, np.nan, total / divisor)
