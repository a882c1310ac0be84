"""The client library, or the command that installs it."""

import logging

from multitudes.errors import missing_extra

try:
    import grpc
    from pymilvus import DataType, MilvusClient, MilvusException
except ImportError as error:
    raise missing_extra("pymilvus", "milvus") from error

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # every failure is raised; none needs its traceback logged

__all__ = ["DataType", "MilvusClient", "MilvusException", "grpc"]
