"""What the core knows of this add-on: how such an index is built and opened."""

from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.index import MilvusIndex
from multitudes_milvus.publishing import publish_collection


class Milvus:
    """An ``IndexKind``: ``[index] kind = "milvus"``."""

    settings = MilvusConfig
    build = staticmethod(publish_collection)
    open = staticmethod(MilvusIndex.open)
