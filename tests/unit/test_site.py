from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudmesh_actors import site
from cloudmesh_actors.errors import NodeSetError, SiteError, UnknownNode
from cloudmesh_actors.secret import known_values
from cloudmesh_actors.site import document
from cloudmesh_actors.site.model import Place, SimulatedFault
from cloudmesh_actors.site.sections import KEYS

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "site-file.md"

#: What is refused before it is expanded takes milliseconds; the expansion itself takes seconds and gigabytes.
REFUSAL_DEADLINE_S = 2.0

LOGIN = "user: admin, password: {env: BMC_PASSWORD}"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a site file; the password that most of them refer to is there."""
    monkeypatch.setenv("BMC_PASSWORD", "hunter22")

    def write(text: str | bytes, name: str = "site.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    return write


@pytest.fixture
def documented(write: Write, tmp_path: Path) -> Path:
    """The documentation's example, with the files it speaks of."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "secrets").mkdir()
    password = tmp_path / "secrets" / "cobbler"
    password.touch(mode=0o600)
    password.write_text("installer\n")
    example = re.search(r"^```yaml\n(.*?)^```", DOCUMENTATION.read_text(), re.M | re.S)
    assert example
    return write(example[1])


def mistakes(path: Path) -> list[str]:
    """All mistakes, without the file's name."""
    return [str(error).removeprefix(f"{path}:").strip() for error in site.check(path)]


def test_the_documentations_example_is_a_sound_site(documented: Path, tmp_path: Path) -> None:
    assert site.check(documented) == ()
    found = site.load(documented)
    assert found.source == documented
    assert found.clusters["delta"].queues == ("delta", "delta-long")
    assert found.clusters["india"].server == "torque1"
    assert found.place_of["i001"] == Place("r1", 1)
    assert found.place_of["i064"] == Place("r2", 24)
    assert found.place_of["d009"] == Place("r3", 11)
    bmc = found.bmcs["i064"]
    assert (bmc.address, bmc.port, bmc.user, bmc.driver) == ("10.1.0.64", 623, "admin", "ipmi")
    assert (bmc.cipher, bmc.deadline, bmc.password.reveal()) == (17, 15.0, "hunter22")
    assert (found.bmcs["d003"].fault, found.bmcs["d008"].fault, found.bmcs["d001"].fault) == ("silent", "hot", None)
    assert found.bmcs["d003"].seed == 7
    assert found.batch_servers["torque1"].jump is None
    assert found.batch_servers["torque1"].max_age == 30.0
    assert found.cobblers["main"].password.reveal() == "installer"
    assert found.cobbler_of["i064"] == "main"
    assert (found.hosts["i002"].address, found.hosts["i002"].jump) == ("10.0.0.2", "alice@login.example.org")
    assert (found.provision["i033"], found.provision["d016"]) == ("ipmi", "simulator")
    assert found.images["hpc"].cobbler_profile == "ubuntu22-x86_64"
    assert found.recipes == tmp_path / "recipes"


def test_the_documentation_explains_every_key_and_every_fault() -> None:
    text = DOCUMENTATION.read_text()
    explained = set(re.findall(r"`([\w-]+)`", text))
    keys = {key for section in KEYS.values() for key in section}
    assert keys | {"env", "file"} - {"env", "file"} <= explained
    assert set(SimulatedFault.__args__) <= explained
    sections = {heading for line in re.findall(r"^### (.+)$", text, re.M) for heading in re.findall(r"`(\w+)`", line)}
    assert sections == set(KEYS[""])


def test_the_documentations_tables_hold_no_key_that_does_not_exist() -> None:
    keys = {key for section in KEYS.values() for key in section}
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", DOCUMENTATION.read_text(), re.M)
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} <= keys


def test_without_a_site_file_futuregrid_is_simulated() -> None:
    found = site.current()
    assert found.source is None
    assert {name: len(cluster.nodes) for name, cluster in found.clusters.items()} == {
        "india": 128,
        "delta": 16,
        "echo": 16,
        "bravo": 16,
    }
    assert found.clusters["india"].queues == ("batch", "long", "b534", "systest", "reserved", "interactive")
    assert {cluster.server for cluster in found.clusters.values()} == set(found.batch_servers)
    assert {bmc.driver for bmc in found.bmcs.values()} == {"simulator"}
    assert set(found.bmcs) == set(found.hosts) == set(found.provision) == set(found.place_of) == set(found.all_nodes)
    assert max(place.unit for place in found.place_of.values()) <= 42


