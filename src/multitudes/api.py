"""The schema of requests and answers over HTTP, written once.

Every record here is a plain dataclass or named tuple. From these are made:

* the service's pydantic models, which check requests, and ``/openapi.json`` (``service.schemas``);
* the client's requests and answers, which are these records;
* the requests and recommendations of ``retrieval``, and what the command line prints with ``--json``.

An answer of a newer service may have more fields; ``from_record`` ignores them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar
from uuid import uuid4

from pydantic import Field

from multitudes.errors import UsageError
from multitudes.ids import INT64_RANGE, reject_text
from multitudes.records import list_fields

ID_CHARACTERS: Final = 512
TEXT_CHARACTERS: Final = 256
MAX_N: Final = 1_000
MAX_LIST: Final = 100_000  # candidates of a list where no service limits it
MAX_HISTORY: Final = 10_000
MAX_EXCLUDED: Final = 10_000
MAX_FOLLOWED_TOPICS: Final = 200
MAX_PREFERENCES: Final = 100  # muted or boosted topics or interests
MAX_ROWS: Final = 20
MAX_ROW_CANDIDATES: Final = 5_000  # of all rows of an answer
MAX_BATCH: Final = 256
MAX_BATCH_CANDIDATES: Final = 25_600  # of all requests of a batch: 256 with the default n; an answer of about 5 MB
MAX_EVENTS: Final = 1_000
MAX_CONTEXT: Final = 32
MAX_UNKNOWN: Final = 20  # unknown items or topics that an answer names
_UNKNOWN: Final = f"{MAX_UNKNOWN} at most, which this release does not know"
MAX_EXPLORED: Final = 100  # candidates, supposed events, users or items that the explorer asks for at once


Integer64 = Annotated[int, Field(ge=INT64_RANGE.start, le=INT64_RANGE.stop - 1)]
IdText = Annotated[str, Field(min_length=1, max_length=ID_CHARACTERS)]
AnyId = Annotated[
    Integer64 | IdText, Field(description='Exactly as in the data: an integer or a text; 1 and "1" are different ids.')
]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS)]
InterestNumber = Annotated[int, Field(ge=0, le=INT64_RANGE.stop - 1)]
Scalar = Annotated[str, Field(max_length=TEXT_CHARACTERS)] | bool | Integer64 | float | None
T = TypeVar("T")
# Validation stops at the first wrong item: a long list of wrong ones would block the event loop for a second.
FailFastList = Annotated[Sequence[T], Field(fail_fast=True)]
History = Annotated[
    Annotated[FailFastList[AnyId], Field(max_length=MAX_HISTORY)] | None,
    Field(description="Item ids, newest last, in place of a user."),
]
FollowedTopics = Annotated[
    Annotated[FailFastList[Text], Field(max_length=MAX_FOLLOWED_TOPICS)] | None,
    Field(description="Topic names, in place of a user."),
]
PreferredTopics = Annotated[FailFastList[Text], Field(max_length=MAX_PREFERENCES)]
PreferredInterests = Annotated[FailFastList[InterestNumber], Field(max_length=MAX_PREFERENCES)]

Source = Literal["unconditioned", "implicit", "explicit", "repeat", "popular"]  # what a candidate is for
InterestKind = Literal["unconditioned", "implicit", "explicit"]


# Requests


@dataclass(frozen=True)
class FoundItems:
    """What a vector store found for one vector of a user."""

    interest: Annotated[InterestNumber, Field(description="Of the vector.")]
    item_ids: Annotated[FailFastList[AnyId], Field(max_length=MAX_EXCLUDED, description="In any order.")]


@dataclass(frozen=True)
class RecommendRequest:
    """A request for candidates: for a user of the data, or for an anonymous one with a history and followed topics."""

    user_id: Annotated[
        AnyId | None, Field(description="A user: their history is read from the release and from the user states.")
    ] = None
    history: History = None
    followed_topics: FollowedTopics = None
    n: Annotated[int, Field(ge=1, le=MAX_N, description="How many candidates; with rows, of each row.")] = 100
    rows: Annotated[
        Annotated[int, Field(ge=1, le=MAX_ROWS)] | None,
        Field(
            description="How many rows, at most: in place of one list, one for each interest and followed topic; null:"
            " one list."
        ),
    ] = None
    exclude: Annotated[
        FailFastList[AnyId], Field(max_length=MAX_EXCLUDED, description="Item ids that must not be returned.")
    ] = ()
    exclude_seen: Annotated[
        bool | None,
        Field(description="Whether items of the history are left out; null: as the release says, by default yes."),
    ] = None
    mute_topics: Annotated[PreferredTopics, Field(description="Topics whose items are not returned.")] = ()
    boost_topics: Annotated[PreferredTopics, Field(description="Topics that get a larger share.")] = ()
    mute_interests: Annotated[
        PreferredInterests,
        Field(description="Interests that bring no candidates, by their numbers in the last answer."),
    ] = ()
    boost_interests: Annotated[
        PreferredInterests, Field(description="Interests that get a larger share, by their numbers in the last answer.")
    ] = ()
    calibration: Annotated[
        float | None,
        Field(
            ge=0, le=1, description="Part of the list that is divided among the tastes of the history; null: as set."
        ),
    ] = None
    found: Annotated[
        Annotated[FailFastList[FoundItems], Field(max_length=MAX_PREFERENCES)] | None,
        Field(description="What a vector store found for POST /v1/vectors; null: the release's own index is searched."),
    ] = None
    context: Annotated[
        Mapping[Text, Scalar],
        Field(max_length=MAX_CONTEXT, description="Anything; it is logged and not used otherwise."),
    ] = field(default_factory=dict)
    request_id: Annotated[
        Text | None,
        Field(description="Names the request in the logs, and draws its topics: unnamed ones draw the same each time."),
    ] = None

    @property
    def is_anonymous(self) -> bool:
        """Whether the request describes its user by a history or followed topics, and names none."""
        return self.history is not None or self.followed_topics is not None

    def check(self) -> None:
        """Check what the types do not express.

        Raises:
            UsageError: neither or both of a user and a description are given, ``n`` or ``rows`` is out of its bounds,
                or a list is a text.
        """
        if self.is_anonymous == (self.user_id is not None):
            raise UsageError("expected either user_id, or history and followed_topics; give one of the two")
        if not 1 <= self.n <= MAX_LIST:
            raise UsageError(f"n = {self.n:,} candidates; expected 1 to {MAX_LIST:,}")
        if self.calibration is not None and not 0 <= self.calibration <= 1:
            raise UsageError(f"calibration = {self.calibration}; expected a part of the list, from 0 to 1")
        if self.rows is not None and not 1 <= self.rows <= MAX_ROWS:
            raise UsageError(f"rows = {self.rows}; expected 1 to {MAX_ROWS}, or none for one list")
        if self.rows is not None and self.rows * self.n > MAX_ROW_CANDIDATES:
            raise UsageError(
                f"{self.rows} rows of n = {self.n:,} candidates; expected at most {MAX_ROW_CANDIDATES:,} together"
            )
        for name in list_fields(RecommendRequest):
            reject_text(name, getattr(self, name))


@dataclass(frozen=True)
class InterestShare:
    """The share of the list that an interest gets."""

    number: Annotated[InterestNumber, Field(description="Of the interest in the last answer.")]
    share: Annotated[float, Field(ge=0, le=1, description="Shares are scaled to sum to 1.")]


@dataclass(frozen=True)
class ExploreRequest:
    """A request of the explorer. Nothing of it is stored or logged as served."""

    user_id: Annotated[AnyId | None, Field(description="A user, or a history and followed topics.")] = None
    history: History = None
    followed_topics: FollowedTopics = None
    added: Annotated[
        FailFastList[AnyId],
        Field(max_length=MAX_EXPLORED, description="Items that the user is supposed to engage with now, in order."),
    ] = ()
    n: Annotated[int, Field(ge=1, le=MAX_EXPLORED, description="How many candidates.")] = 20
    calibration: Annotated[float | None, Field(ge=0, le=1, description="As in a request for candidates.")] = None
    interest_shares: Annotated[
        FailFastList[InterestShare],
        Field(max_length=MAX_PREFERENCES, description="Shares of the list; an interest without one gets none."),
    ] = ()
    mute_topics: PreferredTopics = ()
    boost_topics: PreferredTopics = ()
    mute_interests: PreferredInterests = ()
    boost_interests: PreferredInterests = ()
    release: Annotated[
        Text | None,
        Field(
            description="The release that answers, one of those of GET /v1/explore/releases; null: the one that serves."
        ),
    ] = None

    def check(self) -> None:
        """Check what the types do not express.

        Raises:
            UsageError: neither or both of a user and a description are given.
        """
        RecommendRequest(self.user_id, self.history, self.followed_topics, self.n).check()


@dataclass(frozen=True)
class RecommendBatchRequest:
    """Requests for several users; requests for one user are answered first."""

    requests: Annotated[FailFastList[RecommendRequest], Field(min_length=1, max_length=MAX_BATCH)]

    def check(self) -> None:
        """Check what the types do not express.

        Raises:
            UsageError: the requests ask for too many candidates together.
        """
        candidates = sum(request.n * (request.rows or 1) for request in self.requests)
        if candidates > MAX_BATCH_CANDIDATES:
            raise UsageError(
                f"n adds up to {candidates:,} candidates; expected at most {MAX_BATCH_CANDIDATES:,}:"
                " send several batches"
            )


@dataclass(frozen=True)
class Event:
    """Something that a user did with an item."""

    user_id: AnyId
    item_id: AnyId
    action: Annotated[
        Text | None, Field(description="One of the actions of the data, such as view; null: the default one.")
    ] = None
    time_s: Annotated[
        int | None, Field(ge=0, le=2**40, description="Seconds since 1970; by default the time of arrival.")
    ] = None
    request_id: Annotated[Text | None, Field(description="The request whose answer brought the item, if known.")] = None
    event_id: Annotated[Text, Field(description="Name of the event; a repeated one is ignored.")] = field(
        default_factory=lambda: uuid4().hex
    )


@dataclass(frozen=True)
class EventsRequest:
    """Events, in any order."""

    events: Annotated[FailFastList[Event], Field(min_length=1, max_length=MAX_EVENTS)]


@dataclass(frozen=True)
class FollowRequest:
    """The topics that a user follows."""

    followed_topics: Annotated[
        FailFastList[Text],
        Field(max_length=MAX_FOLLOWED_TOPICS, description="Topic names; they replace the former ones."),
    ]


# Answers


class HistoryItem(NamedTuple):
    """An item of the user's history."""

    item_id: AnyId
    title: str | None


