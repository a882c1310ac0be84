"""What is in flight: single requests, batches and events; clients share the places of each kind.

By Little's law, a request stays in the service for the number of requests in flight times the mean seconds between two
completions, whether the event loop, the engine or another program causes the delay. Batches have a fixed number of
places, which bounds their memory, and so have events. ``reliability/shares.py`` fails without shares.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from random import uniform
from time import monotonic
from typing import Final, Literal

from multitudes.service.admission import OVERLOADED, AdmissionConfig, OverloadError
from multitudes.service.engine import QueueConfig

Work = Literal["interactive", "batch", "events"]
MESSAGES: Final[dict[Work, str]] = {"interactive": OVERLOADED, "batch": OVERLOADED}
MESSAGES["events"] = "many events are being stored; send these again later, and fewer at a time"
PLACES: Final = 256  # of batches, and again of events; the last batch that enters may take more than there are
PLACE_BYTES: Final = 16_384  # of the body of a request that recommends
_ALWAYS_ADMITTED: Final = 2 * QueueConfig().batch  # requests: the engine answers a batch while the next one fills
_OVERFILL: Final = 1.5  # with what clients below their share send, until those above theirs are answered
_ACTIVE_S: Final = 5.0  # after its last request, a client still counts as one that shares the places
_INTERVAL_S: Final = 1.0
_MAX_RETRY_S: Final = 30.0  # that a client is asked to wait beyond the time by which its request was late
_DECAY: Final = 0.99  # of older measurements at each new one; this averages the bunches in which completions come


@lru_cache(4_096)
def network_of(client: str) -> str:
    """Return the network of an address, /24 or /56, all of which one sender may have; the name of a key is its own."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    address = getattr(address, "ipv4_mapped", None) or address
    return str(ip_network((address, 24 if address.version == 4 else 56), strict=False))


@dataclass
class _Client:
    """The places that one client has, and when it last sent a request."""

    in_flight: Counter[Work] = field(default_factory=Counter)
    last_s: float = 0.0
    no_batch_until_s: float = 0.0


class InFlightRequests:
    """What is in flight in one event loop by client, and the mean time between two completions.

    Networks share the places equally, and the clients of a network its share. One that has more than its share is
    admitted only where places are free, one that has less also where they are taken by those that have more. So a
    client gets what it asks for, up to its share, whatever the others send. Callers pass the time in.
    """

    def __init__(self, config: AdmissionConfig | None = None, always_admitted: int = _ALWAYS_ADMITTED) -> None:
        """Start empty; below ``always_admitted`` requests in flight, none is rejected."""
        self._config, self._always_admitted = config or AdmissionConfig(), always_admitted
        self._in_flight = Counter[Work]()
        self._clients = dict[str, dict[str, _Client]]()  # by network
        self._last_change_s = 0.0  # the last completion, or the first arrival after the service was empty
        self._total_s = self._completed = self._rejected = 0.0  # decaying sums
        self._next_count_s = 0.0  # when clients that left are dropped

    def __len__(self) -> int:
        """Return the number of single requests in flight."""
        return self._in_flight["interactive"]

    def enter(self, now_s: float, work: Work = "interactive", client: str = "", places: int = 1) -> None:
        """Count an arrival."""
        if work == "interactive" and not len(self):
            self._last_change_s = now_s
        self._in_flight[work] += places
        self._seen(client, now_s).in_flight[work] += places

    def leave(self, now_s: float, work: Work, client: str = "", places: int = 1, *, comes_again: bool = False) -> None:
        """Count a completion; that of batches and events is not timed, since it depends on their size."""
        self._in_flight[work] -= places
        self._seen(client, now_s).in_flight[work] -= places
        if work == "interactive" and not comes_again:
            self._total_s = _DECAY * self._total_s + now_s - self._last_change_s
            self._completed = _DECAY * self._completed + places
            self._rejected *= _DECAY
            self._last_change_s = now_s

    @contextmanager
    def hold(self, work: Work, client: str, places: int) -> Iterator[None]:
        """Count work until the end of the block.

        Where a batch is rejected in it, further ones of its client are, for a while, before their body is read.

        Raises:
            OverloadError: no place is free for their client.
        """
        if (excess_s := self.excess_s(work, float("inf"), client, monotonic())) > 0:
            raise OverloadError(MESSAGES[work], excess_s, "in_flight")
        self.enter(monotonic(), work, client, places)
        try:
            yield
        except OverloadError:
            if work == "batch":
                self._seen(client, monotonic()).no_batch_until_s = monotonic() + _INTERVAL_S
            raise
        finally:
            self.leave(monotonic(), work, client, places)

    def excess_s(self, work: Work, time_limit_s: float, client: str = "", now_s: float = 0.0) -> float:
        """Return the seconds by which one more request would exceed its time; 0 or less: admit it.

        Batches are admitted only while single requests, which they never delay, have time to spare.
        """

        def behind_s(before: float) -> float:
            if work == "interactive":
                return self._excess_s(int(before), time_limit_s)
            return 0.0 if before < PLACES else _INTERVAL_S

        held, excess_s = self._in_flight[work], behind_s(self._in_flight[work])
        if excess_s > 0 and self._is_below_share(work, client, now_s, behind_s):
            excess_s = behind_s(held / _OVERFILL)
        if work == "batch" and excess_s <= 0:
            rejected_s = self._seen(client, now_s).no_batch_until_s - now_s
            excess_s = max(rejected_s, self._excess_s(len(self), self._config.batch_share * time_limit_s))
        return excess_s

    @property
    def is_full(self) -> bool:
        """Whether a further single request may be rejected."""
        return len(self) >= self._always_admitted

    def reject(self, excess_s: float) -> float:
        """Count a rejection, and return the seconds after which to send the request again.

        The more requests were rejected for each that was answered, the later clients are asked to come again, at
        moments drawn at random: else all of them would come at once, and most be rejected again.
        """
        rejections_per_answer = self._rejected / max(self._completed, 1.0)
        self._rejected += 1
        return excess_s + uniform(0.0, min(2 * rejections_per_answer, _MAX_RETRY_S))

    def _excess_s(self, before: int, time_limit_s: float) -> float:
        """Return the seconds by which a request behind ``before`` others would exceed its time."""
        if before < self._always_admitted:
            return 0.0
        mean_s = self._total_s / max(self._completed, 1.0)
        return (before + 1) * mean_s - self._config.load_shedding_share * time_limit_s

    def _seen(self, client: str, now_s: float) -> _Client:
        if now_s >= self._next_count_s:
            self._next_count_s = now_s + _INTERVAL_S
            for network, clients in list(self._clients.items()):
                for name, one in list(clients.items()):
                    if one.last_s < now_s - _ACTIVE_S and not one.in_flight.total():
                        del clients[name]
                if not clients:
                    del self._clients[network]
        clients = self._clients.setdefault(network_of(client), {})
        seen = clients.get(client) or clients.setdefault(client, _Client())
        seen.last_s = max(seen.last_s, now_s)
        return seen

    def _is_below_share(self, work: Work, client: str, now_s: float, behind_s: Callable[[float], float]) -> bool:
        """Return whether there were a place, if all had one more than this client has."""
        own = self._seen(client, now_s).in_flight[work]
        neighbours = len(self._clients[network_of(client)])  # with itself
        return (own == 0 and neighbours == 1) or behind_s((own + 1) * neighbours * len(self._clients) - 1) <= 0
