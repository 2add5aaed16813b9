"""Binary cross-entropy on logits for PyTorch: the module, and the function, of `torch.nn`.

Three operators, for the value, the gradient and the hessian, compute on the tensors' own memory.
They know the shape of their result and how to be vectorised, so `torch.compile` takes them into
its graphs and `torch.func` transforms them. Eager calls take a shorter way, on which the gradient
is made together with the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import logitloss
from logitloss.integrations._optional import require

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = require("torch", "torch")
    Tensor = torch.Tensor

__all__ = ["BCEWithLogitsLoss", "binary_cross_entropy_with_logits"]

# What the operators take, apart from the factor of a derivative, and where the options begin.
_SCHEMA = (
    "Tensor input, Tensor target, Tensor? weight, Tensor? pos_weight, Tensor? where, "
    "float label_smoothing, float? ignore_index, str reduction, int[]? axes, bool validate"
)
_OPTIONS = -5
_NAMES = ("input", "target", "weight", "pos_weight", "where")
# Derivatives exist with respect to the logits alone.
_NO_OTHERS = (None,) * 9

_HALVES = (torch.float16, torch.bfloat16)
_FLOATING = (*_HALVES, torch.float32, torch.float64)

_DEVICES = ("cpu", "cuda") if logitloss.config()["cuda"] else ("cpu",)


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):
    """`torch.nn.BCEWithLogitsLoss`, computed by `logitloss`.

    It takes the arguments of the class that it replaces, and is one: `weight` and `pos_weight` are
    buffers, which ``.to()`` moves and ``state_dict()`` keeps. The keywords after them are more
    than torch has. See `binary_cross_entropy_with_logits` for what each computes.

    Parameters
    ----------
    weight : Tensor or float, optional
        Multiplies each element's loss; broadcast to the shape of `input`.
    size_average, reduce : bool, optional
        Deprecated by torch in favour of `reduction`, and treated as torch does.
    reduction : {'mean', 'sum', 'none', 'weighted_mean'}
        How losses become a value.
    pos_weight : Tensor or float, optional
        Multiplies the part of the positive label; broadcast to the shape of `input`.
    label_smoothing : float
        e in [0, 1): y becomes y (1 - e) + e / 2.
    ignore_index : float, optional
        A target that marks a missing label, such as -1 or nan.
    axis : int or tuple of int, optional
        Axes to reduce over; None for all.
    validate : bool, optional
        Whether targets outside [0, 1] raise `ValueError`. None checks them on the CPU alone.

    Raises
    ------
    TypeError, ValueError
        If an option is wrong in itself.

    Examples
    --------
    >>> import torch
    >>> from logitloss.integrations.torch import BCEWithLogitsLoss
    >>> criterion = BCEWithLogitsLoss(ignore_index=-1)
    >>> logits = torch.tensor([[2.0, -40.0], [17.0, float("nan")]], requires_grad=True)
    >>> loss = criterion(logits, torch.tensor([[1, 0], [1, -1]]))
    >>> loss.backward()
    >>> logits.grad[1]
    tensor([-1.3800e-08,  0.0000e+00])
    """

    def __init__(
        self,
        weight: Tensor | float | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | float | None = None,
        *,
        label_smoothing: float = 0.0,
        ignore_index: float | None = None,
        axis: int | tuple[int, ...] | None = None,
        validate: bool | None = None,
    ) -> None:
        factors = _as_factor(weight), _as_factor(pos_weight)
        super().__init__(factors[0], size_average, reduce, reduction, factors[1])
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.axis = axis
        self.validate = validate
        # The loss object finds options that are wrong in themselves.
        logitloss.BCEWithLogitsLoss(
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
            reduction=self.reduction,
            axis=axis,
            validate=True if validate is None else validate,
        )

    def forward(
        self,
        input: Tensor,
        target: Tensor,
        *,
        where: Tensor | None = None,
    ) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        input, target : Tensor
            Logits, and targets of exactly their shape.
        where : Tensor of bool, optional
            False where an element does not exist.
        """
        return binary_cross_entropy_with_logits(
            input,
            target,
            self.weight,
            reduction=self.reduction,
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            where=where,
            axis=self.axis,
            validate=self.validate,
        )


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | float | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    ignore_index: float | None = None,
    where: Tensor | None = None,
    axis: int | tuple[int, ...] | None = None,
    validate: bool | None = None,
) -> Tensor:
    """`torch.nn.functional.binary_cross_entropy_with_logits`, computed by `logitloss`.

    Tensors are read where they are, whatever their strides: on the CPU or, with a build for CUDA,
    on a GPU, where nothing waits for the device. The result can be differentiated
    twice with respect to `input`.

    Parameters
    ----------
    input : Tensor
        Logits x of any shape: float16, bfloat16, float32 or float64.
    target : Tensor
        Targets y in [0, 1], of exactly the shape of `input`: bool, integer or floating. All tensors
        are on one device.
    weight, pos_weight : Tensor or float, optional
        Factors of the loss and of its positive part, broadcast to the shape of `input`. They do
        not change the dtype of the result.
    reduction : {'mean', 'sum', 'none', 'weighted_mean'}
        ``'mean'`` divides by the number of elements that exist, ``'weighted_mean'`` by the sum of
        their weights.
    label_smoothing : float
        e in [0, 1): y becomes y (1 - e) + e / 2.
    ignore_index : float, optional
        A target that marks a missing label, such as -1 or nan: as ``where=False`` there.
    where : Tensor of bool, optional
        Broadcast to the shape of `input`. Where it is False the element does not exist: its loss
        and gradient are 0 and it is not counted, even if its logit is nan.
    axis : int or tuple of int, optional
        Axes to reduce over. None reduces over all.
    validate : bool, optional
        Whether targets outside [0, 1] raise `ValueError`. None checks them on the CPU alone: on a
        GPU the check would have to wait, and True is refused.

    Returns
    -------
    Tensor
        Of the dtype of `input`: its shape for ``reduction='none'``, else the shape without the
        reduced axes. Sums are accumulated in float64 and rounded once.

    Raises
    ------
    TypeError
        If an argument is no tensor, or of a dtype that is not listed above.
    ValueError
        If a tensor is on another device than it should be, one other than `input` requires a
        gradient while gradients are recorded, a shape or an option does not fit, or a target is
        bad.

    Warns
    -----
    RuntimeWarning
        If a mean is taken over no element, on the CPU; its value is nan and its gradient 0.

    Notes
    -----
    With softplus(x) = max(x, 0) + log1p(exp(-abs(x))), the loss of an element is

        l = weight (pos_weight y softplus(-x) + (1 - y) softplus(x)).

    At most `torch.get_num_threads` and `logitloss.get_num_threads` threads are used.

    Examples
    --------
    >>> import torch
    >>> from logitloss.integrations.torch import binary_cross_entropy_with_logits
    >>> logits = torch.tensor([-17.0, 0.0, 17.0])
    >>> binary_cross_entropy_with_logits(logits, torch.tensor([0, 1, 1]), reduction="none")
    tensor([4.1399e-08, 6.9315e-01, 4.1399e-08])
    """
    operands = (input, target, _as_factor(weight), _as_factor(pos_weight), where)
    _check(operands)
    if torch.is_autocast_enabled(input.device.type) and input.dtype in _HALVES:
        # Autocasting takes this loss as one to be computed in float32.
        operands = (input.float(), *operands[1:])
    axes = axis if axis is None or isinstance(axis, (tuple, list)) else (axis,)
    inputs = (
        *operands,
        label_smoothing,
        ignore_index,
        reduction,
        axes,
        _validates(validate, input),
    )
    is_differentiated = input.requires_grad and torch.is_grad_enabled()
    if torch.compiler.is_compiling():
        # Some versions of torch fail to compile an autograd.Function that has nothing to record.
        return _Value.apply(*inputs) if is_differentiated else _value_operator(*inputs)
    if _is_transformed(input):
        return _Value.apply(*inputs)
    return _EagerValue.apply(*inputs) if is_differentiated else _value(*inputs)


