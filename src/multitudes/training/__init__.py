"""Train models: one loop turns examples into weights."""

from multitudes.threads import wait_passively

wait_passively()  # of any use only before torch, which the modules of this package import
