"""multitudes on a Spark cluster: an SQL engine, which ``[engine] kind = "spark"`` names, and batch inference.

``import multitudes_spark`` is cheap: a name is loaded when it is first used. What its stub does not name may change in
any version.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
