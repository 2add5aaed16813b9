"""Measure the package's own errors with soft targets, weights, reductions and 16-bit formats.

Errors are in ulp of the logits' dtype. A gradient with a soft target is the difference of two
terms; its error is in ulp of the larger one, while losses and hessians are sums and products of
numbers of one sign and are measured in ulp of themselves. A reduced value is float64; its error is
relative, in units of the logits' epsilon (2**-23 or 2**-52).

Usage: ``python bench/python/options.py``, then ``python bench/python/tables.py --write-tables``.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import logitloss
from project import ROOT, oracle, provenance, tracked, write_json

Array: TypeAlias = NDArray[Any]
Rows: TypeAlias = list[dict[str, Any]]

OUTPUTS: Final = {"loss": "loss", "gradient": "grad", "hessian": "hess"}
DTYPES: Final = (np.dtype(np.float32), np.dtype(np.float64))
SMALL_DTYPES: Final = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


class Inputs:
    """Random operands; half of the logits lie in [-3, 3], the others in [-30, 30]."""

    def __init__(self, dtype: np.dtype[Any], count: int) -> None:
        rng = np.random.default_rng(11)
        self.dtype = dtype
        sizes = np.where(rng.random(count) < 0.5, 3.0, 30.0)
        self.logits = (sizes * rng.uniform(-1, 1, count)).astype(dtype)
        tiny = np.exp2(-rng.uniform(0, 30, count))
        self.targets = np.where(rng.random(count) < 0.8, rng.random(count), tiny).astype(dtype)
        self.labels = rng.integers(0, 2, count).astype(np.int8)
        self.weight = rng.uniform(0, 8, count).astype(dtype)
        self.pos_weight = rng.uniform(0, 8, count).astype(dtype)


def computed(logits: Array, targets: Array, **options: Any) -> dict[str, Array]:
    """Return elementwise results by name."""
    loss = logitloss.bce_with_logits(logits, targets, reduction="none", **options)
    grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets, reduction="none", **options)
    return {"loss": np.asarray(loss), "gradient": grad, "hessian": hess}


def elementwise(case: str, inputs: Inputs, targets: Array, **options: Any) -> Rows:
    """Return the largest error of each output."""
    exact = oracle.elements(inputs.logits, targets, **options)
    scale = oracle.term_scale(exact.grad_terms, exact.total, inputs.dtype)
    rows = []
    for name, values in computed(inputs.logits, targets, **options).items():
        wanted = getattr(exact, OUTPUTS[name])
        unit = scale if name == "gradient" else None
        errors = oracle.ulp_error(values, wanted, inputs.dtype, unit)
        rows.append(row(case, inputs.dtype, name, float(errors.max())))
    return rows


def row(case: str, dtype: np.dtype[Any], output: str, largest: float) -> dict[str, Any]:
    """Return one entry of the data file."""
    rounded = float(f"{largest:.5g}")
    return {"case": case, "dtype": dtype.name, "output": output, "largest": rounded}


def soft_targets(inputs: Inputs) -> Rows:
    """Soft targets alone."""
    return elementwise("soft targets", inputs, inputs.targets)


def smoothing(inputs: Inputs) -> Rows:
    """Hard labels with smoothing."""
    return elementwise("label smoothing 0.1", inputs, inputs.labels, label_smoothing=0.1)


def one_weight(inputs: Inputs) -> Rows:
    """Hard labels with a weight for each element."""
    return elementwise("weight", inputs, inputs.labels, weight=inputs.weight)


def everything(inputs: Inputs) -> Rows:
    """Soft targets with all options that change the two weights of an element."""
    return elementwise(
        "soft targets, smoothing, weight, pos_weight",
        inputs,
        inputs.targets,
        weight=inputs.weight,
        pos_weight=inputs.pos_weight,
        label_smoothing=0.1,
    )


def gradients_of_means(inputs: Inputs) -> Rows:
    """Hard labels; the gradient of the mean over rows of 3 to 100 elements."""
    largest = {"gradient": 0.0, "hessian": 0.0}
    for length in range(3, 101):
        shape = (inputs.logits.size // length // 16, length)
        logits = inputs.logits[: shape[0] * length].reshape(shape)
        labels = inputs.labels[: shape[0] * length].reshape(shape)
        exact = oracle.answer(logits, labels, axis=1)
        grad, hess = logitloss.bce_with_logits_grad_hess(logits, labels, axis=1)
        for name, values, wanted in (("gradient", grad, exact.grad), ("hessian", hess, exact.hess)):
            errors = oracle.ulp_error(values, wanted, inputs.dtype)
            largest[name] = max(largest[name], float(errors.max()))
    return [row("mean of 3 to 100", inputs.dtype, name, e) for name, e in largest.items()]


def reduced_values(inputs: Inputs) -> Rows:
    """Means and sums over whole arrays and over either axis of a matrix."""
    logits = inputs.logits.reshape(-1, 256)
    labels = inputs.labels.reshape(-1, 256)
    rows = []
    for reduction in ("sum", "mean"):
        largest = 0.0
        for axis in (None, 0, 1):
            value = logitloss.bce_with_logits(logits, labels, reduction=reduction, axis=axis)
            exact = oracle.answer(logits, labels, reduction=reduction, axis=axis)
            errors = oracle.value_error(value, exact, inputs.dtype)
            largest = max(largest, float(np.max(errors)))
        rows.append(row(f"reduced value, {reduction}", inputs.dtype, "loss", largest))
    return rows


def small_formats(dtype: np.dtype[Any]) -> Rows:
    """Every 16-bit logit that is a number, both labels; also how many are not nearest."""
    logits = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    with np.errstate(invalid="ignore"):
        logits = logits[~np.isnan(logits)]
    largest = dict.fromkeys(OUTPUTS, 0.0)
    misses = dict.fromkeys(OUTPUTS, 0)
    for label in (0, 1):
        targets = np.full(logits.shape, label, np.int8)
        exact = oracle.elements(logits, targets)
        for name, values in computed(logits, targets).items():
            errors = oracle.ulp_error(values, getattr(exact, OUTPUTS[name]), dtype)
            largest[name] = max(largest[name], float(errors.max()))
            misses[name] += int(np.count_nonzero(errors > 0.5))
    return [
        row("every logit, hard labels", dtype, name, largest[name])
        | {"not_nearest": misses[name], "count": 2 * logits.size}
        for name in OUTPUTS
    ]


CASES: Final[tuple[Callable[[Inputs], Rows], ...]] = (
    soft_targets,
    smoothing,
    one_weight,
    everything,
    gradients_of_means,
    reduced_values,
)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = ROOT / "docs" / "data" / "options.json"
    parser.add_argument("--output", type=pathlib.Path, default=data, help="where numbers go")
    parser.add_argument("--quick", action="store_true", help="fewer inputs")
    parser.add_argument("--date", help="a date to record")
    return parser.parse_args()


def main() -> int:
    """Measure and write."""
    arguments = parse_arguments()
    count = 1 << (14 if arguments.quick else 22)
    rows: Rows = []
    for dtype in DTYPES:
        inputs = Inputs(dtype, count)
        for case in tracked(CASES, f"measuring {dtype.name}"):
            rows += case(inputs)
    for small in SMALL_DTYPES:
        rows += small_formats(small)
    data = {"provenance": provenance(arguments.date), "count": count, "results": rows}
    write_json(arguments.output, data)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
