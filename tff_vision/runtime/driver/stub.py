"""A client of one worker's executor service with deadlines, bounded retries, and a byte count.

TFF's own stub waits for ever for a worker that hangs, and TFF's execution context repeats calls for ever if a worker is
gone. Here calls have deadlines, and a lost worker raises an exception that the caller can handle.
"""

import collections
import contextlib
import re
from collections.abc import Callable

import grpc
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2_grpc

from tff_vision.runtime import messages

_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.FAILED_PRECONDITION,
         grpc.StatusCode.CANCELLED)
# A living worker answers bookkeeping calls at once, whatever it is computing.
_SHORT_TIMEOUT = 30.0
_CLEAN_UP_TIMEOUT = 2.0
# Matches the assertion messages in graphs that are written for users; they end with a full stop before added text.
_REFUSAL = re.compile(r'refused: (.*?[.])(?=[\]\s]|$)', re.DOTALL)


class WorkerLost(RuntimeError):
  """A worker did not answer in time, is gone, or has forgotten its values (it was restarted).

  Not a `tff.framework.RetryableError`, so TFF does not call again by itself.

  Attributes:
    may_have_computed: False only if it is known that nothing was computed, because the call failed before that.
    party: The name of the worker, or of the key holder; '': it is about no single one.
  """
  may_have_computed = True

  def __init__(self, reason: str, *, party: str = ''):
    super().__init__(reason)
    self.party = party


class BeginAgain(RuntimeError):
  """A site cannot go on with this attempt at a round, because it was restarted or has used up its own values.

  Attributes:
    party: As of `WorkerLost`.
  """

  def __init__(self, reason: str, *, party: str = ''):
    super().__init__(reason)
    self.party = party


class RefusedByWorker(ValueError):
  """An assertion in a graph on the worker found unexpected input; the message explains it in one sentence."""


class DeadlineStub(tff.framework.RemoteExecutorStub):
  """TFF's executor service over one channel.

  Attributes:
    name: The name of the worker in messages.
    calls: Number of calls by method name.
    sent, received: Bytes of the messages, by method name, without framing and TLS.
    lost: Whether a call has failed in a way that means that the worker's values are gone.
  """
  is_ready = True

  def __init__(self, channel: grpc.Channel, *, name: str, call_timeout: float | None):
    """Initializes the service.

    Args:
      channel: The channel to the worker.
      name: The name of the worker in error messages.
      call_timeout: Time limit in seconds for calls that compute or carry values; None: no limit.
    """
    self._service = executor_pb2_grpc.ExecutorGroupStub(channel)
    self._message = channel.unary_unary(f'/{messages.SERVICE}/{messages.METHOD}')
    self.name = name
    self._call_timeout = call_timeout
    self.calls = collections.Counter()
    self.sent = collections.Counter()
    self.received = collections.Counter()
    self.lost = False

  def answer(self, message: bytes) -> bytes | None:
    """Returns a site's answer to a message of a protocol that it plays itself; None: it plays none.

    Raises:
      RefusedByWorker, BeginAgain, WorkerLost: As their docstrings say.
    """
    try:
      return self._sent(messages.METHOD, self._message, message, len, _SHORT_TIMEOUT)
    except grpc.RpcError as error:
      if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return None
      raise

  def _request(self, method: str, message, timeout: float | None):
    return self._sent(method, getattr(self._service, method), message, lambda one: one.ByteSize(), timeout)

  def _sent(self, method: str, send: Callable, message, size: Callable, timeout: float | None):
    if self.lost:
      raise WorkerLost(f'worker {self.name}: it was lost, and with it what it was asked for.', party=self.name)
    self.calls[method] += 1
    self.sent[method] += size(message)
    try:
      answer = send(message, timeout=timeout)
    except grpc.RpcError as error:
      if error.code() not in _LOST:  # An error inside the graph: a repeated call would fail too.
        if (refusal := _REFUSAL.search(error.details() or '')) is not None:
          raise RefusedByWorker(' '.join(refusal.group(1).split())) from None
        if error.code() == grpc.StatusCode.ABORTED and (error.details() or '').startswith(messages.BEGIN_AGAIN):
          raise BeginAgain(error.details().removeprefix(messages.BEGIN_AGAIN), party=self.name) from None
        raise
      self.lost = True
      raise WorkerLost(f'worker {self.name}: {method}: {error.code().name}: {error.details()}',
                       party=self.name) from None
    except ValueError as error:  # grpc raises this for a call on a closed channel.
      if 'closed channel' not in str(error):
        raise
      self.lost = True
      raise WorkerLost(f'worker {self.name}: {method}: it has stopped answering.', party=self.name) from None
    self.received[method] += size(answer)
    return answer

  def get_executor(self, request):
    return self._request('GetExecutor', request, _SHORT_TIMEOUT)

  def create_value(self, request):
    return self._request('CreateValue', request, self._call_timeout)

  def create_struct(self, request):
    return self._request('CreateStruct', request, _SHORT_TIMEOUT)

  def create_selection(self, request):
    return self._request('CreateSelection', request, _SHORT_TIMEOUT)

  def create_call(self, request):
    # A federated computation runs inside this call; a plain computation runs inside Compute.
    return self._request('CreateCall', request, self._call_timeout)

  def compute(self, request):
    return self._request('Compute', request, self._call_timeout)

  def dispose(self, request):
    self._clean_up('Dispose', request, _SHORT_TIMEOUT)

  def dispose_executor(self, request):
    self._clean_up('DisposeExecutor', request, _CLEAN_UP_TIMEOUT)

  def _clean_up(self, method, request, timeout):
    if self.lost:  # The call would wait for the lost worker again, and there is nothing left to free.
      return
    with contextlib.suppress(WorkerLost):
      self._request(method, request, timeout)
