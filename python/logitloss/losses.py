"""Losses as objects that keep their options: the shape of `torch.nn`, without torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from logitloss import _functions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from logitloss._functions import Reduction

# The options of a loss, in the order of its signature, and their defaults.
_DEFAULTS: dict[str, Any] = {
    "weight": None,
    "pos_weight": None,
    "label_smoothing": 0.0,
    "ignore_index": None,
    "reduction": "mean",
    "axis": None,
    "validate": True,
    "num_threads": None,
}


def _frozen(factor: ArrayLike | None) -> Any:
    """Return a weight that no one else can change: a number as it is, an array as a copy."""
    if factor is None or isinstance(factor, (bool, int, float)):
        return factor
    import numpy as np

    copy = np.array(factor)
    copy.flags.writeable = False
    return copy


def _is_same(left: Any, right: Any) -> bool:
    """Compare two options by value; nan equals nan, and arrays compare with their shapes."""
    if left is None or right is None:
        return left is right
    if isinstance(left, (str, tuple)) or isinstance(right, (str, tuple)):
        return type(left) is type(right) and bool(left == right)
    import numpy as np

    left, right = np.asarray(left), np.asarray(right)
    if left.shape != right.shape:
        return False
    both_nan = (left != left) & (right != right)
    return bool(((left == right) | both_nan).all())


def _hashable(value: Any) -> Any:
    """Return what equal options have in common."""
    if hasattr(value, "tolist"):
        return _hashable(value.tolist())
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def _literal(value: Any) -> str:
    """Return Python text that evaluates to the value; an array becomes a list."""
    if hasattr(value, "tolist"):
        return _literal(value.tolist())
    if isinstance(value, list):
        return f"[{', '.join(_literal(item) for item in value)}]"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)


def _check(options: dict[str, Any]) -> None:
    """Let the compiled functions refuse options that no arrays could make right."""
    import numpy as np

    axis = options["axis"]
    axes = axis if isinstance(axis, tuple) else (axis,)
    numbers = [int(item) for item in axes if hasattr(item, "__index__")]
    # In as many dimensions every axis is in range, and none is named twice from both ends.
    rank = 1 + max([0, *numbers]) + max([0, *(-n for n in numbers)])
    logits = np.zeros((1,) * rank)
    samples = {
        name: np.asanyarray(options[name]).ravel()[:1]
        for name in ("weight", "pos_weight")
        if options[name] is not None
    }
    _functions.bce_with_logits_grad(logits, logits, **{**options, **samples})


class BCEWithLogitsLoss:
    """Binary cross-entropy on logits with options that stay the same from call to call.

    The object is callable, immutable, hashable and picklable, compares by its options, and its
    `repr` recreates it. It computes exactly what the functions of the same names compute:
    ``loss(...)`` is `logitloss.bce_with_logits`, ``loss.grad(...)`` is
    `logitloss.bce_with_logits_grad`, and so on; see these for what each option means.

    Parameters
    ----------
    weight, pos_weight : array_like, optional
        Weights of every call. Arrays are copied.
    label_smoothing : float
        In [0, 1).
    ignore_index : float, optional
        A target that marks a missing label.
    reduction : {'mean', 'sum', 'none', 'weighted_mean'}
        How losses become a value.
    axis : int or tuple of int, optional
        Axes to reduce over; None for all.
    validate : bool
        Whether targets outside [0, 1] raise `ValueError`.
    num_threads : int, optional
        Most threads of each call.

    Raises
    ------
    TypeError, ValueError
        If an option is wrong in itself, whatever the arrays of a call.

    Examples
    --------
    >>> import numpy as np
    >>> from logitloss import BCEWithLogitsLoss
    >>> loss = BCEWithLogitsLoss(pos_weight=[1.0, 3.0], ignore_index=-1)
    >>> logits = np.array([[0.5, -1.0], [2.0, 0.0]])
    >>> targets = np.array([[1, 1], [0, -1]])
    >>> round(loss(logits, targets), 6)
    2.180263
    >>> loss.grad(logits, targets).round(6)
    array([[-0.125847, -0.731059],
           [ 0.293599,  0.      ]])
    >>> loss
    BCEWithLogitsLoss(pos_weight=[1.0, 3.0], ignore_index=-1)
    """

    __slots__ = ("_options",)
    _options: dict[str, Any]

    def __init__(
        self,
        *,
        weight: ArrayLike | None = None,
        pos_weight: ArrayLike | None = None,
        label_smoothing: float = 0.0,
        ignore_index: float | None = None,
        reduction: Reduction = "mean",
        axis: int | tuple[int, ...] | None = None,
        validate: bool = True,
        num_threads: int | None = None,
    ) -> None:
        options = {
            "weight": weight,
            "pos_weight": pos_weight,
            "label_smoothing": label_smoothing,
            "ignore_index": ignore_index,
            "reduction": reduction,
            "axis": axis,
            "validate": validate,
            "num_threads": num_threads,
        }
        _check(options)
        options["weight"] = _frozen(weight)
        options["pos_weight"] = _frozen(pos_weight)
        object.__setattr__(self, "_options", options)

    def __call__(
        self,
        logits: ArrayLike,
        targets: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> Any:
        """Return the loss; see `logitloss.bce_with_logits`.

        `weight` multiplies the weight that the object has.
        """
        options = self._with(weight)
        return _functions.bce_with_logits(logits, targets, where=where, out=out, **options)

    def grad(
        self,
        logits: ArrayLike,
        targets: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
        grad_output: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Return the gradient; see `logitloss.bce_with_logits_grad`."""
        return _functions.bce_with_logits_grad(
            logits, targets, where=where, grad_output=grad_output, out=out, **self._with(weight)
        )

    def value_and_grad(
        self,
        logits: ArrayLike,
        targets: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
        grad_output: ArrayLike | None = None,
        out: NDArray[Any] | tuple[NDArray[Any] | None, NDArray[Any] | None] | None = None,
    ) -> tuple[Any, NDArray[Any]]:
        """Return loss and gradient; see `logitloss.bce_with_logits_value_and_grad`."""
        return _functions.bce_with_logits_value_and_grad(
            logits, targets, where=where, grad_output=grad_output, out=out, **self._with(weight)
        )

    def grad_hess(
        self,
        logits: ArrayLike,
        targets: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
        grad_output: ArrayLike | None = None,
        out: tuple[NDArray[Any] | None, NDArray[Any] | None] = (None, None),
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return gradient and hessian; see `logitloss.bce_with_logits_grad_hess`."""
        return _functions.bce_with_logits_grad_hess(
            logits, targets, where=where, grad_output=grad_output, out=out, **self._with(weight)
        )

    def _with(self, weight: ArrayLike | None) -> dict[str, Any]:
        """Return the options of one call; two weights make one array of their common shape."""
        own = self._options["weight"]
        if weight is None:
            return self._options
        if own is None:
            return {**self._options, "weight": weight}
        import numpy as np

        try:
            product = np.multiply(own, weight)
        except ValueError:
            raise ValueError(
                f"weight of shape {np.shape(weight)} cannot be broadcast with the weight of shape "
                f"{np.shape(own)} that the loss has; the two are multiplied"
            ) from None
        return {**self._options, "weight": product}

    def __repr__(self) -> str:
        """Return the call that recreates the object, without the options left at their defaults."""
        given = {
            name: value
            for name, value in self._options.items()
            if not _is_same(value, _DEFAULTS[name])
        }
        options = ", ".join(f"{name}={_literal(value)}" for name, value in given.items())
        return f"{type(self).__name__}({options})"

    def __eq__(self, other: object) -> bool:
        """Return whether the other object is of the same type and has the same options."""
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, BCEWithLogitsLoss)
        return all(_is_same(value, other._options[name]) for name, value in self._options.items())

    def __hash__(self) -> int:
        """Return a hash that equal objects share."""
        return hash((type(self), *(_hashable(value) for value in self._options.values())))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: make another object instead."""
        raise AttributeError(f"{type(self).__name__} is immutable; make another one")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: make another object instead."""
        raise AttributeError(f"{type(self).__name__} is immutable; make another one")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Pickle and copy by making the object again."""
        return _remake, (type(self), self._options)


def _remake(loss_type: type[BCEWithLogitsLoss], options: dict[str, Any]) -> BCEWithLogitsLoss:
    return loss_type(**options)
