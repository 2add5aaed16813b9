"""JAX: the core's results under jit, grad and vmap, by XLA's FFI and by a callback."""

from __future__ import annotations

import doctest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp

import logitloss
import oracle
from arrays import BFLOAT16, same_bits
from logitloss import _core
from logitloss.integrations import jax as integration
from logitloss.integrations.jax import bce_with_logits
from processes import run_python
from test_documentation import python_blocks

SHAPE = (6, 5)
IS_FFI_BUILT = hasattr(_core, "jax_ffi_handler")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "integrations" / "jax.md"

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "last axis": {"axis": -1},
    "first axis": {"axis": (0,), "reduction": "sum"},
    "no axis": {"axis": ()},
    "class weight": {"weight": np.arange(1.0, 6.0, dtype=np.float32), "reduction": "weighted_mean"},
    "row weight": {"weight": np.arange(6)[:, None], "axis": 0},
    "scalar weights": {"weight": 0.5, "pos_weight": 3},
    "pos_weight": {"pos_weight": np.arange(1.0, 6.0, dtype=np.float16), "label_smoothing": 0.1},
    "where": {"where": np.arange(30).reshape(SHAPE) % 3 != 0, "axis": 1},
    "ignore_index": {"ignore_index": 0, "reduction": "none"},
    "everything": {
        "weight": np.full((6, 1), 0.25, np.float32),
        "pos_weight": np.full(SHAPE, 2, np.int8),
        "where": np.arange(5) > 0,
        "label_smoothing": 0.2,
        "axis": (0, 1),
    },
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


@pytest.fixture(params=["callback", "ffi"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the test run with each way of calling the core."""
    name = str(request.param)
    if name == "ffi" and not IS_FFI_BUILT:
        pytest.skip("logitloss was built without LOGITLOSS_JAX")
    monkeypatch.setattr(integration, "_BACKEND", name)
    return name


every_backend = pytest.mark.usefixtures("backend")


@pytest.fixture
def float64() -> Iterator[None]:
    """Let JAX compute in float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def inputs(dtype: Any = np.float32, shape: tuple[int, ...] = SHAPE) -> tuple[Any, Any]:
    """Return logits and hard targets."""
    rng = np.random.default_rng(61)
    return (4 * rng.standard_normal(shape)).astype(dtype), rng.integers(0, 2, shape, np.int8)


def expected(logits: Any, targets: Any, **options: Any) -> tuple[Any, Any]:
    """Return the value in the dtype of the logits and the gradient of its sum, by NumPy."""
    value, gradient = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
    return np.asarray(value, logits.dtype), gradient


def value_and_grad(**options: Any) -> Callable[..., Any]:
    """Return a compiled function: the value, and the gradient of the sum of its entries."""

    def loss(logits: Any, targets: Any) -> Any:
        value = bce_with_logits(logits, targets, **options)
        return value.sum(), value

    def both(logits: Any, targets: Any) -> Any:
        (_, value), gradient = jax.value_and_grad(loss, has_aux=True)(logits, targets)
        return value, gradient

    return jax.jit(both)  # type: ignore[no-any-return]


def optax_mean(logits: Any, targets: Any) -> Any:
    return optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype)).mean()


def test_backend_tells_how_the_core_was_built() -> None:
    assert integration.backend() == ("ffi" if IS_FFI_BUILT else "callback")


@every_backend
@pytest.mark.parametrize("transform", ["plain", "jit", "vmap", "vmap of columns", "jit of vmap"])
def test_values_and_gradients_are_those_of_optax(transform: str) -> None:
    def transformed(function: Any) -> Any:
        both = jax.value_and_grad(function)
        if transform == "vmap of columns":
            return jax.vmap(both, in_axes=1, out_axes=(0, 1))
        both = jax.vmap(both) if "vmap" in transform else both
        return jax.jit(both) if "jit" in transform else both

    logits, targets = inputs(shape=(50, 20))
    value, gradient = transformed(bce_with_logits)(logits, targets)
    optax_value, optax_gradient = transformed(optax_mean)(logits, targets)
    np.testing.assert_allclose(value, optax_value, rtol=1e-6, atol=0)
    np.testing.assert_allclose(gradient, optax_gradient, rtol=0, atol=1e-6 / 20)


