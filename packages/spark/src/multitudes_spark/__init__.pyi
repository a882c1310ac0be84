# The public names and where each is defined; __init__.py reads this file and loads a name when it is first used.
from .batch import recommend as recommend

__all__: list[str]
__version__: str
