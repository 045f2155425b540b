"""One mended IPMI 2.0 session: pyghmi's blocking engine, made to live with loss, silence and hangs.

pyghmi's `simplesession.Session` does the framing, the RAKP login and the cryptography. Its waiting is replaced, as
are its handling of sockets and of datagrams that are late, doubled or malformed:

* every wait is bounded, by the retransmission timer and by the deadline of the whole conversation;
* a lost datagram is sent again after a measured time (`retransmission`), within the login too;
* Chassis Control (`repeat=False`) goes out once, and an answer that does not come is told to the caller;
* a late answer is matched by command and sequence number, and never taken for another's;
* the session is closed and its socket too, however the conversation ends.

pyghmi's `Command` and `SDR` are not used, and no global of pyghmi is changed: their caches are shared without locks
and keyed with time stamps that may be void, their records change while they are read, and names of packed
characters make them loop for ever.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from socket import SOCK_DGRAM, gaierror, getaddrinfo
from socket import socket as Socket
from types import TracebackType
from typing import Any, Self

from pyghmi.exceptions import IpmiException
from pyghmi.ipmi.private import constants, simplesession

from cloudmesh_actors.clients.ipmi import faults
from cloudmesh_actors.clients.ipmi.deadline import Deadline
from cloudmesh_actors.clients.ipmi.faults import Subject
from cloudmesh_actors.clients.ipmi.retransmission import Retransmission
from cloudmesh_actors.errors import AuthenticationFailed, NodeError, Unreachable

#: Privilege levels (IPMI 2.0 §6.8). Operator may read and power; a user who is less may still read.
OPERATOR, USER = 3, 2

#: RAKP status codes after which a lower privilege is tried.
PRIVILEGE_REFUSED = frozenset({0x09, 0x0A, 0x0D})

#: Completion codes of Set Session Privilege Level after which a lower one is tried.
PRIVILEGE_NOT_GIVEN = frozenset({0x80, 0x81})

#: More RMCP+ status codes.
NO_RESOURCES, INVALID_INTEGRITY_CHECK = 0x01, 0x0F

#: The longest user name and password that IPMI 2.0 knows (§22.28, §22.30), in bytes.
LONGEST_USER, LONGEST_PASSWORD = 16, 20

#: A login message that was sent so often is not repeated: the login begins anew.
SENDINGS_OF_A_LOGIN_MESSAGE = 3

#: How often an open request for cipher suite 17 is sent before suite 3 is proposed instead.
SENDINGS_OF_SUITE_17 = 3
SHA1, SHA256 = 1, 256

#: How long the answer to a command that must not be repeated is waited for, in seconds.
PATIENCE_S = 3.0

#: How long a controller behind the BMC is waited for, in seconds, and how often it is asked.
BRIDGE_PATIENCE_S, BRIDGE_SENDINGS = 0.7, 3

#: How long the confirmation of Close Session is waited for before it is sent once more, in seconds.
CLOSING_S = 0.3

#: The waits before a command is sent again that the BMC was too busy for, in seconds.
BUSY_WAITS_S = (0.1, 0.2, 0.4, 0.8)

#: A port that is refused so often in a row has nobody listening.
REFUSALS = 2

LARGEST_DATAGRAM = 3000
APPLICATION, SET_PRIVILEGE, CLOSE_SESSION = 0x06, 0x3B, 0x3C


class CommandRefused(Exception):
    """The BMC answered with a completion code other than 0."""

    def __init__(self, netfn: int, command: int, code: int) -> None:
        self.netfn, self.command, self.code = netfn, command, code
        super().__init__(f"completion code {code:#04x} to command {netfn:#04x}/{command:#04x}")


class AnswerLost(Exception):
    """A command that must not be repeated was sent, and no answer came."""


@dataclass(frozen=True, slots=True)
class Controller:
    """A management controller behind the BMC: its address on the IPMB, and the BMC's channel to it."""

    address: int
    channel: int