def test_sets_of_the_site_are_sorted_and_know_groups() -> None:
    found = site.current()
    assert found.nodes("i[003,001]") == ("i001", "i003")
    assert len(found.nodes("@all")) == 176
    assert found.nodes("@bravo&b00[1-2]") == ("b001", "b002")
    assert found.nodes("@rack:r1") == found.nodes("i[001-032]")
    assert found.nodes("@rack:*") == found.nodes("@all")
    assert found.nodes("@india!i0*!i10*!i11*") == found.nodes("i[120-128]")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("i01", "i01 is not in the site; did you mean i001?"),
        ("i[127-130]", "i[129-130] are not in the site"),
        ("@indai", "there is no group @indai; did you mean @india?"),
        ("@rack:r8", "there is no group @rack:r8; did you mean @rack:r"),
        ("i001!i001", "no node of the site is in 'i001!i001'"),
        ("x*", "no node of the site is in 'x*'"),
    ],
)
def test_what_the_site_does_not_have_is_named(text: str, sentence: str) -> None:
    with pytest.raises(UnknownNode) as caught:
        site.current().nodes(text)
    assert str(caught.value).startswith(sentence)


def test_a_malformed_set_is_no_unknown_node() -> None:
    with pytest.raises(NodeSetError, match="not closed"):
        site.current().nodes("i[001")


def test_a_node_without_a_bmc_is_told_from_an_unknown_one(write: Write) -> None:
    found = site.load(write("clusters: {india: {nodes: 'i[1-2]'}}\nbmcs: {i1: {driver: simulator}}"))
    assert found.bmc("i1").node == "i1"
    with pytest.raises(UnknownNode, match="no BMC for i2"):
        found.bmc("i2")
    with pytest.raises(UnknownNode, match="i3 is not in the site"):
        found.bmc("i3")


def test_nodes_that_only_have_a_bmc_or_a_host_are_nodes_too(write: Write) -> None:
    found = site.load(write("bmcs: {a1: {driver: simulator}}\nhosts: {b1: {driver: local}}"))
    assert found.nodes("@all") == ("a1", "b1")
    assert found.cluster_of == {"a1": None, "b1": None}


def test_a_site_cannot_be_changed() -> None:
    found = site.current()
    with pytest.raises(AttributeError):
        found.clusters = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.bmcs["i001"] = found.bmcs["i002"]  # type: ignore[index]


def test_passwords_show_in_no_repr(documented: Path) -> None:
    found = site.load(documented)
    assert "hunter22" not in repr(found)
    assert "installer" not in repr(found)
    assert {"hunter22", "installer"} <= known_values()


# The file changes


def test_the_current_site_is_read_again_when_its_file_has_changed(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("clusters: {india: {nodes: 'i[1-2]'}}")
    monkeypatch.setenv("CLOUDMESH_SITE", str(path))
    before = site.current()
    assert site.current() is before
    replacement = write("clusters: {india: {nodes: 'i[1-3]'}}", "new.yaml")
    replacement.replace(path)
    assert site.current().nodes("@all") == ("i1", "i2", "i3")
    write("clusters: {india: [}")
    with pytest.raises(SiteError):
        site.current()
    path.unlink()
    with pytest.raises(SiteError, match="does not exist"):
        site.current()


def test_the_current_site_is_read_again_when_a_password_file_has_changed(
    documented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDMESH_SITE", str(documented))
    assert site.current().cobblers["main"].password.reveal() == "installer"
    (tmp_path / "secrets" / "cobbler").write_text("another one\n")
    assert site.current().cobblers["main"].password.reveal() == "another one"


# Files that are no site


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"\n \r\n", "is empty"),
        (b"\x7fELF\x02\x01\x00\x00", "is no text file"),
        (b"clusters: {}\n\xff\xfe", "2: is not UTF-8 text"),
        ("clusters: {}".encode("utf-16"), "1: is not UTF-8 text"),
        (b"clusters:\n\tindia: {}", "2: is not YAML: a tab stands where YAML wants blanks"),
        (b"clusters: {india: {nodes: 'i1'}", "2: is not YAML"),
        (b"- a\n- b\n", "1: has to consist of sections such as 'clusters:'"),
        (b"just a text", "1: has to consist of sections such as 'clusters:'"),
        (b"---\nclusters: {}\n---\nracks: {}\n", "3: a second document begins"),
        (b"bmcs: {i[1-3]: {}}", "1: is not YAML"),
        (b"a: &x {b: c}\nd: *x\n", "1: a: anchors and aliases"),
        (b"a: *x\n", "1: a: anchors and aliases"),
        (b"bmcs:\n  i1: {<<: {port: 1}}", "2: bmcs.i1: merge keys"),
        (b"a: !!python/object/apply:os.system [touch x]", "1: a: tags"),
        (b"? [a, b]\n: c", "1: a key has to be a text"),
        (b"[" * 50_000, "nested more than"),
        (b"{a: " * 50_000, "nested more than"),
    ],
)
def test_a_file_that_is_no_site_is_one_sentence(write: Write, content: bytes, sentence: str) -> None:
    path = write(content)
    with pytest.raises(SiteError) as caught:
        site.load(path)
    shown = str(caught.value)
    assert shown.startswith(str(path))
    assert sentence in shown
    assert "\n" not in shown
    assert [str(error) for error in site.check(path)] == [shown]


