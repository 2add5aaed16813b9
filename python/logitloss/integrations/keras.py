"""Binary cross-entropy on logits for Keras 3, on its backends numpy, torch and jax."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import logitloss
from logitloss.integrations._optional import require

if TYPE_CHECKING:
    import keras
    from keras.src import backend
else:
    keras = require("keras", "keras")
    backend = importlib.import_module("keras.src.backend")

__all__ = ["BCEWithLogitsLoss"]

Factor: TypeAlias = float | Sequence[Any]

# The backend, and the function of this package that its tensors are given to.
_FUNCTIONS = {
    "numpy": ("logitloss", "bce_with_logits"),
    "torch": ("logitloss.integrations.torch", "binary_cross_entropy_with_logits"),
    "jax": ("logitloss.integrations.jax", "bce_with_logits"),
}


def _function_for(name: str) -> Callable[..., Any]:
    """Return the function that computes the loss on a backend's tensors."""
    if name not in _FUNCTIONS:
        raise ImportError(
            "logitloss.integrations.keras needs one of the Keras backends "
            f"{', '.join(_FUNCTIONS)}, not {name}: set the environment variable KERAS_BACKEND "
            "before Keras is imported"
        )
    module, function = _FUNCTIONS[name]
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


_bce_with_logits = _function_for(keras.backend.backend())


@keras.saving.register_keras_serializable(package="logitloss")
class BCEWithLogitsLoss(keras.losses.Loss):
    """Binary cross-entropy between targets and logits, computed by `logitloss` on the CPU.

    It stands where ``keras.losses.BinaryCrossentropy(from_logits=True)`` stood: losses are
    averaged over `axis`, and Keras weights, masks and reduces what remains. The last layer of the
    model has no activation.

    Parameters
    ----------
    from_logits : bool
        True. Probabilities are refused, because the sigmoid belongs to this loss.
    label_smoothing : float
        e in [0, 1): y becomes y (1 - e) + e / 2.
    axis : int or tuple of int
        Axes of the predictions to average over, other than that of the batch.
    reduction : str, optional
        How Keras reduces the samples' losses: ``'sum_over_batch_size'``, ``'sum'``, ``'mean'``,
        ``'mean_with_sample_weight'``, ``'none'`` or None.
    name, dtype : optional
        As for every Keras loss.
    weight, pos_weight : float or nested sequence of float, optional
        Factors of the loss and of its positive part, broadcast to the predictions: a sequence of
        length C is per class on the last axis.
    ignore_index : float, optional
        A target that marks a missing label, such as -1 or nan. The mean over `axis` is over the
        labels that exist; a sample without any has the loss 0 and counts as one of weight 0.
    validate : bool
        Whether targets outside [0, 1] raise an error, `ValueError` on torch and JAX's own on jax.
        The numpy backend never does: there Keras also calls the loss with uninitialised arrays,
        to learn its shape.

    Raises
    ------
    TypeError, ValueError
        If an option is wrong in itself.

    Notes
    -----
    With softplus(x) = max(x, 0) + log1p(exp(-abs(x))), the loss of an element is

        l = weight (pos_weight y softplus(-x) + (1 - y) softplus(x)).

    Predictions that Keras masks do not count, even if they are nan.

    Examples
    --------
    >>> import numpy as np
    >>> from logitloss.integrations.keras import BCEWithLogitsLoss
    >>> loss = BCEWithLogitsLoss(ignore_index=-1)
    >>> logits = np.array([[20.0, -40.0], [0.0, np.nan]], dtype="float32")
    >>> targets = np.array([[0, 0], [1, -1]])
    >>> print(f"{float(loss(targets, logits)):.4f}")
    5.3466
    """

    def __init__(
        self,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        axis: int | tuple[int, ...] = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "bce_with_logits",
        dtype: Any = None,
        *,
        weight: Factor | None = None,
        pos_weight: Factor | None = None,
        ignore_index: float | None = None,
        validate: bool = True,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if from_logits is not True:
            raise ValueError(
                f"from_logits must be True, not {from_logits!r}: remove the sigmoid from the last "
                "layer of the model, or use keras.losses.BinaryCrossentropy for probabilities"
            )
        axis = tuple(axis) if isinstance(axis, list) else axis
        # The loss object finds options that are wrong in themselves.
        logitloss.BCEWithLogitsLoss(
            weight=weight,
            pos_weight=pos_weight,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
            axis=axis,
            validate=validate,
        )
        self.label_smoothing = label_smoothing
        self.axis = axis
        self.weight = _plain(weight)
        self.pos_weight = _plain(pos_weight)
        self.ignore_index = ignore_index
        self.validate = validate

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the reduced loss; masked predictions do not count, whatever they are."""
        mask = backend.get_keras_mask(y_pred)
        if mask is not None:
            exists = keras.ops.cast(mask, "bool")
            trailing = (1,) * (len(y_pred.shape) - len(exists.shape))
            exists = keras.ops.reshape(exists, (*exists.shape, *trailing))
            y_true = keras.ops.where(exists, _in_shape_of(y_pred, y_true), 0)
            y_pred = keras.ops.where(exists, y_pred, 0)
            backend.set_keras_mask(y_pred, mask)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean loss over `axis` of each sample."""
        y_true = _in_shape_of(y_pred, y_true)
        ignore_index = self._marker()
        options = {
            "weight": self._factor(self.weight),
            "pos_weight": self._factor(self.pos_weight),
            "label_smoothing": self.label_smoothing,
            "ignore_index": ignore_index,
            "axis": self.axis,
            "validate": self.validate and keras.backend.backend() != "numpy",
        }
        if ignore_index is None:
            return _bce_with_logits(y_pred, y_true, reduction="mean", **options)
        # Sums and counts can be beyond the half precision that holds their quotient.
        wide = keras.backend.result_type(self.dtype, "float32")
        y_pred = keras.ops.cast(y_pred, wide)
        total = _bce_with_logits(y_pred, y_true, reduction="sum", **options)
        is_missing = keras.ops.isnan(y_true) if np.isnan(ignore_index) else y_true == ignore_index
        count = keras.ops.sum(keras.ops.cast(~is_missing, wide), axis=self.axis)
        return keras.ops.cast(total / keras.ops.maximum(count, 1), self.dtype)

    def _marker(self) -> float | None:
        """Return `ignore_index` as the targets have it, which Keras has rounded to the dtype."""
        if self.ignore_index is None:
            return None
        return float(np.asarray(self.ignore_index).astype(self.dtype))

    def _factor(self, factor: Any) -> Any:
        return None if factor is None else keras.ops.convert_to_tensor(factor, dtype=self.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return {
            **super().get_config(),
            "dtype": self.dtype,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
            "weight": self.weight,
            "pos_weight": self.pos_weight,
            "ignore_index": self.ignore_index,
            "validate": self.validate,
        }


def _plain(factor: Factor | None) -> Any:
    """Return a factor as Python's own numbers, which Keras can save."""
    return None if factor is None else np.asarray(factor, dtype=float).tolist()


def _in_shape_of(y_pred: Any, y_true: Any) -> Any:
    """Return the targets in the shape of the predictions, if only a last axis of 1 differs."""
    wanted, given = tuple(y_pred.shape), tuple(y_true.shape)
    differs_by_one = given == (*wanted, 1) or wanted == (*given, 1)
    return keras.ops.reshape(y_true, wanted) if differs_by_one else y_true