def _as_factor(factor: Tensor | float | None) -> Tensor | None:
    """Return a number as a tensor that holds it exactly."""
    is_number = isinstance(factor, (int, float))
    return torch.tensor(factor, dtype=torch.float64) if is_number else factor


def _is_on_gpu(tensor: Tensor) -> bool:
    return bool(tensor.is_cuda)


def _validates(validate: bool | None, logits: Tensor) -> bool:
    """Return whether targets are checked, which on a GPU they cannot be."""
    if not _is_on_gpu(logits):
        return validate is None or validate
    if validate:
        raise ValueError(
            "validate=True is not for tensors on a GPU, since to name a bad target the call would "
            "wait for it: leave validate out, and compare targets with 0 and 1 beforehand"
        )
    return False


def _is_transformed(tensor: Tensor) -> bool:
    """Tell whether the tensor stands for others: under `torch.func`, or a fake one."""
    is_plain = type(tensor) in (Tensor, torch.nn.Parameter)
    return not is_plain or torch._C._are_functorch_transforms_active()


def _check(operands: tuple[Tensor | None, ...]) -> None:
    """Refuse what no operator takes."""
    for name, tensor in zip(_NAMES, operands, strict=True):
        if tensor is None and name not in ("input", "target"):
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name} must be a torch.Tensor, not {type(tensor).__name__}; "
                "torch.as_tensor makes one, logitloss.bce_with_logits takes arrays and lists"
            )
        _check_device(name, tensor, operands[0])
        if tensor.requires_grad and name != "input" and torch.is_grad_enabled():
            raise ValueError(
                f"{name} requires a gradient, and this loss is differentiated with respect to "
                f"input alone: pass {name}.detach()"
            )
        if name == "input" and tensor.dtype not in _FLOATING:
            raise TypeError(
                "input must have dtype float16, bfloat16, float32 or float64, not "
                f"{str(tensor.dtype).removeprefix('torch.')}; pass input.float() if it holds logits"
            )


