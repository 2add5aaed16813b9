"""Losses as objects that keep their options: the shape of `torch.nn`, without torch."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

import numpy as np

from logitloss import _core, _functions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

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


# NumPy's limit, from its version 2 on.
_MOST_DIMENSIONS = 64


def _frozen(factor: ArrayLike | None, name: str) -> Any:
    """Return a weight that no one else can change: a number, or a copy of an array."""
    if factor is None:
        return None
    checked = _core.as_factor(factor, name)
    if isinstance(checked, float):
        return checked
    own = checked.copy()
    own.flags.writeable = False
    return own


def _axis_number(axis: Any, item: Any) -> int:
    """Return an axis as a plain int, or refuse the argument that it comes from."""
    try:
        if not isinstance(item, (bool, np.bool_)):
            return operator.index(item)
    except TypeError:
        pass
    raise TypeError(f"axis must be None, an int or a tuple of ints, not {axis!r}")


def _plain_axis(axis: Any) -> int | tuple[int, ...] | None:
    """Return the axis with plain ints, if there are arrays that have it."""
    if axis is None:
        return None
    given = axis if isinstance(axis, tuple) else (axis,)
    numbers = tuple(_axis_number(axis, item) for item in given)
    fewest = max((number + 1 if number >= 0 else -number for number in numbers), default=1)
    # Whether an axis from the front and one from the end are the same depends on the array.
    if not any(
        len({number % rank for number in numbers}) == len(numbers)
        for rank in range(fewest, _MOST_DIMENSIONS + 1)
    ):
        raise ValueError(
            f"axis {axis!r} fits no array: it names a dimension twice, or one beyond "
            f"{_MOST_DIMENSIONS} dimensions"
        )
    return numbers if isinstance(axis, tuple) else numbers[0]


def _plain_number(number: Any) -> int | float:
    """Return a real number, which the functions have accepted, as Python's own."""
    try:
        return operator.index(number)
    except TypeError:
        return float(number)


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options in Python's own types; refuse what no arrays could make right."""
    weights = {name: _frozen(options[name], name) for name in ("weight", "pos_weight")}
    axis = _plain_axis(options["axis"])
    reduction = options["reduction"]
    is_elementwise = isinstance(reduction, str) and reduction == "none"
    # The compiled functions know the other rules and the words. They refuse any axis of
    # elementwise losses; for other ones they would need an array that has the axis.
    checked_here = {"weight": None, "pos_weight": None, "axis": axis if is_elementwise else None}
    _functions.bce_with_logits_grad(0.0, 0, **{**options, **checked_here})
    ignore_index, num_threads = options["ignore_index"], options["num_threads"]
    return {
        **weights,
        "label_smoothing": float(options["label_smoothing"]),
        "ignore_index": None if ignore_index is None else _plain_number(ignore_index),
        "reduction": str(reduction),
        "axis": axis,
        "validate": bool(options["validate"]),
        "num_threads": None if num_threads is None else operator.index(num_threads),
    }


def _product(own: Any, weight: ArrayLike) -> NDArray[Any]:
    """Return two weights as one, in float64 whatever their own types can hold."""
    given = _core.as_factor(weight, "weight")
    import numpy as np

    try:
        # An infinite or NaN weight of an element that does not exist is nobody's concern.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.multiply(own, given, dtype=np.float64))
    except ValueError:
        raise ValueError(
            f"weight of shape {np.shape(given)} cannot be broadcast with the weight of shape "
            f"{np.shape(own)} that the loss has; the two are multiplied"
        ) from None


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
        Whether targets outside [0, 1] raise `ValueError`. Those of arrays on a GPU never do.
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
    _options: Mapping[str, Any]

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
        if hasattr(self, "_options"):
            raise AttributeError(f"{type(self).__name__} is immutable; make another one")
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
        object.__setattr__(self, "_options", MappingProxyType(_checked(options)))

    def __call__(
        self,
        logits: ArrayLike,
        targets: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> float | NDArray[Any]:
        """Return the loss; see `logitloss.bce_with_logits`.

        `weight` multiplies the weight that the object has.
        """
        value: float | NDArray[Any] = _functions.bce_with_logits(
            logits, targets, where=where, out=out, **self._with(weight)
        )
        return value

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
    ) -> tuple[float | NDArray[Any], NDArray[Any]]:
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

    def _with(self, weight: ArrayLike | None) -> Mapping[str, Any]:
        """Return the options of one call; two weights make one array of their common shape."""
        options = dict(self._options)
        if options["validate"]:
            # The default of the functions; arrays on a GPU have another one.
            del options["validate"]
        if weight is not None:
            own = options["weight"]
            options["weight"] = weight if own is None else _product(own, weight)
        return options

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

    def __replace__(self, /, **changes: Any) -> Self:
        """Return a copy with other options, as `copy.replace` of Python 3.13 does.

        Raises
        ------
        TypeError, ValueError
            If a name is not an option, or its value is wrong in itself.
        """
        unknown = [name for name in changes if name not in _DEFAULTS]
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no option {unknown[0]!r}; it has {', '.join(_DEFAULTS)}"
            )
        other = copy.copy(self)
        options = MappingProxyType(_checked({**self._options, **changes}))
        object.__setattr__(other, "_options", options)
        return other

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: make another object instead."""
        raise AttributeError(f"{type(self).__name__} is immutable; make another one")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: make another object instead."""
        raise AttributeError(f"{type(self).__name__} is immutable; make another one")

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        """Pickle and copy by the attributes, so that a subclass may have an `__init__` of its own.

        Protocol 2 is the first that knows slots, and the later ones add nothing to an object.
        """
        plan: tuple[Any, ...] = tuple(super().__reduce_ex__(2))
        make, arguments, (attributes, slots) = plan[:3]
        return make, arguments, (attributes, {**slots, "_options": dict(self._options)})

    def __setstate__(self, state: tuple[dict[str, Any] | None, dict[str, Any]]) -> None:
        """Take the attributes of a copy that is being made; an unpickled array is writeable."""
        if hasattr(self, "_options"):
            raise AttributeError(f"{type(self).__name__} is immutable; make another one")
        attributes, slots = state
        options = dict(slots["_options"])
        options.update({name: _frozen(options[name], name) for name in ("weight", "pos_weight")})
        values = {**(attributes or {}), **slots, "_options": MappingProxyType(options)}
        for name, value in values.items():
            object.__setattr__(self, name, value)
