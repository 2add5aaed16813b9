"""No call needs memory of the input's size: at most 16 MiB beside 256 MiB of logits."""

from __future__ import annotations

from pathlib import Path

import pytest

from processes import run_python

LIMIT_KIB = 16 * 1024

# A program that makes its arrays, all of them touched, and measures how far the largest resident
# size rises during the call. A small call comes first, because it starts threads and loads code.
PROGRAM = """
import logitloss, numpy as np

def full(shape, dtype, value):
    array = np.empty(shape, dtype)
    array.fill(value)
    return array

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def forget_earlier_peaks():
    try:
        with open("/proc/self/clear_refs", "w") as control:
            control.write("5")
    except OSError:
        pass

N, SIDE = 2**26, 2**13
small = full(200_000, np.float32, 0.5)
logitloss.bce_with_logits_value_and_grad(small, small)
logitloss.bce_with_logits_grad_hess(small, small)
del small
{setup}
forget_earlier_peaks()
before = peak()
{call}
print(peak() - before)
"""

FLAT = """
x = full(N, np.float32, 0.5)
y = full(N, np.uint8, 1)
out = full(N, np.float32, 0)
"""
SQUARE = """
x = full((SIDE, SIDE), np.float32, 0.5)
y = full((SIDE, SIDE), np.uint8, 1)
"""

CASES = {
    "value": (FLAT, "logitloss.bce_with_logits(x, y)"),
    "value and gradient": (FLAT, "logitloss.bce_with_logits_value_and_grad(x, y, out=out)"),
    "gradient and hessian": (
        FLAT + "second = full(N, np.float32, 0)",
        "logitloss.bce_with_logits_grad_hess(x, y, out=(out, second))",
    ),
    "elementwise": (FLAT, "logitloss.bce_with_logits(x, y, reduction='none', out=out)"),
    "in place": (FLAT, "logitloss.bce_with_logits_value_and_grad(x, y, out=x)"),
    "one thread": (FLAT, "logitloss.bce_with_logits_grad(x, y, out=out, num_threads=1)"),
    "ignore_index and smoothing": (
        FLAT + "y[::3] = 255",
        "logitloss.bce_with_logits_grad(x, y, ignore_index=255, label_smoothing=0.1, out=out)",
    ),
    "backwards": (
        FLAT,
        "logitloss.bce_with_logits_value_and_grad(x[::-1], y[::-1], out=out)",
    ),
    "every second": (
        "x = full(2 * N, np.float32, 0.5)[::2]\ny = full(2 * N, np.uint8, 1)[::2]",
        "logitloss.bce_with_logits_value_and_grad(x, y, out=x)",
    ),
    "unaligned": (
        "x = full(4 * N + 1, np.uint8, 0)[1:].view(np.float32)\ny = full(N, np.bool_, True)",
        "logitloss.bce_with_logits(x, y)",
    ),
    "broadcast inputs": (
        "x = np.broadcast_to(full((SIDE, 1), np.float32, 0.5), (SIDE, SIDE))\n"
        "y = np.broadcast_to(np.uint8(1), x.shape)\nout = full(x.shape, np.float32, 0)",
        "logitloss.bce_with_logits_value_and_grad(x, y, out=out)",
    ),
    "weights per class and per row": (
        SQUARE + "w, p = np.ones((SIDE, 1)), np.ones(SIDE)",
        "logitloss.bce_with_logits_value_and_grad(x, y, weight=w, pos_weight=p, out=x)",
    ),
    "full weight of another dtype, backwards": (
        FLAT + "w = full(N, np.float16, 2)[::-1]",
        "logitloss.bce_with_logits_grad(x, y, weight=w, reduction='weighted_mean', out=x)",
    ),
    "where": (
        FLAT + "where = full(N, np.bool_, True)\nwhere[::5] = False",
        "logitloss.bce_with_logits_value_and_grad(x, y, where=where, out=x)",
    ),
    "Fortran order": (
        SQUARE,
        "logitloss.bce_with_logits_value_and_grad(x.T, y, out=x.T)",
    ),
    "first axis": (SQUARE, "logitloss.bce_with_logits_value_and_grad(x, y, axis=0, out=x)"),
    "last axis": (SQUARE, "logitloss.bce_with_logits_value_and_grad(x, y, axis=1, out=x)"),
    "first axis of Fortran order": (
        SQUARE,
        "logitloss.bce_with_logits_value_and_grad(x.T, y.T, axis=0, out=x.T)",
    ),
    "float16": (
        "x = full(2 * N, np.float16, 0.5)\ny = np.broadcast_to(np.float16(1), x.shape)",
        "logitloss.bce_with_logits_value_and_grad(x, y, out=x)",
    ),
    "float64 with int64 targets": (
        "x = full(N // 2, np.float64, 0.5)\ny = full(N // 2, np.int64, 1)",
        "logitloss.bce_with_logits_value_and_grad(x, y, out=x)",
    ),
    "integer logits": (
        "x = full(N, np.int32, 2)\ny = full(N, np.uint8, 1)",
        "logitloss.bce_with_logits(x, y)",
    ),
    "array of grad_output": (
        SQUARE + "outer = np.ones(SIDE)",
        "logitloss.bce_with_logits_grad(x, y, axis=0, grad_output=outer, out=x)",
    ),
    "bad target in place": (
        FLAT + "y[-1] = 7",
        "try:\n    logitloss.bce_with_logits_grad(x, y, out=x)\nexcept ValueError:\n    pass",
    ),
}


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="/proc/self/status is not here to be read"
)
@pytest.mark.parametrize(("setup", "call"), CASES.values(), ids=CASES.keys())
def test_extra_memory(setup: str, call: str) -> None:
    grown = int(run_python(PROGRAM.format(setup=setup, call=call)))
    assert grown <= LIMIT_KIB


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="/proc/self/status is not here to be read"
)
def test_the_measurement_sees_a_temporary_array() -> None:
    call = "temporary = x.copy()\ntemporary.fill(1)"
    assert int(run_python(PROGRAM.format(setup=FLAT, call=call))) > 8 * LIMIT_KIB
