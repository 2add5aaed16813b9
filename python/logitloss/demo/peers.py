"""The one-unit training with the loss of PyTorch, where PyTorch is installed."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logitloss.demo.network import FloatArray
from logitloss.demo.training import ValueAndGradient

__all__ = ["TorchUnavailableError", "load_torch", "torch_value_and_gradient"]


class TorchUnavailableError(Exception):
    """PyTorch is not installed or does not work; the message says which."""


def load_torch() -> Any:
    """Return the module ``torch``.

    Raises
    ------
    TorchUnavailableError
        If it is not installed, or cannot be loaded or exchange arrays with NumPy.
    """
    try:
        torch = importlib.import_module("torch")
        torch.from_numpy(np.zeros(1, dtype=np.float32))
    except ModuleNotFoundError:
        raise TorchUnavailableError("PyTorch is not installed") from None
    except (ImportError, OSError, RuntimeError) as error:
        raise TorchUnavailableError(f"PyTorch does not work here ({error})") from error
    return torch


def torch_value_and_gradient(torch: Any) -> ValueAndGradient:
    """Return ``torch.nn.BCEWithLogitsLoss`` in the form that the training loop calls.

    Parameters
    ----------
    torch : module
        What `load_torch` returned.

    Returns
    -------
    callable
        Takes logits and boolean targets of one shape and returns the mean loss
        and, by automatic differentiation, its gradient with respect to the logits.
    """
    criterion = torch.nn.BCEWithLogitsLoss()

    def value_and_gradient(
        logits: FloatArray, targets: NDArray[np.bool_]
    ) -> tuple[float, FloatArray]:
        # PyTorch accepts no boolean targets.
        float_targets = torch.from_numpy(targets.astype(np.float32))
        tensor = torch.from_numpy(logits.copy()).requires_grad_()
        loss = criterion(tensor, float_targets)
        loss.backward()
        gradient: FloatArray = tensor.grad.numpy()
        return float(loss.item()), gradient

    return value_and_gradient
