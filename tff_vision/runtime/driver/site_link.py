"""The coordinator's way to the half of a protocol that a site plays itself, at its guard."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tff_vision import protocols
from tff_vision.runtime import messages
from tff_vision.runtime.driver import stub

_LONGEST_NAME = 200
_HELLO = messages.encode({'protocol': 'hello', 'phase': 'hello', 'content': {}})


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
    return _decoded(answer, f'site {self.name}')

  def listen(self) -> None:
    self._heard = []

  def hear(self, result: object) -> None:
    """Takes the result of a call over the site's clients."""
    if self._heard is not None:
      self._heard.append(result)

  def heard(self) -> list[Any]:
    found, self._heard = self._heard or [], None
    return found


def introduced(answer: Callable[[bytes], bytes | None], worker: str) -> SiteLink | None:
  """Returns the site that answers; None: there is none that plays a protocol itself.

  Args:
    worker: The worker's name in errors.

  Raises:
    WorkerLost: It does not answer.
    RefusedByWorker: It answers something else.
  """
  hello = answer(_HELLO)
  if hello is None:
    return None
  what = f'worker {worker}'
  found = _decoded(hello, what)
  try:
    name, plan = (messages.part(found, part, str, 'its first answer') for part in ('site', 'plan'))
    plays = messages.part(found, 'protocols', list, 'its first answer')
  except ValueError as error:
    raise stub.RefusedByWorker(f'{what} does not say which site it is: {error}') from None
  if not (0 < len(name) <= _LONGEST_NAME and name.isprintable() and all(isinstance(one, str) for one in plays)):
    raise stub.RefusedByWorker(f'{what} does not say which site it is: it has no name, or protocols without names.')
  return SiteLink(answer, name=name, plan=plan, plays=tuple(plays))


def _decoded(answer, what):
  try:
    found = messages.decode(answer)
  except ValueError as error:
    raise stub.RefusedByWorker(f'{what} does not follow its protocol: {error}') from None
  if not isinstance(found, dict):
    raise stub.RefusedByWorker(f'{what} does not follow its protocol: its answer is no JSON object.')
  return found
