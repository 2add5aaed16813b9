"""Binary cross-entropy of logits as a scorer of scikit-learn, beside its own neg_log_loss.

scikit-learn's log loss is given probabilities, and clips them. A classifier that is sure of itself
and wrong then pays for a logit of 36 at most, whatever its logit was; the models that deserve the
worst score look alike. `decision_function` returns logits, and those have no such limit.

The scorer weights its samples: with metadata routing, scikit-learn hands `sample_weight` to the
fit and to the score, cut to each fold.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import logitloss

STRENGTHS = [1e-2, 1e-1, 1.0, 1e2, 1e4]


def logit_loss(
    targets: ArrayLike, logits: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the (weighted) mean loss, with the arguments in scikit-learn's order."""
    return logitloss.bce_with_logits(
        logits, targets, weight=sample_weight, reduction="weighted_mean"
    )


def largest_logit(targets: ArrayLike, logits: ArrayLike) -> float:
    """Return how sure the model is where it is most so."""
    del targets  # A scorer is always given them.
    return float(np.abs(logits).max())


def model(strength: float = 1.0) -> Any:
    """Return a logistic regression on scaled features that takes sample weights."""
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    regression = LogisticRegression(C=strength, solver="newton-cholesky")
    return make_pipeline(scaler, regression.set_fit_request(sample_weight=True))


def show_the_tail() -> None:
    """Print what becomes of single large logits."""
    print("One sample, target 1 and logit x:")
    print(f"{'x':>8}{'log_loss':>14}{'logit_loss':>14}")
    for x in (-1000.0, -40.0, -5.0, 5.0, 40.0):
        with np.errstate(over="ignore"):
            probability = 1 / (1 + np.exp(-x))
        theirs = log_loss([1], [[1 - probability, probability]], labels=[0, 1])
        print(f"{x:8.0f}{theirs:14.4g}{logit_loss([1], [x]):14.4g}")


def main() -> None:
    """Choose the strength of a penalty by both losses."""
    sklearn.set_config(enable_metadata_routing=True)
    show_the_tail()

    data = load_breast_cancer()
    # A missed malignant tumour, class 0, counts five times.
    weight = np.where(data.target == 0, 5.0, 1.0)
    scorer = make_scorer(
        logit_loss, greater_is_better=False, response_method="decision_function"
    ).set_score_request(sample_weight=True)

    neg_log_loss = make_scorer(
        log_loss, greater_is_better=False, response_method="predict_proba", labels=[0, 1]
    ).set_score_request(sample_weight=True)
    largest = make_scorer(largest_logit, response_method="decision_function")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    print("\nWeighted loss on held-out patients, mean of five folds:")
    print(f"{'C':>8}{'log_loss':>14}{'logit_loss':>14}{'largest |logit|':>18}")
    for strength in STRENGTHS:
        scores = cross_validate(
            model(strength),
            data.data,
            data.target,
            scoring={"theirs": neg_log_loss, "ours": scorer, "largest": largest},
            cv=folds,
            params={"sample_weight": weight},
        )
        theirs, ours = -scores["test_theirs"].mean(), -scores["test_ours"].mean()
        print(f"{strength:8g}{theirs:14.6f}{ours:14.6f}{scores['test_largest'].max():18.0f}")

    search = GridSearchCV(
        model(), {"logisticregression__C": STRENGTHS}, scoring=scorer, cv=folds
    ).fit(data.data, data.target, sample_weight=weight)
    print(f"\nGridSearchCV chooses {search.best_params_} with a loss of {-search.best_score_:.6f}.")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        swapped = make_scorer(
            logitloss.bce_with_logits, greater_is_better=False, response_method="decision_function"
        )
        scores = cross_val_score(model(), data.data, data.target, scoring=swapped, cv=2)
    print(f"\nWithout the adapter the arguments are swapped; the scores are {scores}, and the")
    print(f"warning ends in: {str(caught[0].message).strip().splitlines()[-1]}")


if __name__ == "__main__":
    main()
