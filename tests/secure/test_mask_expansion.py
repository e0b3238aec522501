import numpy as np
import pytest
import tensorflow as tf
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from tff_vision.secure.masking import mask_expansion


def _rows(count, seed=0):
  rows = np.random.default_rng(seed).integers(0, 2**32, [count, 9], dtype=np.uint32)
  rows[:, 8] = np.arange(count) % 2
  return rows


def test_masks_are_chacha20_streams_with_signs():
  values = np.arange(100, dtype=np.int32) - 50
  rows = _rows(3)
  streams = [np.frombuffer(Cipher(algorithms.ChaCha20(row[:8].tobytes(), bytes(16)), None).encryptor().update(
      bytes(400)), '<u4') for row in rows]
  expected = values.view(np.uint32) + streams[0] - streams[1] + streams[2]
  masked = mask_expansion.add_masks(tf.constant(values), tf.constant(rows)).numpy()
  np.testing.assert_array_equal(masked.view(np.uint32), expected)


def test_graph_and_server_agree_over_chunks(monkeypatch):
  monkeypatch.setattr(mask_expansion, '_CHUNK_WORDS', 37)
  values = np.random.default_rng(1).integers(-2**31, 2**31, 100).astype(np.int32)
  masked = mask_expansion.add_masks(tf.constant(values), tf.constant(_rows(4))).numpy()
  assert np.mean(masked == values) < 0.05
  np.testing.assert_array_equal(mask_expansion.remove_masks(masked.view(np.uint32), _rows(4)).view(np.int32), values)
  assert not np.array_equal(masked[:37], masked[37:74])


@pytest.mark.parametrize('value', [0, 30000])
def test_one_masked_upload_is_uniform(value):
  """What the server sees of one client: the same distribution, whatever the update."""
  masked = mask_expansion.add_masks(tf.fill([64 * 2000], value), tf.constant(_rows(3, seed=value))).numpy()
  counts = np.histogram(masked.view(np.uint32), 64, (0, 2**32))[0]
  assert np.sum((counts - 2000)**2 / 2000) < 63 + 6 * np.sqrt(126)
  assert np.array_equal(np.bincount(masked.view(np.uint32) % 2, minlength=2) > 63000, [True, True])
