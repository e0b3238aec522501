import re

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.secure import os_keys


def test_every_client_and_round_draws_other_words(tff_runtime):
  """Equal reads merged into one would show as repeated words: inside one key, between clients or rounds."""

  @tff.tensorflow.computation(np.int32)
  def draw(_):
    return tf.concat([os_keys.kernel_key()[None], os_keys.kernel_keys(tf.constant(2))], 0)

  @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
  def draw_all(clients):
    return tff.federated_map(draw, clients)

  keys = np.concatenate([np.stack(draw_all([0, 0])) for _ in range(2)])
  assert keys.shape == (4, 3, 8)
  assert len(np.unique(keys)) == 96  # A chance collision of 96 words has probability 1e-6.


def test_bits_are_balanced():
  bits = np.unpackbits(np.concatenate([os_keys.kernel_key().numpy() for _ in range(40)]).view(np.uint8))
  assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(bits))


def test_only_random_digits_are_used():
  """A version-4 UUID fixes the digit after the second hyphen and restricts the one after the third."""
  with open('/proc/sys/kernel/random/uuid') as lines:
    uuid = lines.read().strip()
  assert re.fullmatch(r'[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}', uuid)
  used = [i for start, length in os_keys._RANDOM_FIELDS for i in range(start, start + length)]
  assert len(used) * os_keys._READS >= 64
  assert not {14, 19} & set(used)
  assert '-' not in [uuid[i] for i in used]