def _check_device(name: str, tensor: Tensor, logits: Tensor | None) -> None:
    """Refuse a device that is not computed on, or is not that of the logits."""
    if tensor.device.type not in _DEVICES:
        raise ValueError(
            f"{name} is on the device {tensor.device}, and this build of logitloss computes for "
            f"torch on {' and '.join(_DEVICES)} alone (logitloss.config()['cuda'] is "
            f"{logitloss.config()['cuda']}): pass {name}.cpu(), or keep "
            "torch.nn.BCEWithLogitsLoss on that device"
        )
    # A number, which the module keeps as a tensor, may stay on the CPU.
    is_number = tensor.ndim == 0 and tensor.device.type == "cpu"
    if logits is not None and tensor.device != logits.device and not is_number:
        raise ValueError(
            f"{name} is on the device {tensor.device} and input on {logits.device}: pass "
            f"{name}.to(input.device)"
        )


def _array(tensor: Tensor | None) -> Any:
    """Return a tensor as the functions of `logitloss` take it: on the CPU, its memory."""
    if tensor is None:
        return None
    if _is_on_gpu(tensor):
        return tensor.detach()
    if tensor.dtype == torch.bfloat16:
        # NumPy has no bfloat16 of its own.
        bfloat16 = require("ml_dtypes", "torch").bfloat16
        return tensor.detach().view(torch.uint16).numpy().view(bfloat16)
    # Negation may be pending, as in the imaginary part of a conjugate.
    return tensor.detach().resolve_neg().numpy()


def _empty_like(tensor: Tensor) -> Tensor:
    """Return a new tensor of the layout of another one.

    Its memory comes from NumPy, which asks for huge pages as torch does not by default: first
    touching 64 MiB of torch's new memory takes longer than to compute loss and gradient there.
    """
    if _is_on_gpu(tensor) or not tensor.is_contiguous():
        return torch.empty_like(tensor)
    memory = np.empty(tuple(tensor.shape), f"i{tensor.element_size()}")
    return torch.from_numpy(memory).view(tensor.dtype)


