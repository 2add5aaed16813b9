"""The loss for PyTorch: the numbers of the package, the manners of torch."""

from __future__ import annotations

import copy
import doctest
import io
import math
import pickle
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import logitloss
import oracle
from oracle import Reduction
from test_documentation import ROOT, python_blocks

torch = pytest.importorskip("torch")

from logitloss.integrations import torch as integration
from logitloss.integrations.torch import (
    BCEWithLogitsLoss,
    binary_cross_entropy_with_logits,
)

SHAPE = (6, 5)
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum", "none", "weighted_mean")

every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
every_dtype = pytest.mark.parametrize("dtype", FLOATING, ids=str)


def logits_of(dtype: Any = torch.float64, shape: tuple[int, ...] = SHAPE, seed: int = 7) -> Any:
    """Return logits that require a gradient."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits.to(dtype).requires_grad_()


def targets_of(dtype: Any = torch.float64, shape: tuple[int, ...] = SHAPE, seed: int = 8) -> Any:
    """Return soft targets, or hard ones where the dtype cannot hold others."""
    targets = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return targets.to(dtype) if dtype.is_floating_point else targets.round().to(dtype)


def array_of(tensor: Any) -> Any:
    """Return the values of a tensor as an array, by another way than that of the integration."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.float().numpy().astype(ml_dtypes.bfloat16)
    return tensor.numpy().copy()


def gradient_of(value: Any, logits: Any) -> Any:
    """Return the gradient of the sum of a result."""
    return torch.autograd.grad(value.sum(), logits)[0]


def assert_same(tensor: Any, expected: Any) -> None:
    """Compare dtype, shape and values, NaN being equal to itself."""
    array = array_of(tensor)
    expected = np.asarray(expected)
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    assert np.array_equal(array.astype(np.float64), expected.astype(np.float64), equal_nan=True)


def factors() -> dict[str, dict[str, Any]]:
    """Return options, with tensors where the functions of the package take arrays."""
    generator = torch.Generator().manual_seed(9)
    return {
        "plain": {},
        "weight": {"weight": torch.rand(SHAPE, generator=generator)},
        "pos_weight": {"pos_weight": 1 + torch.rand(SHAPE[1:], generator=generator).double()},
        "column": {"weight": torch.rand((6, 1), generator=generator).half(), "pos_weight": 3.0},
        "smoothed": {"label_smoothing": 0.2},
        "masked": {"where": torch.rand(SHAPE, generator=generator) < 0.6},
    }


OPTIONS = factors()
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def as_arrays(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as the functions of the package take them."""
    return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}


@every_dtype
@every_option
@pytest.mark.parametrize(
    "reduced",
    [{"reduction": reduction} for reduction in REDUCTIONS] + [{"axis": 0}, {"axis": (1, 0)}],
    ids=str,
)
def test_the_numbers_are_those_of_the_package(
    dtype: Any, options: dict[str, Any], reduced: dict[str, Any]
) -> None:
    logits, targets = logits_of(dtype), targets_of(torch.float32)
    value = binary_cross_entropy_with_logits(logits, targets, **options, **reduced)
    expected = logitloss.bce_with_logits_value_and_grad(
        array_of(logits), targets.numpy(), **as_arrays(options), **reduced
    )
    kind = array_of(logits).dtype
    assert_same(value, np.asarray(expected[0]).astype(kind))
    assert_same(gradient_of(value, logits), expected[1])


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATING], ids=str)
def test_targets_of_every_dtype(dtype: Any) -> None:
    logits, targets = logits_of(torch.float32), targets_of(dtype)
    value = BCEWithLogitsLoss()(logits, targets)
    same = logitloss.bce_with_logits_value_and_grad(array_of(logits), array_of(targets))
    assert_same(value, np.float32(same[0]))
    assert_same(gradient_of(value, logits), same[1])


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATING], ids=str)
def test_tensors_are_not_copied(dtype: Any) -> None:
    tensor = targets_of(dtype)[::2, 1:]
    array = integration._array(tensor)
    assert array.ctypes.data == tensor.data_ptr()
    assert array.shape == tuple(tensor.shape)
    assert array.strides == tuple(step * tensor.element_size() for step in tensor.stride())


@every_dtype
@every_reduction
def test_the_values_are_those_of_the_oracle(dtype: Any, reduction: Reduction) -> None:
    logits, targets = logits_of(dtype), targets_of(torch.bool)
    value = binary_cross_entropy_with_logits(logits, targets, reduction=reduction)
    exact = oracle.answer(array_of(logits), array_of(targets), reduction=reduction)
    kind = array_of(logits).dtype
    assert oracle.worst(oracle.ulp_error(array_of(value), exact.value, kind)) <= 2
    gradient = gradient_of(value, logits)
    assert oracle.worst(oracle.ulp_error(array_of(gradient), exact.grad, kind)) <= 2.5


@pytest.mark.parametrize("name", ["plain", "weight", "pos_weight", "column"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_agrees_with_torch_where_torch_is_right(name: str, reduction: str) -> None:
    """In float64 between -5 and 5 torch's formula loses a few digits at the most."""
    options = OPTIONS[name]
    logits = logits_of().detach().clamp(-5, 5).requires_grad_()
    targets = targets_of()
    factors = {name: torch.as_tensor(value) for name, value in options.items()}
    theirs = torch.nn.BCEWithLogitsLoss(reduction=reduction, **factors)(logits, targets)
    ours = BCEWithLogitsLoss(reduction=reduction, **options)(logits, targets)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        gradient_of(ours, logits), gradient_of(theirs, logits), rtol=1e-12, atol=1e-14
    )


