"""gRPC servers that end with the block that started them."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator

import grpc

from tff_vision.runtime.worker import tls


@contextlib.contextmanager
def served(address: str, add: Callable[[grpc.Server], None], *, threads: int, name: str,
           credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
  """Serves at host:port or unix:path while the context is open; yields the port, which is chosen for port 0.

  Args:
    add: Adds what answers.
    threads: The most calls that are handled at the same time.
    name: What listens, in words.
    credentials: None: without TLS.

  Raises:
    ValueError: The address cannot be listened at.
  """
  server = grpc.server(concurrent.futures.ThreadPoolExecutor(threads),
                       options=[*tls.CHANNEL_OPTIONS, ('grpc.so_reuseport', 0)])
  add(server)
  try:
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
  except RuntimeError as error:
    raise ValueError(f'{name} cannot listen at {address}: {error}') from None
  server.start()
  try:
    yield port
  finally:
    server.stop(None).wait()
