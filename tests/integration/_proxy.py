"""A wire between a client and a server on loopback that can be cut: a network that fails when a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class Proxy:
    """Forwards every connection to its own port; `cut` breaks all of them and refuses new ones until `mend`."""

    def __init__(self, port: int) -> None:
        self._server, self._listener = port, socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._whole = threading.Event()
        self._whole.set()
        self._flows = threading.Event()
        self._flows.set()
        self._trap: Callable[[bytes], bool] = lambda sent: False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole.clear()
        for end in self._open:
            _close(end)

    def mend(self) -> None:
        self._whole.set()

    def hold(self) -> None:
        """What is sent from now on arrives once it is let `flow`: a server, or a network, that stands still."""
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def lose_the_answer_to(self, trap: Callable[[bytes], bool]) -> None:
        """Once: what was sent when `trap` became true reaches the server, its answer never reaches the client."""
        self._trap = trap

    def close(self) -> None:
        self.flow()
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            if not self._whole.is_set():
                _close(client)
                continue
            server = socket.create_connection(("127.0.0.1", self._server))
            self._open += [client, server]
            lost = threading.Event()
            threading.Thread(target=self._send, args=(client, server, lost), daemon=True).start()
            threading.Thread(target=_answer, args=(server, client, lost), daemon=True).start()

    def _send(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while sent := client.recv(1 << 16):
                self._flows.wait()
                if self._trap(sent):
                    self._trap = lambda sent: False
                    lost.set()
                server.sendall(sent)
        _close(server)


def _answer(server: socket.socket, client: socket.socket, lost: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while answer := server.recv(1 << 16):
            if lost.is_set():
                break
            client.sendall(answer)
    _close(client)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
