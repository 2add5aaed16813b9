"""The loss for Keras, on each backend: this file runs itself once more for every other one."""

from __future__ import annotations

import doctest
import importlib.util
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logitloss
from processes import run
from test_documentation import ROOT, python_blocks

if importlib.util.find_spec("keras") is None:
    pytest.skip("keras is not installed", allow_module_level=True)


def is_there(backend: str) -> bool:
    """Tell whether a backend can be used: its library and, for jax, the integration of that."""
    needed = {"numpy": [], "torch": ["torch"], "jax": ["jax", "logitloss.integrations.jax"]}
    return all(importlib.util.find_spec(name) is not None for name in needed[backend])


BACKENDS = [backend for backend in ("torch", "jax", "numpy") if is_there(backend)]
# Keras takes its backend from here when it is imported first.
os.environ.setdefault("KERAS_BACKEND", BACKENDS[0])

import keras
from keras.src.backend import set_keras_mask

from logitloss.integrations import keras as integration
from logitloss.integrations.keras import BCEWithLogitsLoss

BACKEND = keras.backend.backend()
pytestmark = [
    # Keras' variables do not know NumPy 2's argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]
can_train = pytest.mark.skipif(BACKEND == "numpy", reason="Keras' numpy backend cannot train")


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != BACKEND])
def test_every_other_backend(backend: str) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-k", "not every_other_backend"]
    command = [sys.executable, "-m", "pytest", *options, str(Path(__file__))]
    status, output, errors = run(command, {"KERAS_BACKEND": backend})
    assert status == 0, output + errors
    assert " passed" in output


def inputs(*shape: int) -> tuple[Any, Any]:
    """Return float32 logits and hard targets."""
    rng = np.random.default_rng(11)
    logits = (3 * rng.standard_normal(shape)).astype(np.float32)
    return logits, (rng.random(shape) < 0.4).astype(np.float32)


def numbers(tensor: Any) -> Any:
    """Return a tensor of the backend as an array."""
    return keras.ops.convert_to_numpy(tensor)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.2},
    "number": {"pos_weight": 3.0},
    "classes": {"weight": [0.5, 1.0, 2.0], "pos_weight": [1.0, 2.0, 4.0]},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


@every_option
@pytest.mark.parametrize("axis", [-1, 1, (1, 2)], ids=str)
def test_the_losses_are_those_of_the_package(options: dict[str, Any], axis: Any) -> None:
    logits, targets = inputs(4, 5, 3)
    found = numbers(BCEWithLogitsLoss(reduction="none", axis=axis, **options)(targets, logits))
    expected = logitloss.bce_with_logits(logits, targets, axis=axis, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=3e-7)


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool"])
def test_targets_of_every_dtype(dtype: str) -> None:
    logits, targets = inputs(6, 3)
    found = numbers(BCEWithLogitsLoss()(targets.astype(dtype), logits))
    np.testing.assert_allclose(found, logitloss.bce_with_logits(logits, targets), rtol=3e-7)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_and_masks_are_those_of_keras(reduction: str, weighted: bool, masked: bool) -> None:
    """Within the logits where Keras' own loss is right on all its backends."""
    logits, targets = inputs(4, 5, 3)
    weight = np.random.default_rng(12).random((4, 5)).astype(np.float32) if weighted else None
    predictions = keras.ops.convert_to_tensor(logits.clip(-3, 3))
    if masked:
        set_keras_mask(
            predictions, keras.ops.convert_to_tensor(np.arange(20).reshape(4, 5) % 3 > 0)
        )
    own = BCEWithLogitsLoss(reduction=reduction)(targets, predictions, weight)
    theirs = keras.losses.BinaryCrossentropy(from_logits=True, reduction=reduction)
    expected = theirs(targets, predictions, weight)
    np.testing.assert_allclose(numbers(own), numbers(expected), rtol=2e-6)


@pytest.mark.parametrize(
    ("logit", "target"),
    [(20.0, 0), (100.0, 0), (17.0, 1), (-17.0, 0), (-40.0, 0), (math.inf, 1), (-math.inf, 0)],
)
def test_the_tails(logit: float, target: int) -> None:
    logits, targets = np.array([[logit]], np.float32), np.array([[target]])
    found = numbers(BCEWithLogitsLoss()(targets, logits))
    expected = np.float32(np.logaddexp(0, -logit if target else logit))
    np.testing.assert_allclose(found, expected, rtol=3e-7)


