from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet
from ClusterShell.NodeUtils import GroupResolver, GroupSource
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.errors import NodeSetError, UnknownNode
from cloudmesh_actors.nodes import MAX_NODES, Groups, at_most, expand, expand_ordered, fold, near_node

MEMBERS = {
    "all": [f"i{number:03}" for number in range(1, 65)] + ["d001", "d002", "login"],
    "india": [f"i{number:03}" for number in range(1, 65)],
    "delta": ["d002", "d001"],
    "rack:r1": [f"i{number:03}" for number in range(1, 33)],
    "rack:r2": [f"i{number:03}" for number in range(33, 65)],
}
GROUPS = Groups(MEMBERS)

#: A refusal takes about a millisecond; the expansion of what is refused takes seconds and gigabytes.
REFUSAL_DEADLINE_S = 2.0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("i001", "i001"),
        ("login", "login"),
        ("i[001-003]", "i001 i002 i003"),
        ("i[1-7/3]", "i1 i4 i7"),
        ("i[1-2,5,2]", "i1 i2 i5"),
        ("i[10,9]", "i9 i10"),
        ("i[8-11]", "i8 i9 i10 i11"),
        ("i[098-101]", "i098 i099 i100 i101"),
        ("r[1-2]n[1-3]", "r1n1 r1n2 r1n3 r2n1 r2n2 r2n3"),
        ("r1n[2-1]", None),
        ("n[1-3]-ib", "n1-ib n2-ib n3-ib"),
        ("n[1-2]5", "n15 n25"),
        ("1[1-2]", "11 12"),
        ("127.1.0.[64,1-2]", "127.1.0.1 127.1.0.2 127.1.0.64"),
        ("i1,i3,i2", "i1 i2 i3"),
        (" i1 ,\ti2\n", "i1 i2"),
        ("i[1-4]!i2", "i1 i3 i4"),
        ("i[1-4]&i[3-9]", "i3 i4"),
        ("i[1-3]^i[2-4]", "i1 i4"),
        ("i[1-4]!i[1-4],i1", "i1"),
        ("i1,i2&i2,i3", "i2 i3"),
        ("i1!i1", ""),
    ],
)
def test_a_set_stands_for_its_names(text: str, names: str | None) -> None:
    if names is None:
        with pytest.raises(NodeSetError):
            expand(text)
    else:
        assert expand(text) == tuple(names.split())


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("@delta", "d[001-002]"),
        ("@all", "d[001-002],i[001-064],login"),
        ("@*", "d[001-002],i[001-064],login"),
        ("@india!@rack:r1", "i[033-064]"),
        ("@rack:r[1-2]&i[030-035]", "i[030-035]"),
        ("@all!@india", "d[001-002],login"),
        ("@rack:r1^i[032-034]", "i[001-031,033-034]"),
        ("i00*", "i[001-009]"),
        ("i0?1&@rack:r1", "i[001,011,021,031]"),
        ("?0[1-2]*", "i[010-029]"),
        ("nothing*", ""),
        ("login,x7,@delta", "d[001-002],login,x7"),
    ],
)
def test_groups_and_wildcards_are_looked_up_where_nodes_are_known(text: str, folded: str) -> None:
    assert fold(expand(text, GROUPS)) == folded


def test_a_group_is_sorted_whatever_its_order_was() -> None:
    assert GROUPS.members("delta") == ("d001", "d002")


@pytest.mark.parametrize(
    ("text", "part", "sentence"),
    [
        ("", "", "the node set is empty"),
        (" \n", "", "the node set is empty"),
        ("i1,", ",", "a name is missing after ','"),
        ("!i1", "!", "a name is missing before '!'"),
        ("i1,,i2", ",", "a name is missing between ',' and ','"),
        ("i[1-3", "i[1-3", "a bracket is not closed: 'i[1-3'"),
        ("i1]", "i1]", "a bracket is closed that was not opened: 'i1]'"),
        ("i[1-[2]]", "i[1-[2]]", "a bracket is opened within a bracket: 'i[1-[2]]'"),
        ("i[a-b]", "a-b", "in 'i[a-b]': 'a-b' is not a range"),
        ("i[]", "", "in 'i[]': there is an empty range"),
        ("i[1-2,]", "", "in 'i[1-2,]': there is an empty range"),
        ("i[-5]", "-5", "in 'i[-5]': '-5' is not a range"),
        ("i[5-1]", "5-1", "in 'i[5-1]': '5-1' runs backwards"),
        ("i[01-100]", "01-100", "in 'i[01-100]': the ends of '01-100' are not equally wide"),
        ("i[1-9/0]", "1-9/0", "in 'i[1-9/0]': the step of '1-9/0' is 0"),
        ("i1 i2", "i1 i2", "'i1 i2' has a blank in it; names are separated by ','"),
        ("i1;reboot", "i1;reboot", "'i1;reboot' is not a node name: ';' cannot be in it"),
        ("../etc", "../etc", "'../etc' is not a node name: '/' cannot be in it"),
        ("-oProxyCommand", "-oProxyCommand", "'-oProxyCommand' is not a node name"),
        ("i1,%s", "%s", "'%s' is not a node name: '%' cannot be in it"),
        ("é1", "é1", "'é1' is not a node name: 'é' cannot be in it"),
        ("i٣", "i٣", "'i٣' is not a node name: '٣' cannot be in it"),
        ("i\0", "i\0", r"'i\x00' is not a node name: '\x00' cannot be in it"),
        ("@", "@", "'@' is not a node name"),
        ("@@source", "@@source", "'@@source' is not a node name: '@' cannot be in it"),
        ("n[1-9/2]5", "n[1-9/2]5", "'n[1-9/2]5' cannot be read"),
        ("i0*", "i0*", "'i0*': a wildcard can only be used where the nodes are known"),
        ("@india", "@india", "groups such as @india cannot be used here"),
    ],
)
def test_a_malformed_set_is_refused_with_its_faulty_part(text: str, part: str, sentence: str) -> None:
    with pytest.raises(NodeSetError) as caught:
        expand(text)
    assert str(caught.value).startswith(sentence)
    assert caught.value.part == part