class Session(simplesession.Session):  # type: ignore[misc]
    """One logged-in session with one BMC. Not for use by two threads at once.

    Args:
        subject: whom the sentences of errors speak of; its address and port are where the datagrams go.
        password: in clear.
        deadline: the end of the conversation; every method raises DeadlineExceeded after it.
        cipher: 17, 3, or None for 17 and then 3.
        patience: how long the answer to a command that must not be repeated is waited for, in seconds.

    Raises:
        Unreachable, AuthenticationFailed, SessionsExhausted, ProtocolError, DeadlineExceeded: the login failed.
    """

    # pyghmi's, which has no types
    socket: Any
    logged: int
    logging: bool
    broken: bool
    seqlun: int
    privlevel: int

    #: pyghmi holds this around the making of a socket, which here may ask a name server.
    socketchecking = nullcontext()

    def __init__(
        self,
        subject: Subject,
        password: str,
        deadline: Deadline,
        *,
        cipher: int | None = None,
        patience: float = PATIENCE_S,
        timer: Retransmission | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.subject, self.deadline = subject, deadline
        self._clock, self._cipher = clock, cipher
        self._patience = self._patience_with_bmc = patience
        self._timer = timer or Retransmission()
        self._is_repeating = False
        self._refusals = self._garbled = 0
        self._is_silent = False
        self.socket = None
        self.logged = 0
        _check_lengths(subject, password)
        try:
            super().__init__(subject.address, subject.user, password, port=subject.port, privlevel=OPERATOR)
        except IpmiException as error:
            self.close()
            raise faults.login_failed(subject, str(error)) from None
        except BaseException:
            self.close()
            raise

    # -- what it is for

    def request(self, netfn: int, command: int, data: bytes = b"", *, lun: int = 0, repeat: bool = True) -> bytes:
        """Send one command and wait for its answer; the answer's data without the completion code.

        Args:
            repeat: whether the command may be sent again when no answer comes. What changes the node may not.

        Raises:
            CommandRefused: the BMC answered with a completion code other than 0.
            AnswerLost: `repeat` is False and no answer came.
            Unreachable, DeadlineExceeded: no answer came.
        """
        for wait in (*BUSY_WAITS_S, None):
            code, answer = self._exchange(netfn, command, data, lun, repeat=repeat)
            if code != faults.NODE_BUSY or wait is None:
                break
            time.sleep(min(wait, self.deadline.check()))
        return _unless_refused(netfn, command, code, answer)

    def request_via(
        self, controller: Controller, netfn: int, command: int, data: bytes = b"", *, lun: int = 0
    ) -> bytes:
        """Have the BMC pass a command on to a controller behind it, and wait for its answer (IPMI 2.0 §22.7).

        Raises:
            CommandRefused: the BMC or the controller answered with a completion code other than 0.
            AnswerLost: the controller is not there, or does not answer.
            DeadlineExceeded: the conversation's time is over.
        """
        for _ in range(BRIDGE_SENDINGS):
            with suppress(AnswerLost):
                code, answer = self._exchange(netfn, command, data, lun, repeat=False, via=controller)
                return _unless_refused(netfn, command, code, answer)
        raise AnswerLost

    def close(self) -> None:
        """Tell the BMC to end the session, and give the socket back. Raises nothing; may be called twice."""
        if self.socket is None:
            return
        try:
            if self.logged:
                self._say_goodbye()
        finally:
            self.logged, self.broken = 0, True
            self.socket.close()
            self.socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(
        self, netfn: int, command: int, data: bytes, lun: int, *, repeat: bool, via: Controller | None = None
    ) -> tuple[int, bytes]:
        self.deadline.check()
        self.request_entry.clear()
        self._patience = self._patience_with_bmc if via is None else BRIDGE_PATIENCE_S
        bridge = {} if via is None else {"addr": via.address, "channel": via.channel}
        try:
            answer = self.raw_command(netfn, command, bridge_request=bridge, data=data, retry=repeat, rslun=lun)
        except IpmiException as error:  # the BMC ended the session
            raise faults.login_failed(self.subject, str(error)) from None
        finally:
            self.incommand, self.lastpayload = False, None
        if answer is None:
            self.seqlun = (self.seqlun + 1) & 0x3F  # a late answer must not match the next command
            raise AnswerLost
        return answer["code"], bytes(answer["data"])

    def _say_goodbye(self) -> None:
        self.incommand, self.lastpayload = False, None
        self.pendingpayloads.clear()
        body = struct.pack("<I", self.sessionid)
        for _ in range(2):
            self.lastresponse = None
            self.ipmicallback = self._generic_callback
            self._send_ipmi_net_payload(APPLICATION, CLOSE_SESSION, body, retry=False)
            if self._is_silent or self._answer_came_within(CLOSING_S):
                return

    # -- waiting, in place of pyghmi's

    def wait_for_rsp(self, timeout: float | None = None, callout: bool = True) -> None:
        """One turn of waiting: a datagram comes in, or the last one is sent again.

        Raises:
            DeadlineExceeded: the conversation's time is over.
            Unreachable: the BMC has been silent for too long.
        """
        self.deadline.check()
        due = self._timer.due
        if not self._receive(due) and self._clock() >= due:
            self._timedout()

    def awaitresponse(self, retry: bool) -> None:
        """Wait for the answer to the last command; without `retry` only for so long, and sending nothing."""
        if not retry:
            self._answer_came_within(self._patience)
            return
        while self.lastresponse is None and self.logged:
            self.wait_for_rsp()

    def _timedout(self) -> None:
        now = self._clock()
        if self._timer.gives_up(now) or self.logontries < 0:
            self._is_silent = True
            raise self._silent()
        if self.sessioncontext in {"EXPECTINGRAKP2", "EXPECTINGRAKP4"} and self._has_repeated_enough():
            self.lastpayload = None
            self._relog()
            return
        if self.sessioncontext == "OPENSESSION" and self._suite_17_is_ignored():
            self.attemptedhash = SHA1
            self.lastpayload = None
            self._open_rmcpplus_request()
            return
        self._timer.again(now)
        self._is_repeating = True
        try:
            self.send_payload()
        finally:
            self._is_repeating = False

    def _has_repeated_enough(self) -> bool:
        return self._timer.sendings >= SENDINGS_OF_A_LOGIN_MESSAGE

    def _suite_17_is_ignored(self) -> bool:
        return self._cipher is None and self.attemptedhash == SHA256 and self._timer.sendings >= SENDINGS_OF_SUITE_17

    def _silent(self) -> NodeError:
        if self._garbled and not self.logged:
            return self.subject.error(faults.GARBLED)
        if self._refusals:
            return Unreachable(
                f"{self.subject} has nothing listening; check `address` and `port`, and that IPMI over LAN is enabled."
            )
        what = "stopped answering" if self.logged else "does not answer"
        return Unreachable(f"{self.subject} {what}; check its power, its network cable and its address.")

    # -- sockets and datagrams, in place of pyghmi's

    def _assignsocket(self, server: object = None) -> Socket:
        """A socket that is connected: others' datagrams do not reach it, and refusals do (ip(7))."""
        try:
            family, kind, protocol, _, place = getaddrinfo(self.bmc, self.port, type=SOCK_DGRAM)[0]
        except (gaierror, UnicodeError):
            raise Unreachable(f"{self.subject} cannot be found: the name does not resolve; check `address`.") from None
        channel = Socket(family, kind, protocol)
        try:
            channel.connect(place)
        except OSError as error:
            channel.close()
            raise Unreachable(f"{self.subject} cannot be reached from here: {error.strerror}.") from None
        return channel

    def _xmit_packet(self, retry: bool = True, delay_xmit: float | None = None, timeout: float | None = None) -> None:
        if self.sequencenumber:
            self.sequencenumber += 1
        if not self._is_repeating:
            self._timer.first(self._clock())
        try:
            self.socket.send(self.netpacket)
        except OSError:
            self._count_refusal()

    def _answer_came_within(self, seconds: float) -> bool:
        """Wait, sending nothing and raising nothing."""
        end = self._clock() + min(seconds, self.deadline.left())
        with suppress(Unreachable):
            while self.lastresponse is None and self._clock() < end:
                self._receive(end)
        return self.lastresponse is not None

    def _receive(self, until: float) -> bool:
        """Wait for one datagram and take it in; False when none came."""
        left = min(until - self._clock(), self.deadline.left())
        if left <= 0:
            return False
        self.socket.settimeout(left)
        try:
            datagram = bytearray(self.socket.recv(LARGEST_DATAGRAM))
        except TimeoutError:
            return False
        except OSError:
            self._count_refusal()
            return False
        self._refusals = 0
        self._take_in(datagram)
        return True

    def _count_refusal(self) -> None:
        """The host or a router says that a datagram did not arrive. One may be passing: a BMC restarts its network."""
        self._refusals += 1
        if self._refusals >= REFUSALS:
            raise self._silent()

    def _take_in(self, datagram: bytearray) -> None:
        try:
            if datagram[0] != 6 or datagram[2:4] != b"\xff\x07":
                raise ValueError  # neither IPMI (class 7) nor unacknowledged: IPMI 2.0 §13.1.3
            self._handle_ipmi_packet(datagram)
        except (IndexError, ValueError, struct.error):
            self._garbled += 1

    def _parse_payload(self, payload: bytearray) -> None:
        self._timer.answered(self._clock())
        super()._parse_payload(payload)

    # -- logging in

    def _initsession(self) -> None:
        """Start a login. Tags and session numbers go on counting, or late answers to the last try would match."""
        tag, local = getattr(self, "rmcptag", 0), getattr(self, "localsid", None)
        super()._initsession()
        self.rmcptag = (tag + 1) & 0x7F
        if local is not None:
            self.localsid = local
        if self._cipher == 3:
            self.attemptedhash = SHA1

    def _get_session_challenge(self) -> None:
        raise self.subject.error(faults.ONLY_IPMI_15)

    def _got_rmcp_response(self, data: bytearray) -> None:
        if data[0] == self.rmcptag and data[1] and (self._cipher == 17 or data[1] == NO_RESOURCES):
            self.attemptedhash = SHA1  # else pyghmi would propose suite 3 next
        super()._got_rmcp_response(data)

    def _got_rakp2(self, data: bytearray) -> None:
        expected = self.sessioncontext == "EXPECTINGRAKP2" and data[0] == self.rmcptag
        if expected and data[1] in PRIVILEGE_REFUSED and self.privlevel == OPERATOR:
            self.privlevel = USER
            self.login()
            return
        super()._got_rakp2(data)
        if expected and self.sessioncontext == "FAILED":
            self._refuse_rakp2()

    def _refuse_rakp2(self) -> None:
        """Tell the BMC that its RAKP 2 does not check, so that it frees the session at once (IPMI 2.0 §13.22)."""
        body = struct.pack("<BBxxI", self.rmcptag + 1, INVALID_INTEGRITY_CHECK, self.pendingsessionid)
        self.send_payload(body, constants.payload_types["rakp3"], retry=False)

    def _req_priv_level(self) -> None:
        """The login's last step; from here on there is a session that has to be closed (IPMI 2.0 §22.18)."""
        self.logged, self.logoutexpiry = 1, None
        for level in range(self.privlevel, USER - 1, -1):
            answer = self.raw_command(APPLICATION, SET_PRIVILEGE, data=[level])
            if answer["code"] not in PRIVILEGE_NOT_GIVEN:
                break
        self.logging = self.incommand = False
        if answer["code"]:
            raise self.subject.error(faults.NO_PRIVILEGE)

    def _got_rakp4(self, data: bytearray) -> None:
        expected = self.sessioncontext == "EXPECTINGRAKP4" and data[0] == self.rmcptag
        if expected and data[1] and self.logontries and self._may_be_confused(data[1]):
            self.lastpayload = None
            self._relog()
            return
        super()._got_rakp4(data)

    def _may_be_confused(self, status: int) -> bool:
        """Whether a BMC may refuse a RAKP 3 only because it met it before: its answer was late, or lost.

        That the password is right is known from RAKP 2.
        """
        return status not in faults.LOGIN_FAULTS or (status == INVALID_INTEGRITY_CHECK and self._timer.sendings > 1)

    def logout(self, sessionok: bool = True) -> dict[str, bool]:
        """What pyghmi calls when a login fails; `close` is what ends a session."""
        self.logged, self.logging, self.broken = 0, False, True
        return {"success": True}


def _unless_refused(netfn: int, command: int, code: int, answer: bytes) -> bytes:
    if code:
        raise CommandRefused(netfn, command, code)
    return answer


def _check_lengths(subject: Subject, password: str) -> None:
    for name, value, longest in (("user", subject.user, LONGEST_USER), ("password", password, LONGEST_PASSWORD)):
        if len(value.encode()) > longest:
            raise AuthenticationFailed(
                f"{subject}: the {name} is longer than the {longest} bytes that IPMI 2.0 allows."
            )
