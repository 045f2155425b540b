"""Every message that pyghmi has for a failed login becomes a sentence that names the node and what to do."""

from __future__ import annotations

import pytest
from pyghmi.ipmi.private.constants import rmcp_codes

from cloudmesh_actors.clients.ipmi.faults import Subject, login_failed
from cloudmesh_actors.errors import AuthenticationFailed, NodeError, ProtocolError, SessionsExhausted

BMC = Subject("i001", "10.0.0.1", 623, "admin")


@pytest.mark.parametrize("message", rmcp_codes.values())
def test_every_status_of_a_login_is_a_sentence(message: str) -> None:
    error = login_failed(BMC, f"{message} in RAKP2")

    assert str(error).startswith("i001: the BMC at 10.0.0.1:623 ")
    assert str(error).endswith(".")
    assert "{" not in str(error)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Incorrect password provided", AuthenticationFailed),
        ("Unauthorized name in RAKP2", AuthenticationFailed),
        ("Invalid role in RAKP2", AuthenticationFailed),
        (rmcp_codes[1], SessionsExhausted),
        (rmcp_codes[0x0B] + " in RAKP2", SessionsExhausted),
        ("No Cipher suite match with proposed security algorithms", ProtocolError),
        ("Invalid RAKP4 integrity code (wrong Kg?)", ProtocolError),
        ("something that no version has said yet", ProtocolError),
        (None, ProtocolError),
    ],
)
def test_what_an_operator_can_mend_has_its_own_kind(message: str | None, kind: type[NodeError]) -> None:
    assert type(login_failed(BMC, message)) is kind
