"""Dask: NumPy's bits and values for every chunking, each block computed once, clear errors."""

from __future__ import annotations

import doctest
import math
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

import logitloss
from arrays import LOGIT_DTYPES, dtype_name, hard_targets, same_bits, soft_targets

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

import logitloss.integrations.dask as lazy

SHAPE = (23, 3, 14)
ROWS, PLANES, COLUMNS = SHAPE
CHUNKS: dict[str, Any] = {
    "rows": (9, 3, 14),
    "all axes": (12, 2, 8),
    "uneven, one empty": ((1, 0, 20, 2), (3,), (9, 5)),
}
EVERY_NAME = [
    "bce_with_logits",
    "bce_with_logits_grad",
    "bce_with_logits_value_and_grad",
    "bce_with_logits_grad_hess",
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="sync"):
        yield


def inputs(
    dtype: Any = np.float64, seed: int = 0, farthest: float = 5.0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return logits, some far from zero, and hard targets with missing ones."""
    rng = np.random.default_rng(seed)
    logits = 6 * rng.standard_normal(SHAPE)
    logits[::7] *= farthest
    targets = hard_targets(np.int8, logits.size, seed).reshape(SHAPE)
    targets[rng.random(SHAPE) < 0.2] = -1
    return logits.astype(dtype), targets


def numbers(seed: int, *shape: int) -> NDArray[np.float64]:
    """Return positive numbers that float64 does not hold exactly."""
    return np.random.default_rng(seed).random(shape) + 0.1


def mask(*shape: int) -> NDArray[np.bool_]:
    return np.random.default_rng(11).random(shape) < 0.7


MISSING: dict[str, Any] = {"ignore_index": -1}
OPTIONS: dict[str, dict[str, Any]] = {
    "mean": {},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "weighted mean": {"reduction": "weighted_mean", "weight": numbers(1, *SHAPE)},
    "weighted mean, scalar": {"reduction": "weighted_mean", "weight": 0.1},
    "weighted mean, none": {"reduction": "weighted_mean"},
    "scalars": {"weight": 0.3, "pos_weight": 3, "label_smoothing": 0.1},
    "classes": {"weight": numbers(2, COLUMNS), "pos_weight": numbers(3, PLANES, 1)},
    "rows": {"weight": numbers(4, ROWS, 1, 1), "where": mask(ROWS, 1, 1)},
    "where": {"where": mask(*SHAPE), "pos_weight": numbers(5, COLUMNS)},
    "where, one column": {"where": mask(COLUMNS), "axis": 0},
    "everything": {
        "weight": numbers(6, ROWS, 1, COLUMNS),
        "pos_weight": numbers(7, PLANES, 1),
        "label_smoothing": 0.05,
        "where": mask(ROWS, PLANES, 1),
        "reduction": "weighted_mean",
    },
    "axis 0": {"axis": 0},
    "axis -1": {"axis": -1},
    "axes": {"axis": (2, 0), "where": mask(*SHAPE)},
    "no axes": {"axis": ()},
    "all axes": {"axis": (0, 1, 2), "reduction": "sum"},
    "weighted axis": {"axis": 1, "reduction": "weighted_mean", "weight": numbers(8, *SHAPE)},
    "grad_output": {"grad_output": 0.7},
    "grad_output by output": {"axis": 1, "grad_output": numbers(9, ROWS, COLUMNS)},
    "grad_output, sum": {
        "axis": (0, 1),
        "reduction": "sum",
        "grad_output": numbers(9, COLUMNS),
    },
    "grad_output, none": {"reduction": "none", "grad_output": numbers(10, *SHAPE)},
    "two threads": {"num_threads": 2, "validate": False},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
every_chunking = pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())


def outcome(function: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
    """Return what a function returns as a list; some of these means are over nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of", RuntimeWarning)
        return as_list(function(*arguments, **options))


def as_list(results: Any) -> list[Any]:
    return list(results) if isinstance(results, tuple) else [results]


def assert_same(
    logits: NDArray[Any], targets: NDArray[Any], blocks: Any, labels: Any, **options: Any
) -> None:
    """Compare all functions: bits of elementwise results, reduced values to rounding."""
    lazy_options = options.pop("lazy_options", options)
    for name in EVERY_NAME:
        theirs, ours = dict(options), dict(lazy_options)
        if name == "bce_with_logits":
            for given in (theirs, ours):
                given.pop("grad_output", None)
        expected = outcome(getattr(logitloss, name), logits, targets, **theirs)
        results = as_list(getattr(lazy, name)(blocks, labels, **ours))
        for result, right in zip(results, expected, strict=True):
            assert isinstance(result, da.Array)
            assert_result(result, np.asarray(right), blocks)


def assert_result(result: Any, right: NDArray[Any], blocks: Any) -> None:
    """Compare a lazy result, its shape, dtype and chunks with what they must be."""
    assert result.shape == right.shape
    assert result.dtype == right.dtype
    computed = outcome(result.compute)[0]
    assert np.asarray(computed).dtype == right.dtype
    if right.shape == blocks.shape and right.dtype != np.float64:
        assert result.chunks == blocks.chunks
    if right.shape == blocks.shape:
        assert same_bits(computed, right)
    else:
        np.testing.assert_allclose(computed, right, rtol=1e-12, atol=0)


@every_chunking
@every_option
def test_float64(options: dict[str, Any], chunks: Any) -> None:
    logits, targets = inputs()
    blocks, labels = da.from_array(logits, chunks=chunks), da.from_array(targets, chunks=chunks)
    given = {**MISSING, **options}
    assert_same(logits, targets, blocks, labels, **given)


@every_option
def test_without_missing_labels(options: dict[str, Any]) -> None:
    """Here means divide by what the shape says, and weights alone make a first pass."""
    logits, _ = inputs()
    targets = soft_targets(np.float64, logits.size).reshape(SHAPE)
    blocks, labels = da.from_array(logits, chunks=(6, 2, 8)), da.from_array(targets)
    assert_same(logits, targets, blocks, labels, **options)


@pytest.mark.parametrize("dtype", LOGIT_DTYPES[:-1], ids=dtype_name)
@every_option
def test_narrow_dtypes(options: dict[str, Any], dtype: Any) -> None:
    logits, targets = inputs(dtype, seed=1, farthest=2.0)
    blocks, labels = da.from_array(logits, chunks=(12, 3, 8)), da.from_array(targets, chunks=9)
    assert_same(logits, targets, blocks, labels, **{**MISSING, **options})


@pytest.mark.parametrize("options", [{}, {"pos_weight": 3.0}, {"weight": 1e-12}], ids=str)
def test_float32_that_the_core_evaluates_in_float64(options: dict[str, Any]) -> None:
    """Values are then as good as float32: neighbours decide in which type losses are summed."""
    logits, targets = inputs(np.float32, farthest=30.0)
    given = {**MISSING, **options}
    value, gradient = lazy.bce_with_logits_value_and_grad(
        da.from_array(logits, chunks=(4, 2, 7)), targets, **given
    )
    right = logitloss.bce_with_logits_value_and_grad(logits, targets, **given)
    assert same_bits(gradient.compute(), right[1])
    np.testing.assert_allclose(value.compute(), right[0], rtol=2**-22)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8], ids=["int16", "uint8"])
