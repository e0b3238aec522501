"""Expands a 256-bit seed to a mask with ChaCha20: in the graph on clients, outside of it on the server."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from tff_vision.secure import chacha20

# Words of one nonce. Temporaries of the key stream are this long, whatever the model's size.
_CHUNK_WORDS = 1 << 20
SEED_WORDS = 8
ROW_WORDS = SEED_WORDS + 1  # A seed, then 0 to add the mask or 1 to subtract it.


def add_masks(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
  """Returns values plus the masks of all rows, modulo 2**32; client graph code.

  Args:
    values: [n] int32.
    rows: [m, ROW_WORDS] uint32; m may vary between clients.
  """
  chunks = [values[start:start + _CHUNK_WORDS] for start in range(0, values.shape[0], _CHUNK_WORDS)]
  return tf.concat([_add_chunk(chunk, rows, i) for i, chunk in enumerate(chunks)], axis=0)


def _add_chunk(values, rows, chunk_index):
  length = values.shape[0]
  nonce = tf.constant([chunk_index, 0, 0], tf.uint32)

  def add_one(row, total):
    mask = tf.bitcast(chacha20.key_stream(rows[row, :SEED_WORDS], nonce, length), tf.int32)
    sign = 1 - 2 * tf.cast(rows[row, SEED_WORDS], tf.int32)
    return row + 1, total + sign * mask

  return tf.while_loop(lambda row, total: row < tf.shape(rows)[0], add_one, (tf.constant(0), values),
                       shape_invariants=(tf.TensorShape([]), values.shape), parallel_iterations=1)[1]


def remove_masks(total: np.ndarray, rows: Iterable[np.ndarray]) -> np.ndarray:
  """Returns `total`, [n] uint32, minus the masks of `rows` modulo 2**32; on the server."""
  total = total.copy()
  for row in rows:
    for chunk_index, start in enumerate(range(0, len(total), _CHUNK_WORDS)):
      part = total[start:start + _CHUNK_WORDS]
      nonce = np.array([0, chunk_index, 0, 0], '<u4').tobytes()  # The block counter, then the nonce.
      cipher = Cipher(algorithms.ChaCha20(row[:SEED_WORDS].astype('<u4').tobytes(), nonce), mode=None)
      mask = np.frombuffer(cipher.encryptor().update(bytes(4 * len(part))), '<u4')
      if row[SEED_WORDS]:
        part += mask
      else:
        part -= mask
  return total
