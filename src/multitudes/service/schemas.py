"""What requests and answers hold. Requests are strict: no field that is not here, no number in a text, no NaN.

The bounds are part of the interface, so they are constants and stand in ``/openapi.json``.
"""

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

INT64: Final = 2**63 - 1
ID_CHARACTERS: Final = 512
TEXT_CHARACTERS: Final = 256
MAX_N: Final = 1_000
MAX_HISTORY: Final = 10_000
MAX_EXCLUDED: Final = 10_000
MAX_FOLLOWS: Final = 200
MAX_STEERED: Final = 100  # muted or boosted topics or interests
MAX_BATCH: Final = 256
MAX_EVENTS: Final = 1_000
MAX_CONTEXT: Final = 32

Integer64 = Annotated[int, Field(ge=-INT64 - 1, le=INT64)]
IdText = Annotated[str, Field(min_length=1, max_length=ID_CHARACTERS)]
AnyId = Annotated[
    Integer64 | IdText, Field(description='Exactly as in the data: an integer or a text; 1 and "1" are different ids.')
]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS)]
T = TypeVar("T")
# The first that is wrong is all that a refusal names: a list of nothing else would hold up everybody for a second.
Several = Annotated[list[T], Field(fail_fast=True)]
Scalar = Annotated[str, Field(max_length=TEXT_CHARACTERS)] | bool | Integer64 | float | None


class Body(BaseModel):
    """What a request holds."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Answer(BaseModel):
    """What an answer holds."""

    model_config = ConfigDict(extra="forbid")


class Ask(Body):
    """One person to recommend to: a user, or somebody described."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "ann", "n": 2, "exclude": [105], "mute_topics": ["Crime"], "context": {"page": "home"}},
                {"history": [101, 102], "follows": ["Drama"], "n": 3},
            ]
        }
    )
    user_id: AnyId | None = Field(None, description="A user: their past of the release and of the user state is read.")
    history: Annotated[Several[AnyId], Field(max_length=MAX_HISTORY)] | None = Field(
        None, description="Item ids, newest last, in place of a user."
    )
    follows: Annotated[Several[Text], Field(max_length=MAX_FOLLOWS)] | None = Field(
        None, description="Topic names, in place of a user."
    )
    n: int = Field(100, ge=1, le=MAX_N, description="How many candidates.")
    exclude: Several[AnyId] = Field([], max_length=MAX_EXCLUDED, description="Item ids that must not come back.")
    mute_topics: Several[Text] = Field([], max_length=MAX_STEERED, description="Topics of which nothing comes back.")
    boost_topics: Several[Text] = Field([], max_length=MAX_STEERED, description="Topics that get a larger share.")
    mute_interests: Several[Annotated[int, Field(ge=0, le=INT64)]] = Field(
        [],
        max_length=MAX_STEERED,
        description="Numbers of interests, as the last answer gave them, that bring nothing.",
    )
    boost_interests: Several[Annotated[int, Field(ge=0, le=INT64)]] = Field(
        [], max_length=MAX_STEERED, description="Numbers of interests that get a larger share."
    )
    context: dict[Text, Scalar] = Field({}, max_length=MAX_CONTEXT, description="Anything; it is logged, nothing more.")
    request_id: Text | None = Field(
        None, description="Name of the request: the same name draws the same topics. Made where it is missing."
    )

    @model_validator(mode="after")
    def _somebody(self) -> "Ask":
        if (self.user_id is None) == (self.history is None and self.follows is None):
            raise ValueError("expected either user_id, or history and follows; give one of the two")
        return self


