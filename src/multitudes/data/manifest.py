"""What the manifest of a prepared folder says of how it came to be: settings, inputs, counts, repairs and warnings."""

from collections.abc import Mapping
from typing import Any

from multitudes.data import summary
from multitudes.data.address import Address
from multitudes.data.clean.tables import Clean
from multitudes.data.digest import sha256
from multitudes.data.engine import Engine
from multitudes.data.features import Features
from multitudes.data.prepared import FORMAT, FORMAT_VERSION
from multitudes.data.tables import Table


def of(
    engine: Engine,
    cleaned: Clean,
    config: Mapping[str, Any],
    actions: list[str],
    tally: summary.Tally,
    features: Mapping[str, Features],
) -> dict[str, Any]:
    """Return it.

    Args:
        engine: with the tables that were written.
        cleaned: what was read, and repaired.
        config: the settings that can change the result.
        actions: in the order of their numbers.
        tally: what was counted of the events.
        features: of items and of users.
    """
    counts = summary.whole(engine) | tally.events
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "config": dict(config),
        "inputs": {name: _input(engine, table) for name, table in cleaned.inputs.items()},
        "counts": counts,
        "conditions": tally.conditions,
        **({"sources": dict(cleaned.sources)} if cleaned.sources else {}),
        "actions": actions,
        "ordered_only": cleaned.ordered_only,
        "recent_s": config["recent_s"],
        "id_kinds": dict(cleaned.kinds),
        "item_features": features["items"].names,
        "user_features": features["users"].names,
        "item_encoding": features["items"].encoding,
        "skipped_columns": {name: features[name].skipped for name in features},
        "repairs": dict(cleaned.repairs),
        "warnings": [*cleaned.warnings, *_unknown_actions(config, actions), *summary.warnings(counts, config["split"])],
    }


def _input(engine: Engine, table: Table) -> dict[str, Any]:
    """Return what tells a table from another; of one that was fetched, where it lies."""
    known = {"sha256": sha256(engine.bring(table.file)), "rows": table.rows}
    return known | ({"address": str(table.file)} if isinstance(table.file, Address) else {})


def _unknown_actions(config: Mapping[str, Any], actions: list[str]) -> list[str]:
    missing = sorted(set(config["positive_actions"]) - set(actions))
    return [f"positive_actions names {', '.join(missing)}, which no event has"] if missing else []
