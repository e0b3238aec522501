"""TFF's executor service with a guard in it: reads every request, and passes on its bytes or refuses.

The service speaks TFF's eight calls, to the coordinator and to the executor. Requests are parsed, but what passes is
the bytes that came, and answers are passed on as they are, because updates and ciphertexts are megabytes. A request
that does not parse to exactly its bytes is refused, so that guard and executor read the same.

What a coordinator may do, a `rules.Watch` decides. Beside TFF's service there is one of our own, for the protocols that
the site plays itself (`exchange`).
"""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
from tensorflow_federated.proto.v0 import executor_pb2

from tff_vision.runtime import messages, serving
from tff_vision.runtime.tff_internals import cache_numbers, canonical, terms
from tff_vision.runtime.worker import tls
from tff_vision.runtime.worker.guard import audit, book, exchange, rules

Message = TypeVar('Message')
_SERVICE = 'tensorflow_federated.v0.ExecutorGroup'
_THREADS = 16
_NO_LIMIT = 1e8  # Seconds; gRPC gives such a number where the caller gave none.


class Guard:
  """The service; one for each executor."""

  def __init__(self, executor: str, watch: rules.Watch, *, site: str, log: audit.Log | None = None,
               own: exchange.Exchange | None = None):
    """Args: `executor`: its address; `log`: None writes no audit log; `own`: the protocols that the site plays."""
    self._channel = grpc.insecure_channel(executor, tls.CHANNEL_OPTIONS)
    self._watch = watch
    self._site = site
    self._log = log
    self._own = own
    self._sees = None if own is None else own.witness
    self._lock = threading.Lock()
    self._books: dict[str, book.Book] = {}
    self._known: dict[bytes, _Computation] = {}
    self._numbered: dict[int, bytes] = {}
    handlers = {'GetExecutor': self._get_executor, 'CreateValue': self._create_value,
                'CreateCall': self._create_call, 'CreateStruct': self._create_struct,
                'CreateSelection': self._create_selection, 'Compute': self._compute, 'Dispose': self._dispose,
                'DisposeExecutor': self._dispose_executor}
    # Messages are handed over as bytes, where nothing says how to serialize them.
    self._handlers = grpc.method_handlers_generic_handler(_SERVICE, {
        name: grpc.unary_unary_rpc_method_handler(self._handled(name, handle)) for name, handle in handlers.items()})
    self._health = grpc.method_handlers_generic_handler('grpc.health.v1.Health', {
        'Check': grpc.unary_unary_rpc_method_handler(self._check_health)})
    self._messages = grpc.method_handlers_generic_handler(messages.SERVICE, {} if own is None else {
        messages.METHOD: grpc.unary_unary_rpc_method_handler(self._handled(messages.METHOD, self._answer))})

  @contextlib.contextmanager
  def served(self, address: str) -> Iterator[int]:
    """Serves at host:port or unix:path while the context is open; yields the port, which is chosen for port 0.

    Raises:
      ValueError: The address cannot be listened at.
    """
    def add(server):
      server.add_generic_rpc_handlers((self._handlers, self._health, self._messages))

    # Calls end before the channel: one that found it closed would be refused, where the worker is merely lost.
    with contextlib.closing(self._channel), serving.served(address, add, threads=_THREADS, name='the guard') as port:
      yield port

  def forget(self) -> None:
    """Forgets all handles, because the executor was started anew."""
    with self._lock:
      self._books.clear()

  def _handled(self, name: str, handle: Callable[['_Request'], bytes]):
    def handled(raw: bytes, context: grpc.ServicerContext) -> bytes:
      begun = time.monotonic()
      request = _Request(self._channel, name, raw, context)
      try:
        try:
          answer = handle(request)
        except (OSError, grpc.RpcError):
          raise
        except Exception as error:
          told = error if isinstance(error, (rules.Away, exchange.BeginAgain)) else rules.refusal(error)
          self._write(name, request, begun, refused=str(told))
          raise told from None
        self._write(name, request, begun, bytes_out=len(answer))
        return answer
      except rules.Refused as refused:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, f'refused: site {self._site}: {refused}')
      except rules.Away as away:
        # As a worker that is down: its clients drop out of the round.
        context.abort(grpc.StatusCode.UNAVAILABLE, f'site {self._site}: {away}')
      except exchange.BeginAgain as again:
        context.abort(grpc.StatusCode.ABORTED, f'{messages.BEGIN_AGAIN}site {self._site}: {again}')
      except OSError as error:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, f'refused: site {self._site}: its audit log cannot be '
                      f'written ({error.strerror}), and without it nothing passes.')
      except grpc.RpcError as error:  # The executor's own.
        with contextlib.suppress(OSError):
          self._write(name, request, begun)
        context.abort(error.code(), error.details())
    return handled

  def _check_health(self, raw, context):
    """Asks the executor, whose answer says whether it is alive; the coordinator asks every few seconds."""
    try:
      return _Request(self._channel, 'Check', raw, context, 'grpc.health.v1.Health').passed_on(wait=True)
    except grpc.RpcError as error:
      context.abort(error.code(), error.details())

  def _write(self, name, request, begun, bytes_out=None, refused=None):
    if self._log is not None:
      self._log.write(name, key=request.key, bytes_in=len(request.raw), bytes_out=bytes_out, refused=refused,
                      seconds=round(time.monotonic() - begun, 4))

  def _book(self, executor):
    with self._lock:
      if executor.id not in self._books:
        # As a restarted executor says it, so that the coordinator connects anew.
        raise _Unknown(f'No executor found for ID: \'{executor.id}\'.')
      return self._books[executor.id]

  def _get_executor(self, request):
    asked = request.parsed(executor_pb2.GetExecutorRequest)
    try:
      clients = terms.clients_of(asked.cardinalities)
    except ValueError as error:
      raise rules.Refused(str(error)) from None
    self._watch.executor(clients)
    answer = request.passed_on()
    found = executor_pb2.GetExecutorResponse.FromString(answer).executor
    with self._lock:
      self._books.setdefault(found.id, book.Book(clients)).holders += 1
    return answer

  def _create_value(self, request):
    asked = request.parsed(executor_pb2.CreateValueRequest)
    held = self._book(asked.executor)
    if asked.value.HasField('computation'):
      found = self._read(asked.value.computation)
      request.key = found.digest
      self._watch.computation(found.digest)
      self._check_numbers(found)
      entry = book.Entry(terms.of_computation(found.digest), function=True)
    else:
      try:
        term, names = terms.of_value(asked.value)
      except ValueError as error:
        raise rules.Refused(str(error)) from None
      request.key = term.key
      self._watch.value(term.key, names)
      seen = () if self._sees is None else self._sees.value(asked.value)
      entry = book.Entry(term, names, own=self._filled(asked, request), seen=seen)
    return self._kept(held, entry, request, executor_pb2.CreateValueResponse)

  def _create_call(self, request):
    asked = request.parsed(executor_pb2.CreateCallRequest)
    held = self._book(asked.executor)
    entry = held.called(asked.function_ref.id, asked.argument_ref.id if asked.HasField('argument_ref') else None)
    request.key = entry.term.key
    if entry.own:
      self._own.spend(entry.own, entry.term.key)
    number = self._watch.call(entry.term.key, entry.names, held.clients, entry.made_in)
    if entry.own:
      self._own.belong(entry.own, number)
    made_by = frozenset() if self._sees is None else self._sees.call(entry.seen, entry.names, number)
    return self._kept(held, book.Entry(entry.term, (), frozenset({number}), made_by=made_by), request,
                      executor_pb2.CreateCallResponse)

  def _create_struct(self, request):
    asked = request.parsed(executor_pb2.CreateStructRequest)
    held = self._book(asked.executor)
    entry = held.struct([(element.name, element.value_ref.id) for element in asked.element])
    return self._kept(held, entry, request, executor_pb2.CreateStructResponse)

  def _create_selection(self, request):
    asked = request.parsed(executor_pb2.CreateSelectionRequest)
    held = self._book(asked.executor)
    entry = held.selection(asked.source_ref.id, asked.index)
    return self._kept(held, entry, request, executor_pb2.CreateSelectionResponse)

  def _compute(self, request):
    asked = request.parsed(executor_pb2.ComputeRequest)
    entry = self._book(asked.executor).get(asked.value_ref.id)
    request.key = entry.term.key
    self._watch.fetch(entry.term.key, entry.made_in)
    answer = request.passed_on()
    self._watch.leaves(answer)
    if self._sees is not None:
      self._sees.leaves(entry.made_by, answer, request.wanted)
    return answer

  def _dispose(self, request):
    asked = request.parsed(executor_pb2.DisposeRequest)
    self._book(asked.executor).drop([one.id for one in asked.value_ref])
    return request.passed_on()

  def _dispose_executor(self, request):
    asked = request.parsed(executor_pb2.DisposeExecutorRequest)
    held = self._book(asked.executor)
    answer = request.passed_on()
    with self._lock:
      held.holders -= 1
      if held.holders <= 0:
        self._books.pop(asked.executor.id, None)
    return answer

  def _filled(self, asked, request):
    """Puts the site's own values in; returns what they are called."""
    own = frozenset() if self._own is None else self._own.fill(asked.value)
    if own:
      request.raw = asked.SerializeToString()
    return own

  def _answer(self, request):
    asked = exchange.read(request.raw)
    request.key = asked.key
    return self._own.answer(asked)

  def _kept(self, held, entry, request, kind):
    answer = request.passed_on()
    held.put(kind.FromString(answer).value_ref.id, entry)
    return answer

  def _check_numbers(self, computation):
    """Refuses a graph under the number of another one, which the executor would run in its place."""
    with self._lock:
      for number, digest in computation.numbered:
        if self._numbered.setdefault(number, digest) != digest:
          raise rules.Refused('two different computations have the same number: one would run in place of the other.')

  def _read(self, computation):
    """Returns what is known of a computation, which comes once for each call."""
    serialized = computation.SerializeToString()
    if (found := self._known.get(serialized)) is None:
      try:
        found = _Computation(canonical.computation(computation), tuple(cache_numbers.numbered(computation)))
      except (ValueError, RecursionError) as error:
        raise rules.Refused(f'a computation cannot be read: {error}') from None
      if len(self._known) > 64:
        self._known.clear()
      self._known[serialized] = found
    return found


