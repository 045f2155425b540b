"""What the API takes and gives: the shapes of its JSON. Times are ISO 8601 with a time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from cloudmesh_actors.jobs import Job, NodeOutcome, State
from cloudmesh_actors.launcher.model import Launch, LaunchState, ParameterType, Recipe, Stat
from cloudmesh_actors.web.audit import Entry

T = TypeVar("T")

#: The most rows of one page.
MOST = 500

#: Text that a form or a program may send; longer is no name, node set or value of anything.
Text = Annotated[str, Field(max_length=10_000)]


class Shape(BaseModel):
    """The base of all."""

    model_config = ConfigDict(from_attributes=True)


class Page(BaseModel, Generic[T]):
    """Some rows, and the `cursor` of those after them: null when there are no more."""

    items: list[T]
    next: str | None = None


class ProgressShape(Shape):
    """`done` of `total`, and a few words."""

    done: int
    total: int
    note: str | None


class JobShape(Shape):
    """A job."""

    id: str
    actor: str
    queue: str
    state: State
    runs: int
    worker: str | None
    sender: str | None
    enqueued_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    abort_at: datetime | None
    progress: ProgressShape | None
    error: str | None
    error_type: str | None
    retry_of: str | None


class WholeJob(JobShape):
    """A job with its arguments, result and traceback."""

    args: list[Any]
    kwargs: dict[str, Any]
    result: Any
    traceback: str | None


class NodeShape(Shape):
    """How one node of a job ended; `ok` is null while it has not."""

    node: str
    ok: bool | None
    stage: str | None
    error: str | None
    error_kind: str | None
    data: Any
    time: datetime

    @classmethod
    def of(cls, outcome: NodeOutcome) -> NodeShape:
        """The shape of an outcome."""
        at = datetime.fromtimestamp(outcome.at, UTC)
        return cls(node=outcome.node, ok=outcome.ok, stage=outcome.stage, error=outcome.error,
                   error_kind=outcome.error_kind, data=outcome.data, time=at)  # fmt: skip


class LineShape(BaseModel):
    """A line of a log: an event, or raw output."""

    time: str
    worker: str
    event: dict[str, Any] | None
    raw: str | None


class ParameterShape(Shape):
    """A parameter of a recipe."""

    name: str
    type: ParameterType
    label: str
    description: str
    required: bool
    default: int | float | str | bool | None
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    pattern: str | None


class RecipeShape(Shape):
    """What can be launched."""

    name: str
    label: str
    description: str
    parameters: tuple[ParameterShape, ...]
    targets: str
    timeout: float
    changes_node: bool
    repeatable: bool


class Recipes(BaseModel):
    """The recipes that can be used, and what is wrong with the others."""

    items: list[RecipeShape]
    errors: list[str]


class WishShape(BaseModel):
    """What to launch: a recipe on servers (a node set, and nodes that were ticked)."""

    model_config = ConfigDict(extra="forbid")

    recipe: Text = ""
    servers: Text = ""
    ticks: Annotated[list[Text], Field(max_length=10_000)] = []
    parameters: Annotated[dict[str, Any], Field(max_length=200)] = {}


class VerdictShape(BaseModel):
    """Whether a wish is as it should be; `errors` has a sentence for each field at fault."""

    ok: bool
    errors: dict[str, str]
    count: int
    servers: str
    parameters: dict[str, Any]


class LaunchShape(Shape):
    """A recipe on one server. `step_id` is its name, `job_id` that of the launch that it belongs to."""

    step_id: str
    job_id: str
    recipe: str
    server: str
    parameters: dict[str, Any]
    state: LaunchState
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    worker: str | None


class WholeLaunch(LaunchShape):
    """A launch with what its script printed."""

    output: str


class StatShape(Shape):
    """How many launches of a recipe on a server are in a state, and how many seconds those that ended took."""

    recipe: str
    server: str
    state: LaunchState
    count: int
    shortest: float | None
    mean: float | None
    longest: float | None
    latest: datetime


class ChangeShape(Shape):
    """An entry of the audit log."""

    id: int
    at: datetime
    who: str
    door: str
    action: str
    target: str
    outcome: str


class JobId(BaseModel):
    """The job that was sent."""

    job_id: str


class Forgotten(BaseModel):
    """How many finished launches were forgotten."""

    forgotten: int


class Confirmed(BaseModel):
    """What cannot be undone is asked for in so many words: ``{"confirm": true}``."""

    model_config = ConfigDict(extra="forbid")

    confirm: bool


class Again(BaseModel):
    """Where to launch again: where it did not become active, or everywhere."""

    model_config = ConfigDict(extra="forbid")

    failed_only: bool = True


class ProblemShape(BaseModel):
    """RFC 9457; `errors` has a sentence for each field at fault."""

    type: str
    title: str
    status: int
    detail: str
    errors: dict[str, str] | None = None


def job(it: Job) -> JobShape:
    """The shape of a job in a list."""
    return JobShape.model_validate(it)


def launch(it: Launch) -> LaunchShape:
    """The shape of a launch in a list."""
    return LaunchShape.model_validate(it)


def recipe(it: Recipe) -> RecipeShape:
    """The shape of a recipe."""
    return RecipeShape.model_validate(it)


def stat(it: Stat) -> StatShape:
    """The shape of a row of the statistics."""
    return StatShape.model_validate(it)


def change(it: Entry) -> ChangeShape:
    """The shape of an entry of the audit log."""
    return ChangeShape.model_validate(it)
