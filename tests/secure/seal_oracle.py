"""Microsoft SEAL, through seal-python, as a second implementation: bytes in, numpy out."""

import numpy as np
import seal

_CIPHERTEXT_HEAD = 113
_PLAINTEXT_HEAD = 88
_NTT_FLAG = 48  # After 16 bytes of stream header and 32 of parameter id.


class Seal:
  """SEAL with the same primes and plain modulus, and one more prime that the data never see (SEAL drops it)."""

  def __init__(self, primes, plain_bits, degree):
    self.degree = degree
    extra = [m.value() for m in seal.CoeffModulus.Create(degree, [36])]
    parms = seal.EncryptionParameters(seal.scheme_type.bfv)
    parms.set_poly_modulus_degree(degree)
    parms.set_coeff_modulus([seal.Modulus(p) for p in [*primes, *extra]])
    parms.set_plain_modulus(1 << plain_bits)
    # The further prime exceeds the 128-bit limit; no key of ours is published under it.
    self.context = seal.SEALContext(parms, True, seal.sec_level_type.none)
    assert self.context.parameters_set()
    self.primes = primes
    self.keys = seal.KeyGenerator(self.context)
    self.public_key = self.keys.create_public_key()
    self.evaluator = seal.Evaluator(self.context)
    self._encryptor = seal.Encryptor(self.context, self.public_key)
    self._head = self._encryptor.encrypt_zero().to_string(seal.compr_mode_type.none)[:_CIPHERTEXT_HEAD]

  def public_polynomials(self):
    """Returns (b, a), [2, primes, degree] int32 in coefficient form, of SEAL's own key."""
    rows = np.frombuffer(self.public_key.to_string(), '<u8', offset=len(self.public_key.to_string())
                         - 2 * (len(self.primes) + 1) * self.degree * 8)
    rows = rows.reshape(2, -1, self.degree)[:, :len(self.primes)]
    head = bytearray(self._head)
    head[_NTT_FLAG] = 1
    cipher = seal.Ciphertext()
    cipher.load_bytes(self.context, bytes(head) + rows.tobytes())
    plain = self.evaluator.transform_from_ntt(cipher).to_string(seal.compr_mode_type.none)
    return np.frombuffer(plain, '<u8', offset=_CIPHERTEXT_HEAD).reshape(2, -1, self.degree).astype(np.int32)

  def ciphertext(self, residues):
    """Returns SEAL's object for [2, primes, degree] residues."""
    cipher = seal.Ciphertext()
    cipher.load_bytes(self.context, self._head + np.asarray(residues).astype('<u8').tobytes())
    return cipher

  def encrypt(self, coefficients):
    """Returns [2, primes, degree] int32, encrypted by SEAL under its own key."""
    plain = seal.Plaintext(' + '.join(f'{int(c):x}x^{self.degree - 1 - i}' if i < self.degree - 1 else f'{int(c):x}'
                                      for i, c in enumerate(coefficients[::-1]) if c) or '0')
    data = self._encryptor.encrypt(plain).to_string(seal.compr_mode_type.none)
    rows = np.frombuffer(data, '<u8', offset=_CIPHERTEXT_HEAD)
    return rows.reshape(2, len(self.primes), self.degree).astype(np.int32)

  def decryptor(self, secret, tmp_path):
    """Returns SEAL's decryptor for a secret key given by its coefficients, [degree] small integers."""
    key_head = self.keys.secret_key().to_string()[:_PLAINTEXT_HEAD]
    p = np.array(self.primes)[:, None]
    spectrum = self.evaluator.transform_to_ntt(self.ciphertext(np.stack([secret % p, np.ones([len(p), self.degree])])))
    rows = np.frombuffer(spectrum.to_string(seal.compr_mode_type.none), '<u8', offset=_CIPHERTEXT_HEAD)
    rows = rows.reshape(2, len(self.primes), self.degree)[0]
    path = tmp_path / 'secret.key'
    path.write_bytes(key_head + np.concatenate([rows, np.zeros([1, self.degree], '<u8')]).astype('<u8').tobytes())
    key = seal.SecretKey()
    key.load(self.context, str(path))
    return seal.Decryptor(self.context, key)

  def own_decryptor(self):
    return seal.Decryptor(self.context, self.keys.secret_key())

  def decrypt(self, decryptor, residues):
    """Returns the plaintext coefficients, [degree] int64, and the noise budget left in bits."""
    cipher = self.ciphertext(residues)
    data = np.frombuffer(decryptor.decrypt(cipher).to_bytes(seal.compr_mode_type.none), '<u8', offset=_PLAINTEXT_HEAD)
    return (np.pad(data, (0, self.degree - len(data))).astype(np.int64), decryptor.invariant_noise_budget(cipher))

