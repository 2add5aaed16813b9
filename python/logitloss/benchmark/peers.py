"""How each library computes binary cross-entropy on logits, in the fastest form that it offers.

Every peer is given the same NumPy arrays and a preallocated gradient, which it fills where it can.
What is timed is one call without arguments; nothing is converted in it, since frameworks see the
arrays through views that are made beforehand. The loss is the mean. A gradient may be that of the
mean or that of each element, whichever the peer has at hand.

Weights are one for each element, since that is the weighting that all peers have: as an argument,
or as a factor in the formula. Labels are known before a call, so that what weights positive ones
can be multiplied into these weights once, as scikit-learn does with its class weights.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CASES",
    "LIBRARIES",
    "OURS",
    "Array",
    "Call",
    "Case",
    "Library",
    "Operation",
    "Peer",
    "Problem",
]

Array: TypeAlias = NDArray[Any]
Case: TypeAlias = Literal["plain", "weighted"]
Operation: TypeAlias = Literal["loss", "loss+gradient"]

CASES: Final[dict[Case, str]] = {
    "plain": "the mean of the losses",
    "weighted": "the mean of the losses, each times a weight of its own: weight=, sample_weight or "
    "a factor w in the formula",
}

OURS: Final = "logitloss"
_FLOATS: Final = ("float32", "float64")
_ALL: Final = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Problem:
    """What is to be computed.

    Attributes
    ----------
    operation : str
        ``'loss'`` or ``'loss+gradient'``.
    logits, targets : ndarray
        Of one dtype and one dimension; targets are 0 or 1.
    weights : ndarray or None
        What the losses are multiplied by, like the logits; None in the plain case.
    gradient : ndarray
        Where the gradient may go.
    threads : int
        How many threads to use.
    """

    operation: Operation
    logits: Array
    targets: Array
    weights: Array | None
    gradient: Array
    threads: int

    @property
    def case(self) -> Case:
        """Whether there are weights."""
        return "plain" if self.weights is None else "weighted"

    @property
    def inputs(self) -> tuple[Array, ...]:
        """Logits, targets and, where there are any, weights."""
        plain = (self.logits, self.targets)
        return plain if self.weights is None else (*plain, self.weights)


@dataclass(frozen=True)
class Call:
    """A peer's call, and how to read what it returns.

    Attributes
    ----------
    run : callable
        What is timed.
    value : callable
        Takes what `run` returned and returns the mean loss.
    gradient : callable
        Takes what `run` returned and returns the gradient as an array.
    gradient_of_mean : bool
        Whether the gradient is divided by the number of elements.
    """

    run: Callable[[], Any]
    value: Callable[[Any], float]
    gradient: Callable[[Any], Array]
    gradient_of_mean: bool


@dataclass(frozen=True)
class Peer:
    """A library that has been imported.

    Attributes
    ----------
    name : str
        What tables call it.
    version : str
        The version that was found.
    dtypes : sequence of str
        The dtypes of logits and targets that it takes.
    prepare : callable
        Takes a `Problem` and returns the `Call` for it, compiled where that is possible.
    """

    name: str
    version: str
    dtypes: Sequence[str]
    prepare: Callable[[Problem], Call]


@dataclass(frozen=True)
class Library:
    """A library, or one of the ways to use it, that need not be installed.

    Attributes
    ----------
    name : str
        What ``--peers`` and tables call it.
    modules : sequence of str
        What has to be importable.
    packages : sequence of str
        What pip has to install for that.
    how : str
        The functions or formulas that are timed.
    load : callable
        Takes the number of threads, imports the library and returns a `Peer`.
    """

    name: str
    modules: Sequence[str]
    packages: Sequence[str]
    how: str
    load: Callable[[int], Peer]

    @property
    def is_installed(self) -> bool:
        """Whether everything that is needed can be found; nothing is imported."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)


def _nothing(_: Any) -> Array:
    raise ValueError("the call computes no gradient")


def _multiply(values: Array, weights: Array | None) -> None:
    """Multiply by the weights in place, where there are any."""
    if weights is not None:
        np.multiply(values, weights, out=values)


def _weighted(values: Any, weights: Any) -> Any:
    """Return a framework's values times the weights, where there are any."""
    return values if weights is None else weights * values


def _mean(losses: Array) -> Any:
    # The method `mean` costs microseconds more, and a sum of float16 would overflow.
    return np.add.reduce(losses, dtype=np.promote_types(losses.dtype, np.float32)) / losses.size


# --- This package ----------------------------------------------------------------------