class Candidate(NamedTuple):
    """One retrieved item."""

    # A tuple: a long list of tuples is built in a third of the time that dataclasses take.

    item_id: AnyId
    title: str | None
    score: float
    rank: Annotated[int, Field(description="From 1.")]
    source: Source
    interest: Annotated[
        int | None, Field(description="Number of the interest that it is for; null for a popular item.")
    ]
    interest_name: str | None
    found_by: Annotated[
        tuple[int, ...],
        Field(
            description="Numbers of all interests that have it among their own best, as many as the list has; if none"
            " has it there, of the one that brought it."
        ),
    ]
    because: Annotated[
        tuple[HistoryItem, ...],
        Field(
            description="The items of the user's own history that are most similar to it, two at most; empty where none"
            " is similar enough, and for a key without the scope read."
        ),
    ] = ()


@dataclass(frozen=True)
class Interest:
    """One vector of the user, in words."""

    number: int
    kind: InterestKind
    name: str
    share: Annotated[float, Field(description="Of the list.")]
    items: Annotated[
        tuple[str, ...],
        Field(
            description="Titles of history items that belong to it, newest first; ids without title. Empty for a key"
            " without the scope read."
        ),
    ]
    n_items: int
    age_days: Annotated[
        float | None,
        Field(description="Of its newest item, at the time of the request; null without times or the scope read."),
    ]


