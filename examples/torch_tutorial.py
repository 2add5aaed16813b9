"""The tutorial's training loop with one line changed: where its loss comes from.

A small network learns to tell benign from malignant tumours (Wisconsin breast cancer data, bundled
with scikit-learn). Then the loss step alone, forward and backward, is timed on a large batch
against torch's own.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import logitloss

# Before: criterion = nn.BCEWithLogitsLoss()
from logitloss.integrations.torch import BCEWithLogitsLoss

EPOCHS = 5
LARGE_BATCH = 2**24
ROUNDS = 7


def datasets() -> tuple[TensorDataset, TensorDataset]:
    """Return measurements and labels of the tumours to train on and of those to test with."""
    inputs, labels = load_breast_cancer(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        inputs, labels, random_state=0, stratify=labels
    )
    scaler = StandardScaler().fit(train_x)
    return dataset(scaler.transform(train_x), train_y), dataset(scaler.transform(test_x), test_y)


def dataset(inputs: Any, labels: Any) -> TensorDataset:
    """Return tensors of the shapes of the model's input and output; labels may stay integers."""
    return TensorDataset(
        torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(labels).unsqueeze(1)
    )


def train(model: nn.Module, criterion: nn.Module, data: TensorDataset) -> None:
    """Train the model, and print the mean loss of each epoch."""
    loader = DataLoader(data, batch_size=32, shuffle=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for inputs, labels in loader:
            optimiser.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimiser.step()
            total += loss.item() * len(labels)
        print(f"epoch {epoch}: loss {total / len(data):.4f}")


def accuracy(model: nn.Module, data: TensorDataset) -> float:
    """Return how often the sign of the logit is right."""
    inputs, labels = data.tensors
    with torch.no_grad():
        right = (model(inputs) > 0) == labels.bool()
    return float(right.float().mean())


def seconds_of(criterion: nn.Module, logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return how long one loss and its gradient take."""
    logits = logits.detach().requires_grad_()
    start = time.perf_counter()
    criterion(logits, labels).backward()
    return time.perf_counter() - start


def compare(criteria: dict[str, nn.Module]) -> None:
    """Time the loss step of each by turns, in one thread, and print the medians."""
    torch.set_num_threads(1)
    logits = 4 * torch.randn(LARGE_BATCH)
    labels = torch.randint(2, (LARGE_BATCH,)).float()
    times: dict[str, list[float]] = {name: [] for name in criteria}
    for _ in range(ROUNDS):
        for name, criterion in criteria.items():
            times[name].append(seconds_of(criterion, logits, labels))
    print(f"\nLoss step of {LARGE_BATCH:,} float32 logits, one thread, median of {ROUNDS}:")
    medians = {name: sorted(rounds)[ROUNDS // 2] for name, rounds in times.items()}
    slowest = max(medians.values())
    for name, median in medians.items():
        print(f"  {name:28} {1e3 * median:7.1f} ms   {slowest / median:5.1f} x")


def main() -> None:
    """Train, test and compare."""
    torch.manual_seed(0)
    training, test = datasets()
    model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1))
    criterion = BCEWithLogitsLoss()
    train(model, criterion, training)
    print(f"accuracy on {len(test)} tumours that it has not seen: {accuracy(model, test):.3f}")
    compare({"torch.nn.BCEWithLogitsLoss": nn.BCEWithLogitsLoss(), "logitloss": criterion})
    print(f"  ({logitloss.config()['isa']}, torch {torch.__version__})")


if __name__ == "__main__":
    main()