def test_integer_logits_are_taken_as_float64(dtype: Any) -> None:
    logits = np.arange(30, dtype=dtype)
    targets = logits % 2 == 0
    assert_same(logits, targets, da.from_array(logits, chunks=7), da.from_array(targets, chunks=30))


@pytest.mark.parametrize("name", ["weight", "pos_weight", "where", "grad_output"])
def test_operands_in_chunks_of_their_own(name: str) -> None:
    logits, targets = inputs()
    given: Any = {"where": mask(*SHAPE)} if name == "where" else {name: numbers(1, *SHAPE)}
    reduction = "none" if name == "grad_output" else "weighted_mean"
    in_chunks = {name: da.from_array(given[name], chunks=(4, 1, 14))}
    rest = {**MISSING, "reduction": reduction}
    assert_same(
        logits,
        targets,
        da.from_array(logits, chunks=(7, 2, 5)),
        da.from_array(targets, chunks=(23, 1, 3)),
        **given,
        **rest,
        lazy_options={**in_chunks, **rest},
    )


def test_numpy_arrays_and_lists_beside_dask_logits() -> None:
    logits = np.array([[0.3, -2.0, 5.0], [1.0, 0.0, -7.0]])
    blocks = da.from_array(logits, chunks=(1, 2))
    for targets in ([[0, 1, 1], [1, 0, 0]], np.array([[0, 1, 1], [1, 0, 0]], dtype=bool)):
        assert_same(logits, np.asarray(targets), blocks, targets, weight=[1, 2, 3])


