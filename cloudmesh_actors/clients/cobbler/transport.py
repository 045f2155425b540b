"""XML-RPC over HTTP(S) with time-outs, certificates that are verified, and nothing sent twice.

The transport of `xmlrpc.client` waits for ever, and sends a request again when the connection broke: a power command
would then reach the node twice.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import xmlrpc.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: How long a server may take to accept a connection, in seconds.
CONNECT_TIMEOUT_S = 10.0


class Transport(xmlrpc.client.Transport):
    """One request on one connection.

    Args:
        tls: the context of `https`; None for `http`.
        timeout: seconds without an answer after which `TimeoutError` is raised.
        gate: lets only some requests begin at once: cobblerd's listen queue has five places.
    """

    user_agent = "cloudmesh_actors"

    def __init__(self, tls: ssl.SSLContext | None, timeout: float, gate: threading.Semaphore) -> None:
        super().__init__()
        self._tls, self._timeout, self._gate = tls, timeout, gate
        self.connected = False  # from then on the server may have got the request

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """A connection that is open, and has the time-out."""
        name = self.get_host_info(host)[0]
        patience = min(CONNECT_TIMEOUT_S, self._timeout)
        made = (
            http.client.HTTPSConnection(name, context=self._tls, timeout=patience)
            if self._tls
            else http.client.HTTPConnection(name, timeout=patience)
        )
        self._connection = host, made
        made.connect()
        self.connected = True
        made.sock.settimeout(self._timeout)
        return made

    def send_request(self, *args: Any) -> http.client.HTTPConnection:
        """Connect and send, when it is our turn."""
        with self._gate:
            return super().send_request(*args)

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Send the request once, and give the parsed answer."""
        return self.single_request(host, handler, request_body, verbose)


def tls_of(url: str, ca_file: Path | None) -> ssl.SSLContext | None:
    """What `https` verifies certificates with: the system's authorities, or those of a file. None for `http`.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
    """
    if urlsplit(url).scheme != "https":
        return None
    return ssl.create_default_context(cafile=ca_file)