@every_backend
@every_option
def test_results_are_those_of_numpy(options: dict[str, Any]) -> None:
    logits, targets = inputs()
    value, gradient = value_and_grad(**options)(logits, targets)
    numpy_value, numpy_gradient = expected(logits, targets, **options)
    assert same_bits(value, numpy_value)
    assert same_bits(gradient, numpy_gradient)
    assert same_bits(bce_with_logits(logits, targets, **options), numpy_value)


@every_backend
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_float64_mode(dtype: Any) -> None:
    logits, targets = inputs(dtype)
    value, gradient = value_and_grad(weight=np.arange(5.0))(logits, targets)
    numpy_value, numpy_gradient = expected(logits, targets, weight=np.arange(5.0))
    assert same_bits(value, numpy_value)
    assert same_bits(gradient, numpy_gradient)


@every_backend
@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16])
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype: Any) -> None:
    logits, targets = inputs(dtype)
    value, gradient = value_and_grad()(logits, targets)
    losses, _ = value_and_grad(reduction="none")(logits, targets)
    numpy_value, numpy_gradient = expected(logits.astype(np.float32), targets)
    assert same_bits(value, numpy_value)
    assert same_bits(gradient, numpy_gradient.astype(dtype))
    assert same_bits(losses, expected(logits, targets, reduction="none")[0])


@every_backend
def test_a_scaled_loss_lifts_half_precision_gradients() -> None:
    logits, targets = inputs(np.float16, (1 << 16,))
    scale = 2.0**15
    scaled = jax.grad(lambda x: scale * bce_with_logits(x, targets))(jnp.asarray(logits))
    wide = expected(logits.astype(np.float32), targets)[1]
    assert same_bits(scaled, (scale * wide).astype(np.float16))
    assert np.count_nonzero(wide.astype(np.float16)) < np.count_nonzero(scaled)


@every_backend
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float16", "bfloat16", "float32"])
def test_targets_of_any_type(dtype: str) -> None:
    logits, targets = inputs()
    value = bce_with_logits(logits, jnp.asarray(targets).astype(dtype))
    assert same_bits(value, expected(logits, targets)[0])


@every_backend
@pytest.mark.parametrize(
    "mapped", [("logits",), ("targets",), ("weight",), ("where",), ("logits", "targets", "where")]
)
@pytest.mark.parametrize("options", [{}, {"axis": 0, "reduction": "sum"}, {"reduction": "none"}])
def test_vmap_is_a_loop(mapped: tuple[str, ...], options: dict[str, Any]) -> None:
    rng = np.random.default_rng(67)
    shapes = {"logits": (2, 3), "targets": (2, 3), "weight": (3,), "where": (2, 1)}
    batches: dict[str, Any] = {
        name: rng.standard_normal((4, *shape)).astype(np.float32) for name, shape in shapes.items()
    }
    batches["targets"] = batches["targets"] > 0
    batches["where"] = batches["where"] > 0
    # A mean of nothing would warn.
    batches["where"][:, 0] = True
    batches["weight"] = abs(batches["weight"])

    def both(given: dict[str, Any]) -> Any:
        factors = {"weight": given["weight"], "where": given["where"]}
        return value_and_grad(**factors, **options)(given["logits"], given["targets"])

    arguments = {name: batch if name in mapped else batch[0] for name, batch in batches.items()}
    # The batch is moved to the last axis of every mapped argument.
    moved = {name: np.moveaxis(arguments[name], 0, -1) for name in mapped}
    axes = {name: -1 if name in mapped else None for name in shapes}
    value, gradient = jax.vmap(both, in_axes=(axes,))({**arguments, **moved})
    for k in range(4):
        one = {name: batch[k] if name in mapped else batch[0] for name, batch in batches.items()}
        numpy_value, numpy_gradient = expected(**one, **options)
        assert same_bits(value[k], numpy_value)
        assert same_bits(gradient[k], numpy_gradient)


