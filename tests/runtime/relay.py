"""A wire that can be tapped: passes TCP connections on to a worker and keeps what goes through."""

import contextlib
import socket
import threading


class Relay:
  """Attributes: `address`: host:port to connect to; `sent`, `received`: bytes to and from the worker."""

  def __init__(self, port):
    self._target = ('127.0.0.1', port)
    self._listener = socket.create_server(('127.0.0.1', 0))
    self.address = f'127.0.0.1:{self._listener.getsockname()[1]}'
    self.sent, self.received = bytearray(), bytearray()
    self._ends = []
    threading.Thread(target=self._accept, daemon=True).start()

  def _accept(self):
    with contextlib.suppress(OSError):
      while True:
        near, _ = self._listener.accept()
        far = socket.create_connection(self._target)
        self._ends += [near, far]
        for source, sink, kept in ((near, far, self.sent), (far, near, self.received)):
          threading.Thread(target=self._pass_on, args=(source, sink, kept), daemon=True).start()

  def _pass_on(self, source, sink, kept):
    with contextlib.suppress(OSError):
      while block := source.recv(1 << 16):
        kept.extend(block)
        sink.sendall(block)
      sink.shutdown(socket.SHUT_WR)

  def close(self):
    for end in (self._listener, *self._ends):
      end.close()