def _arguments(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    where: Tensor | None,
    label_smoothing: float,
    ignore_index: float | None,
    reduction: str,
    axes: Sequence[int] | None,
    validate: bool,
) -> dict[str, Any]:
    """Return an operator's inputs as arguments of the functions of `logitloss`."""
    return {
        "logits": _array(logits),
        "targets": _array(targets),
        "weight": _array(weight),
        "pos_weight": _array(pos_weight),
        "where": _array(where),
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "reduction": reduction,
        "axis": None if axes is None else tuple(axes),
        "validate": validate,
        "num_threads": torch.get_num_threads(),
    }


def _value(logits: Tensor, *rest: Any) -> Tensor:
    arguments = _arguments(logits, *rest)
    if arguments["reduction"] != "none":
        return torch.as_tensor(logitloss.bce_with_logits(**arguments), dtype=logits.dtype)
    value = _empty_like(logits)
    logitloss.bce_with_logits(**arguments, out=_array(value))
    return value


def _value_and_gradient(logits: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    """Return the value of a full reduction and its gradient, in one pass."""
    gradient = _empty_like(logits)
    value, _ = logitloss.bce_with_logits_value_and_grad(
        **_arguments(logits, *rest), out=_array(gradient)
    )
    return torch.as_tensor(value, dtype=logits.dtype), gradient


def _gradient(grad_output: Tensor, logits: Tensor, *rest: Any) -> Tensor:
    gradient = _empty_like(logits)
    logitloss.bce_with_logits_grad(
        **_arguments(logits, *rest), grad_output=_array(grad_output), out=_array(gradient)
    )
    return gradient


def _hessian(grad_output: Tensor, logits: Tensor, *rest: Any) -> Tensor:
    hessian = _empty_like(logits)
    logitloss.bce_with_logits_grad_hess(
        **_arguments(logits, *rest), grad_output=_array(grad_output), out=(None, _array(hessian))
    )
    return hessian


def _reduced_axes(inputs: Sequence[Any]) -> tuple[int, ...]:
    """Return the axes, from 0 on, over which an operator with these inputs reduces."""
    ndim = inputs[0].ndim
    *_, reduction, axes, _ = inputs
    if reduction == "none":
        return ()
    return tuple(range(ndim)) if axes is None else tuple(axis % ndim for axis in axes)


def _fake_value(*inputs: Any) -> Tensor:
    logits, reduced = inputs[0], _reduced_axes(inputs)
    if not reduced:
        return torch.empty_like(logits)
    return logits.new_empty([n for axis, n in enumerate(logits.shape) if axis not in reduced])


def _fake_derivative(_: Tensor, logits: Tensor, *_rest: Any) -> Tensor:
    return torch.empty_like(logits)


def _in_front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """Return a tensor of a batch with the axis of the batch in front."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _aligned(factor: Tensor | None, ndim: int) -> Tensor | None:
    """Return a factor of a batch with new axes behind the first, so that it can be broadcast."""
    if factor is None:
        return None
    index = (slice(None), *(None,) * (ndim - factor.ndim))
    return factor[index]


def _axis_of(shape: tuple[int, ...], axis: int) -> int:
    """Return an axis counted from the front, or refuse one that is not there."""
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} is out of bounds for logits of shape {shape}")
    return axis % len(shape)


def _vectorised(operator: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int]]:
    """Return the rule by which an operator takes one more axis, in front of all others."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        operands: list[Any] = [
            None if tensor is None else _in_front(tensor, dim, info.batch_size)
            for tensor, dim in zip(inputs[:_OPTIONS], in_dims[:_OPTIONS], strict=True)
        ]
        *exact, weight, pos_weight, where = operands
        ndim = exact[-1].ndim
        factors = [_aligned(factor, ndim) for factor in (weight, pos_weight, where)]
        label_smoothing, ignore_index, reduction, axes, validate = inputs[_OPTIONS:]
        if reduction != "none":
            # The operator cannot tell an axis that is out of bounds here from one of the batch.
            shape = tuple(exact[-2].shape[1:])
            axes = range(ndim - 1) if axes is None else axes
            axes = [_axis_of(shape, axis) + 1 for axis in axes]
        options = label_smoothing, ignore_index, reduction, axes, validate
        return operator(*exact, *factors, *options), 0

    return rule