def test_a_yaml_bomb_is_refused_before_it_grows(write: Write) -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(SiteError, match="anchors and aliases"):
        site.load(write("\n".join(["l0: &l0 [x]", *levels])))


def test_a_file_that_is_not_there_or_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"nothing\.yaml: does not exist"):
        site.load(tmp_path / "nothing.yaml")
    with pytest.raises(SiteError, match="is not a file"):
        site.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SiteError, match="is not a file"):
        site.load(tmp_path / "pipe")
    assert [str(error) for error in site.check(tmp_path / "nothing.yaml")] == [
        f"{tmp_path}/nothing.yaml: does not exist"
    ]


def test_a_file_that_is_far_too_large_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_BYTES", 1_000_000)
    with pytest.raises(SiteError, match="larger than 1 MB"):
        site.load(write("#" * 1_000_001))


# Mistakes in it


def test_a_directory_of_recipes_has_to_exist(write: Write, tmp_path: Path) -> None:
    path = write("recipes: nothing/")
    assert mistakes(path) == [f"1: recipes: {tmp_path}/nothing is not a directory"]


def test_all_mistakes_are_told_and_the_first_says_how_many_more(write: Write) -> None:
    path = write("""
        clusters:
          india: {nodes: "i[1-3]", nodse: x}
          delta: {nodes: "i[3-4]"}
        racks:
          r1: {units: forty}
        bmcs:
          "i[1-3]": {address: "10.0.0.[1-2]", user: u, password: geheim99, driver: impi}
          "i[1-3]": {}
        """)
    found = mistakes(path)
    assert [line.split(":")[0] for line in found] == ["3", "4", "6", "8", "8", "8", "9"]
    with pytest.raises(SiteError, match=r"nodse.*\(and 6 more; `cm-actors site check` shows all\)"):
        site.load(path)


@pytest.mark.parametrize(
    ("password", "part"),
    [
        ("geheim99", "write {env: NAME} or {file: PATH}, never the password itself"),
        ("12345678", "write {env: NAME}"),
        ("[geheim99]", "write {env: NAME}"),
        ("{}", "write {env: NAME}"),
        ("{env: A, file: b}", "write {env: NAME}"),
        ("{plain: geheim99}", "plain: is not a known key"),
        ("{env: NO_SUCH_VARIABLE}", "the environment variable NO_SUCH_VARIABLE is not set"),
        ("{file: nothing}", "nothing cannot be read: No such file or directory"),
    ],
)
def test_a_password_is_referred_to_and_never_shown(write: Write, password: str, part: str) -> None:
    path = write(f"bmcs:\n  i1: {{address: h, user: u, password: {password}}}")
    found = mistakes(path)
    assert part in found[0]
    assert found[0].startswith("2: bmcs.i1.password")
    assert "geheim99" not in "".join(found)


