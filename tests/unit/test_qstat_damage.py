"""What is damaged costs no more than is damaged, and what cannot be trusted is never taken for an answer."""

from __future__ import annotations

import re
from pathlib import Path

import pbs_printers
import pytest

from cloudmesh_actors.errors import CloudmeshError
from cloudmesh_actors.pbs.qstat import Damaged, QstatError, Records, parse_jobs, parse_nodes, parse_queues

DATA = Path(__file__).parents[1] / "data" / "pbs"
JOB = {
    "Job_Name": "simple",
    "Job_Owner": "alice@i136",
    "resources_used.walltime": "00:00:03",
    "job_state": "R",
    "queue": "batch",
    "qtime": "1795350692",
    "exec_host": "i1/0",
    "Resource_List.walltime": "01:30:00",
    "Variable_List": "PBS_O_HOME=/home/alice",
}
PRINTERS = {"text": pbs_printers.text, "slurm": pbs_printers.slurm, "xml": pbs_printers.xml, "json": pbs_printers.json}
JOB_FILES = sorted(
    path for path in DATA.glob("real-*") if re.search(r"qstat-(f|x)", path.name) and "nojobs" not in path.name
)


def three_jobs(second: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    return [("1.i136", JOB), ("2.i136", second), ("3.i136", JOB)]


def ids(jobs: Records) -> list[str]:  # type: ignore[type-arg]
    return [job.id for job in jobs]


@pytest.mark.parametrize("dialect", PRINTERS)
class TestOneDamagedRecord:
    @pytest.mark.parametrize(
        ("attribute", "value", "reason"),
        [
            ("job_state", "Z", "'Z' is none of"),
            ("job_state", "", "'' is none of"),
            ("Resource_List.walltime", "soon", "'soon' is not a duration"),
            ("exec_host", "i1/x", "'x' is not a slot"),
            ("qtime", "yesterday", "'yesterday' is not a time"),
        ],
    )
    def test_costs_that_record_and_says_why(self, dialect: str, attribute: str, value: str, reason: str) -> None:
        jobs = parse_jobs(PRINTERS[dialect](three_jobs(JOB | {attribute: value})))

        (damaged,) = jobs.damaged
        assert ids(jobs) == ["1.i136", "3.i136"]
        assert damaged.record == "2.i136"
        assert reason in damaged.reason

    def test_is_a_record_without_a_state(self, dialect: str) -> None:
        jobs = parse_jobs(PRINTERS[dialect](three_jobs({key: JOB[key] for key in JOB if key != "job_state"})))

        assert ids(jobs) == ["1.i136", "3.i136"]
        assert [damaged[1:] for damaged in jobs.damaged] == [("2.i136", "it has no job_state")]

    def test_does_not_hide_another(self, dialect: str) -> None:
        bad = JOB | {"job_state": "?"}

        jobs = parse_jobs(PRINTERS[dialect]([("1.i136", bad), ("2.i136", JOB), ("3.i136", bad)]))

        assert ids(jobs) == ["2.i136"]
        assert [damaged.record for damaged in jobs.damaged] == ["1.i136", "3.i136"]

    def test_that_is_all_there_is_reads_as_an_error_not_as_no_jobs(self, dialect: str) -> None:
        with pytest.raises(QstatError, match="no record can be read") as caught:
            parse_jobs(PRINTERS[dialect]([("1.i136", JOB | {"job_state": "?"})]))

        assert caught.value.record == "1.i136"


class TestDamagedText:
    def broken(self, old: str, new: str) -> Records:  # type: ignore[type-arg]
        second = JOB | {"Job_Name": "second"}
        return parse_jobs(pbs_printers.text(three_jobs(second)).replace(old, new))

    def test_a_heading_without_an_id(self) -> None:
        jobs = self.broken("Job Id: 2.i136", "Job Id: ")

        assert ids(jobs) == ["1.i136", "3.i136"]
        assert jobs.damaged == (Damaged(12, "", "it has no name"),)

    def test_a_heading_that_cannot_be_read(self) -> None:
        jobs = self.broken("Job Id: 2.i136", "J\x00b Id 2.i136")

        assert ids(jobs) == ["1.i136", "3.i136"]
        assert jobs.damaged == (Damaged(12, "J\x00b Id 2.i136", "its heading cannot be read"),)

    def test_a_record_that_breaks_off_where_the_next_begins(self) -> None:
        jobs = self.broken(
            "    Job_Name = second\n    Job_Owner = alice@i136\n", "    Job_Na\nJob Id: 2b.i136\n    Job_Name = x\n"
        )

        assert ids(jobs) == ["1.i136", "2b.i136", "3.i136"]
        assert jobs.damaged == (Damaged(12, "2.i136", "it is cut off: the next record begins inside it"),)

    def test_a_record_without_attributes(self) -> None:
        jobs = parse_jobs("Job Id: 1\n\nJob Id: 2\n    Job_Name = a\n    job_state = Q\n\n")

        assert ids(jobs) == ["2"]
        assert jobs.damaged == (Damaged(1, "1", "no attributes follow its heading"),)

    def test_a_node_without_attributes_and_one_without_a_state(self) -> None:
        nodes = parse_nodes("i1\n     state = free\n\ni2\n\ni3\n     np = 8\n\ni4\n     state = down\n\n")

        assert [node.name for node in nodes] == ["i1", "i4"]
        assert nodes.damaged == (
            Damaged(4, "i2", "no attributes follow its heading"),
            Damaged(6, "i3", "it has no state"),
        )

    def test_a_queue_that_says_nothing(self) -> None:
        queues = parse_queues("Queue: a\n    queue_type = Route\n\nQueue: b\n    mtime = 1\n\n")

        assert [queue.name for queue in queues] == ["a"]
        assert [damaged.record for damaged in queues.damaged] == ["b"]


class TestDamagedXML:
    def broken(self, old: str, new: str) -> Records:  # type: ignore[type-arg]
        second = JOB | {"Job_Name": "second", "comment": "mine"}
        return parse_jobs(pbs_printers.xml(three_jobs(second)).replace(old, new))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("second</Job_Name>", "second</Job_Nam>"),
            ("second</Job_Name>", "second"),
            ("<comment>mine", "mine"),
            ("<comment>mine", "<comm<ent>mine"),
            ("<comment>mine", "<>mine"),
        ],
    )
    def test_tags_that_do_not_pair(self, old: str, new: str) -> None:
        jobs = self.broken(old, new)

        (damaged,) = jobs.damaged
        assert ids(jobs) == ["1.i136", "3.i136"]
        assert (damaged.line, damaged.record) == (2, "2.i136")
        assert damaged.reason.startswith("it is no XML")

    def test_a_record_without_an_id(self) -> None:
        jobs = self.broken("<Job_Id>2.i136</Job_Id>", "")

        assert ids(jobs) == ["1.i136", "3.i136"]
        assert [damaged.reason for damaged in jobs.damaged] == ["it has no Job_Id"]

    def test_a_record_that_is_not_closed(self) -> None:
        jobs = self.broken("</comment></Job>", "</comment>")

        assert ids(jobs) == ["1.i136", "3.i136"]
        assert [(damaged.record, damaged.reason) for damaged in jobs.damaged] == [
            ("2.i136", "it has no end: the next record begins inside it")
        ]

    def test_text_between_records_is_reported(self) -> None:
        jobs = self.broken("</comment></Job>", "</comment></Job>Segmentation fault")

        assert ids(jobs) == ["1.i136", "2.i136", "3.i136"]
        assert [damaged.reason for damaged in jobs.damaged] == ["something stands between the records"]


