"""The public functions, whose signatures and documentation stand here and whose code is compiled.

A function that parses its arguments in Python and passes them on would cost more than a small
call does. So each function below is a declaration: `_compiled` replaces it by the built-in
function of the same name, and gives that its signature and its documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from logitloss import _core

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
_DECLARATION = "a declaration was not replaced by its compiled function"

Reduction = Literal["mean", "sum", "none", "weighted_mean"]
ReducedTo = Literal["mean", "sum", "weighted_mean"]

_PARAMETERS = """\
    Parameters
    ----------
    logits : array_like
        Logits x, of any shape and strides: float16, bfloat16 (`ml_dtypes`), float32 or float64.
        Lists, tuples, Python's numbers and integer arrays are taken as float64; NumPy's scalars
        and everything with a buffer keep their dtype, as ``np.float32(1.0)`` does. float16 and
        bfloat16 are computed in float32 and rounded once, to nearest even.
    targets : array_like
        Targets y in [0, 1], of exactly the shape of `logits`: bool, any integer type, float16,
        bfloat16, float32 or float64. Read in place, without a copy in another type.
    weight : array_like, optional
        Multiplies an element's loss, gradient and hessian, and may be negative. A scalar, or an
        array that can be broadcast to ``logits.shape``. It is rounded to the compute type, which
        is float64 for float64 and integer logits, else float32.
    pos_weight : array_like, optional
        Multiplies the part of the positive label, likewise. An array of shape (C,) is per class
        on the last axis; for another axis reshape it, for example to (C, 1, 1).
    label_smoothing : float
        e in [0, 1): y becomes y (1 - e) + e / 2.
    where : array_like of bool, optional
        Can be broadcast to ``logits.shape``. Where it is False the element does not exist: its
        loss, gradient and hessian are 0 and it is not counted, even if its logit, target or
        weight is NaN or infinite.
    ignore_index : float, optional
        A target that marks a missing label, such as -1, 255 or nan: as ``where=False`` there. An
        integer must be one that a float64 holds exactly.
    reduction : {'mean', 'sum', 'none', 'weighted_mean'}
        ``'mean'`` divides the sum of the weighted losses by the number of elements that exist,
        ``'weighted_mean'`` by the sum of their weights; ``'none'`` keeps one loss an element.
    axis : int or tuple of int, optional
        Axes to reduce over, as in `numpy.sum`. None reduces over all.
"""

_GRAD_OUTPUT = """\
    grad_output : array_like, optional
        Factor of the derivatives: a scalar, or an array of the shape of the reduced value.
"""

_LAST_PARAMETERS = """\
    validate : bool
        Raise `ValueError` for a target outside [0, 1], or NaN, of an element that exists. `out`
        is then unspecified, but `logitloss` has not touched logits that were to be overwritten.
        False applies the formula to any target, and is what holds for arrays on a GPU.
    num_threads : int, optional
        Most threads that this call may use, where that is fewer than `get_num_threads`.
"""

_RAISES = """\
    Raises
    ------
    TypeError
        If an argument has a type or dtype that is not listed above.
    ValueError
        If a shape, an axis, an option or `out` does not fit, or a target is bad. But for a bad
        target, nothing has been written then.

    Warns
    -----
    RuntimeWarning
        If a mean is taken over no element, or over weights that sum to zero; its value is nan
        and its gradient 0.
"""

_NOTES = """\
    Notes
    -----
    With a = abs(x), the loss of one element is

        l = weight (pos_weight y softplus(-x) + (1 - y) softplus(x)),
        softplus(x) = max(x, 0) + log1p(exp(-a)),

    its gradient is weight ((1 - y) sigmoid(x) - pos_weight y sigmoid(-x)), and its hessian
    weight (pos_weight y + 1 - y) sigmoid(x) sigmoid(-x). They are evaluated from one exponential
    without cancellation, so that both tails are right, and l(x, 1) = l(-x, 0) bit for bit. The
    result does not depend on the number of threads, on strides or on alignment. The errors are
    stated in ``docs/numerics.md`` of the source repository.