@pytest.mark.parametrize("target", [0, 1])
def test_no_dimensions(target: int) -> None:
    logits = np.array(0.7)
    assert_same(logits, np.array(target), da.from_array(logits), target)


def test_larger_blocks() -> None:
    """More elements than the core takes in one piece, and than one piece that is scaled."""
    rng = np.random.default_rng(3)
    logits, targets = 8 * rng.standard_normal(100003), rng.integers(0, 2, 100003)
    blocks = da.from_array(logits, chunks=40000)
    assert_same(logits, targets, blocks, da.from_array(targets, chunks=100003))


@pytest.mark.parametrize("ignore_index", [-1, 255, 0.1, 0.5, math.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16, np.uint8, np.int64])
def test_what_is_missing_is_compared_by_value(dtype: Any, ignore_index: float) -> None:
    targets = np.resize(np.array([0, 1, 0.5, 0.1, 1, 0]), 40).astype(dtype)
    logits = np.linspace(-4, 4, 40, dtype=np.float32)
    options = {"ignore_index": ignore_index}
    assert_same(logits, targets, da.from_array(logits, chunks=9), da.from_array(targets), **options)


def test_examples_of_the_documentation() -> None:
    results = doctest.testmod(lazy, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 10
    assert results.failed == 0


# --- One pass, lazily --------------------------------------------------------------------------


def counted(array: NDArray[Any], chunks: Any, reads: list[int]) -> Any:
    """Return a Dask array that counts in `reads` how often a block is read."""

    def read(block: NDArray[Any]) -> NDArray[Any]:
        reads.append(1)
        return block

    return da.from_array(array, chunks=chunks).map_blocks(read, meta=array[:0])


@pytest.mark.parametrize("options", [{}, MISSING, {"where": mask(40, 1)}], ids=str)
def test_each_block_is_computed_once(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []
    names = ("value", "gradient")
    function = lazy._FUNCTIONS[names]

    def counting(logits: Any, targets: Any, **given: Any) -> Any:
        calls.append(logits.shape)
        return function(logits, targets, **given)

    monkeypatch.setitem(lazy._FUNCTIONS, names, counting)
    logits = np.linspace(-3, 3, 400).reshape(40, 10)
    targets = hard_targets(np.int8, 400).reshape(40, 10)
    reads: list[int] = []
    blocks = counted(logits, (10, 5), reads)
    value, gradient = lazy.bce_with_logits_value_and_grad(blocks, targets, **options)
    assert not calls
    assert not reads
    computed = dask.compute(value, gradient)
    assert calls == [(10, 5)] * 8
    assert len(reads) == 8
    assert same_bits(computed[1], logitloss.bce_with_logits_grad(logits, targets, **options))


def test_the_first_pass_reads_masks_alone() -> None:
    reads: dict[str, list[int]] = {"targets": [], "where": []}
    logits = np.linspace(-3, 3, 40)
    targets = counted(hard_targets(np.int8, 40), 10, reads["targets"])
    where = counted(mask(40), 10, reads["where"])
    blocks = da.from_array(logits, chunks=10)
    lazy.bce_with_logits(blocks, targets, where=where).compute()
    assert {name: len(found) for name, found in reads.items()} == {"targets": 4, "where": 4}
    call = lazy._Call(
        blocks,
        targets,
        {"weight": None, "pos_weight": None, "where": where},
        None,
        "mean",
        None,
        {"label_smoothing": 0.0, "ignore_index": None, "validate": True, "num_threads": None},
    )
    reads["targets"].clear()
    divisor: Any = call._divisor(True)
    assert divisor.compute() == mask(40).sum()
    assert not reads["targets"]


def test_what_the_first_pass_reads_is_not_kept() -> None:
    reads: list[int] = []
    targets = counted(hard_targets(np.int8, 40), 10, reads)
    blocks = da.linspace(-3, 3, 40, chunks=10)
    results = lazy.bce_with_logits_value_and_grad(blocks, targets, ignore_index=0)
    dask.compute(*results)
    assert len(reads) == 2 * 4
    one, two = (lazy.bce_with_logits_grad(blocks, targets, ignore_index=0) for _ in range(2))
    assert one.name == two.name


def test_no_pass_without_masks() -> None:
    reads: list[int] = []
    targets = counted(hard_targets(np.int8, 40), 10, reads)
    lazy.bce_with_logits_grad(da.linspace(-3, 3, 40, chunks=10), targets).compute()
    assert len(reads) == 4


# --- Empty and masked --------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean"])
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)], ids=str)
def test_no_elements(shape: tuple[int, ...], reduction: Any) -> None:
    logits, targets = np.zeros(shape), np.zeros(shape)
    blocks = da.from_array(logits, chunks=-1)
    value, gradient = lazy.bce_with_logits_value_and_grad(blocks, targets, reduction=reduction)
    assert gradient.compute().shape == shape
    if reduction == "sum":
        assert value.compute() == 0.0
        return
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        assert math.isnan(value.compute())


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
@pytest.mark.parametrize("axis", [None, 0])
def test_everything_is_missing(reduction: Any, axis: Any) -> None:
    blocks = da.from_array(np.full((6, 2), np.nan), chunks=2)
    value, gradient = lazy.bce_with_logits_value_and_grad(
        blocks, np.zeros((6, 2)), where=False, reduction=reduction, axis=axis
    )
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        value, gradient = dask.compute(value, gradient)
    assert np.isnan(value).all()
    assert (gradient == 0.0).all()


