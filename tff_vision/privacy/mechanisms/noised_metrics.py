"""Releases cohort size and training accuracy with their own noise.

A client's record is (1, a - 1/2), where a is its accuracy on its own examples during training. The record has L2 norm
sqrt(5) / 2 at most and lies on the grid of `grid`. The server sums the records and adds Gaussian noise to both numbers.
This runs on the server, outside of TFF.
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

SENSITIVITY = math.sqrt(1.25)  # For adding, removing or zeroing out one record.


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisedMetrics:
  """Releases metrics through a Gaussian mechanism.

  Attributes:
    noise_multiplier: Standard deviation of the noise on each number over SENSITIVITY.
    most: The largest count in one record, whose norm is then at most SENSITIVITY times that.
    secret: The run's secret; a round that is repeated over the same numbers gets the same noise.
  """
  noise_multiplier: float
  secret: bytes = dataclasses.field(repr=False)
  most: int = 1

  def accounted(self, noise_multiplier: float) -> float:
    """Returns the noise of the one Gaussian that costs as much as these metrics and a sum with `noise_multiplier`."""
    return gdp.together(noise_multiplier, self.noise_multiplier)

  def release(self, measured: Mapping[str, Any], round_num: int, released_before: int = 0) -> Mapping[str, float]:
    """Returns the noised `cohort_size` and the noised `accuracy`, which is the mean over clients.

    Args:
      measured: Has `clients`, the number of clients, and `accuracy_steps`, the sum of their accuracies in steps of
        1 / grid.STEPS, rounded for each client.
      round_num: Round number in the run.
      released_before: How often the round ran again after it finished; each time is a further release, with fresh
        noise.
    """
    clients = int(measured['clients'])
    exact = [clients * integer_grid.STEPS, int(measured['accuracy_steps']) - clients * integer_grid.STEPS // 2]
    # As in `binding`, the noise depends on the numbers that it covers: over other clients, the round's noise differs.
    covered = struct.pack('>4q', round_num, released_before, *exact)
    key = tf.constant(np.frombuffer(hmac.digest(self.secret, b'metrics' + covered, 'sha256'), np.uint32))
    fresh = integer_gaussian.gaussian(key, tf.zeros([3], tf.uint32), (2,),
                                      self.noise_multiplier * SENSITIVITY * self.most * integer_grid.STEPS)
    noised = integer_grid.decode(tf.constant(exact, tf.int64), fresh, 1.0).numpy()
    # The rest is post-processing of private values.
    count = float(noised[0])
    accuracy = 0.5 + float(noised[1]) / max(count, 1.0)
    return {'cohort_size': count, 'accuracy': min(max(accuracy, 0.0), 1.0)}


def left_for_updates(total: float, metrics: NoisedMetrics | None) -> float:
  """Returns the noise multiplier of the updates, such that updates and metrics together cost as much as `total`.

  Raises:
    ValueError: The metrics alone already cost this much.
  """
  if metrics is None:
    return total
  left = gdp.beside(total, metrics.noise_multiplier)
  if left is None:
    raise ValueError(f'metrics_noise_multiplier={metrics.noise_multiplier:g} would cost the whole budget: it must '
                     f'exceed {total:.4g}.')
  return left
