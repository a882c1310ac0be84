"""The colours of interests on the pages of the explorer and of reports, in light and in dark, as CSS."""

from typing import Final

COUNT: Final = 10  # of colours; then they begin again
STYLE: Final = """
:root { --speck: #c4c9d1; --whole: #6b727d; --c0: #1f77b4; --c1: #d95f02; --c2: #2a9d57; --c3: #b8338a; --c4: #8a6d00;
  --c5: #6a51c7; --c6: #0e8a8a; --c7: #c0392b; --c8: #5d7a00; --c9: #a05a2c; }
@media screen and (prefers-color-scheme: dark) {
  :root { --speck: #48505b; --whole: #9aa2ae; --c0: #6cb3ea; --c1: #ff9d4d; --c2: #5fd08b; --c3: #f07cc6; --c4: #d9b93a;
    --c5: #a996ff; --c6: #4fd0d0; --c7: #ff8577; --c8: #a9cc45; --c9: #d69a6b; }
}
"""
