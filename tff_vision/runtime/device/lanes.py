"""Lanes: the clients that this process computes at the same time, on the devices of this machine."""

import concurrent.futures
import dataclasses
import heapq
import threading
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# How many clients a lane may be ahead of the client that is added next.
_AHEAD = 4


class OutOfMemory(ValueError):
  """No lane is left that has enough memory for one client."""


class Closed(RuntimeError):
  """The lanes compute nothing any more."""


@dataclasses.dataclass(frozen=True)
class Lane:
  """Attributes: `device` as TensorFlow names it, such as `GPU:0`; `number` counts the lanes of this process."""
  device: str
  number: int


class Lanes:
  """The lanes of this process; one call of `run` at a time, and `close` at any time.

  A lane whose device has too little memory for another client ends, and its client goes to another lane.

  Attributes:
    home: Where sums are kept.
    server: Where the computations of the server run.
  """

  def __init__(self, devices: Sequence[str], clients_per_device: int, told: Callable[[str, str], None]):
    """Args: `told` is called with a device and a sentence for each lane that ends."""
    self._told = told
    # The devices in turn, so that a small cohort uses all of them.
    self._lanes = [Lane(device, i) for i, device in enumerate(list(devices) * clients_per_device)]
    self.home, self.server = Lane(devices[0], -1), Lane('CPU:0', -2)
    self._pool = concurrent.futures.ThreadPoolExecutor(len(self._lanes))
    self._lock = threading.Lock()  # For the lanes, which end at any time, and for the two below.
    self._turn: _Turn | None = None
    self._is_closed = False

  def __len__(self) -> int:
    with self._lock:
      return len(self._lanes)

  def run(self, count: int, work: Callable[[int, Lane], Any], take: Callable[[Any], None], *,
          clients_each: int = 1) -> None:
    """Computes `work` for clients 0, 1, ..., on any lane, and calls `take` with the results in the order of clients.

    A client here may be several, `clients_each`, that are computed together.

    So what is added up does not depend on the number of lanes, nor on their speed. `take` is never called twice at the
    same time.

    No lane is at work when it returns or raises, also if it is interrupted.

    Raises:
      OutOfMemory: The last lane has too little memory for one client.
      Closed: The lanes are closed, maybe meanwhile.
    """
    turn = _Turn(count, max(_AHEAD * len(self) // clients_each, len(self)), take)
    try:
      while turn.is_open:  # Again if every lane that served has ended and others are left.
        self._serve_all(turn, count, work)
    finally:
      with self._lock:
        self._turn = None
    if isinstance(turn.error, tf.errors.ResourceExhaustedError):
      raise OutOfMemory(f'{self.home.device} has too little memory for the sum over clients. TensorFlow says: '
                        f'{_first_line(turn.error)}') from turn.error
    if turn.error is not None:
      raise turn.error

  def close(self) -> None:
    """Ends a `run` that another thread is in, which raises `Closed`, and waits until no lane is at work."""
    with self._lock:
      self._is_closed = True
      if self._turn is not None:
        self._turn.fail(Closed('the runtime of this process was closed while it computed.'))
    self._pool.shutdown()

  def _serve_all(self, turn, count, work):
    """Waits for lanes that serve the turn until it is over for each of them."""
    with self._lock:
      if self._is_closed:
        raise Closed('the runtime of this process is closed.')
      self._turn = turn
      # No more lanes than clients: each lane that ever serves has a thread.
      waiting = [self._pool.submit(self._serve, lane, work, turn) for lane in self._lanes[:count]]
    try:
      concurrent.futures.wait(waiting)
    except BaseException as error:  # Such as KeyboardInterrupt.
      turn.fail(error)
      concurrent.futures.wait(waiting)
      raise
    for one in waiting:
      one.result()

  def _serve(self, lane, work, turn):
    while (client := turn.next_client()) is not None:
      try:
        result = work(client, lane)
      except tf.errors.ResourceExhaustedError as error:
        self._end(lane, client, turn, error)
        return
      except BaseException as error:
        turn.fail(error)
        return
      turn.done(client, result)

  def _end(self, lane, client, turn, error):
    with self._lock:
      left = [other for other in self._lanes if other is not lane]
      if left:
        self._lanes = left
    if not left:
      turn.fail(OutOfMemory(f'{lane.device} has too little memory for one client: take a smaller batch_size or model, '
                            f'or devices=CPU. TensorFlow says: {_first_line(error)}'))
      return
    turn.give_back(client)
    self._told(lane.device, f'{lane.device} has too little memory for so many clients at once: {len(left)} are '
               'computed at a time from here on.')


def _first_line(error):
  return str(error).splitlines()[0][:200]


class _Turn:
  """Which client is computed next, and whose result is taken next."""

  def __init__(self, count, ahead, take):
    self._take = take
    self._count, self._ahead = count, ahead
    self._next, self._taken = 0, 0
    self._returned: list[int] = []
    self._ready: dict[int, Any] = {}
    self._is_taking = False
    self._changed = threading.Condition()
    self.error: BaseException | None = None

  @property
  def is_open(self):
    """Whether results are missing, and nothing has failed."""
    with self._changed:
      return self.error is None and self._taken < self._count

  def next_client(self):
    """Returns a client to compute; None when there is nothing left to do. Waits if lanes are too far ahead."""
    with self._changed:
      while self.error is None and self._taken < self._count:
        if self._returned:
          return heapq.heappop(self._returned)
        if self._next < min(self._count, self._taken + self._ahead):
          self._next += 1
          return self._next - 1
        self._changed.wait()
      return None

  def give_back(self, client):
    with self._changed:
      heapq.heappush(self._returned, client)
      self._changed.notify_all()

  def fail(self, error):
    """Ends the turn, unless nothing is missing any more; the first error counts."""
    with self._changed:
      if self._taken < self._count:
        self.error = self.error or error
      self._changed.notify_all()

  def done(self, client, result):
    """Takes this result, or leaves it to the lane that is taking results."""
    with self._changed:
      self._ready[client] = result
      if self._is_taking:
        return
      self._is_taking = True
    try:
      while (found := self._first_ready()) is not None:
        self._take(found[0])
        with self._changed:
          self._taken += 1
          self._changed.notify_all()
    except BaseException as error:
      self.fail(error)

  def _first_ready(self):
    """Returns the result that is next, in a tuple; None if it is not there yet."""
    with self._changed:
      if self._taken not in self._ready:
        self._is_taking = False
        return None
      return (self._ready.pop(self._taken),)