@every_backend
def test_nested_vmap_leaves_single_elements() -> None:
    logits, targets = inputs()
    losses = jax.vmap(jax.vmap(bce_with_logits))(logits, targets)
    assert same_bits(losses, expected(logits, targets, axis=())[0])


@every_backend
@pytest.mark.parametrize("options", [{}, {"weight": np.arange(5.0), "label_smoothing": 0.1}])
@pytest.mark.parametrize("way", ["hessian", "jacfwd of jacfwd", "jacrev of jacrev"])
def test_hessian_is_the_diagonal(way: str, options: dict[str, Any]) -> None:
    logits, targets = (array[0] for array in inputs())

    def loss(x: Any) -> Any:
        return bce_with_logits(x, targets, **options)

    second = {
        "hessian": jax.hessian,
        "jacfwd of jacfwd": lambda function: jax.jacfwd(jax.jacfwd(function)),
        "jacrev of jacrev": lambda function: jax.jacrev(jax.jacrev(function)),
    }
    hessian = second[way](loss)(jnp.asarray(logits))
    diagonal = logitloss.bce_with_logits_grad_hess(logits, targets, **options)[1]
    assert same_bits(hessian, np.diag(diagonal))


@every_backend
@pytest.mark.usefixtures("float64")
def test_derivatives_of_higher_order() -> None:
    logits, targets = (array[0] for array in inputs(np.float64))

    def along(function: Any) -> Any:
        return lambda scale: function(scale * logits, targets)

    ours, others = along(bce_with_logits), along(optax_mean)
    for _ in range(4):
        ours, others = jax.grad(ours), jax.grad(others)
        both = jax.jit(lambda scale, pair=(ours, others): [each(scale) for each in pair])
        actual, wanted = both(0.75)
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=0)


@every_backend
def test_derivatives_of_missing_elements_are_zero() -> None:
    logits = jnp.array([1.0, jnp.nan, jnp.inf])
    targets, exists = jnp.array([1, 0, 0]), jnp.array([True, False, False])

    def loss(x: Any) -> Any:
        return bce_with_logits(x, targets, where=exists)

    second = jax.hessian(loss)
    derivatives = jax.jit(lambda x: [jax.grad(loss)(x), second(x), jax.jacrev(second)(x)])
    for derivative in derivatives(logits):
        assert np.isfinite(derivative).all()
        assert np.count_nonzero(derivative) == 1


@every_backend
def test_tails_and_infinities() -> None:
    logits = np.array([np.inf, -np.inf, np.inf, -np.inf, 17, -17, 40, -40, 80, -80], np.float32)
    targets = np.array([1, 0, 0, 1, 1, 0, 1, 0, 1, 0], np.int8)
    losses, gradient = value_and_grad(reduction="none")(logits, targets)
    hessian = jax.vmap(jax.grad(jax.grad(bce_with_logits)))(logits, targets)
    exact = oracle.answer(logits, targets, reduction="none")
    for actual, wide in ((losses, exact.value), (gradient, exact.grad), (hessian, exact.hess)):
        assert oracle.worst(oracle.ulp_error(np.asarray(actual), wide, np.float32)) <= 2
    # What the page says of optax.
    others = optax.sigmoid_binary_cross_entropy(logits, targets.astype(np.float32))
    assert np.isnan(others[:2]).all()


@every_backend
def test_empty_arrays() -> None:
    empty = jnp.zeros((0, 3))
    assert bce_with_logits(empty, empty, reduction="sum") == 0
    assert bce_with_logits(empty, empty, reduction="none").shape == (0, 3)
    assert bce_with_logits(empty, empty, reduction="sum", axis=1).shape == (0,)
    assert same_bits(bce_with_logits(empty, empty, reduction="sum", axis=0), np.zeros(3, "f4"))
    assert jax.grad(bce_with_logits)(jnp.ones(2), jnp.ones(2), reduction="sum").shape == (2,)


