"""Experiments with multitudes: the simulated world, readouts of A/B tests, capacity planning.

Its commands are those of ``multitudes`` once it is installed. ``import multitudes_lab`` is cheap: a name is loaded when
it is first used. What its stub does not name may change in any version.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