def test_missing_elements_hide_anything() -> None:
    logits = np.array([1.0, np.nan, np.inf, -3.0, np.nan, 2.0])
    targets = np.array([1.0, np.nan, 0.0, 0.0, 1.0, np.nan])
    options: dict[str, Any] = {
        "weight": np.array([1.0, np.nan, np.inf, 3.0, np.nan, np.inf]),
        "where": np.array([True, False, False, True, False, True]),
        "ignore_index": math.nan,
        "reduction": "weighted_mean",
    }
    assert_same(logits, targets, da.from_array(logits, chunks=2), targets, **options)


# --- Unknown chunk sizes -----------------------------------------------------------------------


def selected(array: Any, chosen: NDArray[np.bool_]) -> Any:
    """Return the chosen rows; Dask does not know how many they are."""
    return array[da.from_array(chosen, chunks=array.chunks[0])]


@every_chunking
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum", "axis": 0},
        {"axis": (1, 2)},
        {"reduction": "none"},
        {"ignore_index": -1},
        {"reduction": "weighted_mean", "weight": numbers(2, COLUMNS)},
        {"reduction": "weighted_mean", "weight": 0.1},
    ],
    ids=str,
)
def test_unknown_chunk_sizes(options: dict[str, Any], chunks: Any) -> None:
    logits, targets = inputs()
    if options != MISSING:
        targets = abs(targets)
    chosen = np.arange(ROWS) % 3 > 0
    blocks = selected(da.from_array(logits, chunks=chunks), chosen)
    labels = selected(da.from_array(targets, chunks=chunks), chosen)
    value, gradient = lazy.bce_with_logits_value_and_grad(blocks, labels, **options)
    right = logitloss.bce_with_logits_value_and_grad(logits[chosen], targets[chosen], **options)
    np.testing.assert_allclose(value.compute(), right[0], rtol=1e-14)
    assert same_bits(gradient.compute(), right[1])


