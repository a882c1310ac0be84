"""``python -m reference.picture RELEASES USER``: the picture of README, ``docs/images/recommend.svg``.

It is what ``multitudes recommend RELEASES --user USER --n 20 --explain`` prints, on a terminal of 132 columns.
"""

import re
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console

from multitudes import Retriever
from multitudes.cli.recommend import parse_release_id, print_recommendation

if __name__ == "__main__":
    releases, user = sys.argv[1:]
    retriever = Retriever.open(Path(releases))
    found = retriever.recommend(parse_release_id(user, retriever.release.user_ids, "user"), n=20)
    console = Console(record=True, width=132, file=StringIO(), force_terminal=True)
    print_recommendation(found, explain=True, console=console)
    title = f"multitudes recommend {releases} --user {user} --n 20 --explain"
    drawn = console.export_svg(title=title, unique_id="table")
    # rich links web fonts; without them the browser takes its own fixed-width font.
    picture = re.sub(r"@font-face {.*?}\s*", "", drawn, flags=re.DOTALL)
    Path("docs/images/recommend.svg").write_text(picture, encoding="utf-8")
