"""On the path of every process that the tests start: no connection leaves this machine."""

import socket

LOOPBACK = ("127.", "::1", "localhost")
connect = socket.socket.connect


def guarded(self: socket.socket, address: object) -> None:
    if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):  # type: ignore[index]
        raise RuntimeError(f"a test tried to reach {address}")
    connect(self, address)  # type: ignore[arg-type]


socket.socket.connect = guarded  # type: ignore[method-assign]
