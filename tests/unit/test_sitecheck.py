from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cloudmesh_actors import site, sitecheck
from cloudmesh_actors.errors import AuthenticationFailed, Unreachable
from cloudmesh_actors.site import BatchServer, Bmc, Cobbler
from cloudmesh_actors.sitecheck import Finding, Probes


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    return path


def power_is_on(bmc: Bmc) -> str:
    return "power is on"


def greets(server: BatchServer) -> str:
    return f"{server.host} greets"


def has_version(server: Cobbler) -> str:
    return "Cobbler 3.3"


WELL = Probes(power_is_on, greets, has_version)


def test_the_built_in_site_is_sound() -> None:
    inventory, findings = sitecheck.inspect(None)
    assert inventory is site.built_in()
    assert findings == (
        Finding(
            "ok",
            "site",
            "",
            "the built-in simulated site: 176 nodes, 4 clusters, 7 racks, 176 BMCs, 1 batch server, 1 Cobbler",
        ),
    )


def test_every_mistake_of_a_file_is_a_finding_and_there_is_no_site(tmp_path: Path) -> None:
    path = written(tmp_path, "clusters:\n  a: {}\n  b: {nodse: x}\n")
    inventory, findings = sitecheck.inspect(path)
    assert inventory is None
    assert [(finding.level, finding.name) for finding in findings] == [
        ("error", "clusters.a.nodes"),
        ("error", "clusters.b.nodse"),
        ("error", "clusters.b.nodes"),
    ]
    assert findings[0].text == f"{path}:2: clusters.a.nodes: is missing"


def test_what_is_allowed_but_hardly_meant_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_SIET", "x")
    (tmp_path / "open-key").touch(mode=0o644)
    (tmp_path / "known_hosts").touch()
    path = written(
        tmp_path,
        """
clusters: {a: {nodes: "a[1-4]"}}
racks: {r1: {units: 42, place: {"a[1-2]": 1}}}
bmcs: {"a[1-3],b1": {driver: simulator}}
batch_servers:
  t1: {host: h, user: u, key_file: open-key, known_hosts: known_hosts}
  t2: {host: h, user: u, key_file: missing-key, known_hosts: missing-hosts}
""",
    )
    inventory, findings = sitecheck.inspect(path)
    assert inventory is not None
    assert [finding.text for finding in findings if finding.level == "warning"] == [
        "CLOUDMESH_SIET is no setting; did you mean CLOUDMESH_SITE?",
        "b1: in no cluster",
        "a4: without a BMC",
        "a[3-4],b1: in no rack",
        f"the key file {tmp_path}/missing-key cannot be read: No such file or directory",
        f"the key file {tmp_path}/open-key is open to others than its owner (mode 0644)",
        f"the known_hosts file {tmp_path}/missing-hosts does not exist",
    ]


@pytest.fixture
def three_kinds(tmp_path: Path) -> site.Site:
    return site.load(
        written(
            tmp_path,
            """
bmcs: {"i[1-6]": {driver: simulator}}
batch_servers: {t: {driver: simulator, host: login}}
cobblers: {c: {driver: simulator, systems: "i[1-2]"}}
""",
        )
    )


def test_every_bmc_login_node_and_cobbler_is_tried_and_equal_findings_are_folded(three_kinds: site.Site) -> None:
    findings = sitecheck.folded(sitecheck.probe(three_kinds, WELL))
    assert set(findings) == {
        Finding("ok", "bmc", "i[1-6]", "power is on"),
        Finding("ok", "batch server", "t", "login greets"),
        Finding("ok", "cobbler", "c", "Cobbler 3.3"),
    }


def test_a_server_that_is_not_well_is_a_sentence_while_the_others_are_tried(three_kinds: site.Site) -> None:
    def some_fail(bmc: Bmc) -> str:
        if bmc.node == "i3":
            raise Unreachable("i3: the BMC does not answer")
        if bmc.node == "i5":
            raise AuthenticationFailed("i5: the BMC refuses the password")
        return "power is on"

    findings = sitecheck.folded(sitecheck.probe(three_kinds, Probes(some_fail, greets, has_version)))
    assert Finding("error", "bmc", "i3", "i3: the BMC does not answer") in findings
    assert Finding("error", "bmc", "i5", "i5: the BMC refuses the password") in findings
    assert Finding("ok", "bmc", "i[1-2,4,6]", "power is on") in findings
    assert len(findings) == 5


def test_servers_are_tried_at_once_but_no_more_than_asked_for(three_kinds: site.Site) -> None:
    together = threading.Barrier(3, timeout=10)
    guard, seen = threading.Lock(), {"now": 0, "most": 0}

    def meet(bmc: Bmc) -> str:
        with guard:
            seen["now"] += 1
            seen["most"] = max(seen["most"], seen["now"])
        together.wait()
        with guard:
            seen["now"] -= 1
        return "power is on"

    list(sitecheck.probe(three_kinds, Probes(meet, greets, has_version), width=3))
    assert seen == {"now": 0, "most": 3}


def test_a_defect_of_a_probe_is_not_taken_for_a_sick_server(three_kinds: site.Site) -> None:
    def broken(bmc: Bmc) -> str:
        raise KeyError(bmc.node)

    with pytest.raises(KeyError):
        list(sitecheck.probe(three_kinds, Probes(broken, greets, has_version)))


def test_the_simulated_site_answers_every_probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path))
    path = written(
        tmp_path,
        'bmcs: {"i[1-4]": {driver: simulator, faults: {i3: wrong-password}}}\nbatch_servers: {t: {driver: simulator}}',
    )
    findings = sitecheck.folded(sitecheck.probe(site.load(path)))
    assert {(finding.level, finding.kind, finding.name) for finding in findings} == {
        ("ok", "bmc", "i[1-2,4]"),
        ("error", "bmc", "i3"),
        ("ok", "batch server", "t"),
    }
