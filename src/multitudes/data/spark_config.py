"""Where Spark runs and what it may use."""

from pathlib import Path

from pydantic import Field

from multitudes.config import Config


class SparkConfig(Config):
    """Spark as the engine of ``prepare`` and ``validate``; nothing here changes the result."""

    master: str = Field(
        "local[*]", description="local[2]: two cores of this machine; spark://host:7077, yarn, k8s://…: a cluster"
    )
    memory: str = Field("2g", description="memory of the driver, and of each executor")
    scratch: Path | None = Field(
        None, description="folder that driver and executors share, for shards; unset: beside the output"
    )
    conf: dict[str, str] = Field(default_factory=dict, description="any settings of Spark's own, by their full names")