@every_option
@pytest.mark.parametrize(
    "reduced",
    [{"reduction": reduction} for reduction in REDUCTIONS] + [{"axis": 1}, {"axis": (0, -1)}],
    ids=str,
)
def test_gradcheck(options: dict[str, Any], reduced: dict[str, Any]) -> None:
    targets = targets_of()

    def loss(logits: Any) -> Any:
        return binary_cross_entropy_with_logits(logits, targets, **options, **reduced)

    assert torch.autograd.gradcheck(loss, logits_of())
    assert torch.autograd.gradgradcheck(loss, logits_of())


def test_gradcheck_of_few_elements() -> None:
    for shape in ((), (1,), (0,), (2, 0)):
        logits, targets = logits_of(shape=shape), targets_of(shape=shape)
        loss = BCEWithLogitsLoss(reduction="sum")
        assert torch.autograd.gradcheck(loss, (logits, targets))
        assert torch.autograd.gradgradcheck(loss, (logits, targets))


def test_a_third_derivative_is_refused() -> None:
    logits = logits_of()
    value = BCEWithLogitsLoss()(logits, targets_of())
    first = torch.autograd.grad(value, logits, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), logits, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="bce_with_logits_hess"):
        torch.autograd.grad(second.sum(), logits)


# Logit, target, and what torch makes of its loss and gradient in float32.
TRAPS = [
    (-17.0, 0.0, 0.0, None),
    (-20.0, 0.0, 0.0, None),
    (-88.0, 0.0, 0.0, None),
    (17.0, 1.0, None, 0.0),
    (20.0, 1.0, None, 0.0),
    (88.0, 1.0, None, 0.0),
    (math.inf, 1.0, math.nan, None),
    (-math.inf, 0.0, math.nan, None),
    (-math.inf, 1.0, math.nan, None),
]


@pytest.mark.parametrize(("logit", "target", "loss", "gradient"), TRAPS)
def test_where_torch_is_wrong(
    logit: float, target: float, loss: float | None, gradient: float | None
) -> None:
    x, y = torch.tensor([logit], requires_grad=True), torch.tensor([target])
    theirs = torch.nn.BCEWithLogitsLoss(reduction="none")(x, y)
    ours = BCEWithLogitsLoss(reduction="none")(x, y)
    exact = oracle.answer(array_of(x), array_of(y), reduction="none")
    if loss is not None:
        assert_same(theirs, np.array([loss], np.float32))
    if gradient is not None:
        assert_same(gradient_of(theirs, x), np.array([gradient], np.float32))
    assert oracle.worst(oracle.ulp_error(array_of(ours), exact.value, np.float32)) <= 2
    ours_gradient = array_of(gradient_of(ours, x))
    assert oracle.worst(oracle.ulp_error(ours_gradient, exact.grad, np.float32)) <= 2


