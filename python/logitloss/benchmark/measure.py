"""Checks the peers and times them in turn.

Peers are timed one after another in each of several rounds, and medians are compared: whatever
else happens on the machine then happens to all of them. Beside them runs ``numpy.subtract(x, y,
out=g)``, which reads the inputs and writes the gradient and does nothing else: the ceiling. Where
there are weights it reads them too, for their maximum.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from logitloss.benchmark.peers import Array, Call, Case, Operation, Peer, Problem
from logitloss.demo.tails import exact_gradient, exact_loss

__all__ = [
    "CEILING",
    "CEILING_CALLS",
    "GRADIENT_TOLERANCE",
    "LOSS_TOLERANCE",
    "OPERATIONS",
    "Effort",
    "Row",
    "Timing",
    "aligned_empty",
    "cells",
    "interleaved",
    "measure_cell",
]

OPERATIONS: Final[tuple[Operation, ...]] = ("loss", "loss+gradient")
CEILING: Final = "numpy.subtract"
CEILING_CALLS: Final[dict[Case, str]] = {
    "plain": "numpy.subtract(x, y, out=g)",
    "weighted": "numpy.subtract(x, y, out=g) and numpy.maximum.reduce(w)",
}

# What a right answer may be off by. The mean loss is relative; libraries that add up float32 in
# float32, or one element after the other, need the room. The gradient of an element, which is at
# most 1 as are the weights, is absolute, so that the cancellation of sigmoid(x) - y, which nearly
# all have, does not count: speed is the subject here.
LOSS_TOLERANCE: Final = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-10}
GRADIENT_TOLERANCE: Final = {"float16": 8e-3, "float32": 1e-6, "float64": 2e-15}

# Inputs repeat after so many elements, so that the exact answer costs nothing.
_PERIOD: Final = 1 << 16
_BATCH_SECONDS: Final = 2e-4
_WARM_SECONDS: Final = 2e-2
_PAUSE_SECONDS: Final = 2e-3
# Those that are given and those that peers allocate, at the most.
_ARRAYS_IN_ALL: Final = 13


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    seconds : float
        For all peers at one length, about.
    fewest, most : int
        Rounds.
    """

    seconds: float
    fewest: int
    most: int


@dataclass(frozen=True)
class Timing:
    """The times of one call over the rounds.

    Attributes
    ----------
    seconds : float
        The median.
    low, high : float
        The quartiles.
    rounds, batch : int
        Rounds, and calls in each of them.
    processors : float
        Processor time divided by time, of the whole process: how many were busy.
    """

    seconds: float
    low: float
    high: float
    rounds: int
    batch: int
    processors: float


@dataclass(frozen=True)
class Row:
    """What one peer came to for one problem.

    Attributes
    ----------
    peer, case, operation, dtype : str
        What was timed.
    elements, threads : int
        On how much, by how many.
    state : str
        ``'timed'``, ``'wrong'`` (and therefore not timed) or ``'failed'``.
    loss_error : float or None
        Relative error of the mean loss, if that is finite.
    gradient_error : float or None
        Largest absolute error of an element's gradient, if there is one and it is finite.
    timing : Timing or None
        The times, if the peer was timed.
    reason : str
        Why it was not.
    """

    peer: str
    case: Case
    operation: str
    dtype: str
    elements: int
    threads: int
    state: str
    loss_error: float | None = None
    gradient_error: float | None = None
    timing: Timing | None = None
    reason: str = ""


# --- Inputs and answers ----------------------------------------------------------------


def aligned_empty(elements: int, dtype: Any) -> Array:
    """Return a new array whose data start at a multiple of 64 bytes.

    Parameters
    ----------
    elements : int
        Its length.
    dtype : dtype
        Its type.
    """
    kind = np.dtype(dtype)
    memory = np.empty(elements + 64, kind)
    start = -memory.ctypes.data % 64 // kind.itemsize
    return memory[start : start + elements]


def _fill(array: Array, pattern: Array) -> None:
    """Repeat the pattern until the array is full."""
    whole = array.size // pattern.size * pattern.size
    array[:whole].reshape(-1, pattern.size)[...] = pattern
    array[whole:] = pattern[: array.size - whole]