@pytest.mark.skipif(BACKEND != "numpy", reason="what Keras does on its numpy backend")
@pytest.mark.parametrize("logit", [20.0, 30.0, 100.0])
def test_keras_own_loss_ends_where_its_probabilities_are_clipped(logit: float) -> None:
    theirs = keras.losses.BinaryCrossentropy(from_logits=True)
    found = theirs(np.array([[0.0]]), np.array([[logit]], np.float32))
    np.testing.assert_allclose(found, 15.942385, rtol=1e-6)


def test_masked_predictions_do_not_count_whatever_they_are() -> None:
    logits, targets = inputs(4, 5, 3)
    mask = np.arange(20).reshape(4, 5) % 3 > 0
    spoiled = keras.ops.convert_to_tensor(np.where(mask[..., None], logits, np.nan))
    spoiled_targets = np.where(mask[..., None], targets, -1)
    set_keras_mask(spoiled, keras.ops.convert_to_tensor(mask))
    found = numbers(BCEWithLogitsLoss()(spoiled_targets, spoiled))
    expected = logitloss.bce_with_logits(logits, targets, where=mask[..., None])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    theirs = keras.losses.BinaryCrossentropy(from_logits=True)(targets, spoiled)
    assert np.isnan(numbers(theirs))


@pytest.mark.parametrize("missing", [-1, 255, math.nan])
def test_missing_labels_do_not_count(missing: float) -> None:
    logits, targets = inputs(4, 3)
    targets[0], targets[1, 1] = missing, missing
    logits[0], logits[1, 1] = np.nan, np.inf
    loss = BCEWithLogitsLoss(ignore_index=missing, reduction="none", pos_weight=2.0)
    found = numbers(loss(targets, logits))
    expected = logitloss.bce_with_logits(
        logits[1:], targets[1:], axis=1, ignore_index=missing, pos_weight=2.0
    )
    np.testing.assert_allclose(found, [0.0, *expected], rtol=3e-7)
    with_weight_0 = BCEWithLogitsLoss(ignore_index=missing, pos_weight=2.0)(targets, logits)
    np.testing.assert_allclose(numbers(with_weight_0), found.mean(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 1, 1)])
def test_a_last_axis_of_one_may_be_left_out(shape: tuple[int, ...]) -> None:
    logits, targets = inputs(6, 1)
    found = numbers(BCEWithLogitsLoss()(targets.reshape(shape), logits))
    np.testing.assert_allclose(found, logitloss.bce_with_logits(logits, targets), rtol=3e-7)