def test_a_zero_weight_silences_an_infinite_logit() -> None:
    x, y = torch.tensor([math.inf, 0.0], requires_grad=True), torch.tensor([0.0, 1.0])
    weight = torch.tensor([0.0, 1.0])
    assert torch.nn.BCEWithLogitsLoss(weight)(x, y).isnan()
    value = BCEWithLogitsLoss(weight)(x, y)
    assert_same(value, np.float32(math.log(2) / 2))
    assert_same(gradient_of(value, x), np.array([0.0, -0.25], np.float32))


@pytest.mark.parametrize("missing", [-1, 255, math.nan])
def test_missing_labels_do_not_count(missing: float) -> None:
    logits = torch.tensor([1.0, math.nan, math.inf, -2.0], requires_grad=True)
    targets = torch.tensor([1.0, missing, missing, 0.0])
    value = BCEWithLogitsLoss(ignore_index=missing)(logits, targets)
    rest = torch.tensor([1.0, -2.0], requires_grad=True)
    expected = BCEWithLogitsLoss()(rest, torch.tensor([1, 0]))
    assert torch.equal(value, expected)
    kept = gradient_of(expected, rest)
    assert torch.equal(gradient_of(value, logits), torch.tensor([kept[0], 0, 0, kept[1]]))


def test_where_is_an_argument_of_the_call() -> None:
    logits, targets = logits_of(), targets_of()
    where = OPTIONS["masked"]["where"]
    value = BCEWithLogitsLoss()(logits, targets, where=where)
    assert value.item() == logitloss.bce_with_logits(
        array_of(logits), targets.numpy(), where=where.numpy()
    )


@pytest.mark.parametrize(
    "lay_out",
    [
        lambda t: t.t().contiguous().t(),
        lambda t: t[:, :1].expand(SHAPE),
        lambda t: torch.stack((t, t), -1)[..., 1],
        lambda t: t.repeat_interleave(2, 0)[::2],
    ],
    ids=["transposed", "expanded", "interleaved", "sliced"],
)
@every_dtype
def test_memory_layouts(lay_out: Callable[[Any], Any], dtype: Any) -> None:
    logits = lay_out(logits_of(dtype).detach()).requires_grad_()
    targets = lay_out(targets_of(torch.float32))
    value = BCEWithLogitsLoss(reduction="none")(logits, targets)
    plain = logits.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    same = BCEWithLogitsLoss(reduction="none")(plain, targets.contiguous())
    assert torch.equal(value, same)
    assert torch.equal(gradient_of(value, logits), gradient_of(same, plain))
    assert value.stride() == torch.empty_like(logits).stride()


def test_a_pending_negation() -> None:
    pairs = logits_of(torch.float32, (5, 2)).detach()
    logits = torch.view_as_complex(pairs).conj().imag
    assert logits.is_neg()
    targets = targets_of(torch.float32, (5,))
    value = BCEWithLogitsLoss(reduction="none")(logits, targets)
    assert torch.equal(value, BCEWithLogitsLoss(reduction="none")(-pairs[:, 1], targets))


@every_dtype
def test_one_number(dtype: Any) -> None:
    logits = torch.tensor(0.0, dtype=dtype, requires_grad=True)
    value = BCEWithLogitsLoss()(logits, torch.tensor(True))
    assert_same(value, np.asarray(math.log(2)).astype(array_of(logits).dtype))
    assert gradient_of(value, logits).item() == -0.5


def test_no_elements() -> None:
    logits, targets = logits_of(shape=(0, 3)), targets_of(shape=(0, 3))
    assert BCEWithLogitsLoss(reduction="sum")(logits, targets).item() == 0.0
    assert BCEWithLogitsLoss(reduction="none")(logits, targets).shape == (0, 3)
    with pytest.warns(RuntimeWarning, match="empty"):
        value = BCEWithLogitsLoss()(logits, targets)
    assert value.isnan()
    assert gradient_of(value, logits).shape == (0, 3)


def test_a_batch_without_labels_has_no_gradient() -> None:
    logits = logits_of()
    with pytest.warns(RuntimeWarning, match="empty"):
        value = BCEWithLogitsLoss(ignore_index=-1)(logits, torch.full(SHAPE, -1))
    assert value.isnan()
    assert torch.equal(gradient_of(value, logits), torch.zeros_like(logits))


