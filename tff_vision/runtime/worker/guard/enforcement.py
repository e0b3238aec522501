"""Decides on everything that a coordinator asks of a worker, by the rules that its owner approved.

What was done is counted from the audit log, so that a guard that was stopped, or killed, goes on counting.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from tff_vision.runtime.worker.guard import audit, rules


@dataclasses.dataclass(frozen=True)
class _Place:
  """A place in an order: how many steps of which block are done, and how many times the block was done before."""
  order: int
  block: int
  done: int
  times: int


@dataclasses.dataclass
class _Running:
  """The activity in progress, or those of which it may be one: two may begin in the same way.

  Attributes:
    places: Where in its orders each of them may be.
    counted: Whether it is known which one it is, and counted.
    used: For each term called, the names of data in its arguments so far.
  """
  number: int
  places: dict[rules.Activity, set[_Place]]
  counted: bool = False
  used: dict[str, set[str]] = dataclasses.field(default_factory=dict)


class Enforcement(rules.Watch):
  """Lets pass what the rules say, in their order, as often as they say."""

  def __init__(self, ruled: rules.Rules, log: audit.Log, away: Callable[[], str | None] = lambda: None):
    """Initializes the watch.

    Args:
      log: Holds what earlier processes let pass under these rules.
      away: Returns why nothing may begin now, such as «paused»; None: it may. Asked before each round.

    Raises:
      ValueError: The log is of another approval.
    """
    self._rules = ruled
    self._log = log
    self._away = away
    self._lock = threading.Lock()
    self._running: _Running | None = None
    self._begun = {activity.name: log.begun(activity.name) for activity in ruled.activities}
    self._number = sum(self._begun.values())
    self._bytes = log.bytes_out

  @property
  def epsilon(self) -> float | None:
    """What the site's examples have cost so far, at most; None: nothing is promised."""
    return self._rules.spent(sum(self._begun[one.name] for one in self._rules.activities if one.trains))

  @property
  def begun(self) -> Mapping[str, int]:
    """How many times each activity has begun."""
    return dict(self._begun)

  def may_begin(self) -> None:
    """Raises: Refused: The approval has expired; Away: the owner lets nothing begin now."""
    self._rules.check_date()
    if (why := self._away()) is not None:
      raise rules.Away(f'the owner of this site has {why}.')

  def executor(self, clients: int) -> None:
    self._rules.check_date()
    if clients > self._rules.most_clients:
      raise rules.Refused(f'an executor for {clients} clients was asked for, and {self._rules.most_clients} are '
                          'approved.')

  def computation(self, digest: str) -> None:
    self._rules.check_date()
    if digest not in self._rules.computations:
      raise rules.Refused(f'the computation {digest[:16]} is none of the {len(self._rules.computations)} that were '
                          'approved; software, plan or graph differ, or the numbers of training images are others '
                          'than the examples given to pipelines.approve.')

  def value(self, key: str, names: Sequence[str]) -> None:
    self._rules.check_date()
    if unknown := sorted(set(names) - self._rules.names):
      raise rules.Refused(f'the name {unknown[0]!r} is none of the data that the approval names.')
    if len(set(names)) < len(names):
      raise rules.Refused(f'the name {max(names, key=names.count)!r} is in a value more than once.')
    if key not in self._rules.values:
      raise rules.Refused('a value has another type or structure than any that was approved.')

  def call(self, key: str, names: Sequence[str], clients: int, made_in: frozenset[int]) -> int:
    with self._lock:
      self._rules.check_date()
      if names and len(names) != clients:
        raise rules.Refused(f'a call names the data of {len(names)} clients in an executor for {clients}.')
      step = rules.Step(rules.CALL, key)
      if self._continue(step, names, made_in):
        return self._running.number
      return self._begin(step, names, made_in)

  def fetch(self, key: str, made_in: frozenset[int]) -> None:
    with self._lock:
      self._rules.check_date()
      step = rules.Step(rules.FETCH, key)
      if not self._continue(step, (), made_in):
        raise rules.Refused(self._why_not(step, 'a value was asked for', made_in))
      if self._bytes >= self._rules.most_bytes:
        raise rules.Refused(f'{self._bytes} bytes have left this site, and {self._rules.most_bytes} are approved.')

  def leaves(self, answer: bytes) -> None:
    with self._lock:
      size = len(answer)
      if self._bytes + size > self._rules.most_bytes:
        raise rules.Refused(f'a value of {size} bytes would make {self._bytes + size} that leave this site, and '
                            f'{self._rules.most_bytes} are approved.')
      self._bytes += size

  def _continue(self, step, names, made_in):
    """Takes the step in the activity in progress; returns whether it fits there."""
    running = self._running
    if running is None or not made_in <= {running.number} or step.kind == rules.FETCH and not made_in:
      return False
    if running.used.get(step.key, set()) & set(names):  # A client takes part once in a round.
      return False
    places = {activity: after for activity, before in running.places.items()
              if activity.reads(names)
              and (after := {one for place in before for one in _next(activity.orders[place.order], place, step)})}
    if not places:
      return False
    running.places = places
    self._count(step, names)
    return True

  def _begin(self, step, names, made_in):
    """Begins the activity that has this step first; returns its number."""
    self.may_begin()
    found = {activity: places for activity in self._rules.activities
             if (places := {_Place(number, 0, 1, 0) for number, order in enumerate(activity.orders)
                            if order[0].steps[0] == step})}
    if not found:
      raise rules.Refused(self._why_not(step, 'a call came', made_in))
    if not (reading := {activity: places for activity, places in found.items() if activity.reads(names)}):
      raise rules.Refused(f'{next(iter(found)).name}: it does not read {names[0]!r}.')
    if made_in:
      raise rules.Refused(f'{next(iter(reading)).name}: its first call has results of another round in its argument.')
    self._number += 1
    self._running = _Running(self._number, reading)
    self._count(step, names)
    return self._number

  def _count(self, step, names):
    """Notes a step that was taken; counts the activity once it is known, and before any data are read for it."""
    running = self._running
    running.used.setdefault(step.key, set()).update(names)
    if running.counted:
      return
    left = {activity: places for activity, places in running.places.items()
            if self._begun[activity.name] < activity.most}
    if not left:
      activity = next(iter(running.places))
      self._running = None
      raise rules.Refused(f'{activity.name}: {self._begun[activity.name]} have begun, and {activity.most} are '
                          'approved.')
    if len(left) == 1 or names:
      activity = next(iter(left))
      left = {activity: left[activity]}
      self._begun[activity.name] += 1
      self._log.begin(activity.name)
      running.counted = True
    running.places = left

  def _why_not(self, step, what, made_in):
    """Returns why a step does not fit."""
    known = {one for activity in self._rules.activities for order in activity.orders for block in order
             for one in block.steps}
    if step not in known:
      return f'{what} that is in no order of the approval.'
    if self._running is None:
      return f'{what} that needs others before it.'
    if not made_in <= {self._running.number}:
      return f'{what} with results of an earlier round.'
    name = ' or '.join(activity.name for activity in self._running.places)
    return f'{what} out of order: {name} goes on in another way.'


def _next(order: Sequence[rules.Block], place: _Place, step: rules.Step) -> Iterator[_Place]:
  """Yields the places after `step`; there are two where a block may be repeated and the next begins equally."""
  block = order[place.block]
  if place.done < len(block.steps):
    if block.steps[place.done] == step:
      yield dataclasses.replace(place, done=place.done + 1)
    return
  if place.times + 1 < block.most and block.steps[0] == step:
    yield _Place(place.order, place.block, 1, place.times + 1)
  if place.block + 1 < len(order) and order[place.block + 1].steps[0] == step:
    yield _Place(place.order, place.block + 1, 1, 0)
