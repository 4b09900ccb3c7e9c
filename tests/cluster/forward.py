"""Forwards connections into the network namespace that it runs in: ``forward.py DESCRIPTOR HOST PORT``.

The listening socket was opened outside, where the tests are, and works there: a socket keeps its namespace. A thread
for each direction blocks while the other side does not take, so that backpressure goes through.
"""

from __future__ import annotations

import socket
import sys
import threading


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until either side closes; the other is then closed for writing."""
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already


def connect(outside: socket.socket, target: tuple[str, int]) -> None:
    """Connect to the target, and copy both ways until both are closed."""
    try:
        inside = socket.create_connection(target)
    except OSError:
        outside.close()
        return
    for one in (outside, inside):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    back = threading.Thread(target=pump, args=(inside, outside), daemon=True)
    back.start()
    pump(outside, inside)
    back.join()
    outside.close()
    inside.close()


def main() -> None:
    descriptor, host, port = sys.argv[1:]
    listener = socket.socket(fileno=int(descriptor))
    while True:
        outside, _ = listener.accept()
        threading.Thread(target=connect, args=(outside, (host, int(port))), daemon=True).start()


if __name__ == "__main__":
    main()
