"""What a site signs about the ciphertexts of a round that left it: how many clients, under which key, which digests."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from tff_vision.runtime import messages
from tff_vision.runtime.worker.guard import signing

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

  def content(self) -> dict[str, Any]:
    """Returns what is signed."""
    return {'clients': self.clients, 'key': self.key, 'digests': [list(pair) for pair in self.digests]}


def stated(by: signing.Identity, header: signing.Header, message: Any) -> Stated:
  """Returns what a site signed.

  Args:
    by: Whoever reads it.

  Raises:
    rules.Refused: No site of the plan signed it for this header.
    ValueError: It is not of the form.
  """
  site, content = by.verified(header, message)
  what = f'what {site} signed about its ciphertexts'
  clients, key = messages.part(content, 'clients', int, what), messages.part(content, 'key', str, what)
  pairs = tuple(tuple(pair) if isinstance(pair, list) else () for pair in messages.part(content, 'digests', list, what))
  texts = all(len(pair) == 2 and all(isinstance(one, str) for one in pair) for pair in pairs)
  if not pairs or clients < 1 or not texts:
    raise ValueError(f'{what} has no clients, or no pairs of digests.')
  return Stated(site, clients, key, pairs)  # type: ignore[arg-type]


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