class _Inputs:
    """Logits, hard labels and weights of one length, with the exact mean loss and gradient."""

    def __init__(self, case: Case, elements: int, dtype: str) -> None:
        random = np.random.default_rng(elements)
        count = min(elements, _PERIOD)
        x = (3 * random.standard_normal(count)).astype(dtype)
        y = random.integers(0, 2, count).astype(dtype)
        self.logits, self.targets, self.gradient = (
            aligned_empty(elements, dtype) for _ in range(3)
        )
        _fill(self.logits, x)
        _fill(self.targets, y)
        self.gradient.fill(0)
        losses, self.exact_gradient = exact_loss(x, y), exact_gradient(x, y)
        self.weights: Array | None = None
        if case == "weighted":
            w = random.uniform(0.25, 1, count).astype(dtype)
            self.weights = aligned_empty(elements, dtype)
            _fill(self.weights, w)
            losses *= w
            self.exact_gradient *= w
        periods, rest = divmod(elements, count)
        self.mean_loss = float((periods * losses.sum() + losses[:rest].sum()) / elements)

    def loss_error(self, value: float) -> float:
        """Return the relative error of a mean loss."""
        return abs(value - self.mean_loss) / self.mean_loss

    def gradient_error(self, gradient: Array, *, of_mean: bool) -> float:
        """Return the largest error of a gradient, in that of an element."""
        if gradient.shape != self.logits.shape:
            raise ValueError(f"the gradient has shape {gradient.shape}, not {self.logits.shape}")
        if gradient.dtype != self.logits.dtype:
            raise ValueError(f"the gradient is {gradient.dtype}, not {self.logits.dtype}")
        elements = self.logits.size
        scale = elements if of_mean else 1
        # A float16 cannot hold the gradient of the mean over many elements.
        floor = 2 * float(np.finfo(gradient.dtype).smallest_subnormal) * scale
        largest = 0.0
        for start in range(0, elements, self.exact_gradient.size):
            part = gradient[start : start + self.exact_gradient.size].astype(np.longdouble)
            errors = np.abs(part * scale - self.exact_gradient[: part.size])
            # Written so that NaN counts as infinitely wrong.
            if not np.all(errors <= np.inf):
                return float("inf")
            largest = max(largest, float(errors.max()) - floor)
        return largest


