"""Rounds that a key holder opens who is a service of its own: it gets each site's signed ciphertexts, and adds them up.

The coordinator hands sites the key holder's public key, with the key holder's signature, and hands the key holder what
the sites sent, with theirs. It learns the sum.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tff_vision import protocols
from tff_vision.secure import fixed_point
from tff_vision.secure.encryption import key_holder, round_keys, site_calls
from tff_vision.secure.encryption.parameters import BfvParameters


class KeyHolder(Protocol):
  """The service, as the coordinator reaches it.

  Attributes:
    public_key: The bytes of [2, primes, degree] int32.
    stated: What it signed about this key, for sites.
  """
  public_key: bytes
  stated: Mapping[str, Any]

  def open(self, run: str, attempt: int, stated: Sequence[Any], ciphertexts: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the coefficients of the sum of the ciphertexts, about which the sites signed `stated`; int64.

    Raises:
      ValueError: It refuses; one sentence.
    """


class HeldKeys(round_keys.RoundKeys):
  """Begins rounds under the key holder's key."""

  def __init__(self, holder: KeyHolder, params: BfvParameters, encoding: fixed_point.Encoding):
    """Raises: ValueError: The public key is of other parameters."""
    size = 2 * len(params.primes) * params.degree
    if len(holder.public_key) != 4 * size:
      raise ValueError('key_holder has a key for other values of secure_bits or secure_clients_max.')
    self.params = params
    self.encoding = encoding
    self.holder = holder
    self.public = np.frombuffer(holder.public_key, '<i4').reshape(2, len(params.primes), params.degree)
    self._attempts = site_calls.Attempts(site_calls.HELD)

  def make(self, parties: Sequence[protocols.Party]) -> 'HeldKeyRound':
    """Returns a new attempt at a sum over these parties, under the same key.

    Raises:
      ValueError: A site refuses, or none is there that could sign.
    """
    attempt = self._attempts.next(parties)
    if attempt is None:
      raise ValueError('key_holder opens what sites sign, and these workers sign nothing: start them with an approval '
                       '(python -m pipelines.approve), or give key_holder_dir for a simulation.')
    attempt.take_key(self.holder.stated)
    return HeldKeyRound(self, attempt)


class HeldKeyRound(round_keys.RoundKey):
  """One attempt."""

  def __init__(self, keys: HeldKeys, attempt: site_calls.SiteAttempt):
    self.public = keys.public
    self._keys = keys
    self._attempt = attempt

  def open_sum(self, ciphertexts: np.ndarray, clients: int, length: int) -> np.ndarray:
    """Returns the sum of the values of `clients` clients, [length] float32, from the ciphertexts that the sites signed.

    Args:
      ciphertexts: The coordinator's sum of them; the key holder adds them up itself.

    Raises:
      ValueError: A site or the key holder refuses.
    """
    del ciphertexts
    if not clients:
      return np.zeros([length], np.float32)
    params = self._keys.params
    stated, sent = self._attempt.stated(self._keys.public.shape)
    opened = self._keys.holder.open(self._attempt.run, self._attempt.number, stated,
                                    (ciphertext for of_site in sent for ciphertext in of_site))
    polynomials = max((len(ciphertext) for of_site in sent for ciphertext in of_site), default=0)
    if opened.size != polynomials * params.degree:
      raise ValueError('key_holder answers with a sum of another length than that of the ciphertexts.')
    return key_holder.decoded(opened.reshape(-1, params.degree), clients, length=length, params=params,
                              encoding=self._keys.encoding)
