"""The digits, the training loop, and the linear model that it is measured against."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import logitloss
from logitloss.demo.network import Adam, FloatArray, MultiLayerPerceptron

__all__ = [
    "Digits",
    "Listener",
    "Outcome",
    "Task",
    "ValueAndGradient",
    "batches_per_epoch",
    "digit_tasks",
    "linear_accuracy",
    "load_scaled_digits",
    "train",
]

BATCH_SIZE = 128
LEARNING_RATE = 2e-2
TEST_FRACTION = 0.2

Labels: TypeAlias = NDArray[np.int64]
Targets: TypeAlias = NDArray[np.bool_]
ValueAndGradient: TypeAlias = Callable[
    [FloatArray, Targets], tuple[float | NDArray[Any], FloatArray]
]


@dataclass(frozen=True)
class Digits:
    """Images of shape (n, 8, 8), and the digit 0 to 9 that each one shows."""

    training_images: FloatArray
    training_labels: Labels
    test_images: FloatArray
    test_labels: Labels


@dataclass(frozen=True)
class Task:
    """A question about the digits: which of them get an output unit of their own.

    Attributes
    ----------
    name : str
        The question in a few words.
    digits : tuple of int
        The digit of each output unit.
    label_smoothing : float
        The share of every target that the loss spreads over yes and no.
    """

    name: str
    digits: tuple[int, ...]
    label_smoothing: float = 0.0

    @property
    def loss(self) -> logitloss.BCEWithLogitsLoss:
        """The loss to train with."""
        return logitloss.BCEWithLogitsLoss(label_smoothing=self.label_smoothing)

    @property
    def smallest_loss(self) -> float:
        """The loss of the best possible logits: the entropy of the smoothed targets."""
        rest = self.label_smoothing / 2.0
        return -rest * math.log(rest) - (1.0 - rest) * math.log1p(-rest) if rest else 0.0

    @property
    def is_yes_or_no(self) -> bool:
        """Whether there is only one output unit."""
        return len(self.digits) == 1

    def targets(self, labels: Labels) -> Targets:
        """Return the boolean targets, of shape (n, number of outputs)."""
        targets: Targets = labels[:, np.newaxis] == np.asarray(self.digits)
        return targets

    def right_answers(self, labels: Labels) -> Labels:
        """Return yes (1) or no (0) for one output unit, and the digit for several."""
        return (labels == self.digits[0]).astype(np.int64) if self.is_yes_or_no else labels

    def answers(self, logits: FloatArray) -> Labels:
        """Return what the logits answer, in the terms of `right_answers`."""
        if self.is_yes_or_no:
            return (logits[:, 0] > 0).astype(np.int64)
        answers: Labels = np.asarray(self.digits, dtype=np.int64)[logits.argmax(axis=1)]
        return answers


@dataclass(frozen=True)
class Outcome:
    """What a training run came to.

    Attributes
    ----------
    batch_losses : list of float
        The loss of every mini-batch, in order.
    loss_before, loss_after : float
        The loss over all training images, before and after the training.
    accuracy : float
        The fraction of the test images that are answered rightly.
    """

    batch_losses: list[float]
    loss_before: float
    loss_after: float
    accuracy: float

    def shortcomings(self, linear: float) -> list[str]:
        """Return a sentence for each thing that went wrong, given the linear accuracy."""
        sentences = []
        # A loss that is not a number must fail too, hence the negation.
        if not self.loss_after < self.loss_before:
            sentences.append(
                f"the loss did not fall: {self.loss_before:.4f} before the training "
                f"and {self.loss_after:.4f} after it"
            )
        if self.accuracy < linear:
            sentences.append(
                f"the test accuracy of {self.accuracy:.2%} is below the {linear:.2%} "
                "that a linear model reaches"
            )
        return sentences


class Listener:
    """Is told how a training run proceeds; this one does not care."""

    def epoch_starts(self, epoch: int) -> None:
        """Take note of an epoch; epochs count from 1."""

    def batch_ends(self, batch: int, loss: float) -> None:
        """Take note of a mini-batch of the epoch, counted from 1, and of its loss."""


def digit_tasks() -> tuple[Task, Task]:
    """Return the two questions: is it an 8, and which digit is it.

    Notes
    -----
    The second one smooths its labels a little. Ten outputs learn from far more
    targets than there are images, and would otherwise grow too sure of them.
    """
    return (
        Task("is it an 8?", (8,)),
        Task("which digit?", tuple(range(10)), label_smoothing=0.05),
    )


def load_scaled_digits(seed: int) -> Digits:
    """Return scikit-learn's handwritten digits, split by class and scaled.

    Parameters
    ----------
    seed : int
        Chooses the split.

    Returns
    -------
    Digits
        Every pixel has mean 0 and all pixels together have variance 1 in the
        training images; the test images are scaled by the same numbers.
    """
    bunch = load_digits()
    training_images, test_images, training_labels, test_labels = train_test_split(
        bunch.images,
        bunch.target,
        test_size=TEST_FRACTION,
        stratify=bunch.target,
        random_state=seed,
    )
    mean = training_images.mean(axis=0)
    # One scale for all pixels: those at the rim are nearly always blank, and dividing
    # them by their own tiny deviation would turn a stray pen stroke into an outlier.
    scale = (training_images - mean).std()
    return Digits(
        training_images=((training_images - mean) / scale).astype(np.float32),
        training_labels=training_labels,
        test_images=((test_images - mean) / scale).astype(np.float32),
        test_labels=test_labels,
    )


def linear_accuracy(digits: Digits, task: Task) -> float:
    """Return the test accuracy of scikit-learn's logistic regression on the same data."""
    model = LogisticRegression(max_iter=3000)
    model.fit(
        digits.training_images.reshape(len(digits.training_images), -1),
        task.right_answers(digits.training_labels),
    )
    return float(
        model.score(
            digits.test_images.reshape(len(digits.test_images), -1),
            task.right_answers(digits.test_labels),
        )
    )