def _load_logitloss(threads: int) -> Peer:
    import logitloss

    logitloss.set_num_threads(threads)

    def prepare(problem: Problem) -> Call:
        x, y, w, g = problem.logits, problem.targets, problem.weights, problem.gradient
        loss, both = logitloss.bce_with_logits, logitloss.bce_with_logits_value_and_grad
        run: Callable[[], Any]
        if problem.operation == "loss":
            run = (lambda: loss(x, y)) if w is None else (lambda: loss(x, y, weight=w))
            return Call(run, float, _nothing, True)
        run = (lambda: both(x, y, out=g)) if w is None else (lambda: both(x, y, weight=w, out=g))
        return Call(run, lambda r: float(r[0]), lambda r: r[1], True)

    return Peer(OURS, logitloss.__version__, _ALL, prepare)


# --- NumPy and what evaluates its expressions ------------------------------------------


def _load_numpy(_: int) -> Peer:
    def prepare(problem: Problem) -> Call:
        x, y, w, g = problem.logits, problem.targets, problem.weights, problem.gradient
        softplus, other = np.empty_like(x), np.empty_like(x)
        zero, half = x.dtype.type(0), x.dtype.type(0.5)

        def loss() -> Any:
            # max(x, 0) - x y + log1p(exp(-|x|))
            np.abs(x, out=softplus)
            np.negative(softplus, out=softplus)
            np.exp(softplus, out=softplus)
            np.log1p(softplus, out=softplus)
            np.maximum(x, zero, out=other)
            np.add(softplus, other, out=softplus)
            np.multiply(x, y, out=other)
            np.subtract(softplus, other, out=softplus)
            # numpy.dot would be faster, but its sum of 2^24 float32 is off by 2e-4.
            _multiply(softplus, w)
            return _mean(softplus)

        def both() -> Any:
            # sigmoid(x) = (1 + tanh(x / 2)) / 2 needs no division and cannot overflow.
            np.multiply(x, half, out=g)
            np.tanh(g, out=g)
            np.multiply(g, half, out=g)
            np.add(g, half, out=g)
            np.subtract(g, y, out=g)
            _multiply(g, w)
            return loss()

        run = loss if problem.operation == "loss" else both
        return Call(run, float, lambda _: g, False)

    return Peer("numpy", np.__version__, _ALL, prepare)


def _load_scipy(_: int) -> Peer:
    special: Any = importlib.import_module("scipy.special")

    def prepare(problem: Problem) -> Call:
        x, y, w, g = problem.logits, problem.targets, problem.weights, problem.gradient
        losses, other = np.empty_like(x), np.empty_like(x)
        one = x.dtype.type(1)

        def loss() -> Any:
            # (1 - y) x - log_expit(x)
            np.subtract(one, y, out=other)
            np.multiply(other, x, out=other)
            special.log_expit(x, out=losses)
            np.subtract(other, losses, out=losses)
            _multiply(losses, w)
            return _mean(losses)

        def both() -> Any:
            special.expit(x, out=g)
            np.subtract(g, y, out=g)
            _multiply(g, w)
            return loss()

        run = loss if problem.operation == "loss" else both
        return Call(run, float, lambda _: g, False)

    return Peer("scipy", importlib.import_module("scipy").__version__, _FLOATS, prepare)


def _load_numexpr(threads: int) -> Peer:
    numexpr: Any = importlib.import_module("numexpr")
    numexpr.set_num_threads(threads)

    def prepare(problem: Problem) -> Call:
        g, losses = problem.gradient, np.empty_like(problem.logits)
        names = dict(zip("xyw", problem.inputs, strict=False))
        factor = "" if problem.weights is None else "w * "
        loss_formula = f"{factor}(where(x > 0, x, 0) - x * y + log1p(exp(-abs(x))))"
        gradient_formula = f"{factor}(1 / (1 + exp(-x)) - y)"

        def loss() -> Any:
            # Its own sum(...) runs in one thread and is no faster there than this.
            numexpr.evaluate(loss_formula, local_dict=names, out=losses)
            return _mean(losses)

        def both() -> Any:
            numexpr.evaluate(gradient_formula, local_dict=names, out=g)
            return loss()

        run = loss if problem.operation == "loss" else both
        return Call(run, float, lambda _: g, False)

    return Peer("numexpr", numexpr.__version__, _FLOATS, prepare)


