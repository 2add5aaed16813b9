"""What the tests of the boosters share: real data, derivatives to compare with, examples to run."""

from __future__ import annotations

import contextlib
import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import ArrayLike

import oracle
from oracle import Array

MISSING: Final = -1


def tumours() -> tuple[Array, Array, Array]:
    """Return real measurements, whether each tumour is benign, and uneven weights of the rows."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return x, y.astype(np.float64), np.random.default_rng(0).exponential(1.0, len(y))


def several_labels(labels: Array) -> Array:
    """Return three targets a row: the label, its contrary, and one that chance had a say in."""
    flipped = np.random.default_rng(1).random(len(labels)) < 0.2
    return np.column_stack([labels, 1 - labels, np.where(flipped, 1 - labels, labels)])


def coarse(x: Array) -> Array:
    """Return features of ten values each, of which every part of the rows has the same bins."""
    ranks = x.argsort(axis=0).argsort(axis=0)
    return np.asarray(ranks * 10 // len(x), np.float64)


def with_missing(labels: Array, share: float = 0.3) -> Array:
    """Return labels of which some are the sentinel."""
    return np.where(np.random.default_rng(2).random(labels.shape) < share, MISSING, labels)


def assert_derivatives(
    grad: Array, hess: Array, margins: ArrayLike, labels: ArrayLike, **options: Any
) -> None:
    """Compare with the oracle, element by element, to the precision of the margins' dtype."""
    expected = oracle.elements(margins, labels, **options)
    tolerance = 16 * float(np.finfo(grad.dtype).eps)
    for actual, exact in ((grad, expected.grad), (hess, expected.hess)):
        np.testing.assert_allclose(actual, exact.astype(np.float64), rtol=tolerance)


def assert_layout(*arrays: Array, dtype: Any, shape: tuple[int, ...]) -> None:
    """Check what boosters silently misread otherwise: type, byte order and memory order."""
    for array in arrays:
        assert type(array) is np.ndarray
        assert array.dtype == np.dtype(dtype)
        assert array.dtype.isnative
        assert array.flags.c_contiguous
        assert array.shape == shape


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """Start processes of Dask and give the client that talks to them."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as processes, distributed.Client(processes) as client:
        yield client


def run_examples(module: ModuleType) -> None:
    """Run the examples of a module's documentation."""
    runner = doctest.DocTestRunner()
    finder = doctest.DocTestFinder()
    messages: list[str] = []
    for test in finder.find(module, globs=vars(module) | {"module": module}):
        runner.run(test, out=messages.append)
    assert runner.failures == 0, "".join(messages)
    assert runner.tries > 0


def run_document(name: str) -> None:
    """Run the Python of a page of the documentation, from its top to its end."""
    page = Path(__file__).resolve().parents[2] / "docs" / "integrations" / name
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert np.isfinite(names["margins"]).all()
