"""Settings of the logs, without what reads and writes them."""

from pydantic import Field

from multitudes.config import Config


class LogConfig(Config):
    """Section ``[logs]``: when segments are written and how long they are kept."""

    segment_mb: float = Field(32, gt=0, description="size of a process's spool at which it becomes a segment")
    segment_s: float = Field(600, gt=0, description="age of a spool's oldest row at which it becomes a segment")
    keep_days: float = Field(90, ge=0, description="older segments are removed; 0: never")
    max_gb: float = Field(
        20, ge=0, description="size of a log beyond which the oldest segments are removed; 0: no limit"
    )
