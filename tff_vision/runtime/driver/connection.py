"""The coordinator's connection to one worker: connects, runs calls, detects loss, reconnects."""

import collections
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import tensorflow_federated as tff
from tensorflow_federated.python.core.environments.tensorflow_frontend import tensorflow_computation

from tff_vision.runtime.driver import probe, site_link, stub
from tff_vision.runtime.tff_internals import compilation, executors, handles
from tff_vision.runtime.worker import tls

# A silo is kept open for at most this many different client counts. The calls of one round have two or three.
_SILOS_KEPT = 8


class Endpoint(Protocol):
  """The address of a worker."""
  name: str

  def open(self) -> str:
    """Returns the address to connect to; an endpoint that owns its process restarts it if it has ended."""

  def close(self) -> None:
    """Ends the process that `open` started, if any."""

  @property
  def pid(self) -> int | None:
    """The process on this machine, None if it runs elsewhere."""


class RemoteEndpoint:
  """A worker at host:port that another party runs."""

  def __init__(self, address: str):
    self.name = address

  def open(self) -> str:
    return self.name

  def close(self) -> None:
    """Does nothing: the worker belongs to another party."""

  @property
  def pid(self) -> None:
    return None


class WorkerConnection:
  """The connection to one worker. Calls from several threads run one after the other.

  Attributes:
    name: The worker's name in messages.
    on_answer: Called with each result of `invoke`, before the result is returned.
    traffic: The stubs of all connections so far, with their counts of calls and bytes.
  """

  def __init__(self, endpoint: Endpoint, *, tls_files: tls.TlsFiles | None, call_timeout: float,
               probe_interval: float):
    """Args: Times are in seconds; see `RuntimeConfig`."""
    self.name = endpoint.name
    self.traffic: list[stub.DeadlineStub] = []
    self._endpoint = endpoint
    self._tls = tls_files
    self._call_timeout = call_timeout
    self._probe_interval = probe_interval
    self._lock = threading.RLock()
    self._silos: collections.OrderedDict[int, handles.Silo] = collections.OrderedDict()
    self._channel = self._context = self._probe = None
    self.on_answer: Callable[[object], None] | None = None
    self._site: site_link.SiteLink | None = None
    self._introduced: stub.DeadlineStub | None = None  # The service of the connection that `_site` was heard on.

  @property
  def pid(self) -> int | None:
    """The worker's process on this machine, None if it runs elsewhere."""
    return self._endpoint.pid

  @property
  def connected(self) -> bool:
    """Whether a channel is open and no call on it has failed because the worker was lost."""
    return self._channel is not None and not self.traffic[-1].lost

  def connect(self, timeout: float) -> None:
    """Makes a new connection unless a working one exists; waits up to `timeout` seconds for the worker.

    Raises:
      WorkerLost: The worker does not answer in time.
      TlsRefused: The worker answers, but one side does not accept the certificate of the other.
    """
    with self._lock:
      if self.connected:
        return
      self._disconnect()
      address = self._endpoint.open()
      channel = tls.open_channel(address, self._tls, own_connection=True)
      try:
        self._wait_until_ready(channel, address, timeout)
      except BaseException:
        channel.close()
        raise
      service = stub.DeadlineStub(channel, name=self.name, call_timeout=self._call_timeout)
      self.traffic.append(service)
      # One executor: a call with another number of clients replaces it, so that values do not accumulate on the worker.
      self._context = tff.framework.SyncExecutionContext(
          executors.LeanExecutors(functools.partial(executors.open_executor, service), 1), compilation.compile_once,
          transform_args=tensorflow_computation.transform_args,
          transform_result=tensorflow_computation.transform_result)
      self._channel = channel
      # Closing the channel ends a call that hangs; the call raises WorkerLost in its thread.
      self._probe = probe.Probe(lambda: tls.open_channel(address, self._tls, own_connection=True),
                                interval=self._probe_interval, on_lost=lambda: self._lose(service, channel))

  def invoke(self, computation: tff.Computation, argument: object) -> object:
    """Runs `computation` on the worker and returns its result.

    Raises:
      WorkerLost: See `DeadlineStub`; call `connect` before the next call.
    """
    with self._lock, self.computing():
      result = self._context.invoke(computation, argument)
      self._context.executor_factory.forget()
    if self._site is not None:
      self._site.hear(result)
    if self.on_answer is not None:
      self.on_answer(result)
    return result

  @contextlib.contextmanager
  def computing(self) -> Iterator[None]:
    """Sets `may_have_computed` of a `WorkerLost` in the `with` block: was the worker asked to compute anything there?

    Raises:
      WorkerLost: There is no connection.
    """
    self._check_connected()
    service = self.traffic[-1]
    calls = service.calls['CreateCall']
    try:
      yield
    except stub.WorkerLost as error:
      error.may_have_computed = service.calls['CreateCall'] > calls
      raise

  def silo(self, clients: int) -> handles.Silo:
    """Returns the silo that holds the results of computations over `clients` clients, for this connection.

    Raises:
      WorkerLost: There is no connection.
    """
    with self._lock:
      self._check_connected()
      if clients not in self._silos:
        while len(self._silos) >= _SILOS_KEPT:
          self._silos.popitem(last=False)[1].close()
        self._silos[clients] = handles.Silo(functools.partial(executors.open_for_handles, self.traffic[-1], clients))
      self._silos.move_to_end(clients)
      return self._silos[clients]

  def executor(self) -> tff.framework.RemoteExecutor:
    """Returns a new executor on this worker for `handles.Silo`."""
    return executors.open_for_handles(self.traffic[-1])

  def site(self) -> site_link.SiteLink | None:
    """Returns the site behind the worker, if it plays its half of protocols itself; asked once a connection.

    Raises:
      WorkerLost: There is no connection.
    """
    with self._lock:
      self._check_connected()
      if self._introduced is not self.traffic[-1]:
        self._site = site_link.introduced(self.answer, self.name)
        self._introduced = self.traffic[-1]
      return self._site

  def answer(self, message: bytes) -> bytes | None:
    """Returns the answer to a message of a protocol; see `DeadlineStub.answer`."""
    self._check_connected()
    return self.traffic[-1].answer(message)

  def close(self) -> None:
    with self._lock:
      self._disconnect()
      self._endpoint.close()

  def _check_connected(self):
    if not self.connected:
      error = stub.WorkerLost(f'worker {self.name}: not connected.', party=self.name)
      error.may_have_computed = False
      raise error

  def _wait_until_ready(self, channel, address, timeout):
    reason, deadline = '', time.monotonic() + timeout
    while not probe.answers(channel, max(0.1, min(1.0, deadline - time.monotonic()))):
      if self._tls is not None:
        reason = tls.check(address, self._tls)
      if time.monotonic() >= deadline:
        raise stub.WorkerLost(f'worker {self.name}: no answer within {timeout:g} s. {reason}', party=self.name)

  def _lose(self, service, channel):
    service.lost = True
    channel.close()

  def _disconnect(self):
    if self._channel is None:
      return
    self._probe.close()
    while self._silos:
      self._silos.popitem()[1].close()
    self._context.executor_factory.close()
    self._channel.close()
    self._channel = self._context = self._probe = None
