"""What is hard to read in each dialect, and is read all the same."""

from __future__ import annotations

from typing import Any

import pbs_printers
import pytest

from cloudmesh_actors.pbs.model import BatchJob, JobState, NodeState
from cloudmesh_actors.pbs.qstat import Dialect, parse_jobs, parse_nodes, parse_queues

JOB = {
    "Job_Name": "simple",
    "Job_Owner": "alice@i136",
    "resources_used.walltime": "00:00:03",
    "job_state": "R",
    "queue": "batch",
    "ctime": "1795350692",
    "exec_host": "i1/0",
    "Resource_List.walltime": "01:30:00",
    "Variable_List": "PBS_O_HOME=/home/alice,PBS_O_LANG=en_US.UTF-8",
    "etime": "1795350692",
}
PRINTERS = {"text": pbs_printers.text, "slurm": pbs_printers.slurm, "xml": pbs_printers.xml, "json": pbs_printers.json}


def listing(*changes: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    return [(f"{number}.i136", {**JOB, **change}) for number, change in enumerate(changes)]


def only(data: bytes | str) -> BatchJob:
    (job,) = parse_jobs(data)
    return job


@pytest.mark.parametrize("dialect", PRINTERS)
class TestEveryDialect:
    def test_all_attributes_are_kept_under_one_name(self, dialect: str) -> None:
        first, second = parse_jobs(PRINTERS[dialect](listing({}, {"comment": "a = b"})))

        assert first.attributes == JOB
        assert second.attributes == {**JOB, "comment": "a = b"}

    @pytest.mark.parametrize("state", list(JobState))
    def test_every_letter_is_a_state(self, dialect: str, state: JobState) -> None:
        first, second = parse_jobs(PRINTERS[dialect](listing({"job_state": state.value}, {"job_state": state.value})))

        assert first.state is second.state is state

    def test_banners_before_the_output_are_skipped(self, dialect: str) -> None:
        banner = "*** Welcome to i136 ***\nMaintenance: Monday, 8 - 10\n\n  queue = closed then\n\n"

        assert only(banner + PRINTERS[dialect](listing({}))).name == "simple"

    def test_lines_may_end_as_on_a_terminal(self, dialect: str) -> None:
        printed = PRINTERS[dialect](listing({"Variable_List": f"A={'x' * 200},B=y"}, {}))

        jobs = parse_jobs(printed.replace("\n", "\r\n").encode())

        assert [job.attributes["Variable_List"] for job in jobs] == [f"A={'x' * 200},B=y", JOB["Variable_List"]]

    def test_a_byte_order_mark_is_skipped(self, dialect: str) -> None:
        assert only(("\ufeff" + PRINTERS[dialect](listing({}))).encode()).name == "simple"

    def test_names_are_utf_8_or_latin_1_as_each_user_likes(self, dialect: str) -> None:
        printed = PRINTERS[dialect](listing({"Job_Name": "na\u00efve"}, {"Job_Name": "caf@"})).encode()

        jobs = parse_jobs(printed.replace(b"caf@", b"caf\xe9"))

        assert [job.name for job in jobs] == ["na\u00efve", "caf\u00e9"]

    def test_text_that_was_decoded_with_surrogates_reads_like_its_bytes(self, dialect: str) -> None:
        raw = PRINTERS[dialect](listing({"Job_Name": "caf@"})).encode().replace(b"caf@", b"caf\xe9")

        assert only(raw.decode(errors="surrogateescape")) == only(raw)

    def test_text_with_impossible_characters_is_read_as_far_as_it_goes(self, dialect: str) -> None:
        assert only(PRINTERS[dialect](listing({"Job_Name": "x\ud800"}))).name.startswith("x?")

    def test_many_jobs_keep_their_order(self, dialect: str) -> None:
        jobs = parse_jobs(PRINTERS[dialect](listing(*[{"Job_Name": f"job{number}"} for number in range(50)])))

        assert [(job.id, job.name) for job in jobs] == [(f"{number}.i136", f"job{number}") for number in range(50)]

    def test_attributes_are_read_again_or_kept_as_is_asked(self, dialect: str) -> None:
        first, _ = parse_jobs(PRINTERS[dialect](listing({}, {})))

        plain = first.attributes.plain()  # type: ignore[attr-defined]
        plain["queue"] = "changed"

        assert first.attributes["queue"] == "batch"
        assert len(first.attributes) == len(JOB)
        assert repr(first.attributes) == repr(dict(first.attributes))


class TestText:
    def test_lines_are_wrapped_in_mid_word(self) -> None:
        hosts = "+".join(f"i{number:03d}/0" for number in range(1, 40))

        job = only(pbs_printers.text(listing({"exec_host": hosts, "comment": "x" * 500})))

        assert (len(job.nodes), job.nodes[-1]) == (39, ("i039", 1))
        assert job.attributes["comment"] == "x" * 500

    def test_f1_does_not_wrap(self) -> None:
        hosts = "+".join(f"i{number:03d}/0" for number in range(1, 40))

        assert len(only(pbs_printers.text(listing({"exec_host": hosts}), width=None)).nodes) == 39

    def test_the_counts_of_a_queue_are_wrapped_too(self) -> None:
        counts = "Transit:0 Queued:1234567 Held:1234567 Waiting:0 Running:1234567 Exiting:0 Complete:77 "

        (queue,) = parse_queues(pbs_printers.text([("long", {"queue_type": "Route", "state_count": counts})], "queues"))

        assert (queue.states["Running"], queue.states["Complete"]) == (1234567, 77)

    def test_an_environment_may_hold_lines_that_look_like_ours(self) -> None:
        forged = "FN=() {\n    local x = 1\n    job_state = C\n    comment = forged\n}\nJob Id: 66.i136\n\nQueue: x,B=y"

        first, second = parse_jobs(
            pbs_printers.text(listing({"Variable_List": forged, "comment": "true"}, {}), width=None)
        )

        assert (first.state, first.queue, second.id) == (JobState.RUNNING, "batch", "1.i136")
        assert "local x = 1" in first.attributes["Variable_List"]

    def test_a_carriage_return_inside_a_value_stays(self) -> None:
        assert (
            only(pbs_printers.text(listing({"comment": "a\rb\x0bc\x85d\u2028e"}))).attributes["comment"]
            == "a\rb\x0bc\x85d\u2028e"
        )

    def test_an_empty_value_may_have_lost_its_blank(self) -> None:
        printed = pbs_printers.text(listing({"comment": ""}))

        assert only(printed.replace("comment = \n", "comment =\n")).attributes["comment"] == ""

    def test_limits_printed_as_one_attribute_each_are_one_list(self) -> None:
        lines = "    max_queued = [o:PBS_ALL=10]\n    max_queued = [u:PBS_GENERIC=2]\n    max_queued = [u:tom=15]\n"

        (queue,) = parse_queues(f"Queue: batch\n    queue_type = Execution\n{lines}    enabled = True\n\n")

        assert queue.limits == {"max_queued": "[o:PBS_ALL=10],[u:PBS_GENERIC=2],[u:tom=15]"}

    def test_complaints_about_jobs_that_have_gone_are_reported(self) -> None:
        printed = pbs_printers.text(listing({}, {}))
        gone = "qstat: Unknown Job Id Error 77.i136\n"

        jobs = parse_jobs(gone + printed + gone)

        assert len(jobs) == 2
        assert [(damaged.line, damaged.record) for damaged in jobs.damaged] == [(26, "77.i136")]

    def test_nodes_of_old_torque_list_each_slot_of_a_job(self) -> None:
        (node,) = parse_nodes("i1\n     state = free\n     np = 8\n     jobs = 0/1.i136, 1/1.i136, 1/2.i136\n\n")

        assert node.jobs == ["1.i136", "2.i136"]

    def test_nodes_of_openpbs_list_the_slot_after_the_job(self) -> None:
        jobs = "34.i136/0, 34.i136/1, 39[1].i136/2"

        (node,) = parse_nodes(f"i1\n     Mom = i1.example.org\n     state = job-busy\n     jobs = {jobs}\n\n")

        assert node.jobs == ["34.i136", "39[1].i136"]

    def test_slots_of_a_job_may_be_a_list_of_ranges(self) -> None:
        (node,) = parse_nodes("i1\n     state = job-exclusive\n     jobs = 0,2-3/5.i136,1/6[2].i136\n\n")

        assert node.jobs == ["5.i136", "6[2].i136"]

    @pytest.mark.parametrize(
        ("printed", "states"),
        [
            ("down,offline", {NodeState.DOWN, NodeState.OFFLINE}),
            ("job-exclusive, busy", {NodeState.JOB_EXCLUSIVE, NodeState.BUSY}),
            ("mixed+drain", {NodeState.MIXED, NodeState.DRAIN}),
            ("free~", {NodeState.FREE}),
            ("on-fire", {"on-fire"}),
        ],
    )
    def test_a_node_has_all_states_that_are_printed(self, printed: str, states: set[str]) -> None:
        (node,) = parse_nodes(f"i1\n     state = {printed}\n\n")

        assert node.states == states

    def test_empty_lines_between_nodes_may_be_many(self) -> None:
        nodes = parse_nodes("i1\n     state = free\n\n\n\ni2\n     state = down\n\n\n")

        assert [node.name for node in nodes] == ["i1", "i2"]


class TestXML:
    def test_old_torque_escapes_nothing_and_prints_less_than_as_another_character(self) -> None:
        job = {"Job_Name": "n&me<odd>", "Variable_List": "AMP=a&b<c>,ESC=\x1b[31mred,Q='\""}

        first, _ = parse_jobs(pbs_printers.xml(listing(job, {}), escaped=False))

        assert first.name == "n&me<odd>"
        assert first.attributes["Variable_List"] == job["Variable_List"]

    def test_entities_are_what_they_stand_for(self) -> None:
        printed = pbs_printers.xml(listing({"Job_Name": "@"})).replace(
            "@", "&amp;lt; &#65;&#x42; &apos;&quot; &nbsp; &#xD800;"
        )

        assert only(printed).name == "&lt; AB '\" &nbsp; \ufffd"

    def test_line_breaks_in_values_are_kept(self) -> None:
        assert (
            "\nline2"
            in only(pbs_printers.xml(listing({"Variable_List": "NL=line1\nline2"}))).attributes["Variable_List"]
        )

    def test_what_another_tool_has_reformatted_is_read(self) -> None:
        printed = pbs_printers.xml(listing({}, {"Job_Name": "a & <b>"}))

        pretty = printed.replace("><", ">\n  <").replace("<comment></comment>", "<comment/>")

        assert [job.name for job in parse_jobs(pretty)] == ["simple", "a & <b>"]
        assert parse_jobs(pretty)[0].attributes == JOB

    def test_attributes_comments_and_character_data_sections_are_read(self) -> None:
        job = "<Job_Id>1</Job_Id><!-- mine --><Job_Name lang='en'><![CDATA[a<b]]></Job_Name><job_state>Q</job_state>"

        assert only(f"<Data><Job>{job}</Job></Data>").name == "a<b"

    def test_groups_may_hold_groups(self) -> None:
        usage = "<task_usage.0.task.0><cpu_list>0-3</cpu_list></task_usage.0.task.0>"
        printed = pbs_printers.xml(listing({})).replace("<Resource_List>", f"<Resource_List>{usage}")

        job = only(printed)

        assert job.attributes["Resource_List.task_usage.0.task.0.cpu_list"] == "0-3"
        assert job.walltime_requested == 5400

    def test_a_walltime_belongs_to_its_group(self) -> None:
        job = only(pbs_printers.xml(listing({"Walltime.Remaining": "5397"})))

        assert (job.walltime_requested, job.walltime_used) == (5400, 3)

    @pytest.mark.parametrize("printed", ["<Data></Data>", '<?xml version="1.0"?>\n<Data/>\n', "<Data>\n</Data>\n"])
    def test_no_jobs_are_no_jobs(self, printed: str) -> None:
        jobs = parse_jobs(printed)

        assert (list(jobs), jobs.damaged, jobs.dialect) == ([], (), Dialect.XML)

    def test_several_servers_print_one_document_each(self) -> None:
        one, other = pbs_printers.xml(listing({})), pbs_printers.xml(listing({}, {}))

        assert len(parse_jobs(one + other + "<Data></Data>\n")) == 3
        assert len(parse_jobs("<Data></Data>\n" + one)) == 1

    def test_queues_may_come_as_xml_too(self) -> None:
        printed = pbs_printers.xml([("batch", {"queue_type": "Execution", "enabled": "True"})], "queues")

        assert [queue.name for queue in parse_queues(printed)] == ["batch"]


class TestJSON:
    #: What strtod(3) takes for a number, and a JSON parser does not, or gives back otherwise.
    BARE = (
        "007",
        "1e5",
        "1.50",
        "nan",
        "inf",
        "-inf",
        ".5",
        "5.",
        "+5",
        "0x1f",
        "1E+5",
        "-00.1",
        "12345678901234567890123",
    )

    @pytest.mark.parametrize("name", [*BARE, "", "true", "null", "12345"])
    @pytest.mark.parametrize("position", [0, 1])
    def test_bare_words_and_numbers_are_the_text_that_they_were(self, name: str, position: int) -> None:
        changes: list[dict[str, str]] = [{}, {}]
        changes[position] = {"Job_Name": "@", "Variable_List": "NUM=@", "Account_Name": "@"}
        printed = pbs_printers.json(listing(*changes), old=True).replace('"@"', name)

        job = parse_jobs(printed)[position]

        assert job.name == name
        assert job.attributes["Variable_List"] == f"NUM={name}"
        assert job.attributes["Account_Name"] == name

    @pytest.mark.parametrize(
        ("printed", "value"),
        [
            (r"it\'s", "it's"),
            (r"a\,b", r"a,b"),
            (r"c:\dir", "c:dir"),
            (r"c:\\dir", r"c:\dir"),
            ('say "hi" twice', 'say "hi" twice'),
            ('a "b", c', 'a "b", c'),
            ("back\\", "back\\"),
            ("tab\there", "tab\there"),
            ("line\nbreak", "line\nbreak"),
            ("\x1b[31mred", "\x1b[31mred"),
            (r"\u00e9\ud83d\ude00\ud800", "\u00e9\U0001f600\ufffd"),
            (r"a\/b", "a/b"),
        ],
    )
    @pytest.mark.parametrize("position", [0, 1])
    def test_bad_escapes_and_quotes_do_not_matter(self, printed: str, value: str, position: int) -> None:
        changes: list[dict[str, str]] = [{}, {}]
        changes[position] = {"comment": "@"}
        jobs = parse_jobs(pbs_printers.json(listing(*changes), old=True).replace('"@"', f'"{printed}"'))

        assert [job.id for job in jobs] == ["0.i136", "1.i136"]
        assert jobs[position].attributes["comment"] == value
        assert jobs[position].attributes["etime"] == JOB["etime"]

    @pytest.mark.parametrize("position", [0, 1])
    def test_groups_whose_key_is_repeated_are_joined(self, position: int) -> None:
        changes: list[dict[str, str]] = [{}, {}]
        changes[position] = {"project": "@"}
        again = '"Resource_List": {"mem": "2gb", "walltime": "09:00:00"}'
        printed = pbs_printers.json(listing(*changes)).replace('"project":\t"@"', again)

        job = parse_jobs(printed)[position]

        assert (job.walltime_requested, job.memory) == (5400, 2 * 1024**3)

    def test_limits_whose_key_is_repeated_are_one_list(self) -> None:
        members = '"queue_type": "Execution", "max_queued": "[o:PBS_ALL=10]", "max_queued": "[u:tom=15]"'
        printed = f'{{"timestamp": 1, "Queue": {{"one": {{{members}}}, "two": {{{members}}}}}}}'

        assert [queue.limits for queue in parse_queues(printed)] == [{"max_queued": "[o:PBS_ALL=10],[u:tom=15]"}] * 2

    @pytest.mark.parametrize("position", [0, 1])
    def test_a_variable_that_is_set_twice_is_set_once(self, position: int) -> None:
        changes: list[dict[str, str]] = [{}, {}]
        changes[position] = {"Variable_List": "A=1,A=2,B=3"}

        assert parse_jobs(pbs_printers.json(listing(*changes)))[position].attributes["Variable_List"] == "A=1,B=3"

    @pytest.mark.parametrize("layout", [{}, {"separators": (",", ":")}, {"indent": 2}, {"indent": 4}, {"indent": "\t"}])
    def test_any_layout_is_read(self, layout: dict[str, Any]) -> None:
        import json

        document = json.loads(pbs_printers.json(listing({}, {"Job_Name": "b"}, {"Job_Name": "c"})))

        assert [job.name for job in parse_jobs(json.dumps(document, **layout))] == ["simple", "b", "c"]

    def test_the_order_of_attributes_does_not_matter(self) -> None:
        import json

        document = json.loads(pbs_printers.json(listing({}, {}, {})))
        document["Jobs"]["1.i136"] = dict(reversed(document["Jobs"]["1.i136"].items()))

        jobs = parse_jobs(json.dumps(document))

        assert [dict(job.attributes) for job in jobs] == [JOB] * 3

    def test_whole_numbers_that_the_library_prints_in_floating_point_are_whole(self) -> None:
        printed = pbs_printers.json(listing({"queue_rank": "@"}, {})).replace('"@"', "1.79534988003302e+15")

        assert parse_jobs(printed)[0].attributes["queue_rank"] == "1795349880033020"

    @pytest.mark.parametrize("value", ["[1, 2]", '{"a": {"b": [1]}}', "[" * 300 + "]" * 300, '["a", 1.50]'])
    @pytest.mark.parametrize("position", [0, 1])
    def test_a_variable_that_is_json_itself_is_given_as_json(self, value: str, position: int) -> None:
        changes: list[dict[str, str]] = [{}, {}]
        changes[position] = {"Variable_List": "DEEP=@,B=1"}
        printed = pbs_printers.json(listing(*changes)).replace('"@"', value)

        variables = parse_jobs(printed)[position].attributes["Variable_List"]

        assert variables.replace(" ", "").replace("\\,", ",") == f"DEEP={value},B=1".replace(" ", "")

    @pytest.mark.parametrize("jobs", ["", ', "Jobs": {}', ', "Jobs": {\n}'])
    def test_a_server_without_jobs_says_who_it_is(self, jobs: str) -> None:
        printed = f'{{"timestamp": 1795349888, "pbs_version": "23.06.06", "pbs_server": "i136"{jobs}}}\n'

        assert (list(parse_jobs(printed)), parse_jobs(printed).dialect) == ([], Dialect.JSON)

    def test_missing_commas_are_overlooked(self) -> None:
        printed = pbs_printers.json(listing({}, {}), old=True).replace('"queue":"batch",', '"queue":"batch"')

        assert [job.queue for job in parse_jobs(printed)] == ["batch", "batch"]

    def test_jobs_of_a_node_are_a_list(self) -> None:
        nodes = [("i1", {"Mom": "i1", "state": "job-busy", "jobs": "1.i136, 39[1].i136"}), ("i2", {"state": "free"})]

        assert [node.jobs for node in parse_nodes(pbs_printers.json(nodes, "nodes"))] == [["1.i136", "39[1].i136"], []]
