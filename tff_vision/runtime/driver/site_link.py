"""The coordinator's way to the half of a protocol that a site plays itself, at its guard."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tff_vision import protocols
from tff_vision.runtime import messages
from tff_vision.runtime.driver import stub

_HELLO = messages.encode({'protocol': messages.HELLO, 'phase': messages.HELLO, 'content': {}})


class SiteLink(protocols.Site):
  """A site that plays protocols.

  Attributes:
    name: The site's name.
    plan: The digest of the plan that its owner approved.
    plays: The names of the protocols.
  """
  WorkerLost: ClassVar = stub.WorkerLost
  BeginAgain: ClassVar = stub.BeginAgain

  def __init__(self, answer: Callable[[bytes], bytes | None], *, name: str, plan: str, plays: tuple[str, ...]):
    """Args: `answer` sends a message and returns the answer."""
    self.name = name
    self.plan = plan
    self.plays = plays
    self._answer = answer
    self._heard: list[Any] | None = None

  def ask(self, protocol: str, phase: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the site's answer.

    Raises:
      RefusedByWorker: The site refuses; one sentence.
      BeginAgain: The site does not have this attempt any more.
      WorkerLost: It does not answer.
    """
    answer = self._answer(messages.encode({'protocol': protocol, 'phase': phase, 'content': content}))
    if answer is None:  # It was restarted without its approval.
      raise stub.RefusedByWorker(f'site {self.name} has stopped playing its half of {protocol} itself.')
    return messages.decode(answer)

  def listen(self) -> None:
    self._heard = []

  def hear(self, result: object) -> None:
    """Takes the result of a call over the site's clients."""
    if self._heard is not None:
      self._heard.append(result)

  def heard(self) -> list[Any]:
    found, self._heard = self._heard or [], None
    return found


def introduced(answer: Callable[[bytes], bytes | None]) -> SiteLink | None:
  """Returns the site that answers; None: there is none that plays a protocol itself.

  Raises:
    WorkerLost: It does not answer.
  """
  hello = answer(_HELLO)
  if hello is None:
    return None
  found = messages.decode(hello)
  return SiteLink(answer, name=found['site'], plan=found['plan'], plays=tuple(found['protocols']))
