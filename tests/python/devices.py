"""Libraries whose arrays lie on a device, for tests: real ones, or stand-ins over host memory.

A build with LOGITLOSS_CUDA_ON_HOST runs the programs of a device on the host; then modules that
look like CuPy and PyTorch, as far as `logitloss` asks, stand in for them.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from hypothesis import reject

from logitloss import _core

Array = np.ndarray[Any, np.dtype[Any]]


class StandInDevice(contextlib.AbstractContextManager["StandInDevice"]):
    """A device of a stand-in; devices are told apart by their numbers."""

    def __init__(self, number: int = 0) -> None:
        self.id = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StandInDevice) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"device {self.id}"

    def __exit__(self, *_: object) -> None:
        """Leave the device."""


class _StandIn:
    """An array over host memory, which only its own library can read."""

    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}

    def __init__(self, values: Array, device: StandInDevice | None = None) -> None:
        self.values = values
        self.device = device or StandInDevice()
        self.shape = values.shape


class _CupyArray(_StandIn):
    __module__ = "cupy"
    __qualname__ = "ndarray"

    @property
    def data(self) -> Any:
        return type("Pointer", (), {"ptr": self.values.__array_interface__["data"][0]})

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        return self.values.strides


class _TorchTensor(_StandIn):
    __module__ = "torch"
    __qualname__ = "Tensor"
    is_cuda = True
    requires_grad = False

    @property
    def dtype(self) -> str:
        return f"torch.{self.values.dtype.name}"

    def stride(self) -> tuple[int, ...]:
        return tuple(step // self.values.itemsize for step in self.values.strides)

    def data_ptr(self) -> int:
        return int(self.values.__array_interface__["data"][0])


def _stand_in_cupy() -> Any:
    module: Any = ModuleType("cupy")
    module.empty = lambda shape, dtype: _CupyArray(np.empty(shape, dtype))
    module.cuda = ModuleType("cupy.cuda")
    module.cuda.get_current_stream = lambda: type("Stream", (), {"ptr": 0})
    return module


def _stand_in_torch() -> Any:
    module: Any = ModuleType("torch")
    names = ["uint8", "float16", "float32", "float64"]
    for dtype in [*map(np.dtype, names), np.dtype(ml_dtypes.bfloat16)]:
        setattr(module, dtype.name, dtype)
    module.empty = lambda shape, dtype, device: _TorchTensor(np.empty(shape, dtype), device)
    module.cuda = ModuleType("torch.cuda")
    module.cuda.current_stream = lambda _device: type("Stream", (), {"cuda_stream": 0})
    return module


class Place:
    """A library and its arrays: a stand-in."""

    def __init__(self, name: str) -> None:
        self.name = name

    def put(self, values: Array) -> Any:
        """Return an array on the device that has these values, and their layout where it can."""
        return (_CupyArray if self.name == "cupy" else _TorchTensor)(values)

    def get(self, array: Any) -> Array:
        """Return the values of an array on the device, once they are computed."""
        return np.asarray(array.values)


class _RealCupy(Place):
    def put(self, values: Array) -> Any:
        cupy = importlib.import_module("cupy")
        if values.dtype == ml_dtypes.bfloat16 and not _takes_bfloat16(cupy):
            reject()
        return cupy.asarray(values)

    def get(self, array: Any) -> Array:
        return np.asarray(array.get())


def _takes_bfloat16(cupy: Any) -> bool:
    try:
        cupy.zeros(1, ml_dtypes.bfloat16)
    except (TypeError, ValueError):
        return False
    return True


class _RealTorch(Place):
    def put(self, values: Array) -> Any:
        torch = importlib.import_module("torch")
        # A copy: torch warns of arrays that cannot be written, and takes no negative strides.
        copied = np.array(values, order="C")
        if values.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(copied.view(np.int16)).cuda().view(torch.bfloat16)
        return torch.from_numpy(copied).cuda()

    def get(self, array: Any) -> Array:
        torch = importlib.import_module("torch")
        if array.dtype == torch.bfloat16:
            bits: Array = array.view(torch.int16).cpu().numpy()
            return bits.view(ml_dtypes.bfloat16)
        return np.asarray(array.cpu().numpy())


def _real(name: str) -> Place:
    module = pytest.importorskip(name)
    if name == "torch" and not module.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    return _RealCupy(name) if name == "cupy" else _RealTorch(name)


@contextlib.contextmanager
def place(name: str) -> Iterator[Place]:
    """Provide a library by name, or skip and say what is missing."""
    platform = _core.cuda_platform()
    if not platform:
        pytest.skip("this build has no CUDA")
    if platform == "cuda":
        yield _real(name)
        return
    before = sys.modules.get(name)
    sys.modules[name] = _stand_in_cupy() if name == "cupy" else _stand_in_torch()
    try:
        yield Place(name)
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
