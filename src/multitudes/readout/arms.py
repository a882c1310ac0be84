"""The arms: which is the control, how large each is, and how large it was to be."""

from collections.abc import Collection, Mapping
from math import inf

from multitudes.config import nearest
from multitudes.data.duck import DuckDB
from multitudes.errors import DataError, UsageError
from multitudes.readout.config import ReadoutConfig
from multitudes.readout.users import Users

CONTROL = "control"  # the arm that it is where nobody says which


def sizes(connection: DuckDB, users: Users) -> dict[str, int]:
    """Return how many users each arm has.

    Raises:
        DataError: an arm has nobody, or there is one arm only.
    """
    counted = dict(connection.execute("SELECT arm, count(*) FROM total GROUP BY arm").fetchall())
    found = {arm: counted.get(arm, 0) for arm in users.exposed.arms}
    file = users.exposed.table.file
    if len(found) < 2:
        raise DataError(f"{file}: the only arm is '{next(iter(found))}'; expected a control and at least one other arm")
    empty = [arm for arm, n in found.items() if not n]
    if empty:
        raise DataError(f"{file}: nobody of arm '{empty[0]}' was in for the whole window; give a shorter --window")
    return found


def control_of(control: str | None, arms: Collection[str]) -> str:
    """Return the arm of ``arms`` that the others are compared with; ``CONTROL`` where nobody says which.

    Raises:
        UsageError: it is not said, or there is none of this name.
    """
    if (control or CONTROL) in arms:
        return control or CONTROL
    if control is None:
        raise UsageError(f"no arm is called '{CONTROL}'; say which is it with --control NAME; arms: {', '.join(arms)}")
    raise UsageError(f"--control '{control}': no row has this arm{nearest(control, list(arms))}")


def planned(config: ReadoutConfig, sizes: Mapping[str, int]) -> dict[str, float]:
    """Return the planned share of each arm, in any unit.

    Raises:
        UsageError: an arm has none, or one that cannot be, or is not there.
    """
    if not config.planned:
        return dict.fromkeys(sizes, 1.0)
    for arm, share in config.planned.items():
        if arm not in sizes:
            raise UsageError(f"--ratio names arm '{arm}', which no exposure has{nearest(arm, list(sizes))}")
        if not 0 < share < inf:
            raise UsageError(f"--ratio {arm}={share:g}; expected a finite share above 0")
    lacking = [arm for arm in sizes if arm not in config.planned]
    if lacking:
        raise UsageError(f"--ratio says nothing of arm '{lacking[0]}'; give the share of each, such as {lacking[0]}=1")
    return config.planned