class Batch(Body):
    """Several people at once, answered after those who wait for theirs."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"requests": [{"user_id": "ann", "n": 2}, {"history": [101], "n": 2}]}]}
    )

    requests: Several[Ask] = Field(min_length=1, max_length=MAX_BATCH)


class Event(Body):
    """Something that a user did."""

    event_id: Text = Field(description="Name of the event: the same one again is ignored.")
    user_id: AnyId
    item_id: AnyId
    time_s: int | None = Field(None, ge=0, le=2**40, description="Seconds since 1970; by default the time of arrival.")
    action: Text | None = Field(
        None, description="One of the actions of the data, such as view; none: the default one."
    )
    request_id: Text | None = Field(None, description="The request whose answer brought the item, where it is known.")


class Events(Body):
    """Events, in any order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"events": [{"event_id": "e-1", "user_id": "ann", "item_id": 105, "action": "view"}]}]
        }
    )
    events: Several[Event] = Field(min_length=1, max_length=MAX_EVENTS)


class User(Body):
    """What a user says about themselves."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"follows": ["Drama"]}]})
    follows: Several[Text] = Field(max_length=MAX_FOLLOWS, description="Topic names; they replace those of before.")


class Candidate(Answer):
    """One retrieved item."""

    item_id: AnyId
    title: str | None
    score: float
    rank: int = Field(description="From 1.")
    source: Literal["unconditioned", "implicit", "explicit", "popular"]
    interest: int | None = Field(description="Number of the interest that brought it; null for a popular item.")
    interest_name: str | None
    found_by: list[int] = Field(description="All interests that have it among their own best.")


class Interest(Answer):
    """One vector of the user, as a person may understand it."""

    number: int
    kind: Literal["unconditioned", "implicit", "explicit"]
    name: str
    share: float = Field(description="Of the list.")
    items: list[str] = Field(description="Titles of history items that belong to it, newest first.")
    n_items: int
    age_days: float | None = Field(description="Of its newest item, at the time of the request.")


class Recommended(Answer):
    """The answer to one request."""

    request_id: str
    user_id: AnyId | None
    release: str
    degraded: bool = Field(description="Less than the full method served this user; reason says why.")
    reason: str
    candidates: list[Candidate]
    interests: list[Interest]
    unknown_items: int = Field(description="Items of the history that this release does not know.")
    unknown_topics: int = Field(description="Topics of the request that this release does not know.")
    timings_ms: dict[str, float] = Field(description="Where the time went, by stage.")


class Refused(Answer):
    """The answer to a request that is not answered."""

    error: "Reason"
    request_id: str


class Reason(Answer):
    """Why a request was not answered."""

    code: str = Field(description="For programs.")
    message: str = Field(description="For people: what was given, what was expected, what to do.")


class BatchAnswer(Answer):
    """One answer for each request, in order."""

    answers: list[Recommended]


class Appended(Answer):
    """What came of events."""

    new: int
    repeated: int = Field(description="Events that were known already.")
    cut: int = Field(description="New events whose time lay in the future and was set to now.")


class UserEvent(Answer):
    """One event as it is kept."""

    event_id: str
    item_id: AnyId
    time_s: int
    action: str | None


class UserState(Answer):
    """What is kept of a user, beside what a release holds of them."""

    user_id: AnyId
    follows: list[str] | None = Field(description="null: never stated here.")
    events: list[UserEvent] = Field(description="Oldest first.")
    forgotten: bool = Field(description="They asked to be forgotten: nothing of a release is used for them.")


class Forgotten(Answer):
    """What came of forgetting a user."""

    user_id: AnyId
    known: bool = Field(description="Something was kept of them.")


class SimilarItem(Answer):
    """A neighbour of an item."""

    item_id: AnyId
    title: str | None
    score: float
    rank: int


class Similar(Answer):
    """The neighbours of an item."""

    item_id: AnyId
    release: str
    candidates: list[SimilarItem]


class ReleaseState(Answer):
    """One version."""

    version: str
    serves: bool
    created_at: str | None = None
    method: str | None = None
    counts: dict[str, int]
    problem: str | None = Field(None, description="Why it cannot serve.")


class Releases(Answer):
    """What was published, and which version answers here."""

    serving: str
    current: str | None = Field(description="What CURRENT names; another one than is serving while it is being opened.")
    versions: list[ReleaseState]


class Health(Answer):
    """How the service is."""

    status: Literal["ok"]
    checks: dict[str, Any]
