"""A worker whose requests can be looked at afterwards."""

import contextlib
import time

from tff_vision.runtime.driver import stub


class RecordingStub(stub.DeadlineStub):
  """Keeps every request, and when each call began and ended.

  Attributes:
    requests: (method, serialized message).
    spans: (method, begin, end) in seconds.
  """

  def __init__(self, channel, *, name, call_timeout=60.0):
    super().__init__(channel, name=name, call_timeout=call_timeout)
    self.requests = []
    self.spans = []

  def _request(self, method, message, timeout):
    self.requests.append((method, message.SerializeToString()))
    begin = time.monotonic()
    try:
      return super()._request(method, message, timeout)
    finally:
      self.spans.append((method, begin, time.monotonic()))

  def saw(self, needle: bytes) -> bool:
    """Returns whether a request held these bytes."""
    return any(needle in message for _, message in self.requests)

  def count(self, method):
    return sum(called == method for called, _ in self.requests)

  def busy(self):
    """Returns the (begin, end) of the calls that computed."""
    return [(begin, end) for method, begin, end in self.spans if method == 'CreateCall']


@contextlib.contextmanager
def recorded(monkeypatch_context, made):
  """Makes connections use `RecordingStub`, and collects those in `made`."""

  def build(channel, *, name, call_timeout):
    made.append(RecordingStub(channel, name=name, call_timeout=call_timeout))
    return made[-1]

  with monkeypatch_context() as patch:
    patch.setattr(stub, 'DeadlineStub', build)
    yield made


def overlap(first, second):
  """Returns whether an interval of `first` and one of `second` have time in common."""
  return any(a < d and c < b for a, b in first for c, d in second)