def test_unknown_chunk_sizes_that_cannot_be_matched() -> None:
    logits = selected(da.zeros(10, chunks=5), np.arange(10) < 7)
    with pytest.raises(ValueError, match=r"\(nan,\).*\(7,\).*compute_chunk_sizes\(\)"):
        lazy.bce_with_logits(logits, np.zeros(7))
    with pytest.raises(ValueError, match="1 chunks of unknown size along axis 0 where logits have"):
        lazy.bce_with_logits(logits, selected(da.zeros(10, chunks=10), np.arange(10) < 7))
    with pytest.raises(ValueError, match=r"weight of shape \(7,\) cannot be broadcast.*compute_ch"):
        lazy.bce_with_logits(logits, logits, weight=np.ones(7))
    others = selected(da.zeros(10, chunks=5), np.arange(10) > 2)
    with pytest.raises(ValueError, match=r"logits have shape \(2,\), targets have shape \(5,\)"):
        lazy.bce_with_logits(logits, others).compute()


# --- Errors ------------------------------------------------------------------------------------


@every_chunking
@pytest.mark.parametrize("index", [(0, 0, 0), (22, 2, 13), (9, 1, 8)], ids=str)
def test_a_bad_target_is_named_by_its_index_in_the_whole(index: Any, chunks: Any) -> None:
    logits, targets = inputs()
    targets = abs(targets)
    targets[index] = 3
    place = ", ".join(map(str, index))
    message = rf"targets\[{place}\] is 3; pass ignore_index=3"
    blocks = da.from_array(logits, chunks=chunks)
    for name in EVERY_NAME:
        results = as_list(getattr(lazy, name)(blocks, targets))
        with pytest.raises(ValueError, match=message):
            dask.compute(*results)


def test_a_bad_target_in_a_block_of_unknown_size() -> None:
    chosen = np.arange(10) != 2
    logits = selected(da.zeros(10, chunks=5), chosen)
    targets = selected(da.from_array(np.array([0, 0, 0, 0, 0, 0, 0, 7, 0, 0]), chunks=5), chosen)
    with pytest.raises(ValueError, match=r"targets\[2\] is 7.*\(index within block \(1,\)"):
        lazy.bce_with_logits(logits, targets).compute()


BLOCKS = da.zeros((4, 6), chunks=3)
BAD_CALLS: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "logits of NumPy": (
        TypeError,
        r"logits must be a dask\.array\.Array, not ndarray: wrap them.*from_array",
        lambda: lazy.bce_with_logits(np.zeros(3), np.zeros(3)),
    ),
    "targets lazy in another way": (
        TypeError,
        "targets must be a dask.array.Array, an array or a number, not Delayed",
        lambda: lazy.bce_with_logits(BLOCKS, dask.delayed(np.zeros)((4, 6))),
    ),
    "shape": (
        ValueError,
        r"logits have shape \(4, 6\), targets have shape \(4,\); they are never broadcast",
        lambda: lazy.bce_with_logits(BLOCKS, np.zeros(4)),
    ),
    "weight": (
        ValueError,
        r"weight of shape \(4,\) cannot be broadcast to logits of shape \(4, 6\)",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, weight=np.ones(4)),
    ),
    "too many dimensions": (
        ValueError,
        r"where of shape \(1, 4, 6\) cannot be broadcast",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, where=np.ones((1, 4, 6), bool)),
    ),
    "where of numbers": (
        TypeError,
        "where must have dtype bool, not float64",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, where=da.ones((4, 6))),
    ),
    "complex logits": (
        TypeError,
        "logits must have dtype float16, bfloat16.*not complex128",
        lambda: lazy.bce_with_logits(BLOCKS.astype(complex), BLOCKS),
    ),
    "bool logits": (
        TypeError,
        "are logits and targets swapped",
        lambda: lazy.bce_with_logits(BLOCKS.astype(bool), BLOCKS),
    ),
    "complex targets": (
        TypeError,
        "targets must have a bool, integer.*not complex128",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS.astype(complex)),
    ),
    "a masked array": (
        TypeError,
        "targets is a masked array",
        lambda: lazy.bce_with_logits(BLOCKS, np.ma.zeros((4, 6))),
    ),
    "a masked where": (
        TypeError,
        "where is a masked array",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, where=np.ma.ones((4, 6), bool)),
    ),
    "axis": (
        ValueError,
        r"axis 2 is out of bounds for logits of shape \(4, 6\)",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, axis=(0, 2)),
    ),
    "axis of NumPy's type": (
        ValueError,
        r"axis 2 is out of bounds for logits of shape \(4, 6\)",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, axis=np.int64(2)),
    ),
    "axis twice": (
        ValueError,
        "names a dimension twice",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, axis=(0, -2)),
    ),
    "axis of elementwise results": (
        ValueError,
        "needs a reduction",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, reduction="none", axis=0),
    ),
    "reduction": (
        ValueError,
        "reduction must be 'mean'",
        # Wrong for a type checker, too.
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, reduction="avg"),  # type: ignore[arg-type]
    ),
    "smoothing": (
        ValueError,
        "label_smoothing must lie in",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, label_smoothing=1.0),
    ),
    "threads": (
        ValueError,
        "num_threads must be at least 1",
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, num_threads=0),
    ),
    "grad_output": (
        ValueError,
        r"grad_output must be a scalar or have the shape of the value, \(6,\), not \(4,\)",
        lambda: lazy.bce_with_logits_grad(BLOCKS, BLOCKS, axis=0, grad_output=np.ones(4)),
    ),
    "out": (
        TypeError,
        "unexpected keyword argument 'out'",
        # Wrong for a type checker, too.
        lambda: lazy.bce_with_logits(BLOCKS, BLOCKS, out=np.zeros(())),  # type: ignore[call-arg]
    ),
}


