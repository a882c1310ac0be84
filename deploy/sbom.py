"""Print the SBOM of an image as CycloneDX: the packages that its lock file installs, each with the hashes of its files.

Equal lock files give equal SBOMs. What the base image brings is not in it.

    python deploy/sbom.py serve > sbom-serve.json
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from packaging.markers import Marker

ROOT: Final = Path(__file__).parents[1]
# Where the packages are installed: the base image of the Containerfile.
_IMAGE: Final = {
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "os_name": "posix",
    "sys_platform": "linux",
    "python_version": "3.12",
    "python_full_version": "3.12.0",
}
_LINE: Final = re.compile(
    r"(?P<name>[\w.-]+)(\[[^]]*\])?==(?P<version>\S+)( ; (?P<marker>.*?))?(?P<hashes>( +--hash=\S+)+)"
)


def bill_of_materials(image: str) -> dict[str, Any]:
    """Return the SBOM of an image, ``serve`` or ``train``."""
    lock = (ROOT / "deploy" / f"requirements-{image}.txt").read_text().replace("\\\n", " ").splitlines()
    lines = [match for line in lock if (match := _LINE.fullmatch(line))]
    if len(lines) < len(lock):
        raise ValueError(f"requirements-{image}.txt: expected lines as NAME==VERSION --hash=sha256:…; make lock")
    installed = [line for line in lines if not line["marker"] or Marker(line["marker"]).evaluate(_IMAGE)]
    components = [_component(line) for line in installed]
    (version,) = re.findall(r'^__version__ = "(.*)"', (ROOT / "src/multitudes/__init__.py").read_text(), re.MULTILINE)
    main = {
        "type": "container",
        "bom-ref": f"multitudes-{image}",
        "name": "multitudes" if image == "serve" else f"multitudes-{image}",
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}, {"license": {"name": "LicenseRef-MovieLens"}}],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main},
        "components": components,
        "dependencies": [{"ref": main["bom-ref"], "dependsOn": [one["bom-ref"] for one in components]}],
    }


def _component(line: re.Match[str]) -> dict[str, Any]:
    purl = f"pkg:pypi/{line['name'].lower().replace('_', '-')}@{line['version'].replace('+', '%2B')}"
    files = [{"alg": "SHA-256", "content": one} for one in re.findall(r"--hash=sha256:(\w+)", line["hashes"])]
    source = {
        "type": "distribution",
        "url": purl,
        "hashes": files,
    }
    return {
        "type": "library",
        "bom-ref": purl,
        "name": line["name"],
        "version": line["version"],
        "purl": purl,
        "externalReferences": [source],
    }


if __name__ == "__main__":
    json.dump(bill_of_materials(sys.argv[1]), sys.stdout, indent=1)
    sys.stdout.write("\n")