def test_a_mean_of_nothing_is_nan(backend: str) -> None:
    logits, targets = (jnp.asarray(array) for array in inputs())

    def both() -> Any:
        return jax.value_and_grad(bce_with_logits)(logits, targets, where=False)

    if backend == "callback":
        with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
            value, gradient = jax.block_until_ready(both())
    else:
        value, gradient = both()
    assert np.isnan(value)
    assert same_bits(gradient, np.zeros(SHAPE, np.float32))


def test_value_and_gradient_take_one_pass(backend: str) -> None:
    logits, targets = inputs()
    calls = {"ffi": "ffi_call[", "callback": "pure_callback["}[backend]
    program = jax.make_jaxpr(jax.value_and_grad(bce_with_logits))
    assert str(program(logits, targets)).count(calls) == 1
    assert str(jax.make_jaxpr(jax.hessian(bce_with_logits))(logits, targets)).count(calls) == 1


@every_backend
def test_weights_are_not_written_out() -> None:
    logits, targets = inputs()
    program = jax.make_jaxpr(lambda *given: bce_with_logits(*given[:2], weight=given[2]))
    text = str(program(logits, targets, np.ones(5, np.float32)))
    assert "f32[1,5]" in text
    # The logits alone have their shape in float32.
    assert text.count(":f32[6,5]") == str(jax.make_jaxpr(bce_with_logits)(logits, targets)).count(
        ":f32[6,5]"
    )


def test_calls_with_equal_options_share_a_program() -> None:
    logits, targets = inputs()
    before = integration._loss._cache_size()
    for marker in (float("nan"), np.nan, np.float32("nan")):
        bce_with_logits(logits, targets.astype(np.float32), ignore_index=marker)
    assert integration._loss._cache_size() == before + 1


@every_backend
def test_control_flow() -> None:
    logits, targets = inputs()
    step = jax.checkpoint(lambda x, y: x - jax.grad(bce_with_logits)(x, y))
    final, losses = jax.lax.scan(
        lambda x, y: (step(x, y), bce_with_logits(x, y)), jnp.asarray(logits[0]), targets
    )
    x = logits[0]
    for loss, y in zip(losses, targets, strict=True):
        value, gradient = expected(x, y)
        np.testing.assert_allclose(loss, value, rtol=1e-6)
        x = x - gradient
    np.testing.assert_allclose(final, x, rtol=1e-6)


