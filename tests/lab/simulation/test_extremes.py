"""Any valid world can be simulated, even with extreme settings."""

import numpy as np
from benchmarks.simulate.simple_feed import simulate_feed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multitudes.data.planted import START_S
from multitudes.data.timestamps import DAY_S
from multitudes_lab.simulation import constants
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import WorldConfig
from tests.lab.simulation.worlds import fixed

_SIZES = {
    "users": st.sampled_from([1, 2, 300]),
    "items": st.sampled_from([12, 13, 200]),
    "topics": st.sampled_from([1, 3, 12]),
    "niches": st.just(12),
    "tastes": st.sampled_from([1, 2, 11]),
    "seed": st.sampled_from([0, 2**64]),
}
_ENDS = (0, 1, 10, 1e6)  # what a setting does not take is left at its default


def _ends(name):
    """Return a strategy of the extreme values of a setting."""
    takes = []
    for value in (*_ENDS, WorldConfig.model_fields[name].default):
        whole = int(value) if WorldConfig.model_fields[name].annotation is int else value
        try:
            WorldConfig(**{name: whole})
        except ValueError:
            continue
        takes.append(whole)
    return st.sampled_from(takes)


_OTHERS = [name for name in WorldConfig.model_fields if name not in _SIZES]
_COHORT = st.sampled_from([tuple(float(name == one) for name in constants.COHORTS) for one in constants.COHORTS])


@given(
    sizes=st.fixed_dictionaries(_SIZES),
    others=st.fixed_dictionaries({}, optional={name: _ends(name) for name in _OTHERS}),
    cohort=_COHORT,
    visits=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_a_world_of_extreme_settings_runs_without_a_warning(sizes, others, cohort, visits):
    with fixed(COHORT_SHARE=cohort, COHORT_VISITS=(visits,) * 5):
        world = World(WorldConfig(**sizes, **others))
    events = simulate_feed(world, past=3, days=3, slots=7)
    assert events["user_id"].is_between(0, world.users - 1).all()
    assert events["item_id"].is_between(0, world.items - 1).all()
    day_E = (events["timestamp"].to_numpy() - START_S) // DAY_S
    assert (world.created_I[events["item_id"].to_numpy()] <= day_E).all()
    everybody, items = np.arange(world.users), np.tile(np.arange(world.items), (world.users, 1))
    appeal = world.appeal(0, everybody, items)
    assert np.isfinite(appeal).all()
    assert np.isin(world.draw_reactions(0, everybody, items, appeal, np.zeros_like(items)), range(4)).all()
    assert np.abs(world.tastes(0)[1].sum(axis=1) - 1).max() < 1e-4
    assert len(world.users_table()) == world.users
    assert len(world.items_table(36_500)) == world.items
