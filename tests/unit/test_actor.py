"""Actors: what is checked where they are sent, their options, and the registry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

import pytest

from cloudmesh_actors import actor as actors
from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, settings
from cloudmesh_actors.actor import ACTORS, Nodes, actor
from cloudmesh_actors.errors import ArgumentError, NodeSetError, UnknownActor, UnknownNode


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path))
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "stub://")
    settings.reset()
    actors.import_families()
    before = dict(ACTORS)
    yield
    ACTORS.clear()
    ACTORS.update(before)


@pytest.fixture
def blink(here: None) -> Any:
    @actor("rack")
    def blink(nodes: Nodes, colour: Literal["red", "green"] = "red", times: int = 1) -> str:
        """Let the lights of nodes blink."""
        return f"{nodes} {colour} {times}"

    return blink


class TestArguments:
    def test_good_ones_are_in_the_message_as_json(self, blink: Any) -> None:
        message = blink.send("i[001-003]", times=2)

        assert (message.args, message.kwargs) == (("i[001-003]",), {"times": 2})
        assert jobs.get(message.message_id).state == "queued"

    @pytest.mark.parametrize("nodes", [["i001", "i003", "i002"], ("i003", "i002", "i001"), {"i001", "i002", "i003"}])
    def test_a_list_of_nodes_becomes_a_node_set(self, blink: Any, nodes: Any) -> None:
        assert blink.message(nodes).args[0] == "i[001-003]"

    def test_a_group_stays_a_group(self, blink: Any) -> None:
        assert blink.message("@india").args[0] == "@india"

    @pytest.mark.parametrize(
        ("args", "kwargs", "sentence"),
        [
            ((), {}, "rack.blink(nodes, colour, times): missing a required argument: 'nodes'."),
            (("i001", "red", 1, 2), {}, "rack.blink(nodes, colour, times): too many positional arguments."),
            (("i001",), {"speed": 3}, "rack.blink(nodes, colour, times): got an unexpected keyword argument 'speed'."),
            (("i001", "blue"), {}, "rack.blink, colour: 'blue' does not fit: it should be 'red' or 'green'."),
            (("i001",), {"times": "often"}, "rack.blink, times: 'often' does not fit: it should be a valid integer, "
             "unable to parse string as an integer."),
            ((7,), {}, "rack.blink, nodes: 7 does not fit: it should be a valid string."),
            ((["i001", 2],), {}, "rack.blink, nodes: 2 is not the name of a node."),
        ],
    )  # fmt: skip
    def test_wrong_ones_are_refused_with_a_sentence(self, blink: Any, args: Any, kwargs: Any, sentence: str) -> None:
        with pytest.raises(ArgumentError) as caught:
            blink.send(*args, **kwargs)

        assert str(caught.value) == sentence
        assert jobs.latest() == []

    def test_unknown_nodes_and_malformed_sets_are_named(self, blink: Any) -> None:
        with pytest.raises(ArgumentError, match=r"^rack\.blink, nodes: .*\bx999\b") as unknown:
            blink.send("i001,x999")
        with pytest.raises(ArgumentError, match=r"^rack\.blink, nodes: .*i\[001") as malformed:
            blink.send("i[001")

        assert isinstance(unknown.value.__cause__, UnknownNode)
        assert isinstance(malformed.value.__cause__, NodeSetError)
        assert jobs.latest() == []

    def test_what_is_not_json_or_too_long_is_refused(self) -> None:
        @actor("rack")
        def keep(value: Any) -> None: ...

        for value in (object(), "x" * 1_000_001):
            with pytest.raises(ArgumentError, match=r"^rack\.keep: "):
                keep.send(value)
        assert jobs.latest() == []

    def test_a_call_is_a_plain_call_with_checked_arguments(self, blink: Any) -> None:
        assert blink(["i001", "i002"], times="3") == "i[001-002] red 3"
        with pytest.raises(ArgumentError):
            blink("i001", "blue")


class TestOptions:
    def test_limits_come_from_the_family_and_the_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLOUDMESH_TIME_LIMITS", "60 rack=7")
        monkeypatch.setenv("CLOUDMESH_RETRIES", "5")
        monkeypatch.setenv("CLOUDMESH_RETRY_BACKOFF", "0.5")
        settings.reset()

        @actor("rack", max_backoff=99)
        def look() -> None: ...

        assert look.options == {
            "time_limit": 7_000, "max_retries": 5, "min_backoff": 500, "max_backoff": 99, "changes_hardware": False,
        }  # fmt: skip

    def test_what_changes_hardware_is_never_retried(self) -> None:
        @actor("rack", changes_hardware=True)
        def switch() -> None: ...

        assert switch.options["max_retries"] == 0

    def test_a_misspelt_option_is_refused(self) -> None:
        @actor("rack", max_retry=3)
        def look() -> None: ...

        with pytest.raises(ValueError, match=r"rack\.look has no option max_retry"):
            brokers.current()

    def test_a_delay_is_milliseconds_or_a_timedelta(self, blink: Any) -> None:
        for delay in (60_000, timedelta(minutes=1)):
            message = blink.send_with_options(args=("i001",), delay=delay)
            job = jobs.get(message.message_id)
            assert job.due_at is not None
            assert 59 < (job.due_at - job.enqueued_at).total_seconds() < 61

    def test_it_can_be_told_apart_and_documented(self, blink: Any) -> None:
        assert (blink.actor_name, blink.queue_name) == ("rack.blink", "rack")
        assert blink.__doc__ == "Let the lights of nodes blink."


class TestRegistry:
    def test_an_actor_is_found_by_its_name(self) -> None:
        from cloudmesh_actors.rack.actors import read_sensors

        assert actors.find("rack.read_sensors") is read_sensors

    def test_a_near_miss_is_suggested(self) -> None:
        with pytest.raises(
            UnknownActor, match=r"There is no actor 'rack.read_sensor'; did you mean rack.read_sensors\?"
        ):
            actors.find("rack.read_sensor")

    def test_far_from_all_they_are_listed(self) -> None:
        with pytest.raises(UnknownActor, match=r"There is no actor 'x'; there are .*rack\.events, .*rack\.power, "):
            actors.find("x")

    def test_two_of_one_name_are_refused(self, blink: Any) -> None:
        with pytest.raises(ValueError, match=r"there are two actors named rack\.blink"):
            actor("rack")(blink.fn)

    def test_one_that_is_declared_after_the_broker_was_opened_is_known_to_it(self) -> None:
        broker = brokers.current()

        @actor("rack")
        def late() -> None: ...

        assert broker.get_actor("rack.late") is late

    def test_an_actor_of_no_family_is_refused(self) -> None:
        with pytest.raises(ValueError, match="'rak' is not a family"):
            actor("rak")