@pytest.mark.parametrize("shape", [(3,), (3, 6), (1, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    logits, _ = inputs(6, 3)
    with pytest.raises(ValueError, match=r"6, 3.*" + ", ".join(map(str, shape))):
        BCEWithLogitsLoss()(np.zeros(shape), logits)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"from_logits": False}, ValueError, "from_logits must be True.*remove the sigmoid"),
        ({"from_logits": 1}, ValueError, "from_logits must be True"),
        ({"label_smoothing": 1.0}, ValueError, "label_smoothing"),
        ({"reduction": "average"}, ValueError, "reduction"),
        ({"axis": 0.5}, TypeError, "axis"),
        ({"pos_weight": "heavy"}, TypeError, "pos_weight"),
        ({"ignore_index": "none"}, TypeError, "ignore_index"),
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BCEWithLogitsLoss(**options)


@pytest.mark.parametrize("backend", ["tensorflow", "openvino"])
def test_backends_that_have_no_function(backend: str) -> None:
    with pytest.raises(ImportError, match=f"numpy, torch, jax, not {backend}.*KERAS_BACKEND"):
        integration._function_for(backend)


@pytest.mark.skipif(BACKEND == "numpy", reason="Keras calls it with uninitialised arrays there")
def test_bad_targets_are_found() -> None:
    # What a compiled program of JAX raises is its own error.
    with pytest.raises(RuntimeError if BACKEND == "jax" else ValueError, match="targets must lie"):
        BCEWithLogitsLoss()(np.full((2, 1), 2), np.zeros((2, 1)))
    BCEWithLogitsLoss(validate=False)(np.full((2, 1), 2), np.zeros((2, 1)))


@every_option
@pytest.mark.parametrize("more", [{}, {"ignore_index": -1, "axis": (1, 2), "validate": False}])
def test_serialisation(options: dict[str, Any], more: dict[str, Any]) -> None:
    loss = BCEWithLogitsLoss(reduction="none", name="own", dtype="float16", **options, **more)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is BCEWithLogitsLoss
    assert again.get_config() == loss.get_config()
    logits, targets = inputs(4, 5, 3)
    assert np.array_equal(numbers(again(targets, logits)), numbers(loss(targets, logits)))


def linear_model() -> Any:
    """Return a linear model of four inputs with two outputs."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("missing", [-9999, -0.1, 0.3, 60_001])
def test_a_marker_is_rounded_like_the_targets(missing: float, dtype: str) -> None:
    targets = np.array([[1.0, missing, 0.0, missing]])
    loss = BCEWithLogitsLoss(ignore_index=missing, dtype=dtype)
    found = numbers(loss(targets, np.array([[0.5, 9.0, -0.5, np.nan]])))
    np.testing.assert_allclose(found.astype(float), np.log1p(np.exp(-0.5)), rtol=2e-2)


def test_a_mean_in_half_precision_whose_sum_does_not_fit() -> None:
    logits = np.full((1, 300, 300), 2.0)
    loss = BCEWithLogitsLoss(ignore_index=-1, axis=(1, 2), dtype="float16")
    found = numbers(loss(np.zeros(logits.shape), logits))
    np.testing.assert_allclose(found.astype(float), np.log1p(np.exp(2.0)), rtol=1e-3)


@pytest.mark.parametrize("missing", [-1, math.nan])
def test_a_saved_model_has_its_loss(missing: float, tmp_path: Path) -> None:
    model = linear_model()
    model.compile(loss=BCEWithLogitsLoss(pos_weight=[1.0, 2.0], ignore_index=missing))
    x, targets = inputs(8, 4)[0], inputs(8, 2)[1]
    targets[:2, 0] = missing
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.loss, BCEWithLogitsLoss)
    before = model.evaluate(x, targets, verbose=0)
    assert np.isfinite(float(before))
    assert float(again.evaluate(x, targets, verbose=0)) == float(before)


@can_train
def test_a_training_step_follows_the_gradient() -> None:
    model = linear_model()
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=BCEWithLogitsLoss(ignore_index=-1))
    x, targets = inputs(8, 4)[0], inputs(8, 2)[1]
    targets[3] = -1
    kernel = numbers(model.layers[0].kernel)
    logits = model.predict(x, verbose=0)
    model.fit(x, targets, batch_size=8, epochs=1, verbose=0, shuffle=False)
    # Keras' mean is over all eight samples.
    gradient = logitloss.bce_with_logits_grad(
        logits, targets, ignore_index=-1, reduction="sum", grad_output=1 / 16
    )
    np.testing.assert_allclose(
        numbers(model.layers[0].kernel), kernel - x.T @ gradient, rtol=1e-5, atol=1e-6
    )


@can_train
def test_training_through_a_mask() -> None:
    """Padded time steps neither count nor spoil the weights, though their logits are nan."""
    x = np.random.default_rng(13).standard_normal((16, 6, 2)).astype(np.float32)
    targets = (x.sum(-1) > 0).astype(np.int32)
    x[:, 4:] = 0.0
    model = keras.Sequential([keras.Input((6, 2)), keras.layers.Masking(), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss=BCEWithLogitsLoss())
    history = model.fit(x, targets, epochs=5, verbose=0).history["loss"]
    assert float(history[-1]) < float(history[0])


def test_the_example_of_the_documentation() -> None:
    messages: list[str] = []
    runner = doctest.DocTestRunner()
    text = str(BCEWithLogitsLoss.__doc__)
    runner.run(doctest.DocTestParser().get_doctest(text, {}, "", None, 0), out=messages.append)
    assert runner.summarize(verbose=False).attempted > 0
    assert runner.failures == 0, "".join(messages)


def test_the_page_runs() -> None:
    blocks = python_blocks(ROOT / "docs" / "integrations" / "keras.md")
    assert blocks
    for block in blocks:
        exec(block, {})
