"""Releases cohort size and training accuracy with their own noise.

A client's record is (1, its accuracy on its own examples while it trains - 1/2), of L2 norm sqrt(5) / 2 at most, on the
grid of `grid`; the server adds the records up and Gaussian noise to both numbers. Runs on the server, outside of TFF.
"""

import dataclasses
import hmac
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision.accounting import gdp
from tff_vision.privacy.noise import integer_gaussian, integer_grid

SENSITIVITY = math.sqrt(1.25)  # Of adding, removing or zeroing out one record.


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisedMetrics:
  """Releases of a Gaussian mechanism.

  Attributes:
    noise_multiplier: Standard deviation of the noise on each number over SENSITIVITY.
    secret: Of the run; a round that is repeated over the same numbers repeats its noise.
  """
  noise_multiplier: float
  secret: bytes = dataclasses.field(repr=False)

  def accounted(self, noise_multiplier: float) -> float:
    """Returns the noise of the one Gaussian that costs as much as these metrics and a sum with `noise_multiplier`."""
    return gdp.together(noise_multiplier, self.noise_multiplier)

  def release(self, measured: Mapping[str, Any], round_num: int, released_before: int = 0) -> Mapping[str, float]:
    """Returns `cohort_size` and `accuracy`, the mean over clients, both as noise has left them.

    Args:
      measured: Has `clients`, their number, and `accuracy_steps`, the sum of their accuracies in steps of
        1 / grid.STEPS, rounded for each client.
      round_num: Of the run.
      released_before: How often the round was begun after its end: each time is one more release, with other noise.
    """
    clients = int(measured['clients'])
    exact = [clients * integer_grid.STEPS, int(measured['accuracy_steps']) - clients * integer_grid.STEPS // 2]
    # The noise belongs to the numbers that it covers, as in `binding`: the round over other clients gets other noise.
    covered = struct.pack('>4q', round_num, released_before, *exact)
    key = tf.constant(np.frombuffer(hmac.digest(self.secret, b'metrics' + covered, 'sha256'), np.uint32))
    fresh = integer_gaussian.gaussian(key, tf.zeros([3], tf.uint32), (2,),
                                      self.noise_multiplier * SENSITIVITY * integer_grid.STEPS)
    noised = integer_grid.decode(tf.constant(exact, tf.int64), fresh, 1.0).numpy()
    # What follows is arithmetic on what is already private.
    count = float(noised[0])
    accuracy = 0.5 + float(noised[1]) / max(count, 1.0)
    return {'cohort_size': count, 'accuracy': min(max(accuracy, 0.0), 1.0)}


def left_for_updates(total: float, metrics: NoisedMetrics | None) -> float:
  """Returns the noise on updates that costs, with the metrics, as much as `total`.

  Raises:
    ValueError: The metrics alone cost as much.
  """
  if metrics is None:
    return total
  left = gdp.beside(total, metrics.noise_multiplier)
  if left is None:
    raise ValueError(f'metrics_noise_multiplier={metrics.noise_multiplier:g} would cost the whole budget: it must '
                     f'exceed {total:.4g}.')
  return left