def test_an_unknown_group_is_named_with_the_nearest_one() -> None:
    with pytest.raises(UnknownNode, match=r"^there is no group @indai; did you mean @india\?$"):
        expand("i001,@indai", GROUPS)
    with pytest.raises(UnknownNode, match="@rack:r3"):
        expand("@rack:r[1-3]", GROUPS)


@pytest.mark.parametrize(
    "text",
    [
        "n[1-999999999]",
        "n[0-100000]",
        f"n[1-{'9' * 60}]",
        "r[1-1000]n[1-1000]",
        "a[1-9][1-9]b[1-9999]",
        "n[1-999999999]!n[1-999999999]",
        "n1&n[1-999999999]",
        "n[1-60000],m[1-60000]",
        "n[1-60000]^m[1-60000]",
        ",".join(["n[1-100000]", *(f"m{number}" for number in range(9))]),
        "&".join(["n[1-100000]"] * 50),
        "@r[1-999999999]",
        "i*[1-999999999]",
        "i*[1-2000]",
        "?[1-500]",
        "n[" + "1-9," * 30_000 + "1-9]",
        "a" * 5_000_000,
    ],
)
def test_more_nodes_than_allowed_are_refused_before_they_are_expanded(text: str) -> None:
    start = time.monotonic()
    with pytest.raises(NodeSetError):
        expand(text, GROUPS)
    assert time.monotonic() - start < REFUSAL_DEADLINE_S


def test_exactly_the_allowed_number_of_nodes_is_expanded() -> None:
    assert at_most("n[1-100000]") == MAX_NODES
    assert len(expand("n[1-100000]")) == MAX_NODES


def test_a_set_of_one_range_keeps_its_order_and_any_other_cannot_be_paired() -> None:
    assert expand_ordered("10.0.0.[8-11]") == ("10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.11")
    assert expand_ordered("10.0.0.8") == ("10.0.0.8",)
    assert expand_ordered("n[1-9/4]") == ("n1", "n5", "n9")
    for text in ("n[64,1-2]", "n1,n2", "r[1-2]n[1-2]", "n[1-4]!n2", "n[1-2],n[3-4]"):
        with pytest.raises(NodeSetError, match="one ascending range"):
            expand_ordered(text)


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ("", ""),
        ("login", "login"),
        ("i003 i001 i002", "i[001-003]"),
        ("i1 i2 i4", "i[1-2,4]"),
        ("i1 i01", "i[1,01]"),
        ("i1 i1", "i1"),
        ("r1n1 r1n2 r2n1 r2n2", "r[1-2]n[1-2]"),
        ("r1n1 r1n2 r2n1", "r1n[1-2],r2n1"),
        ("b1 a1-x a1", "a1,a1-x,b1"),
    ],
)
def test_names_are_folded_as_clush_does(names: str, folded: str) -> None:
    assert fold(names.split()) == folded


def test_a_large_irregular_set_is_folded_at_once() -> None:
    names = [f"r{rack}n{node}" for rack in range(100) for node in range(100) if (rack * 7919 + node * 31) % 3]
    assert set(expand(fold(names))) == set(names)


def test_a_differently_padded_number_is_the_nearest_name() -> None:
    assert near_node("i1", ["i101", "i001"]) == "; did you mean i001?"
    assert near_node("lgoin", ["i101", "login"]) == "; did you mean login?"
    assert near_node("zzz", ["i101", "login"]) == ""


