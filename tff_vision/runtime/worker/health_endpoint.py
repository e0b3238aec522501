"""Answers HTTP GET with 200 or 503, for the health checks of systemd, Compose and Kubernetes."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def served(host: str, port: int, healthy: Callable[[], bool]) -> Iterator[None]:
  """Answers at host:port while the context is open; `healthy` is called in another thread, once per request.

  Raises:
    ValueError: The port cannot be opened.
  """

  class Handler(http.server.BaseHTTPRequestHandler):

    def do_GET(self):
      self.send_response(200 if healthy() else 503)
      self.end_headers()

    def log_message(self, format, *args):
      """Logs nothing, because checks come every few seconds."""

  try:
    server = http.server.ThreadingHTTPServer((host, port), Handler)
  except OSError as error:
    raise ValueError(f'health_port={port} at host={host} cannot be listened at: {error.strerror}.') from None
  thread = threading.Thread(target=server.serve_forever, name='health', daemon=True)
  thread.start()
  try:
    yield
  finally:
    server.shutdown()
    server.server_close()
    thread.join()