@dataclass(frozen=True)
class Row:
    """The candidates of one interest."""

    title: Annotated[str, Field(description="Name of the interest.")]
    kind: Source
    interest: Annotated[int | None, Field(description="Its number; null for a row of popular items.")]
    candidates: Annotated[tuple[Candidate, ...], Field(description="Best first, with ranks within the row.")]


@dataclass(frozen=True)
class RecommendResponse:
    """The answer to one request."""

    request_id: str
    user_id: AnyId | None
    release: str
    degraded: Annotated[bool, Field(description="Less than the full method served this user; reason says why.")]
    reason: str
    candidates: Annotated[
        tuple[Candidate, ...], Field(description="Best first; where rows were asked for, row by row.")
    ]
    interests: tuple[Interest, ...]
    unknown_items: Annotated[
        tuple[AnyId, ...],
        Field(description=f"Of the history, {_UNKNOWN}; of a user, empty for a key without the scope read."),
    ]
    unknown_topics: Annotated[tuple[str, ...], Field(description=f"Muted, boosted and followed ones, {_UNKNOWN}.")]
    timings_ms: Annotated[Mapping[str, float], Field(description="Milliseconds by stage.")]
    rows: Annotated[tuple[Row, ...], Field(description="The same candidates by row; empty unless asked for.")] = ()


