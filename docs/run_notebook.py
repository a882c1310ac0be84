"""``python docs/run_notebook.py FILE.ipynb``: run the code of a notebook, and write what each cell printed as JSON."""

import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def printed(notebook: Path) -> list[str]:
    """Run the cells in order, as one program; return what each printed."""
    names: dict[str, object] = {"__name__": "__main__"}
    texts = []
    for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        with redirect_stdout(StringIO()) as output:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), names)  # noqa: S102
        texts.append(output.getvalue())
    return texts


if __name__ == "__main__":
    texts = printed(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(texts))
