"""Three measurements to be guessed from images, labels missing here and there: CatBoost.

CatBoost takes no NaN labels, and its own multi-label loss has no weights for single labels. With
a sentinel, one multi-target model learns each label from the rows that have it.
"""

from __future__ import annotations

import numpy as np
from catboost import CatBoostRegressor
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from logitloss import BCEWithLogitsLoss
from logitloss.integrations.catboost import metric, objective

# Of a tumour's 30 measurements, the first ten are averages over its cells.
TARGETS = ("malignant", "rough outline", "uneven texture")
LOSS = BCEWithLogitsLoss(ignore_index=-1)


def main() -> None:
    """Train with missing labels ignored and with missing labels taken for negatives."""
    data = load_breast_cancer()
    outline, texture = data.data[:, 4], data.data[:, 1]
    labels = np.column_stack(
        [data.target == 0, outline > np.median(outline), texture > np.median(texture)]
    )
    # The measurements that became labels, and their companions, are not inputs.
    inputs = np.delete(data.data, [1, 4, 11, 14, 21, 24], axis=1)
    x, x_test, y, y_test = train_test_split(inputs, labels, test_size=0.5, random_state=0)
    is_missing = np.random.default_rng(0).permutation(y.size).reshape(y.shape) < 0.3 * y.size

    print(f"{', '.join(TARGETS)}: {is_missing.mean():.0%} of {y.size} labels missing")
    for way, value in (("ignored", -1), ("taken for negatives", 0)):
        model = CatBoostRegressor(
            loss_function=objective(LOSS, multi_target=True),
            eval_metric=metric(LOSS, multi_target=True),
            iterations=80,
            learning_rate=0.2,
            depth=4,
            thread_count=1,
            verbose=False,
            allow_writing_files=False,
        )
        margins = model.fit(x, np.where(is_missing, value, y)).predict(x_test)
        test_loss = LOSS(margins, y_test)
        print(f"  {way:<20} loss {test_loss:.3f}, right {np.mean((margins > 0) == y_test):.1%}")


if __name__ == "__main__":
    main()
