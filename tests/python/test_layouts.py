"""Strides, alignment, read-only inputs, outputs of every layout, and memory that overlaps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import logitloss
from arrays import (
    LAYOUTS,
    LOGIT_DTYPES,
    TARGET_DTYPES,
    WRITEABLE_LAYOUTS,
    bits,
    dtype_name,
    hard_targets,
    lay_out,
    repeated,
    same_bits,
    soft_targets,
    spread_logits,
)
from oracle import Array

SIZES = (1, 2, 63, 64, 65, 1023, 1024, 1025, 4095, 4096, 4097, 16383, 16384, 16385, 100003)
SHAPE = (9, 65, 33)
REDUCTIONS: tuple[dict[str, Any], ...] = (
    {"reduction": "none"},
    {"reduction": "sum"},
    {"reduction": "mean"},
    {"reduction": "weighted_mean"},
    {"reduction": "mean", "axis": 0},
    {"reduction": "sum", "axis": 1},
    {"reduction": "mean", "axis": -1},
    {"reduction": "mean", "axis": (0, 2)},
)

dtypes = pytest.mark.parametrize("dtype", LOGIT_DTYPES, ids=dtype_name)
layouts = pytest.mark.parametrize("layout", LAYOUTS)
writeable_layouts = pytest.mark.parametrize("layout", WRITEABLE_LAYOUTS)


def inputs(shape: tuple[int, ...], dtype: Any, target_dtype: Any = np.uint8) -> tuple[Array, Array]:
    """Return logits over bit patterns and hard targets."""
    size = math.prod(shape)
    logits = np.random.default_rng(21).permutation(spread_logits(dtype, size))
    return logits.reshape(shape), hard_targets(target_dtype, size).reshape(shape)


def everything(logits: Array, targets: Array, **options: Any) -> list[Array]:
    """Return every result that the functions have for one reduction."""
    value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
    alone = logitloss.bce_with_logits(logits, targets, **options)
    other, hess = logitloss.bce_with_logits_grad_hess(logits, targets, **options)
    return [np.asarray(result) for result in (value, alone, grad, other, hess)]


def all_the_same(first: list[Array], second: list[Array]) -> bool:
    """Tell whether two lists of results agree bit for bit."""
    return all(same_bits(one, two) for one, two in zip(first, second, strict=True))


@layouts
@pytest.mark.parametrize("size", SIZES)
@dtypes
def test_sizes_around_tiles_and_blocks(dtype: np.dtype[Any], size: int, layout: str) -> None:
    """Every element has the bits that it has in a longer array, wherever a tile ends."""
    logits, targets = inputs((SIZES[-1],), dtype)
    weight = np.random.default_rng(22).uniform(0.5, 2, SIZES[-1])
    long = logitloss.bce_with_logits_value_and_grad(
        logits, targets, weight=weight, reduction="none"
    )
    whole: tuple[Array, ...] = (logits, targets, weight)
    short = [lay_out(array[:size], layout) for array in whole]
    options: dict[str, Any] = {"weight": short[2], "reduction": "none"}
    loss, grad = logitloss.bce_with_logits_value_and_grad(short[0], short[1], **options)
    assert same_bits(loss, long[0][:size])
    assert same_bits(grad, long[1][:size])
    options["reduction"] = "mean"
    value = logitloss.bce_with_logits(short[0], short[1], **options)
    plain = logitloss.bce_with_logits(logits[:size], targets[:size], weight=weight[:size])
    assert same_bits(value, plain)


@pytest.mark.parametrize("target_layout", LAYOUTS)
@layouts
def test_every_pair_of_layouts(layout: str, target_layout: str) -> None:
    logits, targets = inputs(SHAPE, np.float32)
    for options in REDUCTIONS:
        expected = everything(logits, targets, **options)
        actual = everything(lay_out(logits, layout), lay_out(targets, target_layout), **options)
        assert all_the_same(actual, expected), options


@pytest.mark.parametrize("options", REDUCTIONS, ids=str)
@layouts
@dtypes
def test_every_layout_of_every_dtype(
    dtype: np.dtype[Any], layout: str, options: dict[str, Any]
) -> None:
    logits, targets = inputs(SHAPE, dtype, np.float32)
    rng = np.random.default_rng(23)
    arrays: dict[str, Array] = {
        "weight": rng.uniform(0.5, 2, SHAPE),
        "pos_weight": rng.uniform(0.5, 2, (65, 33)).astype(np.float32),
        "where": rng.random(SHAPE) < 0.9,
    }
    expected = everything(logits, targets, **arrays, **options)
    moved = {name: lay_out(array, layout) for name, array in arrays.items()}
    actual = everything(lay_out(logits, layout), lay_out(targets, layout), **moved, **options)
    assert all_the_same(actual, expected)


@pytest.mark.parametrize("target_dtype", TARGET_DTYPES, ids=dtype_name)
@layouts
def test_every_layout_of_every_target_dtype(target_dtype: np.dtype[Any], layout: str) -> None:
    logits, targets = inputs((50, 70), np.float32, target_dtype)
    expected = everything(logits, targets)
    assert all_the_same(everything(logits, lay_out(targets, layout)), expected)


@pytest.mark.parametrize("options", REDUCTIONS, ids=str)
@dtypes
def test_inputs_of_stride_zero(dtype: np.dtype[Any], options: dict[str, Any]) -> None:
    logits, targets = inputs(SHAPE, dtype)
    logits, targets = repeated(logits), np.broadcast_to(targets[:, :1], SHAPE)
    expected = everything(np.array(logits, order="C"), np.array(targets, order="C"), **options)
    assert all_the_same(everything(logits, targets, **options), expected)


def test_an_input_that_overlaps_itself() -> None:
    """A sliding window reads each number several times, which is no trouble for an input."""
    logits, _ = inputs((5000,), np.float32)
    window = np.lib.stride_tricks.sliding_window_view(logits, 40)
    targets = hard_targets(np.uint8, window.size).reshape(window.shape)
    for options in REDUCTIONS[:5]:
        expected = everything(np.array(window, order="C"), targets, **options)
        assert all_the_same(everything(window, targets, **options), expected)


def test_one_array_may_be_several_inputs() -> None:
    numbers = np.random.default_rng(24).random(3000)
    copies = {"weight": numbers.copy(), "pos_weight": numbers.copy()}
    expected = everything(numbers, numbers.copy(), **copies)
    assert all_the_same(everything(numbers, numbers, weight=numbers, pos_weight=numbers), expected)


def test_a_stride_beyond_32_bits() -> None:
    """The memory between the elements is never touched, so it costs addresses only."""
    try:
        memory = np.zeros(5 * 2**30, np.uint8)
    except MemoryError:
        pytest.skip("the machine has no 5 GiB of addresses to give away")
    logits = memory.view(np.float32)[:: 9 * 2**26]
    logits[...] = [1.5, -2.5, 3.5]
    for array in (logits, logits[::-1]):
        expected = logitloss.bce_with_logits_grad(array.copy(), [1, 0, 1])
        assert same_bits(logitloss.bce_with_logits_grad(array, [1, 0, 1]), expected)


def test_many_dimensions() -> None:
    """Dimensions that cannot be merged into runs are walked one by one."""
    logits, targets = inputs((2,) * 12, np.float32)
    for array in (np.flip(logits), logits.T, np.moveaxis(logits, 3, 9)):
        expected = everything(np.array(array, order="C"), targets)
        assert all_the_same(everything(array, targets), expected)


@pytest.mark.parametrize("dimensions", [32, 64])
def test_the_most_dimensions_that_numpy_has(dimensions: int) -> None:
    try:
        shape = np.zeros((1,) * dimensions).shape
    except ValueError:
        pytest.skip(f"this NumPy has fewer than {dimensions} dimensions")
    logits, targets = np.full(shape, 2.0), np.ones(shape)
    grad = logitloss.bce_with_logits_grad(logits, targets)
    assert grad.shape == shape
    assert grad.item() == logitloss.bce_with_logits_grad([2.0], [1]).item()


@layouts
def test_inputs_are_left_alone(layout: str) -> None:
    logits, targets = inputs(SHAPE, np.float32, np.float32)
    weight, where = np.full(SHAPE, 0.5), hard_targets(np.bool_, logits.size).reshape(SHAPE)
    originals: tuple[Array, ...] = (logits, targets, weight, where)
    given = [lay_out(array, layout) for array in originals]
    everything(given[0], given[1], weight=given[2], where=given[3])
    for array, original in zip(given, originals, strict=True):
        assert same_bits(array, original)


@writeable_layouts
@dtypes
def test_elementwise_outputs_of_every_layout(dtype: np.dtype[Any], layout: str) -> None:
    logits, targets = inputs(SHAPE, dtype)
    for options in REDUCTIONS[:3]:
        expected = everything(logits, targets, **options)
        first, second = (lay_out(np.full(SHAPE, 9).astype(dtype), layout) for _ in range(2))
        out: Any = first
        assert logitloss.bce_with_logits_grad(logits, targets, out=out, **options) is first
        assert same_bits(first, expected[2])
        out = (first, second)
        logitloss.bce_with_logits_grad_hess(logits, targets, out=out, **options)
        assert same_bits(first, expected[3])
        assert same_bits(second, expected[4])
    loss_out = lay_out(np.full(SHAPE, 9).astype(dtype), layout)
    logitloss.bce_with_logits(logits, targets, reduction="none", out=loss_out)
    assert same_bits(loss_out, everything(logits, targets, reduction="none")[0])


@writeable_layouts
@pytest.mark.parametrize("options", REDUCTIONS[4:], ids=str)
def test_reduced_outputs_of_every_layout(options: dict[str, Any], layout: str) -> None:
    logits, targets = inputs(SHAPE, np.float32)
    expected = np.asarray(logitloss.bce_with_logits(logits, targets, **options))
    out = lay_out(np.full(expected.shape, 9.0), layout)
    assert logitloss.bce_with_logits(logits, targets, out=out, **options) is out
    assert same_bits(out, expected)


@dtypes
def test_the_gaps_of_an_output_are_left_alone(dtype: np.dtype[Any]) -> None:
    logits, targets = inputs((3000,), dtype)
    for step in (2, 3, -2):
        memory = np.full(10000, 9).astype(dtype)
        out = memory[50:][::step][10:3010]
        logitloss.bce_with_logits_grad(logits, targets, out=out)
        assert same_bits(out, logitloss.bce_with_logits_grad(logits, targets))
        out[...] = 9
        assert np.all(memory == 9)


@writeable_layouts
@pytest.mark.parametrize("options", REDUCTIONS, ids=str)
@dtypes
def test_in_place(dtype: np.dtype[Any], options: dict[str, Any], layout: str) -> None:
    logits, targets = inputs(SHAPE, dtype)
    value, _, grad, _, hess = everything(logits, targets, **options)

    own = lay_out(logits, layout)
    assert logitloss.bce_with_logits_grad(own, targets, out=own, **options) is own
    assert same_bits(own, grad)

    own = lay_out(logits, layout)
    result, same = logitloss.bce_with_logits_value_and_grad(own, targets, out=own, **options)
    assert same is own
    assert same_bits(own, grad)
    assert same_bits(result, value)

    own = lay_out(logits, layout)
    logitloss.bce_with_logits_grad_hess(own, targets, out=(own, None), **options)
    assert same_bits(own, grad)

    own = lay_out(logits, layout)
    logitloss.bce_with_logits_grad_hess(own, targets, out=(None, own), **options)
    assert same_bits(own, hess)


def test_in_place_through_another_view_of_the_same_memory() -> None:
    logits, targets = inputs((3000,), np.float32)
    expected = logitloss.bce_with_logits_grad(logits, targets)
    own = logits.copy()
    logitloss.bce_with_logits_grad(own, targets, out=own[:])
    assert same_bits(own, expected)


def right_or_refused(memory: Array, call: Callable[[], Any], expected: Array) -> bool:
    """Tell whether a call gave the right answer, or a ValueError and left the memory alone."""
    before = memory.copy()
    try:
        result = call()
    except ValueError:
        return bool(np.array_equal(bits(memory), bits(before)))
    return same_bits(result, expected)


@pytest.mark.parametrize("shift", [-7000, -65, -1, 1, 2, 64, 5000])
@dtypes
def test_an_output_shifted_over_an_input(dtype: np.dtype[Any], shift: int) -> None:
    """The output begins a little before or after an input in the same memory."""
    size = 20000
    numbers = soft_targets(dtype, size + abs(shift))
    start, end = max(-shift, 0), max(shift, 0)
    other = hard_targets(dtype, size)
    for name in ("logits", "targets", "weight", "pos_weight"):
        memory = numbers.copy()
        arrays: dict[str, Any] = {"logits": other, "targets": other}
        arrays[name] = memory[start:][:size]
        copies: dict[str, Any] = {key: array.copy() for key, array in arrays.items()}
        expected = logitloss.bce_with_logits_grad(**copies)

        def call(arrays: Any = arrays, memory: Array = memory) -> Any:
            return logitloss.bce_with_logits_grad(**arrays, out=memory[end:][:size])

        assert right_or_refused(memory, call, expected), name


@pytest.mark.parametrize("name", ["targets", "weight", "pos_weight"])
def test_an_output_exactly_over_another_input(name: str) -> None:
    logits = np.random.default_rng(25).standard_normal(20000)
    memory = soft_targets(np.float64, 20000)
    arrays: dict[str, Any] = {"logits": logits, "targets": hard_targets(np.uint8, 20000)}
    arrays[name] = memory
    copies: dict[str, Any] = {key: array.copy() for key, array in arrays.items()}
    expected = logitloss.bce_with_logits_grad(**copies)
    assert right_or_refused(
        memory, lambda: logitloss.bce_with_logits_grad(**arrays, out=memory), expected
    )


@pytest.mark.parametrize("offset", [0, 4, 40000, 79996])
def test_an_output_over_where(offset: int) -> None:
    size = 20000
    logits, targets = inputs((size,), np.float32)
    memory = hard_targets(np.uint8, 5 * size + 8)
    where = memory[offset:][:size].view(np.bool_)
    out = memory[: 4 * size].view(np.float32)
    expected = logitloss.bce_with_logits_grad(logits, targets, where=where.copy())
    assert right_or_refused(
        memory,
        lambda: logitloss.bce_with_logits_grad(logits, targets, where=where, out=out),
        expected,
    )


@pytest.mark.parametrize("offset", [0, 1, 30000, 79999])
def test_an_output_over_byte_targets(offset: int) -> None:
    size = 20000
    logits, _ = inputs((size,), np.float32)
    memory = hard_targets(np.uint8, 5 * size + 8)
    targets, out = memory[offset:][:size], memory[: 4 * size].view(np.float32)
    expected = logitloss.bce_with_logits_grad(logits, targets.copy())
    assert right_or_refused(
        memory, lambda: logitloss.bce_with_logits_grad(logits, targets, out=out), expected
    )


def test_an_output_over_a_broadcast_weight() -> None:
    logits, targets = inputs((300, 70), np.float32)
    for row in (0, 150, 299):
        memory = np.full((300, 70), 0.5, np.float32)
        weight = memory[row]
        expected = logitloss.bce_with_logits_grad(logits, targets, weight=weight.copy())

        def call(weight: Array = weight, memory: Array = memory) -> Any:
            return logitloss.bce_with_logits_grad(logits, targets, weight=weight, out=memory)

        assert right_or_refused(memory, call, expected), row


TURNED: dict[str, Callable[[Array], Array]] = {
    "reversed": lambda array: array[::-1],
    "flipped": np.flip,
    "transposed": lambda array: array.T,
    "rotated": lambda array: array.T[::-1],
}


@pytest.mark.parametrize("turn", TURNED.values(), ids=TURNED.keys())
def test_an_output_over_the_same_memory_in_another_order(
    turn: Callable[[Array], Array],
) -> None:
    memory, targets = inputs((150, 150), np.float64)
    expected = logitloss.bce_with_logits_grad(memory.copy(), targets)
    assert right_or_refused(
        memory,
        lambda: logitloss.bce_with_logits_grad(memory, targets, out=turn(memory)),
        expected,
    )


def test_an_output_at_an_odd_byte_offset_from_its_input() -> None:
    size = 20000
    memory = np.zeros(4 * size + 8, np.uint8)
    logits: Array = np.ndarray((size,), np.float32, memory.data, offset=0)
    logits[...] = np.random.default_rng(26).standard_normal(size)
    targets = hard_targets(np.uint8, size)
    for offset in (1, 2, 5):
        out: Array = np.ndarray((size,), np.float32, memory.data, offset=offset)
        expected = logitloss.bce_with_logits_grad(logits.copy(), targets)
        own = memory.copy()

        def call(out: Array = out) -> Any:
            return logitloss.bce_with_logits_grad(logits, targets, out=out)

        assert right_or_refused(memory, call, expected), offset
        memory[...] = own


@pytest.mark.parametrize("shift", [0, 1])
def test_a_loss_over_its_logits(shift: int) -> None:
    memory, targets = inputs((20001,), np.float32)
    logits, targets = memory[:20000], targets[:20000]
    expected = logitloss.bce_with_logits(logits.copy(), targets, reduction="none")
    out = memory[shift:][:20000]
    assert right_or_refused(
        memory,
        lambda: logitloss.bce_with_logits(logits, targets, reduction="none", out=out),
        expected,
    )


@pytest.mark.parametrize("axis", [0, 1, None])
def test_a_reduced_value_inside_its_logits(axis: int | None) -> None:
    memory, targets = inputs((140, 140), np.float64)
    expected = np.asarray(logitloss.bce_with_logits(memory.copy(), targets, axis=axis))
    for place in (memory[0], memory[:, 70], memory[-1]):
        own = memory.copy()
        out = place if axis is not None else place[70:71].reshape(())

        def call(out: Array = out) -> Any:
            return logitloss.bce_with_logits(memory, targets, axis=axis, out=out)

        assert right_or_refused(memory, call, expected)
        memory[...] = own


@pytest.mark.parametrize("shift", [0, 1, 5000])
def test_two_outputs_that_overlap_are_refused(shift: int) -> None:
    logits, targets = inputs((20000,), np.float32)
    memory = np.full(25000, 9, np.float32)
    out: Any = (memory[:20000], memory[shift:][:20000])
    with pytest.raises(ValueError, match=r"overlap|share"):
        logitloss.bce_with_logits_grad_hess(logits, targets, out=out)
    with pytest.raises(ValueError, match=r"overlap|share"):
        logitloss.bce_with_logits_value_and_grad(logits, targets, reduction="none", out=out)
    assert np.all(memory == 9)


@dtypes
def test_interleaved_views_of_one_buffer(dtype: np.dtype[Any]) -> None:
    """Columns of one table share every cache line and no element, so nothing overlaps."""
    logits, targets = inputs((5000,), dtype, dtype)
    expected = everything(logits, targets, reduction="none")
    table = np.full((5000, 5), 9).astype(dtype)
    table[:, 0], table[:, 1] = logits, targets
    columns = [table[:, index] for index in range(5)]
    out: Any = (columns[2], columns[4])
    logitloss.bce_with_logits_grad_hess(columns[0], columns[1], reduction="none", out=out)
    assert same_bits(columns[2], expected[2])
    assert same_bits(columns[4], expected[4])
    assert np.all(columns[3] == 9)
    logitloss.bce_with_logits_grad(columns[0], columns[1], reduction="none", out=columns[0])
    assert same_bits(columns[0], expected[2])


def test_interleaved_rows_and_blocks_of_one_buffer() -> None:
    logits, targets = inputs((60, 70), np.float32)
    expected = logitloss.bce_with_logits_grad(logits, targets)
    rows, halves = np.zeros((120, 70), np.float32), np.zeros((60, 140), np.float32)
    for own, out in ((rows[::2], rows[1::2]), (halves[:, :70], halves[:, 70:])):
        own[...] = logits
        logitloss.bce_with_logits_grad(own, targets, out=out)
        assert same_bits(out, expected)
        assert same_bits(own, logits)


@pytest.mark.parametrize("strides", [(0, 4), (4, 0), (4, 4), (8, 4), (80, 2), (-4, 4)], ids=str)
def test_an_output_that_overlaps_itself_is_refused(strides: tuple[int, int]) -> None:
    logits, targets = inputs((30, 20), np.float32)
    memory = np.full(4000, 9, np.float32)
    out = as_strided(memory[1000:], (30, 20), strides)
    with pytest.raises(ValueError, match="out"):
        logitloss.bce_with_logits_grad(logits, targets, out=out)
    assert np.all(memory == 9)


def test_a_dimension_of_length_one_may_have_any_stride() -> None:
    logits, targets = inputs((1, 20), np.float32)
    out = as_strided(np.zeros(20, np.float32), (1, 20), (0, 4))
    logitloss.bce_with_logits_grad(logits, targets, out=out)
    assert same_bits(out, logitloss.bce_with_logits_grad(logits, targets))