def _operator(
    name: str,
    compute: Callable[..., Tensor],
    fake: Callable[..., Tensor],
    *,
    takes_grad_output: bool = True,
) -> Any:
    """Register an operator with torch."""
    first = "Tensor grad_output, " if takes_grad_output else ""
    operator = torch.library.custom_op(
        f"logitloss::{name}", compute, mutates_args=(), schema=f"({first}{_SCHEMA}) -> Tensor"
    )
    operator.register_fake(fake)
    operator.register_vmap(_vectorised(operator))
    return operator


_value_operator = _operator("bce_with_logits", _value, _fake_value, takes_grad_output=False)
_gradient_operator = _operator("bce_with_logits_grad", _gradient, _fake_derivative)
_hessian_operator = _operator("bce_with_logits_hess", _hessian, _fake_derivative)


def _save(ctx: Any, inputs: tuple[Any, ...], _: Any) -> None:
    """Keep the inputs for the derivatives; the output is not needed for them."""
    ctx.save_for_backward(*inputs[:_OPTIONS])
    ctx.options = inputs[_OPTIONS:]


def _saved(ctx: Any) -> tuple[Any, ...]:
    return (*ctx.saved_tensors, *ctx.options)


class _Value(torch.autograd.Function):
    """The value, for graphs and transformations."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return _value_operator(*inputs)

    setup_context = staticmethod(_save)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        # A graph is differentiated once, so the operator need not be differentiable.
        is_final = torch.compiler.is_compiling()
        differentiate = _gradient_operator if is_final else _Gradient.apply
        return differentiate(grad_output, *_saved(ctx)), *_NO_OTHERS


def _is_one(grad_output: Tensor) -> bool:
    """Tell whether a factor is 1; a batch of factors, as in vectorised Jacobians, is not."""
    is_batch = torch._C._functorch.is_legacy_batchedtensor(grad_output)
    return not is_batch and not _is_transformed(grad_output) and bool(grad_output.item() == 1)


class _EagerValue(torch.autograd.Function):
    """The value, whose gradient is computed in the same pass if one number is asked for."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _save(ctx, inputs, None)
        *_, reduction, axes, _ = inputs
        # On a GPU, to see that the factor of the gradient is 1 would be to wait.
        is_number = reduction != "none" and axes is None and not _is_on_gpu(inputs[0])
        value, ctx.gradient = _value_and_gradient(*inputs) if is_number else (_value(*inputs), None)
        return value

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        # The gradient is handed out once: its receiver may change it. With another factor it is
        # computed again and not multiplied, because in float16 it may have been rounded to zero.
        gradient, ctx.gradient = ctx.gradient, None
        is_usable = gradient is not None and not torch.is_grad_enabled()
        if not is_usable or not _is_one(grad_output):
            gradient = _Gradient.apply(grad_output, *_saved(ctx))
        return gradient, *_NO_OTHERS


class _Gradient(torch.autograd.Function):
    """The gradient, which can be differentiated once more."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return _gradient_operator(*inputs)

    setup_context = staticmethod(_save)

    @staticmethod
    def backward(ctx: Any, vector: Tensor) -> tuple[Tensor | None, ...]:
        grad_output, *inputs = _saved(ctx)
        to_grad_output = to_logits = None
        if ctx.needs_input_grad[0]:
            product = vector * _Gradient.apply(torch.ones_like(grad_output), *inputs)
            # torch sums over all axes if it is given none.
            axes = _reduced_axes(inputs)
            to_grad_output = product.sum(axes) if axes else product
        if ctx.needs_input_grad[1]:
            to_logits = vector * _hessian_operator(grad_output, *inputs)
        return to_grad_output, to_logits, *_NO_OTHERS
