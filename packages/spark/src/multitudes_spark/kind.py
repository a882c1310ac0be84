"""What the core knows of this add-on as an SQL engine: its settings, and how it is opened."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from multitudes.data.engine import Engine
from multitudes.data.location import reject_url
from multitudes_spark.session import SparkConfig, open_spark


class Spark:
    """An ``EngineKind``: ``[engine] kind = "spark"``."""

    settings = SparkConfig

    @staticmethod
    @contextmanager
    def open(scratch: Path, config: SparkConfig) -> Iterator[Engine]:
        """Yield Spark as an engine, with its shards in ``scratch`` or where the settings say."""
        with ExitStack() as stack:
            if config.scratch is not None:
                reject_url(config.scratch)
                shared = tempfile.TemporaryDirectory(prefix="multitudes-engine-", dir=config.scratch)
                scratch = Path(stack.enter_context(shared))
            yield stack.enter_context(open_spark(scratch, config))