class TestDamagedJSON:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('"Job_Name":\t"second",', "}{,"),
            ('"Job_Name":\t"second",', '"Job_Name":\t"second", 5,'),
            ('"queue":\t"batch"', '"queue" "batch"'),
            ('"queue":\t"batch"', "queue"),
        ],
    )
    def test_an_object_that_is_none(self, old: str, new: str) -> None:
        second = {"Job_Name": "second", "queue": "batch", "job_state": "Q"}
        printed = pbs_printers.json([("1.i136", JOB), ("2.i136", second), ("3.i136", JOB)])
        begin = printed.index('"2.i136"')

        jobs = parse_jobs(printed[:begin] + printed[begin:].replace(old, new, 1))

        assert ids(jobs) == ["1.i136", "3.i136"]
        assert {damaged.record for damaged in jobs.damaged} >= {"2.i136"}

    def test_the_last_object(self) -> None:
        printed = pbs_printers.json([("1.i136", JOB), ("2.i136", JOB | {"Job_Name": "@"})]).replace(
            '"@"', '"a", nonsense'
        )

        jobs = parse_jobs(printed)

        assert (ids(jobs), [damaged.record for damaged in jobs.damaged]) == (["1.i136"], ["2.i136"])

    def test_what_is_no_object(self) -> None:
        jobs = parse_jobs(
            '{"Jobs": {"1": {"Job_Name": "a", "job_state": "Q"}, "2": 5, "3": {"Job_Name": "b", "job_state": "Q"}}}'
        )

        assert ids(jobs) == ["1", "3"]
        assert [damaged[1:] for damaged in jobs.damaged] == [("2", "it is no object")]

    def test_a_node_of_which_the_server_knows_nothing(self) -> None:
        nodes = parse_nodes('{"timestamp": 1, "nodes": {"i1": {"state": "free"}, "i9": {"i9": "Unknown node "}}}')

        assert [node.name for node in nodes] == ["i1"]
        assert [damaged[1:] for damaged in nodes.damaged] == [("i9", "it has no state")]


