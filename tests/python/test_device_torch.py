"""The integration with PyTorch on a GPU: the results are those on the CPU, bit for bit.

A build with LOGITLOSS_CUDA_ON_HOST takes tensors on the CPU for tensors on a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import logitloss
from logitloss import _core, _device

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch")

from logitloss.integrations import torch as integration

Move = Callable[[Any], Any]

OPTIONS: dict[str, dict[str, Any]] = {
    "mean": {},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "axis": {"axis": 0},
    "two axes": {"axis": (0, 1), "reduction": "sum"},
    "weighted mean": {"reduction": "weighted_mean", "weight": torch.rand(5, 7)},
    "numbers": {"weight": 0.5, "pos_weight": 3},
    "per class": {"pos_weight": torch.rand(7), "label_smoothing": 0.125},
    "where": {"where": torch.arange(35).reshape(5, 7) % 3 > 0},
    "ignored": {"ignore_index": 1},
}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Move:
    """Provide what moves a tensor to the GPU."""
    platform = _core.cuda_platform()
    if not platform:
        pytest.skip("this build has no CUDA")
    if logitloss.config()["isa"] == "baseline":
        pytest.skip("the bits of a device are those of processors with fma")
    if platform == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch sees no CUDA device")
        return lambda tensor: tensor.cuda()

    def taken_for_a_gpus(tensor: Any) -> Any:
        monkeypatch.setattr(integration, "_is_on_gpu", lambda _: True)
        monkeypatch.setattr(_device, "is_on_device", lambda array: isinstance(array, torch.Tensor))
        monkeypatch.setattr(_device._Torch, "stream", lambda *_: 0)
        return tensor

    return taken_for_a_gpus


def inputs(dtype: Any) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(1)
    logits = (8 * torch.randn(5, 7, generator=generator)).to(dtype)
    return logits, torch.randint(0, 2, (5, 7), generator=generator)


def moved(move: Move, options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: move(value) if isinstance(value, torch.Tensor) else value
        for name, value in options.items()
    }


def value_and_derivatives(x: Any, y: Any, factor: float, options: dict[str, Any]) -> list[Any]:
    logits = x.detach().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = integration.binary_cross_entropy_with_logits(logits, y, **options)
    (first,) = torch.autograd.grad(factor * value.sum(), logits, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), logits)
    return [value.detach(), first.detach(), second]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_results_are_those_of_the_cpu(move: Move, options: dict[str, Any], dtype: Any) -> None:
    x, y = inputs(dtype)
    expected = [value_and_derivatives(x, y, factor, options) for factor in (1.0, 3.0)]
    on_gpu = move(x), move(y), moved(move, options)
    for factor, results in zip((1.0, 3.0), expected, strict=True):
        got = value_and_derivatives(on_gpu[0], on_gpu[1], factor, on_gpu[2])
        for one, two in zip(got, results, strict=True):
            assert one.device == on_gpu[0].device
            assert one.dtype == two.dtype
            assert torch.equal(one.cpu(), two)


def test_the_module(move: Move) -> None:
    x, y = inputs(torch.float32)
    module = integration.BCEWithLogitsLoss(pos_weight=torch.rand(7), ignore_index=1)
    expected = module(x, y)
    on_gpu = module.to(move(x).device)(move(x), move(y))
    assert torch.equal(on_gpu.cpu(), expected)


def test_targets_are_not_checked(move: Move) -> None:
    x, y = inputs(torch.float32)
    x, y = move(x), move(y + 7)
    integration.binary_cross_entropy_with_logits(x, y)
    with pytest.raises(ValueError, match="validate=True is not for tensors on a GPU"):
        integration.binary_cross_entropy_with_logits(x, y, validate=True)


def test_a_tensor_elsewhere_is_refused(move: Move) -> None:
    if _core.cuda_platform() != "cuda":
        pytest.skip("needs a CUDA device")
    x, y = inputs(torch.float32)
    with pytest.raises(ValueError, match=r"target is on the device cpu and input on cuda:0"):
        integration.binary_cross_entropy_with_logits(move(x), y)
