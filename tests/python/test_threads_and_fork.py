"""The same bits for every number of threads, in Python threads and in forked processes."""

from __future__ import annotations

import importlib.util
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import logitloss
from arrays import WIDE_LOGIT_DTYPES, dtype_name, same_bits
from oracle import Array, Reduction
from processes import run_python

SIZE = 3_000_017

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def inputs(dtype: Any, seed: int = 51, size: int = SIZE) -> tuple[Array, Array]:
    """Return logits and targets of more than one block for each of several threads."""
    rng = np.random.default_rng(seed)
    logits = 6 * rng.standard_normal(size, np.float32).astype(dtype)
    return logits, rng.integers(0, 2, size, dtype=np.uint8)


def everything(logits: Array, targets: Array, **options: Any) -> list[Array]:
    """Return the results of all functions."""
    value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
    alone = logitloss.bce_with_logits(logits, targets, **options)
    other, hess = logitloss.bce_with_logits_grad_hess(logits, targets, **options)
    return [np.asarray(result) for result in (value, grad, alone, other, hess)]


def all_the_same(first: list[Array], second: list[Array]) -> bool:
    """Tell whether two lists of results agree bit for bit."""
    return all(same_bits(one, two) for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("dtype", WIDE_LOGIT_DTYPES, ids=dtype_name)
def test_every_number_of_threads(dtype: np.dtype[Any], reduction: Reduction) -> None:
    logits, targets = inputs(dtype)
    options: dict[str, Any] = {"reduction": reduction}
    if reduction == "weighted_mean":
        options["weight"] = np.random.default_rng(52).random(SIZE, np.float32) + 0.5
    expected = everything(logits, targets, num_threads=1, **options)
    for num_threads in (2, 3, 8):
        # A call never uses more threads than the setting, which is otherwise the processors.
        logitloss.set_num_threads(num_threads)
        actual = everything(logits, targets, **options)
        assert all_the_same(actual, expected), num_threads


@pytest.mark.parametrize("axis", [0, 1, (0, 2), -1])
@pytest.mark.parametrize("shape", [(3, 1000, 1000), (1000, 1000, 3), (150, 140, 143)])
def test_every_number_of_threads_over_an_axis(shape: tuple[int, ...], axis: Any) -> None:
    logits, targets = (
        array.reshape(shape) for array in inputs(np.float32, size=int(np.prod(shape)))
    )
    expected = everything(logits, targets, num_threads=1, axis=axis)
    for num_threads in (2, 3, 8):
        logitloss.set_num_threads(num_threads)
        actual = everything(logits, targets, axis=axis)
        assert all_the_same(actual, expected), num_threads


def test_the_setting_of_the_package() -> None:
    logits, targets = inputs(np.float32)
    expected = everything(logits, targets, num_threads=1)
    for threads in (1, 2, 5):
        logitloss.set_num_threads(threads)
        assert all_the_same(everything(logits, targets), expected), threads
        capped = everything(logits, targets, num_threads=2)
        assert all_the_same(capped, expected), threads


def test_a_cap_for_one_call_does_not_change_the_setting() -> None:
    logits, targets = inputs(np.float32, size=100_000)
    before = logitloss.get_num_threads()
    everything(logits, targets, num_threads=before + 1)
    assert logitloss.get_num_threads() == before


def test_repeated_calls() -> None:
    logits, targets = inputs(np.float32)
    expected = everything(logits, targets)
    for _ in range(10):
        assert all_the_same(everything(logits, targets), expected)


@pytest.mark.parametrize("num_threads", [1, 2, None])
def test_four_python_threads_at_once(num_threads: int | None) -> None:
    logitloss.set_num_threads(2)
    work = [inputs(np.float32, seed, 700_001) for seed in range(4)]
    expected = [everything(*arrays, num_threads=1) for arrays in work]
    barrier = threading.Barrier(len(work))

    def repeated(index: int) -> bool:
        barrier.wait()
        return all(
            all_the_same(everything(*work[index], num_threads=num_threads), expected[index])
            for _ in range(5)
        )

    with ThreadPoolExecutor(len(work)) as pool:
        assert all(pool.map(repeated, range(len(work))))


def test_errors_in_python_threads() -> None:
    """Each thread gets the message about its own target."""
    logits = np.zeros(300_000, np.float32)
    barrier = threading.Barrier(4)

    def refused(index: int) -> str:
        targets = np.zeros(logits.size, np.uint8)
        targets[1000 * index + 17] = 7
        barrier.wait()
        with pytest.raises(ValueError, match="targets") as caught:
            logitloss.bce_with_logits(logits, targets)
        return str(caught.value)

    with ThreadPoolExecutor(4) as pool:
        for index, message in enumerate(pool.map(refused, range(1, 5)), start=1):
            assert str(1000 * index + 17) in message


# The interpreter would take the lock from a running thread only after the interval, which is
# longer than any test. So the counting thread moves on only if the call lets go of the lock.
PROGRESS = """
import sys, threading, time
import logitloss, numpy as np
x, y = np.zeros(2**23), np.zeros(2**23, np.uint8)
count, done = 0, False
def counting():
    global count
    while not done:
        count += 1
        time.sleep(0)
thread = threading.Thread(target=counting, daemon=True)
thread.start()
while count == 0:
    time.sleep(0.001)
sys.setswitchinterval(1e6)
progress = 0
for _ in range(20):
    before = count
    logitloss.bce_with_logits_grad(x, y, out=x, num_threads=1)
    progress += count - before
done = True
print(progress)
"""


def test_another_python_thread_makes_progress_during_a_call() -> None:
    assert int(run_python(PROGRESS)) > 0


# What every program below shares: results(), which computes in parallel and returns all bits, and
# in_a_child(), which says whether a forked child gets the same ones.
FORK = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np, logitloss
logitloss.set_num_threads(4)
rng = np.random.default_rng(53)
x = rng.standard_normal(2**21).astype(np.float32)
y = rng.integers(0, 2, x.size, dtype=np.uint8)
def results(num_threads=2):
    value, grad = logitloss.bce_with_logits_value_and_grad(x, y, num_threads=num_threads)
    grad, hess = logitloss.bce_with_logits_grad_hess(x, y, num_threads=num_threads)
    return np.float64(value).tobytes() + grad.tobytes() + hess.tobytes()
def in_a_child(expected):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if results() == expected == results(None) else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

AFTER_A_PARALLEL_CALL = """
expected = results()
print(in_a_child(expected), in_a_child(expected), results() == expected)
"""

BEFORE_ANY_CALL = """
child = os.fork()
if child == 0:
    os._exit(0 if results() == results(1) else 2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

GRANDCHILD = """
expected = results()
child = os.fork()
if child == 0:
    os._exit(0 if results() == expected and in_a_child(expected) == 0 else 2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

WHILE_A_THREAD_COMPUTES = """
import threading
expected, done = results(), threading.Event()
def computing():
    while not done.is_set():
        results()
thread = threading.Thread(target=computing)
thread.start()
statuses = [in_a_child(expected) for _ in range(5)]
done.set()
thread.join()
print(statuses, results() == expected)
"""

FROM_A_PYTHON_THREAD = """
import threading
expected, statuses = results(), []
thread = threading.Thread(target=lambda: statuses.append(in_a_child(expected)))
thread.start()
thread.join()
print(statuses, results() == expected)
"""

POOL = """
import multiprocessing
def job(index):
    return results(1 + index % 3)
expected = results()
with multiprocessing.get_context("fork").Pool(2) as pool:
    print([answer == expected for answer in pool.map(job, range(6))])
print(results() == expected)
"""


@needs_fork
def test_a_child_after_a_parallel_call() -> None:
    assert run_python(FORK + AFTER_A_PARALLEL_CALL).split() == ["0", "0", "True"]


@needs_fork
def test_a_child_before_any_call() -> None:
    assert run_python(FORK + BEFORE_ANY_CALL).strip() == "0"


@needs_fork
def test_a_child_of_a_child() -> None:
    assert run_python(FORK + GRANDCHILD).strip() == "0"


@needs_fork
def test_a_child_while_another_thread_computes() -> None:
    assert run_python(FORK + WHILE_A_THREAD_COMPUTES).strip() == "[0, 0, 0, 0, 0] True"


@needs_fork
def test_a_child_of_a_python_thread() -> None:
    assert run_python(FORK + FROM_A_PYTHON_THREAD).strip() == "[0] True"


@needs_fork
def test_a_pool_of_forked_processes() -> None:
    assert run_python(FORK + POOL).split("\n")[:2] == [str([True] * 6), "True"]


# Programs that start the threads of another user of OpenMP in the parent.
OTHER_USERS = {
    "sklearn": """
from sklearn.ensemble import HistGradientBoostingClassifier
def use_the_other():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20000, 5)), rng.integers(0, 2, 20000)
    HistGradientBoostingClassifier(max_iter=2).fit(X, y).predict(X)
""",
    "torch": """
import torch
def use_the_other():
    torch.set_num_threads(2)
    torch.nn.functional.softplus(torch.zeros(2**22)).sum()
""",
    "xgboost": """
import xgboost
def use_the_other():
    rng = np.random.default_rng(0)
    data = xgboost.DMatrix(rng.standard_normal((20000, 5)), label=rng.integers(0, 2, 20000))
    xgboost.train({"nthread": 2}, data, 2)
""",
}


@needs_fork
@pytest.mark.parametrize("imported", ["before", "after"])
@pytest.mark.parametrize("other", OTHER_USERS)
def test_a_child_when_the_parent_used_another_library(other: str, imported: str) -> None:
    """The libraries may share one OpenMP runtime, whose threads do not live on in the child."""
    if importlib.util.find_spec(other) is None:
        pytest.skip(f"{other} is not installed")
    user = "import numpy as np\n" + OTHER_USERS[other]
    code = user + FORK if imported == "before" else FORK + user
    code += """
use_the_other()
child = os.fork()
if child == 0:
    os._exit(0 if results() == results(1) else 2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
expected = results()
use_the_other()
print(in_a_child(expected), results() == expected)
"""
    assert run_python(code).split() == ["0", "0", "True"]