def _load_numba(threads: int) -> Peer:
    numba: Any = importlib.import_module("numba")
    numba.set_num_threads(threads)
    # A parallel loop costs microseconds even in one thread, so one thread gets a plain one.
    parallel = threads > 1
    compiled: Any = numba.njit(fastmath=True, parallel=parallel, inline="always")
    indices: Any = numba.prange if parallel else range

    # numba, where it is installed, declares no types of its decorators.
    @compiled  # type: ignore[untyped-decorator, unused-ignore]
    def loss(x: Any, y: Any, w: Any) -> Any:
        total = 0.0
        for i in indices(x.size):
            term = max(x[i], x.dtype.type(0)) - x[i] * y[i] + np.log1p(np.exp(-abs(x[i])))
            total += term if w is None else w[i] * term
        return total / x.size

    @compiled  # type: ignore[untyped-decorator, unused-ignore]
    def both(g: Any, x: Any, y: Any, w: Any) -> Any:
        total = 0.0
        one = x.dtype.type(1)
        for i in indices(x.size):
            e = np.exp(-abs(x[i]))
            term = max(x[i], x.dtype.type(0)) - x[i] * y[i] + np.log1p(e)
            slope = (one if x[i] >= 0 else e) / (one + e) - y[i]
            total += term if w is None else w[i] * term
            g[i] = slope if w is None else w[i] * slope
        return total / x.size

    # To pass None from Python would cost a fifth of a small call.
    losses = {"plain": compiled(lambda x, y: loss(x, y, None)), "weighted": loss}
    boths = {"plain": compiled(lambda g, x, y: both(g, x, y, None)), "weighted": both}

    def prepare(problem: Problem) -> Call:
        g = problem.gradient
        if problem.operation == "loss":
            return Call(partial(losses[problem.case], *problem.inputs), float, _nothing, False)
        run = partial(boths[problem.case], g, *problem.inputs)
        return Call(run, float, lambda _: g, False)

    return Peer("numba", numba.__version__, _FLOATS, prepare)


# --- scikit-learn ----------------------------------------------------------------------


def _load_scikit_learn(threads: int) -> Peer:
    version = importlib.import_module("sklearn").__version__
    half_binomial: Any = importlib.import_module("sklearn._loss").HalfBinomialLoss()

    def prepare(problem: Problem) -> Call:
        x, y, w, g = problem.logits, problem.targets, problem.weights, problem.gradient
        losses = np.empty_like(x)

        def loss() -> Any:
            half_binomial.loss(y, x, w, losses, threads)
            return _mean(losses)

        def both() -> Any:
            half_binomial.loss_gradient(y, x, w, losses, g, threads)
            return _mean(losses)

        run = loss if problem.operation == "loss" else both
        return Call(run, float, lambda _: g, False)

    return Peer("scikit-learn", version, _FLOATS, prepare)


# --- PyTorch ---------------------------------------------------------------------------


def _load_torch(threads: int) -> Peer:
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    function = torch.nn.functional.binary_cross_entropy_with_logits

    def prepare(problem: Problem) -> Call:
        x, *others = (torch.from_numpy(array) for array in problem.inputs)
        if problem.operation == "loss":

            def loss() -> Any:
                with torch.inference_mode():
                    return function(x, *others)

            return Call(loss, float, _nothing, True)
        leaf = x.detach().requires_grad_()

        def both() -> Any:
            value = function(leaf, *others)
            return value.detach(), torch.autograd.grad(value, leaf)[0]

        return Call(both, lambda r: float(r[0]), lambda r: np.asarray(r[1].numpy()), True)

    return Peer("torch", torch.__version__, _ALL, prepare)


def _torch_compiled(name: str, *, in_place: bool) -> Callable[[int], Peer]:
    """Return the loader of the hand-fused function with, or without, a given output."""

    def load(threads: int) -> Peer:
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(threads)

        def loss(x: Any, y: Any, w: Any = None) -> Any:
            losses = x.clamp(min=0) - x * y + torch.log1p(torch.exp(-x.abs()))
            return _weighted(losses, w).mean()

        def both(g: Any, x: Any, y: Any, w: Any = None) -> Any:
            gradient = _weighted(torch.sigmoid(x) - y, w) / x.numel()
            if in_place:
                g.copy_(gradient)
            return loss(x, y, w), (g if in_place else gradient)

        def prepare(problem: Problem) -> Call:
            g, *inputs = map(torch.from_numpy, (problem.gradient, *problem.inputs))
            # Code is generated for this one length, which is the fastest that there is. What was
            # compiled before is forgotten, or a limit on recompilations would be met.
            torch.compiler.reset()
            if problem.operation == "loss":
                compiled = torch.compile(loss, dynamic=False, fullgraph=True)

                def run_loss() -> Any:
                    with torch.inference_mode():
                        return compiled(*inputs)

                return Call(run_loss, float, _nothing, True)
            compiled = torch.compile(both, dynamic=False, fullgraph=True)

            def run_both() -> Any:
                with torch.inference_mode():
                    return compiled(g, *inputs)

            return Call(run_both, lambda r: float(r[0]), lambda r: np.asarray(r[1].numpy()), True)

        return Peer(name, torch.__version__, _ALL, prepare)

    return load