@pytest.mark.parametrize(("error", "message", "call"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_calls_fail_before_anything_is_computed(
    error: type[Exception], message: str, call: Callable[[], Any]
) -> None:
    with pytest.raises(error, match=message):
        call()


# --- Schedulers --------------------------------------------------------------------------------


def test_the_same_bits_in_every_run_with_threads() -> None:
    logits, targets = inputs()
    blocks = da.from_array(logits, chunks=(3, 1, 4))
    value, gradient = lazy.bce_with_logits_value_and_grad(blocks, targets, **MISSING)
    first = dask.compute(value, gradient, scheduler="sync")
    for _ in range(3):
        again = dask.compute(value, gradient, scheduler="threads", num_workers=4)
        assert same_bits(first[0], again[0])
        assert same_bits(first[1], again[1])


def test_lazy_results_can_be_pickled() -> None:
    logits, targets = inputs()
    blocks = da.from_array(logits, chunks=(7, 2, 5))
    results = lazy.bce_with_logits_value_and_grad(blocks, targets, weight=0.5, **MISSING)
    right = dask.compute(*results)
    for one, two in zip(dask.compute(*pickle.loads(pickle.dumps(results))), right, strict=True):
        assert same_bits(one, two)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "options",
    [
        {"ignore_index": -1},
        {"reduction": "weighted_mean", "weight": numbers(2, COLUMNS), "ignore_index": -1},
        {"axis": 0, "where": mask(*SHAPE), "ignore_index": -1},
    ],
    ids=["mean", "weighted mean", "axis"],
)
def test_processes_of_a_cluster(client: Any, options: dict[str, Any]) -> None:
    logits, targets = inputs()
    blocks = da.from_array(logits, chunks=(7, 2, 5))
    lazies = lazy.bce_with_logits_value_and_grad(blocks, targets, **options)
    value, gradient = (future.result() for future in client.compute(lazies))
    right = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
    np.testing.assert_allclose(value, right[0], rtol=1e-14)
    assert same_bits(gradient, right[1])


def test_persisted_arrays_of_a_cluster(client: Any) -> None:
    logits, targets = inputs()
    blocks, labels = client.persist(
        [da.from_array(logits, chunks=(7, 2, 5)), da.from_array(targets, chunks=(7, 2, 5))]
    )
    gradient = lazy.bce_with_logits_grad(blocks, labels, **MISSING)
    right = logitloss.bce_with_logits_grad(logits, targets, **MISSING)
    assert same_bits(client.compute(gradient).result(), right)


def test_errors_of_a_cluster(client: Any) -> None:
    targets = np.zeros(20)
    targets[13] = 2
    lazies = lazy.bce_with_logits(da.zeros(20, chunks=5), targets)
    with pytest.raises(ValueError, match=r"targets\[13\] is 2"):
        client.compute(lazies).result()