def test_backward_again() -> None:
    """The gradient that was made ahead is handed out once and not shared with a later one."""
    logits = logits_of()
    value = BCEWithLogitsLoss()(logits, targets_of())
    expected = logitloss.bce_with_logits_grad(array_of(logits), targets_of().numpy())
    for count in (1, 2, 3):
        value.backward(retain_graph=True)
        np.testing.assert_allclose(array_of(logits.grad), count * expected, rtol=1e-15)
    again = BCEWithLogitsLoss()(logits, targets_of())
    for _ in range(2):
        gradient = torch.autograd.grad(again, logits, retain_graph=True)[0]
        assert_same(gradient, expected)
        gradient.zero_()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_scaled_loss_is_rounded_once(dtype: Any) -> None:
    """A gradient too small for float16 is not lost where the loss is scaled up, as scalers do."""
    logits = torch.linspace(-12, 12, 4096).to(dtype).requires_grad_()
    targets = (logits > 0).detach()
    value = BCEWithLogitsLoss()(logits, targets)
    gradient = torch.autograd.grad(value, logits, torch.tensor(32768.0, dtype=dtype))[0]
    assert gradient.count_nonzero() == 4096
    expected = logitloss.bce_with_logits_grad(
        array_of(logits), targets.numpy(), grad_output=32768.0
    )
    assert_same(gradient, expected)


def test_logits_may_change_after_the_gradient_was_made() -> None:
    logits = logits_of()
    used = logits * 1
    value = BCEWithLogitsLoss()(used, targets_of())
    expected = logitloss.bce_with_logits_grad(array_of(logits), targets_of().numpy())
    with torch.no_grad():
        used.zero_()
    value.backward(retain_graph=True)
    assert_same(logits.grad, expected)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    logits = logits_of()
    assert BCEWithLogitsLoss()(logits.detach(), targets_of()).grad_fn is None
    with torch.no_grad():
        assert BCEWithLogitsLoss()(logits, targets_of()).grad_fn is None
    with torch.inference_mode():
        assert BCEWithLogitsLoss()(logits, targets_of()).is_inference()


def test_the_same_bits_for_every_number_of_threads() -> None:
    logits, targets = logits_of(torch.float32, (300_000,)), targets_of(torch.float32, (300_000,))
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            value = BCEWithLogitsLoss()(logits, targets)
            results.append((value, gradient_of(value, logits)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocasting_gives_float32_as_torch_does(dtype: Any) -> None:
    logits, targets = logits_of(dtype), targets_of(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = BCEWithLogitsLoss()(logits, targets)
        assert torch.nn.BCEWithLogitsLoss()(logits, targets).dtype == torch.float32
    same = logitloss.bce_with_logits(logits.detach().float().numpy(), targets.numpy())
    assert_same(value, np.float32(same))
    assert gradient_of(value, logits).dtype == dtype


class TestModule:
    """The class stands where torch's stood."""

    def test_is_that_of_torch(self) -> None:
        assert isinstance(BCEWithLogitsLoss(), torch.nn.BCEWithLogitsLoss)

    def test_factors_are_buffers(self) -> None:
        criterion = BCEWithLogitsLoss(torch.ones(5), pos_weight=torch.full((5,), 2.0))
        theirs = torch.nn.BCEWithLogitsLoss(torch.ones(5), pos_weight=torch.full((5,), 2.0))
        assert criterion.state_dict().keys() == theirs.state_dict().keys()
        criterion.load_state_dict({"weight": torch.zeros(5), "pos_weight": torch.ones(5)})
        assert criterion(logits_of(), targets_of()).item() == 0.0
        assert criterion.to(torch.float16).pos_weight.dtype == torch.float16

    @pytest.mark.parametrize("number", [2, 2.7], ids=str)
    def test_numbers_as_factors(self, number: float) -> None:
        logits, targets = logits_of(), targets_of()
        value = BCEWithLogitsLoss(number, pos_weight=number)(logits, targets)
        expected = logitloss.bce_with_logits(
            array_of(logits), targets.numpy(), weight=number, pos_weight=number
        )
        assert value.item() == expected

    @pytest.mark.parametrize("size_average", [None, True, False])
    @pytest.mark.parametrize("reduce", [None, True, False])
    def test_legacy_arguments(self, size_average: bool | None, reduce: bool | None) -> None:
        found = []
        for maker in (BCEWithLogitsLoss, torch.nn.BCEWithLogitsLoss):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                criterion = maker(None, size_average, reduce)
            found.append((criterion.reduction, [str(warning.message) for warning in caught]))
        assert found[0] == found[1]

    def test_copies(self) -> None:
        criterion = BCEWithLogitsLoss(pos_weight=3.0, ignore_index=-1, label_smoothing=0.1)
        logits, targets = logits_of(), targets_of(torch.int8)
        file = io.BytesIO()
        torch.save(criterion, file)
        file.seek(0)
        again = torch.load(file, weights_only=False)
        for other in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion)), again):
            assert torch.equal(other(logits, targets), criterion(logits, targets))

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"reduction": "avg"}, ValueError),
            ({"label_smoothing": 1.0}, ValueError),
            ({"label_smoothing": "0.1"}, TypeError),
            ({"axis": 0, "reduction": "none"}, ValueError),
            ({"axis": 0.5}, TypeError),
            ({"ignore_index": "none"}, TypeError),
            ({"pos_weight": "heavy"}, TypeError),
        ],
        ids=str,
    )
    def test_bad_options(self, options: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error, match=next(iter(options))):
            BCEWithLogitsLoss(**options)


