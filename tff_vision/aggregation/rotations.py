"""Random rotations that spread the energy of an update over its values before quantisation.

Each row has a power of two as its length and is rotated on its own; all rows use the same orthogonal matrix. Only
built-in TensorFlow kernels are used. (`tff.aggregators.HadamardTransformFactory` rotates whole updates, padded to a
power of two, with a seed from the clock: up to twice the bytes, and the run cannot be repeated.)
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

Turn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotation:
  """A rotation and its inverse: (rows [n, width] float32, seed [2] int32) -> rows.

  Attributes:
    seeded: Whether the rotation depends on the seed; the inverse then needs the seed too.
  """
  turn: Turn
  turn_back: Turn
  seeded: bool = True


def walsh_hadamard(rows: tf.Tensor) -> tf.Tensor:
  """Returns rows times the orthonormal Walsh-Hadamard matrix in natural order; it is its own inverse."""
  width = int(rows.shape[1])
  for level in range(int(math.log2(width))):
    halves = tf.reshape(rows, [-1, 2, 2**level])
    rows = tf.stack([halves[:, 0] + halves[:, 1], halves[:, 0] - halves[:, 1]], axis=1)
  return tf.reshape(rows, [-1, width]) / np.float32(math.sqrt(width))


def _hadamard(rows, seed):
  """Random signs, then the transform: Suresh et al. 2017, section 3."""
  return walsh_hadamard(rows * _signs(rows, seed))


def _hadamard_back(rows, seed):
  return walsh_hadamard(rows) * _signs(rows, seed)


def _signs(rows, seed):
  return 2 * tf.cast(tf.random.stateless_uniform([rows.shape[1]], seed, 0, 2, tf.int32), tf.float32) - 1


def _fourier(rows, seed):
  """Pairs of values as complex numbers, random phases, then the orthonormal discrete Fourier transform."""
  width = int(rows.shape[1])
  pairs = tf.reshape(rows, [-1, width // 2, 2])
  turned = tf.signal.fft(tf.complex(pairs[..., 0], pairs[..., 1]) * _phases(width, seed)) / math.sqrt(width // 2)
  return tf.reshape(tf.stack([tf.math.real(turned), tf.math.imag(turned)], axis=-1), [-1, width])


def _fourier_back(rows, seed):
  width = int(rows.shape[1])
  pairs = tf.reshape(rows, [-1, width // 2, 2])
  turned = tf.signal.ifft(tf.complex(pairs[..., 0], pairs[..., 1])) * math.sqrt(width // 2)
  turned *= tf.math.conj(_phases(width, seed))
  return tf.reshape(tf.stack([tf.math.real(turned), tf.math.imag(turned)], axis=-1), [-1, width])


def _phases(width, seed):
  angles = tf.random.stateless_uniform([width // 2], seed, 0.0, 2 * math.pi)
  return tf.complex(tf.cos(angles), tf.sin(angles))


NOTHING = Rotation(turn=lambda rows, seed: rows, turn_back=lambda rows, seed: rows, seeded=False)
HADAMARD = Rotation(turn=_hadamard, turn_back=_hadamard_back)
FOURIER = Rotation(turn=_fourier, turn_back=_fourier_back)
