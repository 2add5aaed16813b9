"""Arrays of other libraries on a device: the results are those of NumPy arrays, bit for bit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given

import logitloss
from arrays import same_bits
from devices import Array, Place, StandInDevice, place
from logitloss import _core
from test_random_calls import Case, cases

FUNCTIONS = [
    "bce_with_logits",
    "bce_with_logits_grad",
    "bce_with_logits_value_and_grad",
    "bce_with_logits_grad_hess",
]


@pytest.fixture(params=["cupy", "torch"])
def library(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place(request.param) as found:
        yield found


@pytest.fixture
def stand_in(library: Place) -> Place:
    if _core.cuda_platform() != "host":
        pytest.skip("needs a build with LOGITLOSS_CUDA_ON_HOST")
    return library


def moved(library: Place, value: Any) -> Any:
    """Return an operand on the device; devices want elements to be aligned."""
    if not isinstance(value, np.ndarray):
        return value
    return library.put(value if value.flags.aligned else value.copy())


def results(function: str, *arguments: Any, **options: Any) -> tuple[Any, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        result = getattr(logitloss, function)(*arguments, **options)
    return result if isinstance(result, tuple) else (result,)


def has_fma() -> bool:
    return str(logitloss.config()["isa"]) != "baseline"


def check(library: Place, function: str, case: Case) -> None:
    """Compare a call on the device with the same one on the host."""
    options = {name: value for name, value in case.options.items() if name != "validate"}
    if function != "bce_with_logits":
        options["grad_output"] = case.grad_output
    if function == "bce_with_logits_grad_hess":
        del options["grad_output"]
    expected = results(function, case.logits, case.targets, validate=False, **options)
    on_device = {name: moved(library, value) for name, value in options.items()}
    got = results(function, moved(library, case.logits), moved(library, case.targets), **on_device)
    for one, two in zip(got, expected, strict=True):
        values = library.get(one)
        assert values.dtype == np.asarray(two).dtype
        assert values.shape == np.shape(two)
        assert same_bits(values, np.asarray(two))


@pytest.mark.skipif(not has_fma(), reason="the bits of a device are those of processors with fma")
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["cupy", "torch"])
def test_random_calls(name: str, function: str) -> None:
    with place(name) as library:

        @given(case=cases())
        def run(case: Case) -> None:
            if case.logits.dtype.kind == "f" or case.logits.dtype == ml_dtypes.bfloat16:
                check(library, function, case)

        run()


def numbers(count: int = 12) -> tuple[Array, Array]:
    rng = np.random.default_rng(5)
    logits = (4 * rng.standard_normal(count)).astype(np.float32)
    return logits, rng.integers(0, 2, count).astype(np.uint8)


def test_what_is_returned_belongs_to_the_library(library: Place) -> None:
    logits, targets = numbers()
    x, y = library.put(logits), library.put(targets)
    value, grad = results("bce_with_logits_value_and_grad", x, y)
    assert type(value) is type(x)
    assert type(grad) is type(x)
    assert library.get(value).shape == ()
    assert library.get(value).dtype == np.float64
    assert library.get(grad).dtype == np.float32


def test_outputs_are_filled_and_returned(library: Place) -> None:
    logits, targets = numbers()
    x, y = library.put(logits.copy()), library.put(targets)
    expected = logitloss.bce_with_logits_grad(logits, targets)
    out = library.put(np.zeros_like(logits))
    assert logitloss.bce_with_logits_grad(x, y, out=out) is out
    assert logitloss.bce_with_logits_grad(x, y, out=x) is x
    if has_fma():
        assert same_bits(library.get(out), expected)
        assert same_bits(library.get(x), expected)


def test_a_loss_object_and_numbers_as_weights(library: Place) -> None:
    logits, targets = numbers()
    loss = logitloss.BCEWithLogitsLoss(pos_weight=2.0, reduction="sum", ignore_index=1)
    value = loss(library.put(logits), library.put(targets), weight=None)
    assert math.isclose(
        float(library.get(value)), float(np.asarray(loss(logits, targets))), rel_tol=1e-6
    )


def test_a_mean_over_nothing_is_nan_without_a_warning(library: Place) -> None:
    logits, targets = numbers()
    where = library.put(np.zeros(logits.shape, bool))
    value = logitloss.bce_with_logits(library.put(logits), library.put(targets), where=where)
    assert math.isnan(float(library.get(value)))


def test_validation_is_off_and_says_so(library: Place) -> None:
    logits, targets = numbers()
    x, y = library.put(logits), library.put(targets + 7)
    logitloss.bce_with_logits(x, y)
    logitloss.bce_with_logits(x, y, validate=False)
    with pytest.raises(ValueError, match="validate=True is not for arrays on a GPU"):
        logitloss.bce_with_logits(x, y, validate=True)


def test_arrays_of_the_host_are_refused(library: Place) -> None:
    logits, targets = numbers()
    x = library.put(logits)
    with pytest.raises(TypeError, match=r"targets must be .* on .*, not a numpy\.ndarray: move it"):
        logitloss.bce_with_logits(x, targets)
    with pytest.raises(TypeError, match="weight must be a number or an array"):
        logitloss.bce_with_logits(x, library.put(targets), weight=np.ones(12))
    assert logitloss.bce_with_logits(x, library.put(targets), weight=np.float32(2.0)) is not None


def test_shapes_and_dtypes_are_checked_as_on_the_host(library: Place) -> None:
    logits, targets = numbers()
    x, y = library.put(logits), library.put(targets)
    with pytest.raises(ValueError, match="targets must have the shape of logits"):
        logitloss.bce_with_logits(x, library.put(targets[:5]))
    with pytest.raises(ValueError, match="out must have shape"):
        logitloss.bce_with_logits_grad(x, y, out=library.put(np.zeros(3, np.float32)))
    with pytest.raises(TypeError, match="where must have dtype bool"):
        logitloss.bce_with_logits(x, y, where=library.put(targets))


def test_arrays_of_two_devices_are_refused(stand_in: Place) -> None:
    logits, targets = numbers()
    x, y = stand_in.put(logits), stand_in.put(targets)
    y.device = StandInDevice(1)
    with pytest.raises(ValueError, match="targets lies on device 1 and logits on device 0"):
        logitloss.bce_with_logits(x, y)


def test_a_tensor_that_requires_a_gradient_is_refused() -> None:
    logits, targets = numbers()
    with place("torch") as library:
        x = library.put(logits)
        x.requires_grad = True
        with pytest.raises(TypeError, match=r"requires a gradient.*logits\.detach\(\)"):
            logitloss.bce_with_logits(x, library.put(targets))


class Other:
    """An array on a device, of a library that is not known."""

    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}


def test_arrays_of_other_libraries() -> None:
    array: Any = Other()
    if _core.cuda_platform():
        with pytest.raises(TypeError, match=r"Other on a GPU; .* cupy or torch: cupy\.from_dlpack"):
            logitloss.bce_with_logits(array, array)
    else:
        with pytest.raises(RuntimeError, match="this build of logitloss has no CUDA: install it"):
            logitloss.bce_with_logits(array, array)
