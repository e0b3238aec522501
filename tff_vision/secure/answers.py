"""Asks sites at the same time; their answers have the form that the protocol has, or one sentence names the site.

A site that does not follow its protocol can end a round, as one that refuses can; it cannot end the coordinator's
program in another way.
"""

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

_LARGEST = 2**53
Result = TypeVar('Result')
Item = TypeVar('Item')


def side_by_side(fn: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
  """Returns fn of each item, in order; each in a thread of its own, because it waits for another machine."""
  if not items:
    return []
  with concurrent.futures.ThreadPoolExecutor(len(items)) as pool:
    return list(pool.map(fn, items))


class Answer:
  """A site's answer, or a part of it; each method returns one part, of one type.

  Raises:
    ValueError: From every method: the part is missing, or of another form; names the site and the message.
  """

  def __init__(self, site: str, about: str, content: Any):
    """Args: `about`: what the site was asked, for errors."""
    self.content = content
    self._site = site
    self._about = about

  def flag(self, name: str) -> bool:
    return self._of(name, bool)

  def whole(self, name: str) -> int:
    """Returns a whole number that is not negative."""
    found = self._of(name, int)
    self._check(not isinstance(found, bool) and 0 <= found <= _LARGEST, name)
    return found

  def text(self, name: str) -> str:
    return self._of(name, str)

  def byte_strings(self, name: str, *, count: int, size: int) -> list[bytes]:
    """Returns `count` strings of `size` bytes."""
    found = self._of(name, list)
    self._check(len(found) == count and all(isinstance(one, bytes) and len(one) == size for one in found), name)
    return found

  def items(self, name: str) -> list[Any]:
    return self._of(name, list)

  def inner(self, name: str) -> 'Answer':
    """Returns a part that is a mapping."""
    return Answer(self._site, self._about, self._of(name, dict))

  def each(self, name: str) -> list['Answer']:
    return [Answer(self._site, self._about, one) for one in self.items(name)]

  def signed(self) -> 'Answer':
    """Returns the content of this message, which the site signed and other sites check."""
    self._of('signature', bytes)
    self._check(self.text('site') == self._site, 'site')
    return self.inner('content')

  def message(self) -> Any:
    """Returns this message as it came, after a look at its form; its signature is checked by other sites."""
    self.signed()
    return self.content

  def _of(self, name, kind):
    self._check(isinstance(self.content, Mapping) and isinstance(self.content.get(name), kind), name)
    return self.content[name]

  def _check(self, legal, name):
    if not legal:
      raise ValueError(f'site {self._site} does not follow its protocol: {name!r} in its answer to {self._about} is '
                       'missing, or has another form.')
