"""What clients write: bits in bytes, rotations, quantisation without bias, the largest values."""

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision import configs
from tff_vision.aggregation import codecs, rotations, traffic
from tff_vision.configs import aggregation_config

RNG = np.random.default_rng(5)


def codec(name, length, **settings):
  return codecs.build_codec(aggregation_config.AggregationConfig(compression=name, **settings), length)


def through(made, vector):
  return made.decode(made.encode(tf.constant(vector, tf.float32))).numpy()


@settings(max_examples=25)
@given(st.integers(1, 24), st.integers(1, 60), st.integers(0, 10**6))
def test_numbers_come_back_from_their_bits(width, count, seed):
  numbers = np.random.default_rng(seed).integers(0, 2**width, count).astype(np.int32)
  packed = codecs.pack(tf.constant(numbers), width)
  assert packed.dtype == tf.uint8 and packed.shape == (width, -(-count // 8))
  np.testing.assert_array_equal(codecs.unpack(packed, count), numbers)


def test_rotations_are_the_textbook_transforms_and_come_back():
  rows = RNG.normal(size=(3, 16)).astype(np.float32)
  np.testing.assert_allclose(rotations.walsh_hadamard(tf.constant(rows)),
                             rows @ scipy.linalg.hadamard(16) / 4, atol=1e-6)
  seed = tf.constant([3, -4])
  for rotation in (rotations.HADAMARD, rotations.FOURIER):
    matrix = rotation.turn(tf.eye(16), seed).numpy()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(16), atol=1e-5)
    np.testing.assert_allclose(rotation.turn_back(rotation.turn(tf.constant(rows), seed), seed), rows, atol=1e-5)


@pytest.mark.parametrize('name', aggregation_config.COMPRESSIONS)
@pytest.mark.parametrize('length', [1, 3, 650, 3000])
def test_the_bytes_are_those_of_what_is_sent(name, length):
  made = codec(name, length)
  vector = RNG.normal(size=length).astype(np.float32)
  payload = made.encode(tf.constant(vector))
  assert made.num_bytes() == sum(tensor.numpy().nbytes for tensor in payload.values())
  if name not in ('none', 'top_k'):
    assert made.num_bytes() <= (length + 1023 if length > 1024 else 2 * length) + 8 * 3 + 8 + 8
    assert np.abs(through(made, vector) - vector).max() < 0.1
  np.testing.assert_array_equal(through(made, np.zeros(length)), 0)
  up = traffic.bytes_up(configs.ExperimentConfig(aggregation=configs.AggregationConfig(compression=name)),
                        {'mode': 'none'}, length=length)
  assert up == made.num_bytes() + 4


def test_uniform_rounds_to_the_nearest_level():
  vector = RNG.normal(size=500).astype(np.float32)
  step = (vector.max() - vector.min()) / 15
  found = through(codec('uniform', 500, compression_bits=4), vector)
  low, high = min(vector.min(), 0), max(vector.max(), 0)  # The block is filled up with zeros.
  levels = low + np.arange(16) * (high - low) / 15
  np.testing.assert_allclose(found, levels[np.abs(vector[:, None] - levels).argmin(axis=1)], atol=step * 1e-3)


@pytest.mark.parametrize('name', ['stochastic', 'hadamard', 'dft'])
def test_random_rounding_is_right_on_average(name):
  """2,000 vectors that differ in one value draw so many roundings of the others; none is off on average."""
  made, draws = codec(name, 64, compression_bits=2), 2000
  vectors = np.tile(RNG.normal(size=64).astype(np.float32), (draws, 1))
  vectors[:, 0] = np.linspace(-0.5, 0.5, draws)
  rounded = tf.function(lambda rows: tf.map_fn(lambda row: made.decode(made.encode(row)), rows), autograph=False)
  found = rounded(tf.constant(vectors)).numpy()
  error = (found - vectors)[:, 1:]
  assert error.std() > 0.1, 'nothing was rounded'
  assert np.abs(error.mean(axis=0)).max() < 5 * error.std() / draws**0.5
  np.testing.assert_array_equal(through(made, vectors[0]), through(made, vectors[0]))


@pytest.mark.parametrize('fraction', [0.001, 0.02, 0.3, 1.0])
def test_top_k_keeps_the_largest_where_they_stand(fraction):
  vector = RNG.normal(size=1000).astype(np.float32)
  count = round(1000 * fraction)
  kept = np.zeros(1000, np.float32)
  best = np.argsort(-np.abs(vector))[:count]
  kept[best] = vector[best]
  made = codec('top_k', 1000, top_k_fraction=fraction)
  np.testing.assert_array_equal(through(made, vector), kept)
  # Positions: numbers of 10 bits, a bit for each value, or none where all is sent.
  assert made.num_bytes() == 4 * count + {1: 10, 20: 30, 300: 125, 1000: 0}[count]
