"""Spark as an engine of the core, with given settings."""

from multitudes.data.engine_config import EngineConfig
from multitudes_spark.session import SparkConfig


def by(spark: SparkConfig) -> EngineConfig:
    return EngineConfig(kind="spark", options=spark.model_dump())
