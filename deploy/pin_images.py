"""Write ``cluster/.env``, which names the images of others by their digests; Compose reads it.

It asks the registries through ``skopeo``, or else ``docker buildx``: no digest is made up here.

    python deploy/pin_images.py
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

CLUSTER: Final = Path(__file__).parent / "cluster"
_TOOLS: Final = {
    "skopeo": ["skopeo", "inspect", "--format", "{{.Digest}}", "docker://IMAGE"],
    "docker": ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", "IMAGE"],
}


def images(compose: str) -> dict[str, str]:
    """Return the images that ``compose.yaml`` takes from variables, by variable: ``${REDIS_IMAGE:-redis:7}``."""
    return dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", compose))


def digest(image: str) -> str:
    """Return the digest of an image for all platforms.

    Raises:
        RuntimeError: no tool is installed, or the registry does not answer.
    """
    tool = next((name for name in _TOOLS if shutil.which(name)), None)
    if tool is None:
        raise RuntimeError("neither skopeo nor docker is installed, one of which asks the registry; install skopeo")
    command = [word.replace("IMAGE", image) for word in _TOOLS[tool]]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = ran.stdout.strip()
    if ran.returncode or not re.fullmatch("sha256:[0-9a-f]{64}", found):
        reason = (ran.stderr.strip() or found or "no answer").splitlines()[-1]
        raise RuntimeError(f"{image}: {tool} gives no digest ({reason}); try again where its registry is reached")
    return found


def main() -> None:
    """Ask for every digest, and write the file if all are known."""
    try:
        found = images((CLUSTER / "compose.yaml").read_text())
        lines = [f"{variable}={image}@{digest(image)}\n" for variable, image in found.items()]
    except RuntimeError as error:
        sys.exit(f"pin_images: {error}")
    (CLUSTER / ".env").write_text("".join(lines))
    print("".join(lines), end="")  # noqa: T201


if __name__ == "__main__":
    main()
