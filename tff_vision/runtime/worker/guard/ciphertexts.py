"""What a site signs about the ciphertexts of a round that left it: how many clients, under which key, which digests.

Who opens a sum, the sites or a key holder, reads what all of them signed, and adds the ciphertexts up, in the same way.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision.runtime import messages
from tff_vision.runtime.worker.guard import rules, signing

PHASE = 'ciphertexts'


@dataclasses.dataclass(frozen=True)
class Stated:
  """What one site signed.

  Attributes:
    site: Its name.
    clients: The number of its clients in the ciphertexts.
    key: The digest of the public key.
    digests: Of each ciphertext, those of its two halves: who opens jointly needs the second only.
  """
  site: str
  clients: int
  key: str
  digests: tuple[tuple[str, str], ...]

  @property
  def halves(self) -> list[str]:
    """The digests of the halves that opening needs: with the other half changed, it is the same ciphertext."""
    return [half for _, half in self.digests]

  def content(self) -> dict[str, Any]:
    """Returns what is signed."""
    return {'clients': self.clients, 'key': self.key, 'digests': [list(pair) for pair in self.digests]}


def stated(by: signing.Identity, header: signing.Header, signed: Sequence[Any], *, key: str, fewest_sites: int,
           fewest_clients: int) -> list[Stated]:
  """Returns what sites signed about the ciphertexts of a sum, if such a sum may be opened.

  Args:
    by: Whoever reads it.
    signed: The messages.
    key: The digest of the public key.
    fewest_sites, fewest_clients: A sum over fewer is not opened.

  Raises:
    rules.Refused: With the reason.
    ValueError: One is not of the form.
  """
  found = [_stated(site, content) for site, content in by.each(header, signed).items()]
  halves, clients = [half for one in found for half in one.halves], sum(one.clients for one in found)
  if len(set(halves)) < len(halves):
    raise rules.Refused('a ciphertext is in a sum twice.')
  if len(found) < fewest_sites:
    raise rules.Refused(f'a sum over {len(found)} site(s) is to be opened, and {fewest_sites} are the fewest.')
  if clients < fewest_clients:
    raise rules.Refused(f'a sum over {clients} client(s) is to be opened, and {fewest_clients} are the fewest.')
  if wrong := [one.site for one in found if one.key != key]:
    raise rules.Refused(f'the ciphertexts of {wrong[0]} are under another key.')
  return found


def _stated(site: str, content: Mapping[str, Any]) -> Stated:
  what = f'what {site} signed about its ciphertexts'
  clients, key = messages.part(content, 'clients', int, what), messages.part(content, 'key', str, what)
  pairs = tuple(tuple(pair) if isinstance(pair, list) else () for pair in messages.part(content, 'digests', list, what))
  texts = all(len(pair) == 2 and all(isinstance(one, str) for one in pair) for pair in pairs)
  if not pairs or clients < 1 or not texts:
    raise ValueError(f'{what} has no clients, or no pairs of digests.')
  return Stated(site, clients, key, pairs)  # type: ignore[arg-type]


class Sum:
  """Ciphertexts, or halves of them, added up modulo the primes of their ring.

  Attributes:
    total: [polynomials, ..., primes, degree] int64; None: nothing was added.
  """

  def __init__(self, primes: Sequence[int]):
    self.total: np.ndarray | None = None
    self._primes = np.array(primes, np.int64)[:, None]

  def add(self, one: np.ndarray) -> None:
    """Adds a whole one. Raises: rules.Refused: It has no residues, or another length than the one before it."""
    if one.min() < 0 or self.total is not None and one.shape != self.total.shape:
      raise rules.Refused('a ciphertext has residues below zero, or another length than the one before it.')
    self.total = one % self._primes if self.total is None else (self.total + one) % self._primes

  def add_part(self, part: np.ndarray, start: int) -> None:
    """Adds a part of one, from polynomial `start`, to what is there."""
    place = slice(start, start + len(part))
    self.total[place] = (self.total[place] + part) % self._primes


def digest(array: np.ndarray) -> str:
  """Returns the SHA-256 of an array's type, shape and numbers."""
  return hashlib.sha256(head(array) + _plain(array).tobytes()).hexdigest()


def head(array: np.ndarray) -> bytes:
  """Returns what stands before the numbers in a digest."""
  return f'{_plain(array).dtype.str} {",".join(map(str, array.shape))}\n'.encode()


def digests(ciphertext: np.ndarray) -> tuple[str, str]:
  """Returns the digests of both halves of a ciphertext, [polynomials, 2, primes, degree]."""
  return digest(ciphertext[:, 0]), digest(ciphertext[:, 1])


def _plain(array: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(array, array.dtype.newbyteorder('<'))
