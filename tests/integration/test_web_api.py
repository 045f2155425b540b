"""The API, and what pages and programs do through it: its own document is held against it, and each change is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from consoles import Console, console, effects
from hypothesis import HealthCheck, Phase, given, settings

from cloudmesh_actors import jobs
from cloudmesh_actors.steps import Ended, Queued, State, end, insert
from cloudmesh_actors.store import current

#: A few made-up requests for each operation.
few = settings(max_examples=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    with console(tmp_path, monkeypatch) as it:
        yield it


def record(*names: str, state: State | None = None, queue: str = "rack") -> None:
    """Jobs in the store, sent one after the other."""
    at = time.time()
    rows = [
        Queued(
            name,
            name,
            None,
            None,
            f"{queue}.power",
            queue,
            '{"args": ["i001"], "kwargs": {}}',
            "ops@head",
            at + n,
            None,
        )
        for n, name in enumerate(names)
    ]
    with current().write() as connection:
        insert(connection, current(), rows)
        if state is not None:
            end(connection, [Ended(name, name, state, at + 100, error="<b>no</b>") for name in names])


def test_no_made_up_request_brings_the_api_down(web: Console) -> None:
    schema = schemathesis.openapi.from_url(f"{web.home}/api/v1/openapi.json")
    seen: set[int] = set()

    def hold(case: schemathesis.Case) -> None:
        answer = case.call(base_url=web.home)
        seen.add(answer.status_code)
        assert answer.status_code < 500, f"{case.method} {case.formatted_path}: {answer.text}"
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert answer.json()["status"] == answer.status_code
        else:
            case.operation.validate_response(answer)

    for operation in (result.ok() for result in schema.get_all_operations()):
        few(given(case=operation.as_strategy())(hold))()

    assert {200, 404, 422} <= seen


def test_lists_are_paged_by_cursor_without_gaps(web: Console) -> None:
    record(*(f"job{number:02}" for number in range(7)))

    found, cursor = [], None
    while True:
        page = web.get("/api/v1/jobs", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        found += [job["id"] for job in page["items"]]
        if (cursor := page["next"]) is None:
            break

    assert found == [f"job{number:02}" for number in reversed(range(7))]


def test_jobs_are_filtered_by_state_queue_and_actor(web: Console) -> None:
    record("one", state=State.FAILED)
    record("two", queue="pbs")

    def ids(**filters: str) -> list[str]:
        return [job["id"] for job in web.get("/api/v1/jobs", params=filters).json()["items"]]

    assert ids(state="failed") == ["one"]
    assert ids(queue="pbs") == ["two"]
    assert ids(actor="rack.power") == ["one"]
    assert ids(actor="rack.power", state="done") == []


def test_an_error_of_a_job_is_escaped_on_its_page_and_in_the_list(web: Console) -> None:
    record("bad<1", state=State.FAILED)

    for path in ("/cm/jobs", "/cm/jobs/bad%3C1"):
        page = web.get(path).text
        assert "&lt;b&gt;no&lt;/b&gt;" in page
        assert "<b>no</b>" not in page


def test_the_beginning_of_an_id_leads_to_the_job(web: Console) -> None:
    record("abcdef")

    assert web.get("/cm/jobs/abc").headers["Location"] == "/cm/jobs/abcdef"
    assert web.get("/api/v1/jobs/abc").json()["id"] == "abcdef"
    assert web.get("/cm/launch/jobs/abcdef").status_code == 404


def test_a_launch_through_the_api_is_a_job_and_is_written_down(web: Console) -> None:
    wish = {"recipe": "quick", "servers": "i[001-002]", "parameters": {"count": 4}}

    sent = web.client.post("/api/v1/launches", json=wish)

    assert sent.status_code == 202
    job = jobs.get(sent.json()["job_id"])
    assert job.args[:2] == ["quick", "i[001-002]"]
    assert job.args[2] == {"count": 4, "mood": "calm", "word": None, "loud": True}
    (entry,) = web.get("/api/v1/audit").json()["items"]
    assert (entry["action"], entry["target"], entry["outcome"]) == ("launch", "quick on i[001-002]", job.id)
    assert entry["door"] == "api"
    assert "127.0.0.1" in entry["who"]


def test_what_is_wrong_with_a_launch_is_said_field_by_field(web: Console) -> None:
    wish = {"recipe": "quick", "servers": "i009", "parameters": {"count": 40, "mood": "wild"}}

    problem = web.client.post("/api/v1/launches", json=wish)

    assert problem.status_code == 422
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert set(problem.json()["errors"]) == {"servers", "quick.count", "quick.mood"}
    assert web.client.post("/api/v1/launches/check", json=wish).json()["ok"] is False
    assert effects() == (0, 0, 0)


def test_reset_wants_to_be_confirmed(web: Console) -> None:
    assert web.client.post("/api/v1/launches/reset", json={"confirm": False}).status_code == 422
    assert web.client.post("/api/v1/launches/reset", json={}).status_code == 422
    assert effects() == (0, 0, 0)
    assert web.client.post("/api/v1/launches/reset", json={"confirm": True}).json() == {"forgotten": 0}


def test_a_job_is_aborted_and_sent_again(web: Console) -> None:
    sent = web.client.post("/api/v1/launches", json={"recipe": "slow", "servers": "i001"}).json()["job_id"]

    refused = web.client.post(f"/api/v1/jobs/{sent}/retry")
    aborted = web.client.post(f"/api/v1/jobs/{sent}/abort")
    again = web.client.post(f"/api/v1/jobs/{sent}/retry")

    assert refused.status_code == 409
    assert aborted.json()["state"] == "aborted"
    assert jobs.get(again.json()["job_id"]).retry_of == sent
    outcomes = [entry["outcome"] for entry in web.get("/api/v1/audit").json()["items"]]
    assert outcomes[:2] == [again.json()["job_id"], "aborted"]
    assert outcomes[2].startswith("refused: ")


def test_ready_tells_what_is_missing(web: Console) -> None:
    ready = web.get("/readyz").json()

    assert (ready["status"], ready["store"], ready["broker"], ready["workers"]) == ("ok", "ok", "ok", {})


def test_pages_tell_that_nobody_works(web: Console) -> None:
    assert "make workers-up" in web.get("/cm/launch").text
