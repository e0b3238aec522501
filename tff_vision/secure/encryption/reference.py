"""The public polynomial of a joint key, computed from its seed without TensorFlow: for whoever checks a key."""

import hashlib

import numpy as np
from cryptography.hazmat.primitives import ciphers
from cryptography.hazmat.primitives.ciphers import algorithms

from tff_vision.secure.encryption import parameters

KEY = hashlib.sha256(b'tff_vision threshold BFV common reference polynomial').digest()


def polynomial(seed: int, shape: tuple[int, int]) -> np.ndarray:
  """Returns what `bfv.reference_polynomial` does, [primes, degree] int32.

  Args:
    seed: An int64.
    shape: (number of primes, degree), of joint keys.
  """
  nonce = seed.to_bytes(8, 'little', signed=True) + bytes(4)
  stream = ciphers.Cipher(algorithms.ChaCha20(KEY, bytes(4) + nonce), None).encryptor()
  words = np.frombuffer(stream.update(bytes(4 * 2 * shape[0] * shape[1])), '<u4').astype(np.int64)
  high, low = words.reshape(2, *shape)
  primes = np.array(parameters.rings('he')[shape], np.int64)[:, None]
  return ((((high >> 3) << 32) + low) % primes).astype(np.int32)
