"""Several labels an image, three in ten of them missing: XGBoost learns from those that exist.

XGBoost takes no NaN labels. The usual way out calls a missing label negative, which teaches the
model that three in ten positives are negatives. Here a sentinel says that there is no label.
"""

from __future__ import annotations

import numpy as np
import xgboost
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from logitloss import BCEWithLogitsLoss
from logitloss.integrations.xgboost import base_score, objective

ANSWERS = {
    "is it even?": [0, 2, 4, 6, 8],
    "is it prime?": [2, 3, 5, 7],
    "is it a square?": [0, 1, 4, 9],
    "has it a loop?": [0, 6, 8, 9],
    "is it above 4?": [5, 6, 7, 8, 9],
}
MISSING = -1
MISSING_SHARE = 0.3
ROUNDS = 40


def main() -> None:
    """Train on complete labels, on a sentinel and on negatives, and compare on complete labels."""
    images, digits = load_digits(return_X_y=True)
    labels = np.stack([np.isin(digits, answer) for answer in ANSWERS.values()], axis=1)
    x, x_test, y, y_test = train_test_split(
        images, labels.astype(np.float32), test_size=0.5, random_state=0
    )
    is_missing = (
        np.random.default_rng(0).permutation(y.size).reshape(y.shape) < MISSING_SHARE * y.size
    )
    choices = {
        "no label missing": y,
        "missing ones ignored": np.where(is_missing, MISSING, y),
        "missing ones negative": np.where(is_missing, 0, y),
    }

    loss = BCEWithLogitsLoss(ignore_index=MISSING)
    test = xgboost.DMatrix(x_test, y_test)
    for strategy in ("one_output_per_tree", "multi_output_tree"):
        print(f"{strategy}, {is_missing.mean():.0%} of {y.size} labels missing")
        for name, given in choices.items():
            parameters = {
                "objective": "binary:logistic",
                "base_score": base_score(given, loss),
                "multi_strategy": strategy,
                "max_depth": 4,
                "nthread": 1,
            }
            model = xgboost.train(
                parameters, xgboost.QuantileDMatrix(x, given), ROUNDS, obj=objective(loss)
            )
            test_loss = loss(model.predict(test, output_margin=True), y_test)
            right = (model.predict(test) > 0.5) == y_test
            print(f"  {name:<22} loss {test_loss:.3f}, right answers {right.mean():.1%}")


if __name__ == "__main__":
    main()
