"""Import every module of the core and of the add-ons: each name that it takes from another package must be there.

python -m tests.lowest.import_modules
"""

import importlib
import pkgutil

import multitudes
import multitudes_lab
import multitudes_milvus
import multitudes_pgvector
import multitudes_spark


def import_modules() -> int:
    """Import all modules but the one that runs the command line; return how many there are."""
    packages = (multitudes, multitudes_lab, multitudes_milvus, multitudes_pgvector, multitudes_spark)
    names = [
        one.name for package in packages for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    return len(modules)


if __name__ == "__main__":
    print(f"{import_modules()} modules")  # noqa: T201