def _available_bytes() -> int:
    """Return how much memory can be taken."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# --- The ceiling -----------------------------------------------------------------------


def _subtract(arrays: Sequence[Array]) -> None:
    g, x, y, *weights = arrays
    np.subtract(x, y, out=g)
    for w in weights:
        np.maximum.reduce(w)


class _Subtraction:
    """The call of `CEILING_CALLS`, in parts if there are several threads."""

    def __init__(self, problem: Problem, pool: ThreadPoolExecutor | None) -> None:
        arrays = [problem.gradient, *problem.inputs]
        if problem.logits.dtype == np.float16:
            # NumPy computes float16 in software; subtracting integers moves the same bytes.
            arrays = [array.view(np.int16) for array in arrays]
        threads = problem.threads
        # A part without elements would have no maximum.
        ends = sorted({problem.logits.size * k // threads for k in range(threads + 1)})
        self._parts = [
            tuple(array[start:end] for array in arrays) for start, end in itertools.pairwise(ends)
        ]
        self._pool = pool

    def __call__(self) -> None:
        if self._pool is None:
            _subtract(self._parts[0])
        else:
            list(self._pool.map(_subtract, self._parts))


@contextmanager
def _pool_of(threads: int) -> Iterator[ThreadPoolExecutor | None]:
    if threads == 1:
        yield None
        return
    with ThreadPoolExecutor(threads) as pool:
        yield pool


# --- Timing ----------------------------------------------------------------------------


def _seconds(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in itertools.repeat(None, times):
        call()
    return time.perf_counter() - start


def _estimate(call: Callable[[], object]) -> float:
    """Return roughly what one call takes, after two that warm it up."""
    call()
    call()
    times = 1
    while True:
        seconds = _seconds(call, times)
        if seconds > _BATCH_SECONDS / 4:
            return seconds / times
        times *= 4


def interleaved(
    calls: dict[str, Callable[[], object]], effort: Effort, *, pause: bool = False
) -> dict[str, Timing]:
    """Time calls in turn, round after round.

    Parameters
    ----------
    calls : dict of str to callable
        What to time, by name.
    effort : Effort
        How long to measure.
    pause : bool
        Whether to let the threads of the previous call go to sleep before the next one. Thread
        pools wait for work in a loop for a while, and would keep processors from the others.

    Returns
    -------
    dict of str to Timing
        The times, by name.
    """
    estimates = {name: _estimate(call) for name, call in calls.items()}
    batches = {name: max(1, round(_BATCH_SECONDS / time)) for name, time in estimates.items()}
    cost = sum(
        estimates[name] * (batches[name] + (estimates[name] < _WARM_SECONDS))
        + (_PAUSE_SECONDS if pause else 0)
        for name in calls
    )
    rounds = int(min(max(effort.seconds / cost, effort.fewest), effort.most))
    times: dict[str, list[float]] = {name: [] for name in calls}
    busy = dict.fromkeys(calls, 0.0)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                if pause:
                    time.sleep(_PAUSE_SECONDS)
                if estimates[name] < _WARM_SECONDS:
                    # Brings this call's arrays into the cache and wakes its threads.
                    call()
                before = time.process_time()
                seconds = _seconds(call, batches[name])
                busy[name] += (time.process_time() - before) / seconds / rounds
                times[name].append(seconds / batches[name])
    finally:
        if collecting:
            gc.enable()
    return {
        name: Timing(*_median_and_quartiles(times[name]), rounds, batches[name], busy[name])
        for name in calls
    }


def _median_and_quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    if len(numbers) == 1:
        return numbers[0], numbers[0], numbers[0]
    low, middle, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return middle, low, high


# --- One length of one operation -------------------------------------------------------


def measure_cell(
    peers: Sequence[Peer],
    case: Case,
    operation: Operation,
    dtype: str,
    elements: int,
    threads: int,
    effort: Effort,
) -> list[Row]:
    """Check the peers on one problem, then time those that are right.

    Parameters
    ----------
    peers : sequence of Peer
        Those that do not take the dtype are left out.
    case : str
        ``'plain'`` or ``'weighted'``.
    operation : str
        ``'loss'`` or ``'loss+gradient'``.
    dtype : str
        Of logits and targets.
    elements : int
        How many.
    threads : int
        How many threads the peers were loaded with.
    effort : Effort
        How long to measure.

    Returns
    -------
    list of Row
        One for each peer, and one for the ceiling.
    """
    needed = elements * np.dtype(dtype).itemsize * _ARRAYS_IN_ALL
    about = (case, operation, dtype, elements, threads)
    rows = []
    takers = [peer for peer in peers if dtype in peer.dtypes]
    if needed > _available_bytes():
        reason = f"it may need {needed / 2**30:.1f} GiB of memory, and there is less"
        return [Row(peer.name, *about, "failed", reason=reason) for peer in takers]
    inputs = _Inputs(case, elements, dtype)
    problem = Problem(
        operation, inputs.logits, inputs.targets, inputs.weights, inputs.gradient, threads
    )
    checked: dict[str, Row] = {}
    calls: dict[str, Callable[[], object]] = {}
    for peer in takers:
        inputs.gradient.fill(np.nan)
        try:
            # What other libraries warn of is not for who measures them.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call = peer.prepare(problem)
                row = _check(peer.name, call, problem, inputs)
        except Exception as error:
            # Whatever another library raises, the others are still to be measured.
            lines = str(error).strip().splitlines() or [""]
            reason = f"{type(error).__name__}: {lines[0]}"
            rows.append(Row(peer.name, *about, "failed", reason=reason))
            continue
        if row.state == "timed":
            checked[peer.name] = row
            calls[peer.name] = call.run
        else:
            rows.append(row)
    with _pool_of(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calls[CEILING] = _Subtraction(problem, pool)
        checked[CEILING] = Row(CEILING, *about, "timed")
        timings = interleaved(calls, effort, pause=threads > 1)
    for name, timing in timings.items():
        rows.append(Row(**{**vars(checked[name]), "timing": timing}))
    return rows


def _check(name: str, call: Call, problem: Problem, inputs: _Inputs) -> Row:
    """Hold what a call returns against the exact answer."""
    dtype = problem.logits.dtype.name
    with np.errstate(all="ignore"):
        result = call.run()
        loss_error = inputs.loss_error(call.value(result))
        gradient_error = None
        if problem.operation == "loss+gradient":
            gradient_error = inputs.gradient_error(
                call.gradient(result), of_mean=call.gradient_of_mean
            )
    faults = []
    # Written so that NaN is a fault.
    if not loss_error <= LOSS_TOLERANCE[dtype]:
        faults.append(f"its mean loss is off by {loss_error:.1e} of it")
    if gradient_error is not None and not gradient_error <= GRADIENT_TOLERANCE[dtype]:
        faults.append(f"its gradient is off by {gradient_error:.1e}")
    return Row(
        name,
        problem.case,
        problem.operation,
        dtype,
        problem.logits.size,
        problem.threads,
        "wrong" if faults else "timed",
        loss_error=_if_finite(loss_error),
        gradient_error=_if_finite(gradient_error),
        reason=" and ".join(faults),
    )


def _if_finite(error: float | None) -> float | None:
    """Return None for what JSON has no number for; the reason names it."""
    return error if error is not None and math.isfinite(error) else None


def cells(
    operations: Sequence[Operation], dtypes: Sequence[str], sizes: Sequence[int]
) -> list[tuple[str, int, Operation]]:
    """Return all problems, so ordered that partial results say something early.

    Parameters
    ----------
    operations, dtypes, sizes : sequence
        What to combine.
    """
    return list(itertools.product(dtypes, sizes, operations))