def test_a_password_file_that_others_may_read_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim99")
    (tmp_path / "secret").chmod(0o644)
    path = write("bmcs:\n  i1: {address: h, user: u, password: {file: secret}}")
    sentence = f"{tmp_path}/secret is open to others than its owner (mode 0644); chmod 0600 mends that"
    assert mistakes(path) == [f"2: bmcs.i1.password.file: {sentence}"]


def test_texts_stay_as_they_are_written(write: Write) -> None:
    found = site.load(
        write("""
        clusters:
          1: {nodes: n1, queues: {server: t, names: [on, no, 010]}}
        batch_servers: {t: {host: h, user: 0123, port: 0022}}
        """)
    )
    assert found.clusters["1"].queues == ("on", "no", "010")
    assert (found.batch_servers["t"].user, found.batch_servers["t"].port) == ("0123", 22)


# Sizes


@pytest.mark.parametrize(
    "text",
    [
        "clusters:\n  a: {nodes: 'n[1-999999999]'}",
        "bmcs:\n  'n[1-999999999]': {driver: simulator}",
        f"bmcs:\n  n1: {{address: '10.[0-255].[0-255].[0-255]', {LOGIN}}}",
        "hosts:\n  'r[1-9999]n[1-9999]': {driver: local}",
        "racks:\n  r1: {units: 42, place: {'n[1-999999999]': 1}}",
        "provision:\n  'n[1-999999999]': simulator",
        "cobblers:\n  c: {driver: simulator, systems: 'n[1-999999999]'}",
        "clusters:\n  a: {nodes: n1}\n" + "".join(f"  c{n}: {{nodes: 'n{n}x[1-100000]'}}\n" for n in range(40)),
    ],
)
def test_more_nodes_than_a_site_may_have_are_refused_before_they_are_expanded(write: Write, text: str) -> None:
    path = write(text)
    start = time.monotonic()
    with pytest.raises(SiteError, match=r"more than 100,000 nodes"):
        site.load(path)
    assert time.monotonic() - start < REFUSAL_DEADLINE_S


def test_a_site_of_ten_thousand_nodes_is_ready_soon(write: Write) -> None:
    racks = "\n".join(
        f"  r{rack}: {{units: 42, place: {{'n[{rack * 40 + 1:05}-{rack * 40 + 40:05}]': 1}}}}" for rack in range(250)
    )
    path = write(
        "clusters: {big: {nodes: 'n[00001-10000]'}}\nbmcs: {'n[00001-10000]': {driver: simulator}}\n"
        f"hosts: {{'n[00001-10000]': {{driver: local}}}}\nracks:\n{racks}\n"
    )
    start = time.monotonic()
    found = site.load(path)
    assert len(found.nodes("@all")) == 10_000
    assert time.monotonic() - start < 5
    start = time.monotonic()
    for _ in range(10):
        assert len(found.nodes("@all")) == 10_000
    assert time.monotonic() - start < 1


# Any other text


@given(content=st.one_of(st.binary(max_size=200), st.text(alphabet="clusterbm: {}[]'\"-&*!#\n\t01,", max_size=200)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_in_the_file_it_is_read_or_refused_with_a_sentence(write: Write, content: bytes | str) -> None:
    path = write(content if isinstance(content, bytes) else content.encode())
    for error in site.check(path):
        assert "\n" not in str(error)


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.sampled_from(["i[1-3]", "i1", "simulator", "", "@all", "x y"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from([*{k for keys in KEYS.values() for k in keys}, "i[1-3]", "i1"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@given(tree=st.dictionaries(st.sampled_from([*KEYS[""]]), VALUES, min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_under_the_known_keys_is_read_or_refused_with_a_sentence(
    write: Write, tree: dict[str, object]
) -> None:
    path = write(yaml.safe_dump(tree))
    found = site.check(path)
    if found:
        assert all(error.line and error.key for error in found)
    else:
        site.load(path)


def test_the_site_needs_no_libyaml(documented: Path) -> None:
    code = (
        "import yaml; del yaml.CSafeLoader\n"
        "from pathlib import Path; from cloudmesh_actors import site\n"
        f"assert not site.check(Path({str(documented)!r}))\n"
        f"Path({str(documented)!r}).write_text('clusters:\\n\\tx: y')\n"
        f"print(*site.check(Path({str(documented)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "2: is not YAML: a tab stands where YAML wants blanks" in done.stdout