@dataclass(frozen=True)
class VectorQuery:
    """One vector of a user: a query of a vector store, by inner product."""

    interest: Annotated[int, Field(description="Its number.")]
    kind: InterestKind
    topic: Annotated[str | None, Field(description="The topic that its items must have; null: any.")]
    share: Annotated[float, Field(description="Of the list.")]
    limit: Annotated[int, Field(description="How many items to find; max_limit if all together find fewer than n.")]
    vector: Annotated[tuple[float, ...], Field(description="As wide as the item vectors of the release.")]


@dataclass(frozen=True)
class VectorsResponse:
    """The vectors of a user, and what a vector store filters; the same request with what it found gives the list."""

    request_id: Annotated[str | None, Field(description="As asked. Send it with what was found, for the same topics.")]
    user_id: AnyId | None
    release: Annotated[str, Field(description="The release whose item vectors are to be searched.")]
    reason: Annotated[str, Field(description="Why there are fewer vectors than the full method has, or empty.")]
    vectors: tuple[VectorQuery, ...]
    max_limit: Annotated[int, Field(description="More items of one vector change nothing.")]
    exclude: Annotated[
        tuple[AnyId, ...], Field(description="Seen and excluded items; empty for a key without the scope read.")
    ]
    mute_topics: Annotated[tuple[str, ...], Field(description="Topics whose items are not returned.")]


@dataclass(frozen=True)
class RecommendBatchResponse:
    """One answer for each request, in order."""

    answers: tuple[RecommendResponse, ...]


@dataclass(frozen=True)
class EventsResponse:
    """How many events were new, and which of their items are unknown."""

    new: int
    repeated: Annotated[int, Field(description="Events that were known already.")]
    cut: Annotated[int, Field(description="New events whose time was in the future and was set to now.")]
    unknown_items: Annotated[
        tuple[AnyId, ...],
        Field(description=f"Of the events, {_UNKNOWN}. The events are stored, and wait for the items."),
    ] = ()


@dataclass(frozen=True)
class StoredEvent:
    """One event in the user state."""

    event_id: str
    item_id: AnyId
    time_s: int
    action: str | None


@dataclass(frozen=True)
class UserResponse:
    """The user state: what the service stored of a user in addition to the release."""

    user_id: AnyId
    followed_topics: Annotated[tuple[str, ...] | None, Field(description="null: never stated here.")]
    events: Annotated[
        tuple[StoredEvent, ...], Field(description="Oldest first. Empty for a key without the scope read.")
    ]
    forgotten: Annotated[bool, Field(description="They asked to be erased: nothing of a release is used for them.")]


@dataclass(frozen=True)
class ForgetResponse:
    """The outcome of forgetting a user."""

    user_id: AnyId
    known: Annotated[bool, Field(description="The user state held something of them.")]


@dataclass(frozen=True)
class SimilarItem:
    """A neighbour of an item."""

    item_id: AnyId
    title: str | None
    score: float
    rank: int


@dataclass(frozen=True)
class SimilarResponse:
    """The neighbours of an item."""

    item_id: AnyId
    release: str
    candidates: tuple[SimilarItem, ...]


class MapItem(NamedTuple):
    """An item on the map."""

    item_id: AnyId
    title: str | None
    x: Annotated[float | None, Field(description="In [0, 1], as y; null: it has no place, since it left the release.")]
    y: float | None
    users: Annotated[int, Field(description="Users of the item in training.")]


class MapRegion(NamedTuple):
    """A part of the map."""

    topic: str
    x: Annotated[float, Field(description="In [0, 1], as y.")]
    y: float


