"""A label that is missing for three rows in ten: LightGBM learns from the rows that have it.

LightGBM turns NaN labels into negatives and says nothing. With a sentinel a row without a label
has no say. There is one label a row, so each question has a model of its own.
"""

from __future__ import annotations

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from logitloss import BCEWithLogitsLoss
from logitloss.integrations.lightgbm import add_intercept, intercept, objective

QUESTIONS = {"even": [0, 2, 4, 6, 8], "prime": [2, 3, 5, 7], "above 4": [5, 6, 7, 8, 9]}
LOSS = BCEWithLogitsLoss(ignore_index=-1)
PARAMETERS = {"objective": objective(LOSS), "num_leaves": 15, "num_threads": 1, "verbosity": -1}


def fitted(x: NDArray[np.float64], labels: NDArray[np.int64]) -> lightgbm.Booster:
    """Return a model that starts at the log-odds of the labels that exist."""
    start = intercept(labels, LOSS)
    data = lightgbm.Dataset(x, labels, init_score=np.full(len(labels), start))
    model = lightgbm.train(PARAMETERS, data, 40)
    add_intercept(model, start)
    return model


def main() -> None:
    """Train one model for each question and each way to treat missing labels."""
    images, digits = load_digits(return_X_y=True)
    x, x_test, digit, digit_test = train_test_split(images, digits, test_size=0.5, random_state=0)
    is_missing = np.random.default_rng(0).permutation(len(x)) < 0.3 * len(x)

    print(f"{is_missing.mean():.0%} of {len(x)} labels missing")
    for question, answer in QUESTIONS.items():
        truth = np.isin(digit_test, answer).astype(np.int64)
        label = np.isin(digit, answer).astype(np.int64)
        for way, value in (("ignored", -1), ("taken for negatives", 0)):
            margins = fitted(x, np.where(is_missing, value, label)).predict(x_test)
            right = np.mean((margins > 0) == truth)
            print(f"  {question:<8} {way:<20} loss {LOSS(margins, truth):.3f}, right {right:.1%}")


if __name__ == "__main__":
    main()
