"""The demonstration behind ``logitloss demo``.

It trains a small network on real images with NumPy and ``logitloss`` alone and
shows what the loss is for. The network and its optimiser are not part of the
public interface of ``logitloss``.

Modules
-------
network
    A multi-layer perceptron with its backward pass, and Adam.
training
    The digits, the training loop and the linear model to compare with.
peers
    The same training with the loss of PyTorch, where that is installed.
tails
    The loss and gradient at large logits, in several usual ways and exactly.
plot
    The figure that ``--plot`` draws.
run
    What the command prints, and its verdict.
"""
