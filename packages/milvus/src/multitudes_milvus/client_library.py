"""Import the client library of Milvus, or raise the error that names the command that installs it."""

import logging

from multitudes.errors import missing_add_on

try:
    import grpc
    from pymilvus import DataType, MilvusClient, MilvusException
except ImportError as error:
    raise missing_add_on("the package 'pymilvus'", "milvus") from error

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # failures are raised, so their tracebacks need no log

__all__ = ["DataType", "MilvusClient", "MilvusException", "grpc"]