@every_backend
@pytest.mark.parametrize("size", [30, 300_000])
def test_a_bad_target_is_an_error_that_names_it(size: int) -> None:
    logits, targets = inputs(shape=(size // 30, 30))
    targets[-1, 7] = 3
    program = jax.jit(jax.value_and_grad(bce_with_logits))
    # Which of the two depends on when JAX notices.
    with pytest.raises((ValueError, jax.errors.JaxRuntimeError)) as caught:
        jax.block_until_ready(program(logits, targets))
    text = f"targets must lie in [0, 1], but targets[{size // 30 - 1}, 7] is 3; pass ignore_index=3"
    assert text in str(caught.value)
    value = bce_with_logits(logits, targets, validate=False)
    assert same_bits(value, expected(logits, targets, validate=False)[0])
    value = bce_with_logits(logits, targets, ignore_index=3)
    assert same_bits(value, expected(logits, targets, ignore_index=3)[0])


@every_backend
def test_a_bad_target_of_a_batch() -> None:
    logits, targets = inputs()
    soft = targets.astype(np.float32)
    soft[4, 2] = -0.1
    with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match=r"targets\[4, 2\] is -0\.1"):
        jax.block_until_ready(jax.vmap(bce_with_logits)(logits, soft))


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "shape": (
        {"targets": np.ones((6, 1))},
        ValueError,
        r"logits have shape \(6, 5\), targets have shape \(6, 1\); they are never broadcast",
    ),
    "integer logits": ({"logits": np.ones(SHAPE, int)}, TypeError, "logits must have dtype float"),
    "complex targets": ({"targets": np.ones(SHAPE, "F")}, TypeError, "or float64, not complex64"),
    "weight": ({"weight": np.ones(6)}, ValueError, r"weight of shape \(6,\) cannot be broadcast"),
    "large weight": ({"weight": np.ones((2, 6, 5))}, ValueError, "cannot be broadcast"),
    "complex weight": ({"weight": 1j}, TypeError, "weight must have dtype bool"),
    "where": ({"where": np.ones(5)}, TypeError, r"compare explicitly, as in where=\(mask != 0\)"),
    "axis": ({"axis": 2}, ValueError, r"axis 2 is out of bounds for logits of shape \(6, 5\)"),
    "axis twice": ({"axis": (0, -2)}, ValueError, "names a dimension twice"),
    "axis of none": ({"axis": 0, "reduction": "none"}, ValueError, "axis=0 needs a reduction"),
    "axis type": ({"axis": 1.0}, TypeError, "axis must be None, an int or a tuple of ints"),
    "reduction": ({"reduction": "avg"}, ValueError, "reduction must be 'mean', 'sum'"),
    "label_smoothing": ({"label_smoothing": 1}, ValueError, r"must lie in \[0, 1\)"),
    "ignore_index": ({"ignore_index": "-1"}, TypeError, "ignore_index must be a real number"),
    "validate": ({"validate": 1}, TypeError, "validate must be a bool"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name: str) -> None:
    arguments, error, message = WRONG[name]
    logits, targets = inputs()
    with pytest.raises(error, match=message):
        bce_with_logits(**{"logits": logits, "targets": targets, **arguments})


def test_options_may_not_be_traced() -> None:
    logits, targets = inputs()
    with pytest.raises(TypeError, match="label_smoothing must be a real number, not"):
        jax.jit(lambda e: bce_with_logits(logits, targets, label_smoothing=e))(0.1)


@every_backend
@pytest.mark.parametrize("name", ["targets", "weight", "pos_weight"])
@pytest.mark.parametrize("transform", ["plain", "jit"])
def test_only_logits_have_a_derivative(name: str, transform: str) -> None:
    logits, targets = inputs()
    wrapper = jax.jit if transform == "jit" else lambda function: function

    def loss(factor: Any, stop: Any = lambda factor: factor) -> Any:
        arguments = {"targets": targets, name: stop(factor)}
        return bce_with_logits(factor * logits, **arguments)

    factor = jnp.full(SHAPE, 0.5)
    with pytest.raises(TypeError, match=f"no derivative with respect to {name}, only to logits"):
        wrapper(jax.grad(loss))(factor)
    stopped = wrapper(jax.grad(lambda factor: loss(factor, jax.lax.stop_gradient)))(factor)
    assert np.isfinite(stopped).all()


TWO_DEVICES = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from logitloss.integrations import jax as integration

integration._BACKEND = {backend!r}
place = NamedSharding(jax.make_mesh((2,), ("batch",)), PartitionSpec("batch"))
rng = np.random.default_rng(0)
logits = rng.standard_normal((8, 4)).astype(np.float32)
targets = rng.integers(0, 2, (8, 4))
program = jax.jit(jax.value_and_grad(integration.bce_with_logits))
value, gradient = program(*(jax.device_put(array, place) for array in (logits, targets)))
alone, gradient_alone = program(logits, targets)
print(value == alone, (gradient == gradient_alone).all())
"""


@pytest.mark.skipif(jax.__version_info__ < (0, 7), reason="JAX 0.6 has no such derivatives")
def test_arrays_on_several_devices(backend: str) -> None:
    code = TWO_DEVICES.format(backend=backend)
    flags = "--xla_force_host_platform_device_count=2"
    assert run_python(code, XLA_FLAGS=flags, JAX_PLATFORMS="cpu") == "True True\n"


def test_page_examples() -> None:
    names: dict[str, Any] = {}
    for block in python_blocks(PAGE):
        exec(block, names)
    assert names


def test_docstring_examples() -> None:
    results = doctest.testmod(integration)
    assert results.attempted >= 6
    assert results.failed == 0
