"""Loss and gradient over half a gigabyte in blocks, with memory for a few of them.

The images are scikit-learn's handwritten digits, and the logits those of a linear model fitted to
them by least squares. To be more than fits into the memory allowed here, they are repeated some
5600 times, each time with other noise on the logits; a fifth of the labels is missing. Nothing
of the whole is ever in memory: blocks are made when they are asked for, as they would be read
from files, and given up again.

The offset of each of the ten outputs is then improved by gradient descent. Each step goes over
all data once and gets the loss and the gradient from the same visit to a block.
"""

from __future__ import annotations

import resource
import sys
from typing import Any

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import logitloss
from logitloss.integrations.dask import bce_with_logits_value_and_grad

MEBIBYTE = 2**20
LIMIT = 128 * MEBIBYTE
ROWS_IN_BLOCK = 100_000
BLOCKS = 100
MISSING = -1
STEPS = 2
LEARNING_RATE = 40.0


def linear_model() -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return the logits of a least-squares model for each digit, and which digit it is."""
    digits = load_digits()
    images = np.column_stack([digits.data / 16, np.ones(len(digits.data))])
    targets = np.eye(10)[digits.target]
    weights = np.linalg.lstsq(images, 8 * targets - 4, rcond=None)[0]
    return (images @ weights).astype(np.float32), targets.astype(np.int8)


def block_of_logits(block_id: tuple[int, int], model: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make one block: the model's logits over and over, with noise that the block seeds."""
    generator = np.random.default_rng(block_id[0])
    rows = np.resize(np.arange(len(model)), ROWS_IN_BLOCK)
    noise = generator.standard_normal((ROWS_IN_BLOCK, 10), dtype=np.float32)
    noise += model[rows]
    return noise


def block_of_targets(block_id: tuple[int, int], labels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Make the labels of one block, a fifth of them missing."""
    generator = np.random.default_rng((block_id[0], 1))
    targets = labels[np.resize(np.arange(len(labels)), ROWS_IN_BLOCK)]
    targets[generator.integers(0, 5, targets.shape, dtype=np.int8) == 0] = MISSING
    return targets


def lazy_data() -> tuple[Any, Any]:
    """Return the logits and targets as Dask arrays of blocks that do not exist yet."""
    model, labels = linear_model()
    chunks = ((ROWS_IN_BLOCK,) * BLOCKS, (10,))
    logits = da.map_blocks(block_of_logits, model=model, chunks=chunks, dtype=np.float32)
    targets = da.map_blocks(block_of_targets, labels=labels, chunks=chunks, dtype=np.int8)
    return logits, targets


def peak_memory() -> int:
    """Return the most memory that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def check_against_numpy(logits: Any, targets: Any) -> None:
    """Compare three blocks, which do fit, with the functions over NumPy arrays."""
    few = slice(0, 3 * ROWS_IN_BLOCK)
    lazy = bce_with_logits_value_and_grad(logits[few], targets[few], ignore_index=MISSING)
    value, gradient = dask.compute(*lazy)
    x, y = dask.compute(logits[few], targets[few])
    right, right_gradient = logitloss.bce_with_logits_value_and_grad(x, y, ignore_index=MISSING)
    same = np.array_equal(gradient, right_gradient)
    print(
        f"On three blocks the gradient is NumPy's to the last bit: {'yes' if same else 'no'}; "
        f"the values differ by a relative {abs(value / right - 1):.0e}."
    )
    if not same:
        sys.exit(1)


def main() -> None:
    """Improve ten offsets over all data and say how much memory that took."""
    logits, targets = lazy_data()
    size = logits.nbytes + targets.nbytes
    print(
        f"{len(logits):,} rows of 10 logits and labels are {size / MEBIBYTE:.0f} MiB; "
        f"the limit is {LIMIT / MEBIBYTE:.0f} MiB."
    )
    before = peak_memory()
    check_against_numpy(logits, targets)
    offsets = np.zeros(10, dtype=np.float32)
    for step in range(STEPS):
        value, gradient = bce_with_logits_value_and_grad(
            logits + offsets, targets, ignore_index=MISSING
        )
        loss, slope = dask.compute(value, gradient.sum(axis=0, dtype=np.float64))
        print(f"Step {step + 1}: loss {loss:.6f}")
        offsets -= (LEARNING_RATE * slope).astype(np.float32)
    print("Offsets:", np.array2string(offsets, precision=3, suppress_small=True))

    used = peak_memory() - before
    print(
        f"Peak memory: {before / MEBIBYTE:.0f} MiB with all libraries loaded, and "
        f"{used / MEBIBYTE:.0f} MiB more at any time after that."
    )
    if used > LIMIT:
        sys.exit(f"more than the limit of {LIMIT / MEBIBYTE:.0f} MiB")


if __name__ == "__main__":
    main()
