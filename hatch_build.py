"""The package's page: with the address of the repository, its links are whole and the project has URLs.

The address is not known here: ``MULTITUDES_URL=https://… python -m build`` gives it. Without it, links of the README
stay as they are.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PAPER = "https://arxiv.org/abs/2506.23060"


class PackagePage(MetadataHookInterface):
    """Sets the description and the URLs."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set what pyproject.toml leaves to this hook."""
        url = os.environ.get("MULTITUDES_URL", "").rstrip("/")
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": with_whole_links(text, url) if url else text}
        metadata["urls"] = {"Paper": PAPER}
        if url:
            files = {"Documentation": "docs/README.md", "Changelog": "CHANGELOG.md"}
            metadata["urls"] |= {"Repository": url, **{name: f"{url}/blob/main/{file}" for name, file in files.items()}}


def with_whole_links(text: str, url: str) -> str:
    """Return Markdown with links to files and images of the repository at ``url``."""
    text = re.sub(r"(!\[[^\]]*\])\((?!https?:|#)", rf"\1({url}/raw/main/", text)
    return re.sub(r"(?<!!)(\[[^\]]*\])\((?!https?:|#)", rf"\1({url}/blob/main/", text).replace("<this repository>", url)
