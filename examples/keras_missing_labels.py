"""Multi-label learning in Keras where 30 % of the labels are missing.

Each of ten outputs tells whether a handwritten digit (bundled with scikit-learn) is its own. The
usual way out takes a missing label for a negative one; with `ignore_index` it does not count.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import logitloss

os.environ["KERAS_BACKEND"] = "torch"

import keras

from logitloss.integrations.keras import BCEWithLogitsLoss

MISSING = -1
EPOCHS = 15


def digits(rng: np.random.Generator) -> tuple[Any, ...]:
    """Return images and labels to train on, with labels missing, and complete ones to test with."""
    images, digit = load_digits(return_X_y=True)
    labels = (digit[:, None] == np.arange(10)).astype(np.int8)
    train_x, test_x, train_y, test_y = train_test_split(
        images.astype(np.float32) / 16, labels, random_state=0
    )
    train_y[rng.random(train_y.shape) < 0.3] = MISSING
    return train_x, train_y, test_x, test_y


def trained(images: Any, labels: Any) -> Any:
    """Return a small network trained on the labels that exist."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3), loss=BCEWithLogitsLoss(ignore_index=MISSING)
    )
    model.fit(images, labels, batch_size=64, epochs=EPOCHS, verbose=0)
    return model


def main() -> None:
    """Train both ways and compare them on complete labels."""
    torch.set_num_threads(1)
    train_x, train_y, test_x, test_y = digits(np.random.default_rng(0))
    ways = {
        "missing = negative": np.where(train_y == MISSING, 0, train_y),
        f"ignore_index={MISSING}": train_y,
    }
    print(
        f"Keras {keras.__version__} on torch, {np.mean(train_y == MISSING):.0%} of labels missing"
    )
    print(f"{'on complete test labels:':24} {'loss':>8} {'positives found':>16}")
    for name, labels in ways.items():
        logits = trained(train_x, labels).predict(test_x, verbose=0)
        loss = logitloss.bce_with_logits(logits, test_y)
        found = np.mean(logits[test_y == 1] > 0)
        print(f"{name:24} {loss:8.4f} {found:16.1%}")


if __name__ == "__main__":
    main()
