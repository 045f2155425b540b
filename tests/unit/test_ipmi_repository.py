"""The sensor data repository: fetched in the sizes that a BMC can send, bounded, shared by equals and by no others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from scripted_bmc import DEVICE_ID, ScriptedBmc, full_record

from cloudmesh_actors.clients.ipmi.repository import Repositories, get_device_id, parse
from cloudmesh_actors.errors import DeadlineExceeded, ProtocolError

RECORDS = [full_record(number, f"Sensor {number}".encode()) for number in range(5)]
NAMES = [f"Sensor {number}" for number in range(5)]
GET_RECORD, GET_DEVICE_RECORD, RESERVE = (0x0A, 0x23), (0x04, 0x21), (0x0A, 0x22)


def names(repositories: Repositories, bmc: Any) -> list[str]:
    _, repository = repositories.of(bmc, get_device_id(bmc))
    return [sensor.name for sensor in repository.sensors]


class TestFetching:
    @pytest.mark.parametrize("longest", [255, 60, 50, 20, 5])
    def test_records_are_read_in_the_sizes_that_the_bmc_can_send(self, longest: int) -> None:
        assert names(Repositories(), ScriptedBmc(RECORDS, longest_read=longest)) == NAMES

    def test_whole_records_need_one_request_each(self) -> None:
        bmc = ScriptedBmc(RECORDS)

        names(Repositories(), bmc)

        assert bmc.count(*GET_RECORD) == len(RECORDS)
        assert bmc.count(*RESERVE) == 0

    def test_a_lost_reservation_is_made_again(self) -> None:
        bmc = ScriptedBmc(RECORDS, longest_read=20)
        serve, reads = bmc._answers[GET_RECORD], []

        def lose_some(body: bytes) -> tuple[int, bytes]:
            reads.append(body)
            if len(reads) % 7 == 0:
                bmc.reservation += 1  # another reader came
            return serve(body)

        bmc._answers[GET_RECORD] = lose_some

        assert names(Repositories(), bmc) == NAMES
        assert bmc.count(*RESERVE) > 1

    def test_a_bmc_without_a_repository_lists_its_device_records(self) -> None:
        device_id = bytes([DEVICE_ID[0], 0x81, *DEVICE_ID[2:5], 0x01, *DEVICE_ID[6:]])
        bmc = ScriptedBmc(RECORDS, device_id=device_id, longest_read=20)

        assert names(Repositories(), bmc) == NAMES
        assert bmc.count(*GET_RECORD) == 0
        assert bmc.count(*GET_DEVICE_RECORD) > 0

    def test_records_that_run_in_a_circle_are_an_error(self) -> None:
        with pytest.raises(ProtocolError, match="circle"):
            names(Repositories(), ScriptedBmc(RECORDS, in_a_circle=True))

    def test_a_repository_that_changes_meanwhile_is_read_anew(self) -> None:
        bmc = ScriptedBmc(RECORDS)
        serve = bmc._answers[GET_RECORD]

        def change_once(body: bytes) -> tuple[int, bytes]:
            if bmc.count(*GET_RECORD) == 3:
                bmc.added_at += 1
                bmc.records = [*RECORDS[:-1], full_record(9, b"New")]
            return serve(body)

        bmc._answers[GET_RECORD] = change_once

        assert names(Repositories(), bmc) == [*NAMES[:-1], "New"]

    def test_a_repository_that_never_stays_is_an_error(self) -> None:
        bmc = ScriptedBmc(RECORDS)
        serve = bmc._answers[GET_RECORD]

        def always_change(body: bytes) -> tuple[int, bytes]:
            bmc.added_at += 1
            return serve(body)

        bmc._answers[GET_RECORD] = always_change

        with pytest.raises(ProtocolError, match="changes its sensor records"):
            names(Repositories(), bmc)

    def test_an_identity_that_is_cut_short_is_an_error(self) -> None:
        with pytest.raises(ProtocolError, match=r"^i001: "):
            get_device_id(ScriptedBmc(device_id=b"\x20\x01"))  # type: ignore[arg-type]


class TestSharing:
    def test_equal_bmcs_share_one_fetch(self) -> None:
        repositories = Repositories()
        first, second = ScriptedBmc(RECORDS), ScriptedBmc(RECORDS, address="127.0.0.2")

        assert names(repositories, first) == names(repositories, second) == NAMES
        assert second.count(*GET_RECORD) == 0

    @pytest.mark.parametrize(
        "difference",
        [
            {"added_at": 1_700_000_001},
            {"records": RECORDS[:4]},
            {"device_id": DEVICE_ID[:2] + b"\x04" + DEVICE_ID[3:]},
            {"device_id": DEVICE_ID[:9] + b"\x07\x07"},
        ],
        ids=["time stamp", "number of records", "firmware", "product"],
    )
    def test_unequal_bmcs_do_not(self, difference: dict[str, Any]) -> None:
        repositories = Repositories()
        names(repositories, ScriptedBmc(RECORDS))
        other = replace(ScriptedBmc(RECORDS, address="127.0.0.2"), **difference)

        names(repositories, other)

        assert other.count(*GET_RECORD) > 0

    @pytest.mark.parametrize("void", [0, 0xFFFFFFFF])
    def test_void_time_stamps_are_never_shared(self, void: int) -> None:
        repositories = Repositories()
        names(repositories, ScriptedBmc(RECORDS, added_at=void))
        other = ScriptedBmc(RECORDS[:2] + RECORDS[:3], added_at=void, address="127.0.0.2")

        assert names(repositories, other) != NAMES

    def test_with_a_void_time_stamp_a_bmc_is_asked_again_after_a_while(self) -> None:
        now = [0.0]
        repositories = Repositories(clock=lambda: now[0])
        bmc = ScriptedBmc(RECORDS, added_at=0)
        for moment in (0.0, 500.0, 700.0):
            now[0] = moment
            names(repositories, bmc)

        assert bmc.count(*GET_RECORD) == 2 * len(RECORDS)

    def test_a_changed_repository_is_fetched_again(self) -> None:
        repositories = Repositories()
        bmc = ScriptedBmc(RECORDS)
        names(repositories, bmc)
        bmc.records, bmc.added_at = [full_record(1, b"New")], bmc.added_at + 60

        assert names(repositories, bmc) == ["New"]

    def test_sixty_four_threads_fetch_it_once(self) -> None:
        repositories = Repositories()
        start = threading.Barrier(64)
        bmcs = [ScriptedBmc(RECORDS, address=f"127.0.0.{n}") for n in range(64)]

        def read(bmc: ScriptedBmc) -> list[str]:
            start.wait(10)
            return names(repositories, bmc)

        with ThreadPoolExecutor(64) as pool:
            assert list(pool.map(read, bmcs)) == [NAMES] * 64
        assert sum(bmc.count(*GET_RECORD) for bmc in bmcs) == len(RECORDS)

    def test_when_the_one_who_fetches_fails_the_next_one_does_it(self) -> None:
        repositories = Repositories()
        with pytest.raises(ProtocolError):
            names(repositories, ScriptedBmc(RECORDS, in_a_circle=True))

        assert names(repositories, ScriptedBmc(RECORDS)) == NAMES

    def test_who_waits_for_another_to_fetch_waits_until_the_deadline(self) -> None:
        repositories = Repositories()
        slow = ScriptedBmc(RECORDS)
        serve, fetching, go_on = slow._answers[GET_RECORD], threading.Event(), threading.Event()

        def take_long(body: bytes) -> tuple[int, bytes]:
            fetching.set()
            go_on.wait(10)
            return serve(body)

        slow._answers[GET_RECORD] = take_long
        thread = threading.Thread(target=names, args=(repositories, slow))
        thread.start()
        fetching.wait(10)

        with pytest.raises(DeadlineExceeded, match="list of sensors"):
            names(repositories, ScriptedBmc(RECORDS, address="127.0.0.2", seconds=0.05))
        go_on.set()
        thread.join()

    def test_only_so_many_are_kept(self) -> None:
        repositories = Repositories(most=2)
        old = ScriptedBmc(RECORDS)
        for bmc in (old, *(ScriptedBmc(RECORDS, added_at=stamp) for stamp in (1, 2))):
            names(repositories, bmc)

        names(repositories, old)

        assert old.count(*GET_RECORD) == 2 * len(RECORDS)


class TestParsing:
    def test_records_of_other_kinds_and_broken_ones_are_left_out(self) -> None:
        controller = bytes([0, 0, 0x51, 0x12, 11]) + bytes(11)
        compact = bytearray(32) + b"PSU"
        compact[3], compact[5], compact[7], compact[31] = 2, 0x20, 0x63, 0xC3

        repository = parse([controller, RECORDS[0][:30], bytes(compact), b"\1", RECORDS[1]])

        assert [sensor.name for sensor in repository.sensors] == ["Sensor 1"]
        assert repository.names[0x20, 0, 0x63] == "PSU"

    def test_a_sensor_without_a_name_is_called_by_its_number(self) -> None:
        assert parse([full_record(0x2A, b"")]).sensors[0].name == "sensor 0x2a"
