"""Arrays of other libraries in the memory of a GPU, as the compiled functions take them.

Such an array is looked at through a NumPy array over its memory, which carries the address, the
shape, the strides and the dtype, and which nothing reads or writes: what the functions check about
arrays, they check about that one. Results are made by the library that the logits come from, on
their device, and computed on the stream that is current in that library.
"""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray


class _Memory:
    """The memory of an array, and the array, which lives as long as a view of it."""

    def __init__(
        self,
        array: Any,
        pointer: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: np.dtype[Any],
        read_only: bool,
    ) -> None:
        self.array = array
        self.__array_interface__ = {
            "version": 3,
            # NumPy wants an address even where there is nothing to find.
            "data": (pointer or 64, read_only),
            "shape": shape,
            "strides": strides,
            "typestr": f"|V{dtype.itemsize}",
        }


def _view(memory: _Memory, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a NumPy array over memory that NumPy cannot reach; nothing is read."""
    return np.asarray(memory).view(dtype)


def _dtype(name: str, argument: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a name; bfloat16 is known to ml_dtypes alone."""
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            raise ImportError(
                f"{argument} has dtype bfloat16, which needs ml_dtypes; "
                "python -m pip install ml_dtypes installs it"
            ) from None
        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    try:
        return np.dtype(name)
    except TypeError:
        raise TypeError(f"{argument} has dtype {name}, which NumPy does not know") from None


class Library(Protocol):
    """What is asked of a library whose arrays lie on a device."""

    def device(self, array: Any) -> Any:
        """Return the device of an array; those of arrays of one device are equal."""

    def stream(self, array: Any) -> int:
        """Return the address of the current stream of the array's device."""

    def memory(self, array: Any, name: str) -> tuple[_Memory, np.dtype[Any]]:
        """Return an array's memory and dtype."""

    def empty(self, model: Any, shape: tuple[int, ...], dtype: str) -> Any:
        """Return an uninitialised array in C order on the device of `model`."""


class _Torch:
    def device(self, array: Any) -> Any:
        return array.device

    def stream(self, array: Any) -> int:
        import torch

        return int(torch.cuda.current_stream(array.device).cuda_stream)

    def memory(self, array: Any, name: str) -> tuple[_Memory, np.dtype[Any]]:
        if array.requires_grad:
            raise TypeError(
                f"{name} requires a gradient, which these functions would not record: pass "
                f"{name}.detach()"
            )
        dtype = _dtype(str(array.dtype).removeprefix("torch."), name)
        strides = tuple(step * dtype.itemsize for step in array.stride())
        pointer = array.data_ptr()
        return _Memory(array, pointer, tuple(array.shape), strides, dtype, False), dtype

    def empty(self, model: Any, shape: tuple[int, ...], dtype: str) -> Any:
        import torch

        return torch.empty(shape, dtype=getattr(torch, dtype), device=model.device)


class _CuPy:
    def device(self, array: Any) -> Any:
        return array.device

    def stream(self, array: Any) -> int:
        import cupy

        with array.device:
            return int(cupy.cuda.get_current_stream().ptr)

    def memory(self, array: Any, name: str) -> tuple[_Memory, np.dtype[Any]]:
        dtype = _dtype(array.dtype.name, name)
        pointer = array.data.ptr
        return _Memory(array, pointer, array.shape, array.strides, dtype, False), dtype

    def empty(self, model: Any, shape: tuple[int, ...], dtype: str) -> Any:
        import cupy

        with model.device:
            return cupy.empty(shape, dtype=_dtype(dtype, "the result"))


_LIBRARIES: dict[str, Library] = {"torch": _Torch(), "cupy": _CuPy()}


def _library_name(array: Any) -> str:
    return type(array).__module__.partition(".")[0]


def is_on_device(array: Any) -> bool:
    """Return whether an array that is not NumPy's lies in the memory of a CUDA device."""
    if _library_name(array) == "torch":
        return bool(getattr(array, "is_cuda", False))
    return hasattr(type(array), "__cuda_array_interface__") and hasattr(
        array, "__cuda_array_interface__"
    )


class Device:
    """The device and the library of the logits of one call.

    Parameters
    ----------
    logits : object
        An array for which `is_on_device` holds.

    Raises
    ------
    TypeError
        If results could not be made by the library of `logits`.
    """

    def __init__(self, logits: Any) -> None:
        name = _library_name(logits)
        if name not in _LIBRARIES:
            raise TypeError(
                f"logits are a {type(logits).__module__}.{type(logits).__qualname__} on a GPU; "
                f"arrays there may be those of {' or '.join(sorted(_LIBRARIES))}: "
                "cupy.from_dlpack(logits) or torch.from_dlpack(logits) makes one without a copy"
            )
        self._library = _LIBRARIES[name]
        self._name = name
        self._logits = logits
        self._device = self._library.device(logits)

    def view(self, array: Any, name: str) -> NDArray[Any]:
        """Return a view of an argument; of a single number on the host, the number."""
        if isinstance(array, (np.ndarray, np.generic)) and np.ndim(array) == 0:
            return np.asarray(array)
        if _library_name(array) != self._name or not is_on_device(array):
            self._refuse(array, name)
        if self._library.device(array) != self._device:
            raise ValueError(
                f"{name} lies on {self._library.device(array)} and logits on {self._device}: "
                "all arrays of a call must lie on one device"
            )
        memory, dtype = self._library.memory(array, name)
        return _view(memory, dtype)

    def _refuse(self, array: Any, name: str) -> NoReturn:
        raise TypeError(
            f"{name} must be a number or an array of {self._name} on {self._device}, as logits "
            f"are, not a {type(array).__module__}.{type(array).__qualname__}: move it there"
        )

    def empty(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return a view of a new array; `original` returns the array."""
        return self.view(self._library.empty(self._logits, shape, dtype), "the result")

    def original(self, view: NDArray[Any]) -> Any:
        """Return the array that a view was made of."""
        base: Any = view
        while not isinstance(base, _Memory):
            base = base.base
        return base.array

    def stream(self) -> int:
        """Return the address of the stream on which the call is to be enqueued."""
        return self._library.stream(self._logits)
