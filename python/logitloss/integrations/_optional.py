"""Libraries that are not needed for `import logitloss`."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import a library, or say how to install it.

    Parameters
    ----------
    module : str
        What to import, such as ``"dask.array"``.
    extra : str
        The extra of this package that installs it, which is also the integration's name.

    Raises
    ------
    ImportError
        If the library is not installed. One that is there and fails to import raises its own.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise ImportError(
            f"logitloss.integrations.{extra} needs {library}, which is not installed; "
            f"python -m pip install 'logitloss[{extra}]' installs it"
        ) from None