# --- JAX -------------------------------------------------------------------------------


def _load_jax_module() -> Any:
    jax: Any = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    return jax


def _jax_peer(name: str, version: str, jax: Any, loss: Any, both: Any) -> Peer:
    def prepare(problem: Problem) -> Call:
        # Arrays that are aligned to 64 bytes are taken without a copy.
        inputs = [jax.numpy.asarray(array) for array in problem.inputs]
        if problem.operation == "loss":
            compiled_loss = jax.jit(loss)
            return Call(lambda: compiled_loss(*inputs).block_until_ready(), float, _nothing, True)
        compiled = jax.jit(both)

        def run() -> Any:
            # One computation makes both results, so waiting for one is waiting for both.
            result = compiled(*inputs)
            result[1].block_until_ready()
            return result

        return Call(run, lambda r: float(r[0]), lambda r: np.asarray(r[1]), True)

    return Peer(name, version, _ALL, prepare)


def _load_jax(_: int) -> Peer:
    jax = _load_jax_module()
    jnp = jax.numpy

    def loss(x: Any, y: Any, w: Any = None) -> Any:
        losses = jnp.maximum(x, 0) - x * y + jnp.log1p(jnp.exp(-jnp.abs(x)))
        return jnp.mean(_weighted(losses, w))

    def both(x: Any, y: Any, w: Any = None) -> Any:
        # A float16 cannot hold the number of elements, but its reciprocal well enough.
        return loss(x, y, w), _weighted(jax.nn.sigmoid(x) - y, w) * (1 / x.size)

    return _jax_peer("jax", jax.__version__, jax, loss, both)


def _load_optax(_: int) -> Peer:
    jax = _load_jax_module()
    optax: Any = importlib.import_module("optax")

    def loss(x: Any, y: Any, w: Any = None) -> Any:
        return _weighted(optax.sigmoid_binary_cross_entropy(x, y), w).mean()

    return _jax_peer("optax", optax.__version__, jax, loss, jax.value_and_grad(loss))


# --- The list --------------------------------------------------------------------------

_COMPILED_HOW: Final = "max(x, 0) - x y + log1p(exp(-|x|)), sigmoid(x) - y, torch.compile"

LIBRARIES: Final[dict[str, Library]] = {
    library.name: library
    for library in (
        Library(
            OURS, ("logitloss",), (), "bce_with_logits, ..._value_and_grad(out=)", _load_logitloss
        ),
        Library(
            "numpy",
            ("numpy",),
            ("numpy",),
            "max(x, 0) - x y + log1p(exp(-|x|)), (1 + tanh(x / 2)) / 2 - y, all with out=",
            _load_numpy,
        ),
        Library(
            "scipy",
            ("scipy",),
            ("scipy",),
            "(1 - y) x - log_expit(x), expit(x) - y, all with out=",
            _load_scipy,
        ),
        Library(
            "numexpr",
            ("numexpr",),
            ("numexpr",),
            "max(x, 0) - x y + log1p(exp(-|x|)), 1 / (1 + exp(-x)) - y, with out=",
            _load_numexpr,
        ),
        Library("numba", ("numba",), ("numba",), "one loop, njit(fastmath=True)", _load_numba),
        Library(
            "scikit-learn",
            ("sklearn",),
            ("scikit-learn",),
            "HalfBinomialLoss (private): loss, loss_gradient, with outputs given",
            _load_scikit_learn,
        ),
        Library(
            "torch",
            ("torch",),
            ("torch",),
            "binary_cross_entropy_with_logits, autograd",
            _load_torch,
        ),
        Library(
            "torch.compile",
            ("torch",),
            ("torch",),
            f"{_COMPILED_HOW}, gradient into a given tensor",
            _torch_compiled("torch.compile", in_place=True),
        ),
        Library(
            "torch.compile-new",
            ("torch",),
            ("torch",),
            f"{_COMPILED_HOW}, gradient in a new tensor",
            _torch_compiled("torch.compile-new", in_place=False),
        ),
        Library(
            "jax",
            ("jax",),
            ("jax",),
            "max(x, 0) - x y + log1p(exp(-|x|)), sigmoid(x) - y, jax.jit",
            _load_jax,
        ),
        Library(
            "optax",
            ("jax", "optax"),
            ("optax",),
            "sigmoid_binary_cross_entropy, jax.value_and_grad, jax.jit",
            _load_optax,
        ),
    )
}