X, Y = torch.zeros(2, 3), torch.zeros(2, 3)
REFUSED: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "array": ((np.zeros(3), Y), {}, TypeError, "input must be a torch.Tensor, not ndarray"),
    "list": ((X, [0.0]), {}, TypeError, "target must be a torch.Tensor, not list"),
    "integers": ((X.long(), Y), {}, TypeError, "input must have dtype.*not int64.*float()"),
    "complex": ((X.cfloat(), Y), {}, TypeError, "input must have dtype.*not complex64"),
    "complex target": ((X, Y.cfloat()), {}, TypeError, "targets.*complex64"),
    "shapes": ((X, Y[:, 0]), {}, ValueError, r"\(2, 3\).*\(2,\)"),
    "column": ((X[:, :1], Y[:, 0]), {}, ValueError, "never broadcast"),
    "weight": ((X, Y, torch.ones(2)), {}, ValueError, r"weight of shape \(2,\).*reshape\(2, 1\)"),
    "device": ((X.to("meta"), Y), {}, ValueError, r"input is on the device meta.*'cuda'"),
    "device of where": (
        (X, Y),
        {"where": torch.ones(3, dtype=torch.bool, device="meta")},
        ValueError,
        "where is on the device meta",
    ),
    "target with gradient": (
        (X, torch.zeros(2, 3, requires_grad=True)),
        {},
        ValueError,
        r"target requires a gradient.*target\.detach\(\)",
    ),
    "weight with gradient": (
        (X, Y),
        {"weight": torch.ones(3, requires_grad=True)},
        ValueError,
        "weight requires a gradient",
    ),
    "integer mask": ((X, Y), {"where": torch.ones(3)}, TypeError, "where must have dtype bool"),
    "target 2": ((X, Y + 2), {}, ValueError, r"targets\[0, 0\] is 2\.0"),
    "axis": ((X, Y), {"axis": 2}, ValueError, "axis 2 is out of bounds"),
    "reduction": ((X, Y), {"reduction": "avg"}, ValueError, "reduction must be"),
}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"), REFUSED.values(), ids=list(REFUSED)
)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_what_is_refused(
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    requires_grad: bool,
) -> None:
    first, *others = arguments
    if isinstance(first, torch.Tensor) and first.dtype.is_floating_point:
        first = first.detach().requires_grad_(requires_grad)
    with pytest.raises(error, match=message):
        binary_cross_entropy_with_logits(first, *others, **options)


def test_a_target_may_require_a_gradient_where_none_is_recorded() -> None:
    targets = targets_of().requires_grad_()
    with torch.no_grad():
        value = BCEWithLogitsLoss()(logits_of(), targets)
    assert torch.equal(value, BCEWithLogitsLoss()(logits_of().detach(), targets.detach()))


