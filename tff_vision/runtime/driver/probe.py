"""Detects that a worker is gone while a call to it is still waiting.

gRPC's keepalive cannot be used for this: an executor treats frequent pings during a long computation as abuse and
closes the connection. Instead, the probe sends a small request on its own connection. A healthy executor answers
within milliseconds, even while it computes.
"""

import threading
from collections.abc import Callable

import grpc

_MISSES = 3


def answers(channel: grpc.Channel, timeout: float) -> bool:
  """Returns whether a gRPC service answers a call of a method that no executor has.

  (Watching the state of the channel instead would leave a thread that prints a traceback on closing.)
  """
  try:
    channel.unary_unary('/grpc.health.v1.Health/Check')(b'', timeout=timeout, wait_for_ready=True)
  except grpc.RpcError as error:
    return error.code() is grpc.StatusCode.UNIMPLEMENTED
  return True


class Probe:
  """Sends a request every `interval` seconds; after three misses in a row, calls `on_lost` once and ends."""

  def __init__(self, open_channel: Callable[[], grpc.Channel], *, interval: float, on_lost: Callable[[], None]):
    """Args: `on_lost` is called in the probe's thread; `interval` is also the time limit for an answer."""
    self._open_channel = open_channel
    self._interval = interval
    self._on_lost = on_lost
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._watch, name='probe', daemon=True)
    self._thread.start()

  def close(self) -> None:
    self._ended.set()
    if threading.current_thread() is not self._thread:
      self._thread.join()

  def _watch(self):
    misses = 0
    with self._open_channel() as channel:
      while not self._ended.wait(self._interval):
        misses = 0 if answers(channel, self._interval) else misses + 1
        if misses == _MISSES:
          self._on_lost()
          return