def batches_per_epoch(digits: Digits) -> int:
    """Return the number of mini-batches in an epoch, the last and smaller one included."""
    return -(-len(digits.training_images) // BATCH_SIZE)


def train(
    digits: Digits,
    task: Task,
    *,
    epochs: int,
    seed: int,
    value_and_gradient: ValueAndGradient | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Train the network on one task.

    Parameters
    ----------
    digits : Digits
        The data.
    task : Task
        The question and its loss.
    epochs : int
        Passes over the training images.
    seed : int
        Seeds the initial weights and the order of the images.
    value_and_gradient : callable, optional
        Takes logits and targets and returns the loss and its gradient with
        respect to the logits; by default the task's own loss.
    listener : Listener, optional
        Is told about every epoch and mini-batch.

    Returns
    -------
    Outcome
        The losses and the test accuracy.
    """
    if value_and_gradient is None:
        value_and_gradient = task.loss.value_and_grad
    listener = listener or Listener()
    generator = np.random.default_rng(seed)
    targets = task.targets(digits.training_labels)
    network = MultiLayerPerceptron(targets.mean(axis=0, dtype=np.float32), generator)
    optimiser = Adam(network.parameters, learning_rate=LEARNING_RATE)

    loss_before = float(value_and_gradient(network.logits(digits.training_images), targets)[0])
    batch_losses: list[float] = []
    for epoch in range(1, epochs + 1):
        listener.epoch_starts(epoch)
        order = generator.permutation(len(targets))
        for batch, start in enumerate(range(0, len(order), BATCH_SIZE), start=1):
            chosen = order[start : start + BATCH_SIZE]
            activations = network.forward(digits.training_images[chosen])
            loss, gradient = value_and_gradient(activations[-1], targets[chosen])
            optimiser.step(network.backward(activations, gradient))
            batch_losses.append(float(loss))
            listener.batch_ends(batch, batch_losses[-1])

    answers = task.answers(network.logits(digits.test_images))
    return Outcome(
        batch_losses=batch_losses,
        loss_before=loss_before,
        loss_after=float(value_and_gradient(network.logits(digits.training_images), targets)[0]),
        accuracy=float(np.mean(answers == task.right_answers(digits.test_labels))),
    )