def test_targets_are_not_checked_where_that_is_not_wanted() -> None:
    value = BCEWithLogitsLoss(validate=False)(torch.zeros(2), torch.tensor([2.0, -1.0]))
    assert_same(value, np.float32(math.log(2)))


def test_bfloat16_needs_ml_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert BCEWithLogitsLoss()(X, Y).isfinite()
    with pytest.raises(ImportError, match=r"needs ml_dtypes.*logitloss\[torch\]"):
        BCEWithLogitsLoss()(X.bfloat16(), Y)


# torch itself uses, on the way, what it has deprecated.
torch_may_warn = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


@torch_may_warn
class TestCompile:
    """`torch.compile` takes the loss into its graph, forwards and backwards."""

    @pytest.mark.parametrize(
        "options",
        [{}, {"reduction": "none", "label_smoothing": 0.1}, {"axis": 0, "pos_weight": 2.0}],
        ids=str,
    )
    def test_one_graph(self, options: dict[str, Any]) -> None:
        criterion = BCEWithLogitsLoss(**options)
        layer = torch.nn.Linear(4, 5).double()
        inputs, targets = torch.randn(6, 4).double(), targets_of()

        def step(inputs: Any, targets: Any) -> Any:
            return criterion(layer(inputs), targets).sum()

        compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
        found = []
        for function in (step, compiled):
            layer.zero_grad()
            value = function(inputs, targets)
            value.backward()
            found.append((value, layer.weight.grad.clone()))
        torch.testing.assert_close(found[1], found[0], rtol=1e-14, atol=1e-16)

    def test_where_and_missing_labels(self) -> None:
        criterion = BCEWithLogitsLoss(ignore_index=-1)
        compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
        logits, targets = logits_of(), targets_of(torch.int64)
        targets[0] = -1
        where = OPTIONS["masked"]["where"]
        expected = criterion(logits, targets, where=where)
        value = compiled(logits, targets, where=where)
        assert torch.equal(value, expected)
        assert torch.equal(gradient_of(value, logits), gradient_of(expected, logits))

    @pytest.mark.parametrize("requires_grad", [False, True])
    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
    def test_evaluation(self, mode: Any, requires_grad: bool) -> None:
        """A compiled step also runs where there is no gradient to be recorded."""
        criterion = BCEWithLogitsLoss(pos_weight=2.0)
        compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
        logits, targets = logits_of().detach().requires_grad_(requires_grad), targets_of()
        with mode():
            assert torch.equal(compiled(logits, targets), criterion(logits, targets))

    @pytest.mark.parametrize("reduced", [{"reduction": "none"}, {"axis": -1}, {}], ids=str)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
    def test_the_operators_are_well_formed(self, reduced: dict[str, Any], dtype: Any) -> None:
        logits, targets = logits_of(dtype).detach().t(), targets_of(torch.float32).t()
        axes = (reduced["axis"],) if "axis" in reduced else None
        tail = (None, torch.tensor(2.0), None, 0.1, -1.0, reduced.get("reduction", "mean"), axes)
        inputs = (logits, targets, *tail, True)
        torch.library.opcheck(integration._value_operator, inputs)
        factor = torch.ones_like(integration._value_operator(*inputs))
        for operator in (integration._gradient_operator, integration._hessian_operator):
            torch.library.opcheck(operator, (factor, *inputs))