class TestNoAnswer:
    @pytest.mark.parametrize(
        "output",
        [
            "qstat: cannot connect to server i136 (errno=15010) Access from host not allowed, or unknown host\n",
            "pbs_iff: cannot read reply from pbs_server\nNo Permission.\nqstat: cannot connect to server i136\n",
            "qstat: Unknown Job Id Error 5.i136\n",
            "pbsnodes: cannot connect to server i136, error=111\n",
            "bash: qstat: command not found\n",
            "Problem loading jobs.\n",
            "slurm_load_jobs error: Unable to contact slurm controller\n",
            "*** Welcome to i136 ***\nLast login: Sun Nov 22 12:00:00 2026\n",
            "Connection closed by remote host\n",
            "ssh: connect to host login.example.org port 22: Connection refused\n",
            "Job id              Name             Username        Time Use S Queue\n------ ----\n1     a    b   c\n",
            "Job ID                    Name             User            Time Use S Queue\n",
            "Queue              Max   Tot   Ena   Str   Que   Run   Hld   Wat   Trn   Ext T   Cpt\n",
            "Server: i136\n    server_state = Active\n\n",
            "{}\n",
            "[]\n",
            '{"error": "no permission"}\n',
            '{"timestamp": 1, "pbs_server": "i136", "Server": {"i136": {}}}\n',
            "<html><body>503 Service Unavailable</body></html>\n",
            "null",
            "\x00\x01\x02",
            "qstat: cannot connect to server i137\n<Data></Data>\n",
            "<Data></Data>\nqstat: End of File\n",
            "<Data><Server>i136</Server></Data>\n",
        ],
    )
    @pytest.mark.parametrize("parse", [parse_jobs, parse_queues, parse_nodes])
    def test_an_error_never_reads_as_none(self, output: str, parse: object) -> None:
        with pytest.raises(QstatError):
            parse(output)  # type: ignore[operator]

    def test_the_sentence_of_the_tool_is_passed_on(self) -> None:
        with pytest.raises(QstatError, match="cannot connect to server i136") as caught:
            parse_jobs("Welcome\nqstat: cannot connect to server i136 (errno=15010)\n")

        assert caught.value.line == 2

    def test_the_error_is_one_of_ours(self) -> None:
        assert issubclass(QstatError, CloudmeshError)

    @pytest.mark.parametrize("printed", [b"", "", b"\n", " \r\n"])
    def test_nothing_is_an_answer_only_for_who_knows(self, printed: bytes | str) -> None:
        for parse in (parse_jobs, parse_queues, parse_nodes):
            with pytest.raises(QstatError, match="nothing was printed"):
                parse(printed)
            assert list(parse(printed, empty_ok=True)) == []
        assert parse_jobs(printed, empty_ok=True).dialect is None

    def test_a_greeting_is_more_than_nothing(self) -> None:
        with pytest.raises(QstatError):
            parse_jobs("Welcome to i136\n", empty_ok=True)


class TestCutOff:
    @pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: path.name)
    def test_an_output_that_was_cut_off_is_no_answer(self, path: Path) -> None:
        whole = path.read_bytes()
        everything = ids(parse_jobs(whole))

        for end in range(1, len(whole.rstrip()), 97):
            try:
                jobs = parse_jobs(whole[:end])
            except QstatError:
                continue
            assert whole[:end].endswith(b"\n\n")  # after a whole record of a text listing: it cannot be told
            assert (ids(jobs), jobs.damaged) == (everything[: len(jobs)], ())

    @pytest.mark.parametrize("parse", [parse_nodes, parse_queues])
    def test_nor_is_one_of_nodes_or_queues(self, parse: object) -> None:
        pattern = "real-*pbsnodes*" if parse is parse_nodes else "real-*Qf*"

        for path in DATA.glob(pattern):
            whole = path.read_bytes()
            for end in range(1, len(whole.rstrip()), 13):
                if not whole[:end].endswith(b"\n\n"):
                    with pytest.raises(QstatError):
                        parse(whole[:end])  # type: ignore[operator]

    @pytest.mark.parametrize("dialect", PRINTERS)
    def test_the_record_at_fault_is_named(self, dialect: str) -> None:
        printed = PRINTERS[dialect](three_jobs(JOB | {"Variable_List": "PBS_O_HOME=/home/%"}))

        with pytest.raises(QstatError, match="cut off") as caught:
            parse_jobs(printed[: printed.index("%")])

        assert caught.value.record == "2.i136"
        assert caught.value.line == (2 if dialect == "xml" else printed[: printed.index("2.i136")].count("\n") + 1)

    def test_a_document_that_only_lacks_its_last_brackets_is_cut_off(self) -> None:
        printed = pbs_printers.json(three_jobs(JOB)).rstrip()

        for _ in range(3):
            printed = printed.rstrip()[:-1]
            with pytest.raises(QstatError, match="cut off"):
                parse_jobs(printed)

    def test_what_follows_the_output_is_reported(self) -> None:
        for dialect in ("xml", "json"):
            jobs = parse_jobs(PRINTERS[dialect](three_jobs(JOB)) + "logout\n")

            assert (len(jobs), [damaged.reason for damaged in jobs.damaged]) == (3, ["something follows the output"])
