"""What the core knows of this add-on as an SQL engine: its settings, and how it is opened."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
        if config.scratch is None:
            with open_spark(scratch, config) as engine:
                yield engine
            return
        reject_url(config.scratch)
        with (
            tempfile.TemporaryDirectory(prefix="multitudes-engine-", dir=config.scratch) as shared,
            open_spark(Path(shared), config) as engine,
        ):
            yield engine