digits = st.one_of(st.integers(0, 130).map(str), st.integers(0, 130).map("{:03}".format))
names = st.lists(
    st.builds("".join, st.lists(st.sampled_from(["i", "n", "r", "-ib", "_x", ".a"]), min_size=1, max_size=1)).flatmap(
        lambda prefix: st.lists(digits, max_size=3).map(lambda numbers: prefix.strip("-_.") + "n".join(numbers))
    ),
    max_size=40,
)


@st.composite
def ranges(draw: st.DrawFn) -> str:
    first, length = draw(st.integers(0, 120)), draw(st.integers(0, 40))
    width = draw(st.sampled_from([0, 3]))
    if length == 0:
        return f"{first:0{width}}"
    step = draw(st.sampled_from(["", "", "/2", "/7"]))
    return f"{first:0{width}}-{first + length:0{width}}{step}"


brackets = st.lists(ranges(), min_size=1, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
plain = st.builds(
    lambda prefix, first, middle, second: prefix + first + middle + second,
    st.sampled_from(["i", "n", "d-"]),
    st.one_of(brackets, digits),
    st.sampled_from(["", "-ib", "x"]),
    st.just(""),
)
two_axes = st.builds(lambda a, b: f"r{a}n{b}", st.one_of(brackets, digits), st.one_of(brackets, digits))
wild = st.sampled_from(["i00*", "i0?1", "*", "d*"])
groups = st.sampled_from(["@india", "@delta", "@all", "@rack:r1", "@rack:r[1-2]", "@*"])
operands = st.one_of(plain, two_axes, wild, groups)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    pieces = draw(st.lists(operands, min_size=1, max_size=4))
    signs = draw(st.lists(st.sampled_from([",", "!", "&", "^", " , ", " ! "]), min_size=4, max_size=4))
    return "".join(piece + sign for piece, sign in zip(pieces, signs, strict=False))[: -len(signs[len(pieces) - 1])]


class Source(GroupSource):
    """ClusterShell's own way to groups, fed with ours."""

    def resolv_map(self, group: str) -> str:
        return ",".join(MEMBERS[f"{self.name}:{group}" if self.name != "default" else group])

    def resolv_all(self) -> str:
        return ",".join(MEMBERS["all"])


def clustershell(text: str) -> set[str]:
    resolver = GroupResolver(Source("default"))
    resolver.add_source(Source("rack"))
    return set(NodeSet(text, resolver=resolver))


@given(text=expressions())
def test_every_valid_set_stands_for_what_clustershell_makes_of_it(text: str) -> None:
    ours = expand(text, GROUPS)
    assert len(set(ours)) == len(ours)
    assert set(ours) == clustershell(text)
    assert len(ours) <= at_most(text, GROUPS)


@given(text=plain)
def test_one_axis_is_sorted_and_folded_exactly_as_clustershell_does(text: str) -> None:
    theirs = NodeSet(text, resolver=RESOLVER_NOGROUP)
    assert expand(text) == tuple(theirs)
    assert fold(expand(text)) == str(theirs)


@given(names=names)
def test_folding_and_expanding_gives_the_names_back(names: list[str]) -> None:
    if names:
        assert set(expand(fold(names))) == set(names)
        assert expand(",".join(names)) == expand(fold(names))
    else:
        assert fold(names) == ""


@given(text=st.text(alphabet="in0129[]-,/!&^@*? .:%é", max_size=30))
def test_whatever_is_typed_is_expanded_or_refused_with_a_sentence(text: str) -> None:
    try:
        found = expand(text, GROUPS)
    except (NodeSetError, UnknownNode) as error:
        assert "\n" not in str(error)
    else:
        assert all(name and name == name.strip() for name in found)


def test_the_systems_group_files_are_not_read_and_none_of_their_commands_run(tmp_path: Path) -> None:
    """A groups.conf with an upcall that would leave a trace."""
    configuration = tmp_path / "clustershell"
    configuration.mkdir()
    trace = tmp_path / "trace"
    (configuration / "groups.conf").write_text(
        f"[Main]\ndefault: evil\n[evil]\nmap: touch {trace}; echo i001\nall: touch {trace}; echo i001\n"
        f"list: touch {trace}; echo india\n"
    )
    code = (
        "from cloudmesh_actors.nodes import *\n"
        "groups = Groups({'all': ['i002'], 'india': ['i002']})\n"
        "assert expand('@india,i*,@all', groups) == ('i002',)\n"
        "assert fold(['i1', 'i2']) == 'i[1-2]'\n"
        "for text in ('@evil', '@india:x', '@*', '*'):\n"
        "    try: expand(text)\n"
        "    except Exception as error: print(type(error).__name__)\n"
    )
    environment = dict(os.environ, XDG_CONFIG_HOME=str(tmp_path), CLUSTERSHELL_CFGDIR=str(configuration))
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not trace.exists()
    control = "from ClusterShell.NodeSet import NodeSet; print(NodeSet('@india'))"
    subprocess.run([sys.executable, "-c", control], env=environment, check=True)
    assert trace.exists(), "the trap itself does not work"
