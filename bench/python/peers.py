"""Other libraries' binary cross-entropy on logits, each in the form that it offers or documents.

Each peer takes logits and targets of one dtype and returns elementwise results by name: ``loss``,
``gradient`` and ``hessian``, as far as it has them. Libraries that differentiate automatically are
differentiated once and twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Peer", "load_peers"]

Array: TypeAlias = NDArray[Any]
Results: TypeAlias = dict[str, Array]
Evaluation: TypeAlias = Callable[[Array, Array], Results]


@dataclass(frozen=True)
class Peer:
    """A library, or one of the ways to use it.

    Attributes
    ----------
    name : str
        What tables and figures call it.
    version : str
        The version that was found.
    how : str
        The functions or formulas that are measured.
    evaluate : callable
        Takes logits and targets and returns results by name.
    """

    name: str
    version: str
    how: str
    evaluate: Evaluation


def _logitloss() -> Peer:
    import logitloss

    def evaluate(x: Array, y: Array) -> Results:
        loss = logitloss.bce_with_logits(x, y, reduction="none")
        gradient, hessian = logitloss.bce_with_logits_grad_hess(x, y, reduction="none")
        return {"loss": np.asarray(loss), "gradient": gradient, "hessian": hessian}

    how = "bce_with_logits, bce_with_logits_grad_hess"
    return Peer("logitloss", logitloss.__version__, how, evaluate)


def _torch() -> Peer:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    function = torch.nn.functional.binary_cross_entropy_with_logits

    def evaluate(x: Array, y: Array) -> Results:
        logits = torch.from_numpy(x.copy()).requires_grad_()
        loss = function(logits, torch.from_numpy(y), reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), logits, create_graph=True)
        (hessian,) = torch.autograd.grad(gradient.sum(), logits)
        tensors = {"loss": loss, "gradient": gradient, "hessian": hessian}
        return {name: tensor.detach().numpy() for name, tensor in tensors.items()}

    how = "binary_cross_entropy_with_logits, autograd"
    return Peer("PyTorch", torch.__version__, how, evaluate)


def _optax() -> Peer:
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    optax = importlib.import_module("optax")
    loss = optax.sigmoid_binary_cross_entropy
    gradient = jax.grad(lambda x, y: loss(x, y).sum())
    hessian = jax.grad(lambda x, y: gradient(x, y).sum())
    functions = {"loss": loss, "gradient": gradient, "hessian": hessian}
    compiled = {name: jax.jit(function) for name, function in functions.items()}

    def evaluate(x: Array, y: Array) -> Results:
        return {name: np.asarray(function(x, y)) for name, function in compiled.items()}

    version = f"{optax.__version__}, jax {jax.__version__}"
    how = "sigmoid_binary_cross_entropy, jax.grad, under jax.jit"
    return Peer("optax", version, how, evaluate)


def _scikit_learn() -> Peer:
    version = importlib.import_module("sklearn").__version__
    half_binomial = importlib.import_module("sklearn._loss").HalfBinomialLoss()

    def evaluate(x: Array, y: Array) -> Results:
        loss, gradient = half_binomial.loss_gradient(y, x)
        _, hessian = half_binomial.gradient_hessian(y, x)
        return {"loss": loss, "gradient": gradient, "hessian": hessian}

    how = "HalfBinomialLoss (private): loss_gradient, gradient_hessian"
    return Peer("scikit-learn", version, how, evaluate)


def _scikit_learn_loss() -> Peer:
    version = importlib.import_module("sklearn").__version__
    half_binomial = importlib.import_module("sklearn._loss").HalfBinomialLoss()

    def evaluate(x: Array, y: Array) -> Results:
        return {"loss": half_binomial.loss(y, x)}

    return Peer("scikit-learn, loss", version, "HalfBinomialLoss (private): loss", evaluate)


def _numpy() -> Peer:
    def evaluate(x: Array, y: Array) -> Results:
        loss = np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))
        p = 1 / (1 + np.exp(-x))
        return {"loss": loss, "gradient": p - y, "hessian": p * (1 - p)}

    how = "max(x, 0) - x y + log1p(exp(-abs(x))), p - y, p (1 - p) with p = 1 / (1 + exp(-x))"
    return Peer("NumPy", np.__version__, how, evaluate)


def _numpy_logaddexp() -> Peer:
    def evaluate(x: Array, y: Array) -> Results:
        return {"loss": np.logaddexp(0, x) - x * y}

    return Peer("NumPy, logaddexp", np.__version__, "logaddexp(0, x) - x y", evaluate)


def _scipy() -> Peer:
    version = importlib.import_module("scipy").__version__
    special = importlib.import_module("scipy.special")

    def evaluate(x: Array, y: Array) -> Results:
        loss = -(y * special.log_expit(x) + (1 - y) * special.log_expit(-x))
        p, q = special.expit(x), special.expit(-x)
        return {"loss": loss, "gradient": (1 - y) * p - y * q, "hessian": p * q}

    how = "-(y log_expit(x) + (1 - y) log_expit(-x)), (1 - y) p - y q, p q, p, q = expit(±x)"
    return Peer("SciPy", version, how, evaluate)


_LOADERS: dict[str, Callable[[], Peer]] = {
    "logitloss": _logitloss,
    "PyTorch": _torch,
    "optax": _optax,
    "scikit-learn": _scikit_learn,
    "scikit-learn, loss": _scikit_learn_loss,
    "NumPy": _numpy,
    "NumPy, logaddexp": _numpy_logaddexp,
    "SciPy": _scipy,
}


def load_peers() -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that are installed, and why the others are not there.

    Returns
    -------
    peers : list of Peer
        The package itself first.
    missing : dict of str to str
        The reason for each name that was skipped.
    """
    peers, missing = [], {}
    for name, load in _LOADERS.items():
        try:
            peers.append(load())
        except (ImportError, AttributeError) as error:
            missing[name] = str(error)
    return peers, missing
