"""A multi-layer perceptron and Adam in NumPy, as small as a tutorial has them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Adam", "FloatArray", "MultiLayerPerceptron"]

FloatArray: TypeAlias = NDArray[np.float32]

_OUTPUT_SCALE = 0.3


class MultiLayerPerceptron:
    """Flatten, linear to 64, ReLU, linear to 32, ReLU, linear to the outputs.

    The outputs are logits: the sigmoid belongs to the loss.

    Parameters
    ----------
    base_rates : ndarray of shape (n_outputs,)
        How often each output's target is 1, strictly between 0 and 1.
    generator : numpy.random.Generator
        Draws the initial weights.
    n_inputs : int, optional
        Number of values in one flattened input.
    hidden : sequence of int, optional
        Widths of the hidden layers.

    Notes
    -----
    Weights are drawn as He et al. (2015) do, with variance 2 / n_inputs of the
    layer. The output layer starts small, with the log-odds of the base rates as
    its bias, so that the first steps are not spent on unlearning random logits.
    """

    def __init__(
        self,
        base_rates: FloatArray,
        generator: np.random.Generator,
        *,
        n_inputs: int = 64,
        hidden: Sequence[int] = (64, 32),
    ) -> None:
        widths = (n_inputs, *hidden, len(base_rates))
        self.weights: list[FloatArray] = []
        self.biases: list[FloatArray] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            weight = generator.standard_normal((fan_in, fan_out)) * np.sqrt(2.0 / fan_in)
            self.weights.append(weight.astype(np.float32))
            self.biases.append(np.zeros(fan_out, dtype=np.float32))
        self.weights[-1] *= np.float32(_OUTPUT_SCALE)
        self.biases[-1][:] = np.log(base_rates / (1.0 - base_rates))

    @property
    def parameters(self) -> list[FloatArray]:
        """The weights and then the biases, first layer first."""
        return [*self.weights, *self.biases]

    def logits(self, images: FloatArray) -> FloatArray:
        """Return the logits of a batch.

        Parameters
        ----------
        images : ndarray of shape (n, ...)
            A batch; each input is flattened.

        Returns
        -------
        ndarray of shape (n, n_outputs)
            The logits.
        """
        return self.forward(images)[-1]

    def forward(self, images: FloatArray) -> list[FloatArray]:
        """Return the input of every layer and, last, the logits."""
        activations = [images.reshape(len(images), -1)]
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            output = activations[-1] @ weight + bias
            activations.append(output if layer == last else np.maximum(output, 0))
        return activations

    def backward(self, activations: list[FloatArray], gradient: FloatArray) -> list[FloatArray]:
        """Return the gradient of the loss with respect to every parameter.

        Parameters
        ----------
        activations : list of ndarray
            What `forward` returned.
        gradient : ndarray of shape (n, n_outputs)
            The gradient of the loss with respect to the logits.

        Returns
        -------
        list of ndarray
            In the order of `parameters`.
        """
        weight_gradients: list[FloatArray] = []
        bias_gradients: list[FloatArray] = []
        for layer in reversed(range(len(self.weights))):
            inputs = activations[layer]
            weight_gradients.append(inputs.T @ gradient)
            bias_gradients.append(gradient.sum(axis=0))
            if layer > 0:
                gradient = (gradient @ self.weights[layer].T) * (inputs > 0)
        return [*reversed(weight_gradients), *reversed(bias_gradients)]


@dataclass
class Adam:
    """The optimiser of Kingma and Ba (2015), "Adam: a method for stochastic optimization".

    Attributes
    ----------
    parameters : list of ndarray
        Updated in place by `step`.
    learning_rate, decay_mean, decay_square, epsilon : float
        The step size, beta 1, beta 2 and epsilon of the paper.
    """

    parameters: list[FloatArray]
    learning_rate: float = 1e-3
    decay_mean: float = 0.9
    decay_square: float = 0.999
    epsilon: float = 1e-8
    _means: list[FloatArray] = field(init=False, repr=False)
    _squares: list[FloatArray] = field(init=False, repr=False)
    _steps: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        """Start both running means at zero."""
        self._means = [np.zeros_like(parameter) for parameter in self.parameters]
        self._squares = [np.zeros_like(parameter) for parameter in self.parameters]

    def step(self, gradients: list[FloatArray]) -> None:
        """Move every parameter once, against its gradient."""
        self._steps += 1
        mean_correction = 1.0 - self.decay_mean**self._steps
        square_correction = 1.0 - self.decay_square**self._steps
        for parameter, gradient, mean, square in zip(
            self.parameters, gradients, self._means, self._squares, strict=True
        ):
            mean[...] += (1.0 - self.decay_mean) * (gradient - mean)
            square[...] += (1.0 - self.decay_square) * (gradient * gradient - square)
            root = np.sqrt(square / square_correction) + self.epsilon
            parameter[...] -= self.learning_rate / mean_correction * mean / root
