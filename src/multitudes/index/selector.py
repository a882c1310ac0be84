"""What FAISS must not propose, as a bit for each row.

A bitmap costs the walk through 4-bit lists some 8 % (12 × 232 proposals of 1 M, 1,000 rows excluded), however many rows
it takes out; a set of ids costs as much and has to be made anew from all of them.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

_faiss: Any = faiss  # its types are incomplete


def all_but(row_E: NDArray[np.int64] | None, items: int) -> Any:  # noqa: ANN401 (FAISS has no types)
    """Return a selector of all rows but some; None selects every row."""
    if row_E is None or len(row_E) == 0:
        return None
    bitmap = np.full(items // 8 + 1, 255, dtype=np.uint8)
    np.bitwise_and.at(bitmap, row_E >> 3, ~(1 << (row_E & 7)).astype(np.uint8))
    selector = _faiss.IDSelectorBitmap(bitmap)
    selector.kept_alive = bitmap  # FAISS holds a bare pointer to it
    return selector