@dataclass(frozen=True)
class ExploreMapResponse:
    """What the explorer shows of a release."""

    release: str
    method: str
    users: int
    items: int
    text_user_ids: Annotated[bool, Field(description="User ids are texts; else integers.")]
    topics: Annotated[tuple[str, ...], Field(description="The first 1,000.")]
    map: Annotated[tuple[MapItem, ...], Field(description="The most popular items, 3,000 at most.")]
    regions: Annotated[tuple[MapRegion, ...], Field(description="Where a topic has more items than elsewhere.")]
    calibration: Annotated[float, Field(description="Part of a list that is divided among tastes unless asked.")]


@dataclass(frozen=True)
class ExploreItemsResponse:
    """The items whose titles or ids contain a text, most popular first."""

    items: tuple[MapItem, ...]


@dataclass(frozen=True)
class ExploreReleasesResponse:
    """The releases that can be shown beside the one that serves."""

    serving: str
    others: Annotated[tuple[str, ...], Field(description="Newest first.")]
    beside: Annotated[str | None, Field(description="Of the others, the one that is shown at first; null: none.")]


@dataclass(frozen=True)
class ExploreUsersResponse:
    """Users drawn at random."""

    user_ids: tuple[AnyId, ...]


class ExploredEvent(NamedTuple):
    """One event of a history."""

    item: MapItem
    time_s: Annotated[int | None, Field(description="Seconds since 1970; null without times.")]
    interest: Annotated[int | None, Field(description="Number of the interest that it belongs to; null: none.")]
    added: Annotated[bool, Field(description="It is one that the request supposes.")]


@dataclass(frozen=True)
class ExploreResponse:
    """A user's history, interests and candidates, and what one vector would give."""

    user_id: AnyId | None
    release: str
    reason: Annotated[str, Field(description="Why the answer is less than the full method gives; empty if it is not.")]
    followed_topics: tuple[str, ...]
    history: Annotated[tuple[ExploredEvent, ...], Field(description="What the interests are made of, newest first.")]
    interests: tuple[Interest, ...]
    candidates: tuple[Candidate, ...]
    map: Annotated[tuple[MapItem, ...], Field(description="The candidates on the map, in their order.")]
    one_vector: Annotated[
        tuple[Candidate, ...] | None,
        Field(description="Candidates of the vector of the whole history alone; null: the method has none."),
    ]
    rows: Annotated[
        tuple[Row, ...], Field(description="What rows would give: of each interest up to 10 candidates.")
    ] = ()
    images: Annotated[
        Mapping[str, str], Field(description="URL of the image of each item shown that has one, by its id as text.")
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReleaseVersion:
    """One published version."""

    version: str
    serves: bool
    created_at: str | None = None
    method: str | None = None
    counts: Mapping[str, int]
    problem: Annotated[str | None, Field(description="Why it cannot serve.")] = None


@dataclass(frozen=True)
class ReleasesResponse:
    """The published versions, and the one that answers here."""

    serving: str
    current: Annotated[
        str | None, Field(description="What CURRENT names; it differs from serving while that version is being opened.")
    ]
    versions: tuple[ReleaseVersion, ...]


@dataclass(frozen=True)
class HealthResponse:
    """The health of the service; ``degraded``: it answers, and one of the checks is not ok."""

    status: Literal["ok", "degraded"]
    checks: Mapping[str, Any]


@dataclass(frozen=True)
class ErrorDetail:
    """Why a request was rejected."""

    code: Annotated[str, Field(description="For programs.")]
    message: Annotated[str, Field(description="For people: what was given, what was expected, what to do.")]


@dataclass(frozen=True)
class ErrorResponse:
    """The answer to a request that was rejected or failed."""

    error: ErrorDetail
    request_id: str


def candidate_records(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Return candidates as JSON objects; ``to_record`` would take more than twice the time."""
    return [
        {
            "item_id": item_id,
            "title": title,
            "score": score,
            "rank": rank,
            "source": source,
            "interest": interest,
            "interest_name": interest_name,
            "found_by": found_by,
            "because": [{"item_id": own_id, "title": own_title} for own_id, own_title in because],
        }
        for item_id, title, score, rank, source, interest, interest_name, found_by, because in candidates
    ]
