"""Rounds of encrypted sums that the coordinator cannot open alone: each begins with a key, which then opens its sum.

Who makes the key and opens the sum is said by `joint_key` (the clients together) and `held_key` (a service).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from tff_vision import protocols
from tff_vision.secure import hidden_sum, refusal
from tff_vision.secure.encryption import encrypted_sum


class RoundKey(Protocol):
  """The key of one attempt at a round.

  Attributes:
    public: [2, primes, degree] int32.
  """
  public: np.ndarray

  def open_sum(self, ciphertexts: np.ndarray, clients: int, length: int) -> np.ndarray:
    """Returns the sum of the values of `clients` clients, [length] float32.

    Args:
      ciphertexts: [polynomials, 2, primes, degree] int32, their sum.
    """


class RoundKeys(Protocol):
  """What makes such keys."""

  def make(self, parties: Sequence[protocols.Party]) -> RoundKey:
    """Returns the key for a sum over these parties."""


class RoundKeysProcess(protocols.WrappedProcess):
  """A process whose rounds have keys of `RoundKeys`."""

  def __init__(self, keys: RoundKeys, place: protocols.Place, *, hiding: hidden_sum.Hiding, opening: hidden_sum.Opening,
               read: Callable[[np.ndarray, int], hidden_sum.Opened], fewest: int = 2):
    """Args: `hiding` holds an `encrypted_sum.EncryptedSumFactory`; the others as of `hidden_sum.HiddenSumProcess`."""
    super().__init__(opening)
    self._keys = keys
    self._place = place
    self._hiding = hiding
    self._opening = opening
    self._read = read
    self._fewest = fewest

  def next(self, state: protocols.State, data: Sequence[Any]) -> protocols.RoundOutput:
    """Runs one round over the clients that can be reached; a round in which one is lost begins again with a new key."""

    def run(parties: Sequence[protocols.Party]) -> protocols.RoundOutput:
      refusal.check_clients(len(parties), self._fewest)
      key, positions = self._keys.make(parties), [party.position for party in parties]
      process = hidden_sum.HiddenSumProcess(
          hiding=self._hiding, opening=self._opening, hiding_state=encrypted_sum.key_state(key.public),
          read=self._read, client_data=lambda whole: [whole[position] for position in positions],
          open_sum=key.open_sum, fewest=self._fewest)
      return process.next(state, data).over(positions, len(data))

    return self._place.with_parties(len(data), run)
