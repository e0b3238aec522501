"""Drives masked sums round by round: key agreement, seeds to clients, unmasking.

In a simulation the driver plays the clients' part of the key agreement too, so it shows the protocol and not
secrecy: in a deployment each client's half runs on its own machine.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision.secure import fixed_point
from tff_vision.secure.masking import mask_round


class LostClientsError(mask_round.TooFewClientsError):
  """Clients were lost inside of the computation that added their masked updates up; the sum stays masked."""


class MaskDriver:
  """The two callables of `two_phase.TwoPhaseProcess` for masked sums."""

  def __init__(self, encoding: fixed_point.Encoding, *, fewest: int = 2,
               dropouts: Callable[[int], mask_round.Dropouts] = lambda round_num: mask_round.Dropouts()):
    """Args: `fewest` as in `MaskRound`; `dropouts` says which clients are lost in the n-th round, counted from 1."""
    self._fewest = fewest
    self._encoding = encoding
    self._dropouts = dropouts
    self._round_num = 0
    self._round: mask_round.MaskRound | None = None

  def client_data(self, datasets: Sequence[Any]) -> Sequence[tuple[Any, tf.data.Dataset]]:
    """Begins a round: returns the uploaders' datasets, each with its mask seeds.

    Raises:
      TooFewClientsError: Too few clients are left to mask or to unmask.
    """
    self._round_num += 1
    self._round = None
    if not datasets:
      return []
    self._round = mask_round.MaskRound(len(datasets), round_num=self._round_num,
                                       dropouts=self._dropouts(self._round_num), fewest=self._fewest)
    return [(datasets[i], tf.data.Dataset.from_tensor_slices(self._round.mask_rows(i)))
            for i in self._round.uploaders]

  def open_sum(self, masked: np.ndarray, clients: int) -> np.ndarray:
    """Ends the round: returns the sum of the uploaders' values, float32.

    Raises:
      LostClientsError: The sum is not over all uploaders.
      TooFewClientsError: Too few clients answer; the sum stays masked.
    """
    if self._round is None:
      return np.zeros(masked.shape, np.float32)
    if clients != len(self._round.uploaders):
      raise LostClientsError(
          f'the masked sum holds {clients} clients of {len(self._round.uploaders)}: one was lost inside the '
          'computation, and its masks do not cancel; nothing was opened, run the round again.')
    total = self._round.unmask(masked).astype(np.int64)
    return self._encoding.decode(tf.constant(total), tf.constant(clients)).numpy()
