"""What the core knows of this add-on: how such an index is built and opened."""

from multitudes_milvus.collection import serving_collection
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.connection import Connection
from multitudes_milvus.index import MilvusIndex
from multitudes_milvus.publishing import publish_collection


class Milvus:
    """An ``IndexKind``: ``[index] kind = "milvus"``."""

    settings = MilvusConfig
    build = staticmethod(publish_collection)
    open = staticmethod(MilvusIndex.open)

    @staticmethod
    def check(config: MilvusConfig) -> None:
        """Reject a server that does not answer; see ``IndexKind.check``."""
        serving_collection(Connection(config))