class TestTransformations:
    """`torch.func` differentiates and vectorises the loss."""

    def test_grad_and_hessian(self) -> None:
        logits, targets = logits_of(shape=(5,)).detach(), targets_of(shape=(5,))
        loss = BCEWithLogitsLoss(reduction="sum")
        first = torch.func.grad(loss)(logits, targets)
        expected = logitloss.bce_with_logits_grad_hess(
            logits.numpy(), targets.numpy(), reduction="sum"
        )
        assert_same(first, expected[0])
        second = torch.func.jacrev(torch.func.jacrev(loss))(logits, targets)
        assert_same(second, np.diag(expected[1]))

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"reduction": "weighted_mean", "weight": torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])},
            {"reduction": "none", "pos_weight": torch.tensor([[2.0], [3.0]])},
            {"axis": -1},
            {"axis": (0, 1), "ignore_index": 0.0},
        ],
        ids=str,
    )
    def test_vmap(self, options: dict[str, Any]) -> None:
        """Each of a batch has the value and the gradient that it has alone."""
        logits, targets = logits_of(shape=(3, 2, 5)).detach(), targets_of(shape=(3, 2, 5))

        def loss(logits: Any, targets: Any) -> Any:
            return binary_cross_entropy_with_logits(logits, targets, **options)

        def total(logits: Any, targets: Any) -> Any:
            return loss(logits, targets).sum()

        for function in (loss, torch.func.grad(total)):
            batched = torch.func.vmap(function)(logits, targets)
            alone = [function(*pair) for pair in zip(logits, targets, strict=True)]
            torch.testing.assert_close(batched, torch.stack(alone), rtol=1e-14, atol=1e-16)
            last = torch.func.vmap(function, in_dims=(2, None))(logits.movedim(0, 2), targets[0])
            alone = [function(one, targets[0]) for one in logits]
            torch.testing.assert_close(last, torch.stack(alone), rtol=1e-14, atol=1e-16)

    def test_vmap_over_factors(self) -> None:
        logits, targets = logits_of(shape=(2, 5)).detach(), targets_of(shape=(2, 5))
        factors = torch.rand(4, 5).double()

        def loss(pos_weight: Any) -> Any:
            return binary_cross_entropy_with_logits(logits, targets, pos_weight=pos_weight)

        expected = torch.stack([loss(factor) for factor in factors])
        torch.testing.assert_close(torch.func.vmap(loss)(factors), expected, rtol=1e-14, atol=0)

    def test_vmap_over_single_numbers(self) -> None:
        logits, targets = logits_of(shape=(4,)).detach(), targets_of(shape=(4,))
        value = torch.func.vmap(BCEWithLogitsLoss())(logits, targets)
        assert torch.equal(value, BCEWithLogitsLoss(reduction="none")(logits, targets))

    @pytest.mark.parametrize(("axis", "shape"), [(2, (2, 5)), (-3, (2, 5)), (0, ())])
    def test_vmap_refuses_an_axis_that_is_not_there(
        self, axis: int, shape: tuple[int, ...]
    ) -> None:
        """The axis of the batch is none of an example's, and no axis is taken for another."""
        logits, targets = logits_of(shape=(3, *shape)).detach(), targets_of(shape=(3, *shape))
        message = f"axis {axis} is out of bounds for logits of shape {shape}"
        with pytest.raises(ValueError, match=re.escape(message)):
            torch.func.vmap(BCEWithLogitsLoss(axis=axis))(logits, targets)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_a_batch_of_factors_of_the_gradient(self, reduction: Reduction) -> None:
        logits, targets = logits_of(shape=(5,)), targets_of(shape=(5,))
        value = BCEWithLogitsLoss(reduction=reduction)(logits, targets)
        factors = torch.rand(3, *value.shape).double()
        batch = torch.autograd.grad(
            value, logits, factors, is_grads_batched=True, retain_graph=True
        )
        alone = [torch.autograd.grad(value, logits, one, retain_graph=True)[0] for one in factors]
        torch.testing.assert_close(batch[0], torch.stack(alone), rtol=1e-14, atol=0)

    @torch_may_warn
    def test_forward_mode_is_refused(self) -> None:
        logits = logits_of().detach()
        with pytest.raises(NotImplementedError, match="jvp"):
            torch.func.jvp(lambda x: BCEWithLogitsLoss()(x, targets_of()), (logits,), (logits,))


@pytest.mark.parametrize("name", integration.__all__)
def test_the_examples_of_the_documentation(name: str) -> None:
    messages: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    examples = doctest.DocTestParser().get_doctest(
        getattr(integration, name).__doc__, {}, name, None, 0
    )
    assert examples.examples
    runner.run(examples, out=messages.append)
    assert runner.failures == 0, "".join(messages)


def test_the_page_runs() -> None:
    blocks = python_blocks(ROOT / "docs" / "integrations" / "torch.md")
    assert blocks
    for block in blocks:
        exec(block, {})