@dataclasses.dataclass(frozen=True)
class _Computation:
  """Attributes: `digest`: the canonical one; `numbered`: as of `cache_numbers`."""
  digest: str
  numbered: tuple[tuple[int, bytes], ...]


class _Unknown(grpc.RpcError):
  """The executor is not there any more."""

  def code(self):
    return grpc.StatusCode.FAILED_PRECONDITION

  def details(self):
    return str(self)


class _Request:
  """One call, as it came.

  Attributes:
    key: What it is about, for the audit log.
  """

  def __init__(self, channel: grpc.Channel, method: str, raw: bytes, context: grpc.ServicerContext,
               service: str = _SERVICE):
    self.raw = raw
    self.key: str | None = None
    self._send = channel.unary_unary(f'/{service}/{method}')
    self._context = context

  def parsed(self, kind: type[Message]) -> Message:
    try:
      found: Any = kind.FromString(self.raw)
    except Exception:  # The error's type depends on the implementation of protocol buffers.
      raise rules.Refused('a request cannot be read.') from None
    if found.ByteSize() != len(self.raw):
      raise rules.Refused('a request is written in another way than it reads.')
    return found

  def wanted(self) -> bool:
    """Returns whether the caller still waits for the answer."""
    return self._context.is_active()

  def passed_on(self, *, wait: bool = False) -> bytes:
    """Sends the bytes to the executor, and returns its answer; `wait`: for an executor that is being started."""
    left = self._context.time_remaining()
    return self._send(self.raw, timeout=None if left is None or left > _NO_LIMIT else left, wait_for_ready=wait)