"""

_TEXTS = {
    "{parameters}": _PARAMETERS,
    "{grad_output}": _GRAD_OUTPUT,
    "{last_parameters}": _LAST_PARAMETERS,
    "{raises}": _RAISES,
    "{notes}": _NOTES,
}


def _signature(function: Callable[..., Any]) -> str:
    """Return the signature of a declaration with its defaults, as built-in functions have it."""
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    defaults = function.__kwdefaults__ or {}
    options = [f"{name}={defaults[name]!r}" for name in keyword_only]
    return f"({', '.join([*positional, '*', *options])})"


def _compiled(function: Function) -> Function:
    """Replace a declaration by the built-in function of its name."""
    documentation = function.__doc__ or ""
    for placeholder, text in _TEXTS.items():
        documentation = documentation.replace(f"    {placeholder}\n", text)
    text = f"{function.__name__}{_signature(function)}\n--\n\n{documentation}"
    return cast(Function, _core.make_function(function.__name__, "logitloss", text))


@overload
def bce_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: ReducedTo = "mean",
    axis: None = None,
    out: None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> float: ...
@overload
def bce_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: Literal["none"],
    axis: None = None,
    out: NDArray[Any] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def bce_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: ReducedTo = "mean",
    axis: int | tuple[int, ...],
    out: NDArray[Any] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> NDArray[Any]: ...
@overload
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
    out: NDArray[Any] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> float | NDArray[Any]: ...
@_compiled
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
    out: NDArray[Any] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> float | NDArray[Any]:
    """Binary cross-entropy between targets and logits.

    {parameters}
    out : ndarray, optional
        Where the value goes: of the dtype of the result and of its shape.
    {last_parameters}

    Returns
    -------
    float or ndarray
        A float for a full reduction, a float64 array for one over `axis`, and for
        ``reduction='none'`` an array of the shape and dtype of `logits`; `out` where it was given.
        Sums are as accurate as one element, whatever their length.

    {raises}

    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss
    >>> logits = np.array([[2.0, -1.0], [0.5, -np.inf]])
    >>> targets = np.array([[1, 0], [0, 0]], dtype=np.uint8)
    >>> round(logitloss.bce_with_logits(logits, targets), 6)
    0.353567
    >>> logitloss.bce_with_logits(logits, targets, reduction="sum", axis=0).round(6)
    array([1.101005, 0.313262])
    >>> round(logitloss.bce_with_logits([3.0, np.nan], [1, -1], ignore_index=-1), 6)
    0.048587
    """
    raise AssertionError(_DECLARATION)


@_compiled
def bce_with_logits_grad(
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
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of binary cross-entropy with respect to the logits.

    It is the derivative of the reduced value: ``'mean'`` divides it by the count. For
    ``'none'`` it is the derivative of each element's loss.

    {parameters}
    {grad_output}
    out : ndarray, optional
        Where the gradient goes: of the shape and dtype of `logits`. It may be `logits`.
    {last_parameters}

    Returns
    -------
    ndarray
        The gradient, of the shape and dtype of `logits`, float64 for lists and integers.

    {raises}

    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss
    >>> logits = np.array([0.0, 40.0, -40.0], dtype=np.float32)
    >>> logitloss.bce_with_logits_grad(logits, [1, 1, 0], reduction="sum")
    array([-5.000000e-01, -4.248354e-18,  4.248354e-18], dtype=float32)
    """
    raise AssertionError(_DECLARATION)


@overload
def bce_with_logits_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: ReducedTo = "mean",
    axis: None = None,
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | tuple[None, NDArray[Any] | None] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> tuple[float, NDArray[Any]]: ...
@overload
def bce_with_logits_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: Literal["none"],
    axis: None = None,
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | tuple[NDArray[Any] | None, NDArray[Any] | None] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]: ...
@overload
def bce_with_logits_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    ignore_index: float | None = None,
    reduction: ReducedTo = "mean",
    axis: int | tuple[int, ...],
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | tuple[NDArray[Any] | None, NDArray[Any] | None] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]: ...
@overload
def bce_with_logits_value_and_grad(
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
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | tuple[NDArray[Any] | None, NDArray[Any] | None] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> tuple[float | NDArray[Any], NDArray[Any]]: ...
@_compiled
def bce_with_logits_value_and_grad(
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
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | tuple[NDArray[Any] | None, NDArray[Any] | None] | None = None,
    validate: bool = True,
    num_threads: int | None = None,
) -> tuple[float | NDArray[Any], NDArray[Any]]:
    """Binary cross-entropy and its gradient, in one pass.

    {parameters}
    {grad_output}
    out : ndarray or tuple, optional
        Where the gradient goes, or a tuple of where the value and the gradient go.
    {last_parameters}

    Returns
    -------
    value : float or ndarray
        As `bce_with_logits` returns it, bit for bit.
    gradient : ndarray
        As `bce_with_logits_grad` returns it, bit for bit.

    {raises}

    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss
    >>> value, gradient = logitloss.bce_with_logits_value_and_grad([1.0, -2.0], [1, 0])
    >>> round(value, 6)
    0.220095
    >>> gradient.round(6)
    array([-0.134471,  0.059601])
    """
    raise AssertionError(_DECLARATION)


@_compiled
def bce_with_logits_grad_hess(
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
    grad_output: ArrayLike | None = None,
    out: tuple[NDArray[Any] | None, NDArray[Any] | None] = (None, None),
    validate: bool = True,
    num_threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Gradient and diagonal of the hessian of binary cross-entropy, in one pass.

    {parameters}
    {grad_output}
    out : tuple of ndarray or None
        Where the gradient and the hessian go.
    {last_parameters}

    Returns
    -------
    gradient : ndarray
        As `bce_with_logits_grad` returns it, bit for bit.
    hessian : ndarray
        Second derivative of the reduced value by each logit, scaled likewise; never negative
        where the weights are not.

    {raises}

    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss
    >>> gradient, hessian = logitloss.bce_with_logits_grad_hess(
    ...     np.array([0.0, 2.0]), np.array([True, False]), reduction="sum"
    ... )
    >>> gradient.round(6), hessian.round(6)
    (array([-0.5     ,  0.880797]), array([0.25    , 0.104994]))
    """
    raise AssertionError(_DECLARATION)
