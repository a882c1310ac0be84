"""Array files that are opened as memory maps."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.errors import ArtefactError


def open_array(file: Path, dtype: type[np.generic], repair: str, dimensions: int | None = None) -> NDArray[Any]:
    """Open a ``.npy`` file as a memory map; ``repair``, what to do if it cannot be opened, ends the error.

    Raises:
        ArtefactError: the file is missing, damaged, or of another dtype or number of ``dimensions``; None: of any.
    """
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(file, mode="r")  # never an archive or a pickle, as np.load
    except FileNotFoundError:
        raise ArtefactError(f"{file}: missing; {repair}") from None
    except Exception:  # NumPy passes on what Python's tokenizer makes of a damaged header
        raise ArtefactError(f"{file}: damaged or cut short; {repair}") from None
    if array.dtype != dtype or dimensions not in (None, array.ndim):
        expected = f"{np.dtype(dtype)}" + (f" with {dimensions} dimensions" if dimensions else "")
        raise ArtefactError(f"{file}: holds {array.dtype} of shape {array.shape}; expected {expected}; {repair}")
    return array
