"""The protocols that a site plays itself: their messages, and the values that the site puts in for itself.

A value that a client needs and that nobody else may know has a name in the types of the computations that begins with
`protocols.MADE_AT_SITE`, followed by the name of the protocol that makes it. The coordinator sends a placeholder there,
and the guard puts the site's own value in before the executor sees it.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

from tensorflow_federated.proto.v0 import executor_pb2

from tff_vision import protocols
from tff_vision.runtime import messages
from tff_vision.runtime.tff_internals import terms
from tff_vision.runtime.worker.guard import rules, witness


class BeginAgain(RuntimeError):
  """The site does not have the attempt at a round that it is asked about, or has used it up; a new one may begin."""


@dataclasses.dataclass(frozen=True)
class Message:
  """A message of a coordinator, as it was read."""
  protocol: str
  phase: str
  content: Mapping[str, Any]

  @property
  def key(self) -> str:
    """What it is about, for the log."""
    return f'{self.protocol}/{self.phase}'[:60]


class SiteProtocol(Protocol):
  """A site's half of a protocol. Calls come from several threads."""

  def answer(self, phase: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the answer to a message of the coordinator.

    Raises:
      rules.Refused: The message may not come.
      rules.Away: The owner lets nothing begin.
      BeginAgain: It is about an attempt that this process does not know.
      ValueError: The message lacks a part.
    """

  def fill(self, placeholder: executor_pb2.Value, names: Sequence[str]) -> Hashable:
    """Puts the site's value into a placeholder, in place.

    Args:
      names: The names of data of the client whose value it is.

    Returns:
      What the value is called in `spend`.

    Raises: As `answer`.
    """

  def spend(self, token: Hashable, key: str) -> None:
    """A computation is about to use a value of `fill`.

    Args:
      token: As `fill` returned it.
      key: Of the term of the call.

    Raises: As `answer`: it may not be used, or not again.
    """


class Exchange:
  """A site's protocols, by their names."""

  def __init__(self, *, site: str, plan: str, plays: Mapping[str, SiteProtocol]):
    """Args: `plan`: the digest of the plan; `plays`: the protocols by their names."""
    self._site = site
    self._plan = plan
    self._plays = dict(plays)
    self._activities: dict[tuple[str, Hashable], int] = {}

  @property
  def witness(self) -> witness.Witness | None:
    """The protocol that is shown the numbers that come and leave; a plan has one secure sum, so one at most."""
    return next((one for one in self._plays.values() if isinstance(one, witness.Witness)), None)

  def answer(self, asked: Message) -> bytes:
    """Returns the answer to a message. Raises: as `SiteProtocol.answer`."""
    if asked.protocol == messages.HELLO:
      return messages.encode({'site': self._site, 'plan': self._plan, 'protocols': sorted(self._plays)})
    if asked.protocol not in self._plays:
      raise rules.Refused(f'a message of a protocol {asked.protocol!r:.40}, which this site does not play.')
    return messages.encode(self._plays[asked.protocol].answer(asked.phase, asked.content))

  def fill(self, value: executor_pb2.Value) -> frozenset[tuple[str, Hashable]]:
    """Puts the site's own values into a plain value, in place; returns what they are called in `spend`."""
    return frozenset(self._filled(value, value))

  def spend(self, tokens: frozenset[tuple[str, Hashable]], key: str) -> None:
    """A computation is about to use the values of `fill`; `key` is that of the term of its call."""
    for protocol, token in sorted(tokens, key=repr):
      self._plays[protocol].spend(token, key)

  def belong(self, tokens: frozenset[tuple[str, Hashable]], activity: int) -> None:
    """A computation of this activity uses the values of `fill`; those of another one it may not use.

    Raises:
      BeginAgain: It uses one that an earlier activity has used, such as masks of training in an evaluation.
    """
    if any(self._activities.setdefault(token, activity) != activity for token in tokens):
      raise BeginAgain('a value that this site made for one round or evaluation was used in another.')

  def _filled(self, value, member):
    """Yields the tokens of the values inside; `member`: what belongs to one client, or the whole value."""
    kind = value.WhichOneof('value')
    if kind == 'federated':
      for one in value.federated.value:
        yield from self._filled(one, one)
    elif kind == 'struct':
      for element in value.struct.element:
        protocol = element.name.removeprefix(protocols.MADE_AT_SITE)
        if element.name.startswith(protocols.MADE_AT_SITE) and protocol in self._plays:
          names = terms.of_value(member)[1]
          yield protocol, self._plays[protocol].fill(element.value, names)
        else:
          yield from self._filled(element.value, member)


def read(raw: bytes) -> Message:
  """Returns the message that came as these bytes. Raises: ValueError: It is none."""
  asked = messages.decode(raw)
  protocol, phase = (messages.part(asked, name, str) for name in ('protocol', 'phase'))
  return Message(protocol, phase, messages.part(asked, 'content', dict))
