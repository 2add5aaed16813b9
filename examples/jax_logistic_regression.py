"""Multi-label logistic regression with JAX and Optax where three labels in ten are missing.

Each of scikit-learn's handwritten digits has three labels: it is even, above four, drawn with a
closed loop. A missing label is marked by -1. The loss skips it; the usual way out, to call it
negative, is trained beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from logitloss.integrations.jax import backend, bce_with_logits

MISSING = -1
FRACTION_MISSING = 0.3
LABELS = {"even": (0, 2, 4, 6, 8), "above four": (5, 6, 7, 8, 9), "with a loop": (0, 6, 8, 9)}
STEPS = 600

Array: TypeAlias = NDArray[Any]
Parameters: TypeAlias = dict[str, Any]


def load() -> tuple[Array, Array, Array, Array]:
    """Return training and test images of shape (n, 64), training and test labels (n, 3)."""
    digits = load_digits()
    images = (digits.data / 16).astype(np.float32)
    labels = np.stack([np.isin(digits.target, members) for members in LABELS.values()], axis=1)
    split = train_test_split(images, labels.astype(np.int8), test_size=0.3, random_state=0)
    return tuple(split)


def logits_of(parameters: Parameters, images: Any) -> Any:
    """Return the logits of shape (n, 3)."""
    return images @ parameters["weights"] + parameters["bias"]


@partial(jax.jit, static_argnames="loss")
def train(images: Array, labels: Array, loss: Callable[..., Any]) -> tuple[Parameters, Any]:
    """Return the parameters after all steps, and the loss before each of them."""
    optimiser = optax.adam(0.05)
    start = {
        "weights": jnp.zeros((images.shape[1], labels.shape[1])),
        "bias": jnp.zeros(labels.shape[1]),
    }

    def objective(parameters: Parameters) -> Any:
        return loss(logits_of(parameters, images), labels)

    def step(state: tuple[Parameters, Any], _: None) -> tuple[tuple[Parameters, Any], Any]:
        parameters, memory = state
        value, gradient = jax.value_and_grad(objective)(parameters)
        change, memory = optimiser.update(gradient, memory)
        return (optax.apply_updates(parameters, change), memory), value

    (parameters, _), losses = jax.lax.scan(step, (start, optimiser.init(start)), None, STEPS)
    return parameters, losses


def main() -> None:
    """Train both ways and print what they came to."""
    images, test_images, labels, test_labels = load()
    hidden = np.random.default_rng(0).random(labels.shape) < FRACTION_MISSING
    known = np.where(hidden, MISSING, labels)
    ways = {
        "missing labels skipped": (known, partial(bce_with_logits, ignore_index=MISSING)),
        "missing labels negative": (np.where(hidden, 0, labels), bce_with_logits),
    }
    print(f"{len(images)} digits, {hidden.mean():.0%} of the labels missing; XLA by {backend()}")
    for name, (targets, loss) in ways.items():
        parameters, losses = train(images, targets, loss)
        answers = np.asarray(logits_of(parameters, test_images)) > 0
        right = (answers == test_labels).mean(axis=0)
        shares = ", ".join(
            f"{label} {share:.1%}" for label, share in zip(LABELS, right, strict=True)
        )
        print(f"{name}: loss {losses[0]:.3f} to {losses[-1]:.3f}; right on new digits: {shares}")


if __name__ == "__main__":
    main()
