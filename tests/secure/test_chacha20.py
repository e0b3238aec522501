import numpy as np
import tensorflow as tf
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision.secure import chacha20


def _words(key: bytes, nonce: bytes, num_words: int) -> np.ndarray:
  stream = chacha20.key_stream(tf.constant(np.frombuffer(key, '<u4')), tf.constant(np.frombuffer(nonce, '<u4')),
                               num_words)
  return stream.numpy()


def test_rfc_8439_block_function():
  """Section 2.3.2 has counter 1, so it is our second block."""
  key = bytes(range(32))
  words = _words(key, bytes.fromhex('000000090000004a00000000'), 32)
  expected = ('10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e'
              'd2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e')
  assert words[16:].astype('<u4').tobytes().hex() == expected


def test_rfc_8439_appendix_key_stream():
  """Appendix A.1, test vectors 1 and 2: zero key and nonce, counters 0 and 1."""
  words = _words(bytes(32), bytes(12), 32)
  expected = ('76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7'
              'da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586'
              '9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed'
              '29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f')
  assert words.astype('<u4').tobytes().hex() == expected


@settings(max_examples=20, deadline=None)
@given(key=st.binary(min_size=32, max_size=32), nonce=st.binary(min_size=12, max_size=12),
       num_words=st.integers(1, 200))
def test_equals_the_cryptography_package(key, nonce, num_words):
  cipher = Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), mode=None).encryptor()
  assert _words(key, nonce, num_words).astype('<u4').tobytes() == cipher.update(bytes(4 * num_words))
