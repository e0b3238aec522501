"""What a guard lets pass, as data: computations, names of data, and in which order calls and answers follow."""

import dataclasses
import datetime
import functools
import itertools
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from tff_vision.runtime import messages

CALL, FETCH = 'call', 'fetch'
# Blocks of more calls than this are not looked for when an order is shortened.
_LONGEST_BLOCK = 8
_log = logging.getLogger(__name__)


class Refused(ValueError):
  """The coordinator asked for something that was not approved; one sentence."""


def refusal(error: Exception) -> Refused:
  """Returns the refusal of what ended with an error: in the words of a ValueError that is a sentence.

  Of others it says the type alone, because their words may hold data; these are in this machine's own log.
  """
  if isinstance(error, Refused):
    return error
  if isinstance(error, ValueError) and str(error).endswith('.'):
    return Refused(str(error))
  _log.error('a call is refused because of an error that was not foreseen', exc_info=error)
  return Refused(f'it led to an error that was not foreseen ({type(error).__name__}).')


class Away(RuntimeError):
  """The owner of the site has paused or left; the coordinator goes on as without this site."""


@dataclasses.dataclass(frozen=True)
class Step:
  """One call of a computation, or one value that leaves.

  Attributes:
    kind: `CALL` or `FETCH`.
    key: The key of the term that is called or fetched.
  """
  kind: str
  key: str


@dataclasses.dataclass(frozen=True)
class Block:
  """Steps in order, at least once and at most `most` times: once for each part of a cohort or of a long vector."""
  steps: tuple[Step, ...]
  most: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Activity:
  """Something that a coordinator does with a worker, such as one round.

  Attributes:
    name: In words.
    orders: The orders in which its blocks may follow; one of them, from its first block to its last.
    most: How many times it may begin.
    trains: Whether it learns from the site's examples and costs privacy.
    names: The names of data that it reads, by which activities of one order are told apart; empty: any of the rules'.
  """
  name: str
  orders: tuple[tuple[Block, ...], ...]
  most: int
  trains: bool = False
  names: tuple[str, ...] = ()

  def reads(self, names: Iterable[str]) -> bool:
    """Returns whether it may read these data."""
    return not self.names or set(names) <= set(self.names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
  """What may pass.

  Attributes:
    site: The site's name, for messages.
    digest: The digest of the approval that these rules are from.
    computations: The digests of the computations that may come.
    names: The names of data that may be in values, such as file names.
    values: The keys of terms of plain values that may come.
    activities: What may be done.
    most_clients: The most clients in one call.
    most_bytes: The most bytes that may leave, over all calls together.
    expires: Seconds since the epoch, after which nothing passes.
    epsilon: After how many rounds of training which epsilon is spent at most, ascending; empty: nothing is promised.
  """
  site: str
  digest: str
  computations: frozenset[str]
  names: frozenset[str]
  values: frozenset[str]
  activities: tuple[Activity, ...]
  most_clients: int
  most_bytes: int
  expires: float
  epsilon: tuple[tuple[int, float], ...] = ()

  def check_date(self) -> None:
    """Raises Refused if the approval has expired."""
    if time.time() > self.expires:
      date = datetime.datetime.fromtimestamp(self.expires, datetime.UTC)
      raise Refused(f'the approval has expired at {date:%Y-%m-%d %H:%M} UTC; run pipelines.approve again.')

  def spent(self, rounds: int) -> float | None:
    """Returns an upper bound on the epsilon of so many rounds of training; None: nothing is promised."""
    if not self.epsilon or not rounds:
      return 0.0 if self.epsilon else None
    return next((epsilon for known, epsilon in self.epsilon if known >= rounds), float('inf'))


class Watch(Protocol):
  """Decides on each thing that a coordinator asks for; all of its methods raise `Refused` for what may not pass."""

  def executor(self, clients: int) -> None:
    """An executor for so many clients is asked for."""

  def computation(self, digest: str) -> None:
    """A computation came."""

  def value(self, key: str, names: Sequence[str]) -> None:
    """A plain value came, in which there are these texts."""

  def call(self, key: str, names: Sequence[str], clients: int, made_in: frozenset[int]) -> int:
    """A computation is called.

    Args:
      key: Of the term of the result.
      names: The names of data among what the argument is made of.
      clients: Of the executor.
      made_in: The numbers that calls returned whose results are in the argument.

    Returns:
      The number of the activity that the call belongs to.
    """

  def fetch(self, key: str, made_in: frozenset[int]) -> None:
    """A value is fetched; it is not computed yet."""

  def leaves(self, answer: bytes) -> None:
    """A fetched value is about to leave, as the serialized answer."""


def shortened(steps: Sequence[Step]) -> tuple[Block, ...]:
  """Returns steps as blocks, in which repetitions are told by numbers."""
  found: list[Block] = []
  start = 0
  while start < len(steps):
    length, repeats = max(((length, _repeats(steps, start, length)) for length in range(1, _LONGEST_BLOCK + 1)),
                          key=lambda one: (one[1] > 1) * one[0] * one[1])
    if repeats == 1:
      length = 1
    found.append(Block(tuple(steps[start:start + length]), repeats))
    start += length * repeats
  return tuple(found)


def to_json(activity: Activity) -> dict:
  """Returns JSON types, from which `of_json` makes an equal activity."""
  orders = [[{'most': block.most, 'steps': [[step.kind, step.key] for step in block.steps]} for block in order]
            for order in activity.orders]
  return {'name': activity.name, 'most': activity.most, 'trains': activity.trains, 'orders': orders,
          'names': list(activity.names)}


def of_json(found: Any) -> Activity:
  """Returns the activity that `to_json` wrote.

  Raises:
    ValueError: It wrote something else.
  """
  part = functools.partial(messages.part, what='an activity')
  orders = [[_block(block) for block in _listed(order, 'an order')] for order in part(found, 'orders', list)]
  if not all(orders):
    raise ValueError('an activity has an order without steps.')
  names = part(found, 'names', list)
  if not all(isinstance(one, str) for one in names):
    raise ValueError(f'the names of an activity must be texts, found {names!r:.60}.')
  return Activity(name=part(found, 'name', str), orders=tuple(map(tuple, orders)), most=part(found, 'most', int),
                  trains=part(found, 'trains', bool), names=tuple(names))


def _block(found):
  steps = [_listed(step, 'a step') for step in messages.part(found, 'steps', list, 'a block')]
  if not steps or any(len(step) != 2 or not all(isinstance(one, str) for one in step) for step in steps):
    raise ValueError('a block has no steps, or one that is not of two texts.')
  return Block(tuple(Step(*step) for step in steps), messages.part(found, 'most', int, 'a block'))


def _listed(found, what):
  if not isinstance(found, list):
    raise ValueError(f'{what} must be a list, found {found!r:.60}.')
  return found


def _repeats(steps, start, length):
  """Returns how many times the `length` steps from `start` follow each other."""
  block = steps[start:start + length]
  if len(block) < length:
    return 1
  ends = itertools.count(start + length, length)
  return 1 + sum(1 for _ in itertools.takewhile(lambda at: steps[at:at + length] == block, ends))
