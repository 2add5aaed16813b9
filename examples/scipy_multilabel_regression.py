"""Multi-label logistic regression with SciPy's L-BFGS-B, missing labels and weighted positives.

Each handwritten digit of scikit-learn's set is asked five questions at once. A third of the
answers in the training set is missing. One call gives the loss of all questions and its
gradient with respect to the logits; the rest is two matrix products.

The penalty is that of scikit-learn's LogisticRegression, which takes one question at a time, over
the images whose answer is known. Both must find the same optimum.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from logitloss import BCEWithLogitsLoss

QUESTIONS = {
    "even": {0, 2, 4, 6, 8},
    "above four": {5, 6, 7, 8, 9},
    "prime": {2, 3, 5, 7},
    "has a closed loop": {0, 6, 8, 9},
    "has a curve": {0, 2, 3, 5, 6, 8, 9},
}
SHARE_MISSING = 1 / 3
MISSING = -1
INVERSE_PENALTY = 0.1
TOLERANCE = 1e-5

Matrix = NDArray[np.float64]
Labels = NDArray[np.int8]


def answers(digits: NDArray[np.int64]) -> Labels:
    """Return a column of right answers for each question."""
    return np.column_stack([np.isin(digits, sorted(yes)) for yes in QUESTIONS.values()]).astype(
        np.int8
    )


def fit(images: Matrix, labels: Labels, pos_weight: Matrix) -> Matrix:
    """Return the weights of every question, the intercepts in the last row."""
    loss = BCEWithLogitsLoss(pos_weight=pos_weight, ignore_index=MISSING, reduction="sum")
    inputs = np.column_stack([images, np.ones(len(images))])
    shape = (inputs.shape[1], labels.shape[1])

    def value_and_slope(flat: Matrix) -> tuple[float, Matrix]:
        weights = flat.reshape(shape)
        value, gradient = loss.value_and_grad(inputs @ weights, labels)
        slope = INVERSE_PENALTY * (inputs.T @ gradient)
        slope[:-1] += weights[:-1]
        penalty = 0.5 * np.sum(weights[:-1] ** 2)
        return INVERSE_PENALTY * float(value) + penalty, slope.ravel()

    found = minimize(
        value_and_slope,
        np.zeros(shape).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 0.0, "gtol": 1e-8, "maxiter": 5000, "maxfun": 10000},
    )
    print(f"L-BFGS-B: {found.nit} iterations, largest slope {np.abs(found.jac).max():.1e}")
    return np.asarray(found.x).reshape(shape)


def fit_one_question(images: Matrix, labels: Labels, pos_weight: float) -> Matrix:
    """Return scikit-learn's weights for one question, the intercept last."""
    is_known = labels != MISSING
    model = LogisticRegression(
        C=INVERSE_PENALTY, class_weight={0: 1.0, 1: pos_weight}, tol=1e-9, max_iter=5000
    )
    model.fit(images[is_known], labels[is_known])
    return np.append(model.coef_[0], model.intercept_)


def accuracy(images: Matrix, labels: Labels, weights: Matrix) -> Matrix:
    """Return the share of right answers to each question."""
    logits = images @ weights[:-1] + weights[-1]
    return np.asarray(np.mean((logits > 0) == labels, axis=0))


def main() -> None:
    """Fit all questions at once, and each with scikit-learn."""
    digits = load_digits()
    images, test_images, numbers, test_numbers = train_test_split(
        digits.data / 16, digits.target, random_state=0
    )
    labels, test_labels = answers(numbers), answers(test_numbers)
    labels[np.random.default_rng(0).random(labels.shape) < SHARE_MISSING] = MISSING
    pos_weight = np.sum(labels == 0, axis=0) / np.sum(labels == 1, axis=0)

    weights = fit(images, labels, pos_weight)
    as_negative = fit(images, np.maximum(labels, 0), pos_weight)

    right = accuracy(test_images, test_labels, weights)
    careless = accuracy(test_images, test_labels, as_negative)
    headings = ("known", "pos_weight", "accuracy", "missing = no", "vs sklearn")
    print("".join([" " * 20, *(f"{heading:>14}" for heading in headings)]))
    worst = 0.0
    for k, question in enumerate(QUESTIONS):
        theirs = fit_one_question(images, labels[:, k], pos_weight[k])
        difference = np.abs(weights[:, k] - theirs).max()
        worst = max(worst, difference)
        known = np.mean(labels[:, k] != MISSING)
        print(
            f"{question:20}{known:14.0%}{pos_weight[k]:14.2f}{right[k]:14.1%}"
            f"{careless[k]:14.1%}{difference:14.1e}"
        )
    print(f"{'all':48}{right.mean():14.1%}{careless.mean():14.1%}")
    print(f"The weights are scikit-learn's to {worst:.1e}.")
    if worst > TOLERANCE:
        sys.exit("that is not the same optimum")


if __name__ == "__main__":
    main()
