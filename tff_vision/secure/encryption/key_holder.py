"""The key holder: makes a key pair with Microsoft SEAL (through TenSEAL) and decrypts sums, nothing else.

It runs in the coordinator's process, for simulations, or in a service of its own (`federation.key_desk`). The two files
of a key holder's folder are `public.key`, for everybody, and `secret.key`, mode 0600, which never leaves the folder.
"""

import os
import pathlib
import struct
import tempfile

import numpy as np
from tenseal import sealapi

from tff_vision.secure import fixed_point, refusal
from tff_vision.secure.encryption.parameters import DEGREE, BfvParameters

_SECRET, _PUBLIC = 'secret.key', 'public.key'
_STREAM_HEAD = '<HBBBBHQ'  # Magic, head size, version, compression, reserved, size (SEAL's serialization.h).
_STREAM_HEAD_SIZE = struct.calcsize(_STREAM_HEAD)


class KeyHolder:
  """Opens sums under its own key.

  Attributes:
    public_key: [2, primes, degree] int32, (b, a).
  """

  def __init__(self, folder: str | os.PathLike, params: BfvParameters, *, fewest: int = 2):
    """Loads the folder's keys; makes them if the folder has none.

    Args:
      fewest: It opens no sum over fewer clients.

    Raises:
      ValueError: The secret key can be read by others, or one of the two files is missing, damaged, of a key for
        other parameters, or of another pair.
    """
    self._folder = pathlib.Path(folder)
    self._params = params
    self._fewest = fewest
    self._context = _context(params)
    if not self._folder.exists() or not any(self._folder.iterdir()):
      self._make_keys()
    self._check_files()
    self._decryptor = sealapi.Decryptor(self._context, self._loaded(sealapi.SecretKey(), _SECRET))
    public = self._loaded(sealapi.PublicKey(), _PUBLIC)  # Its data live as long as this name.
    self.public_key = self._coefficients(public.data())
    # b + a * s is small for the key's own s, as if it were an encryption of zero.
    if np.any(self._decrypt(self.public_key)):
      raise ValueError(f'key_holder_dir={self._folder}: {_PUBLIC} and {_SECRET} are not of one pair.')

  def open_sum(self, ciphertexts: np.ndarray, clients: int, *, length: int, encoding: fixed_point.Encoding
               ) -> np.ndarray:
    """Returns the sum of the clients' values, [length] float32.

    Args:
      ciphertexts: [polynomials, 2, primes, degree] int32, the sum of `clients` encryptions.

    Raises:
      ValueError: One client only, whose sum is its update, or fewer than this holder opens for.
    """
    if clients == 1:
      raise ValueError('the key holder does not decrypt a sum over one client.')
    if 0 < clients < self._fewest:
      raise refusal.RefusedError('the key holder: ' + refusal.few_clients(clients, self._fewest))
    if clients == 0:
      return np.zeros([length], np.float32)
    return decoded(self.decrypted(ciphertexts), clients, length=length, params=self._params, encoding=encoding)

  def decrypted(self, ciphertexts: np.ndarray) -> np.ndarray:
    """Returns what the ciphertexts hold, [polynomials, degree] int64.

    Args:
      ciphertexts: [polynomials, 2, primes, degree] int32.

    Raises:
      ValueError: One of them is not under this key, or holds too much noise to be opened rightly.
    """
    return np.stack([self._decrypt(c, checked=True) for c in ciphertexts])

  def _make_keys(self):
    self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    generator = sealapi.KeyGenerator(self._context)
    public = sealapi.PublicKey()
    generator.create_public_key(public)
    public.save(str(self._folder / _PUBLIC))
    # Created empty and private before anything secret is written.
    os.close(os.open(self._folder / _SECRET, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    generator.secret_key().save(str(self._folder / _SECRET))

  def _check_files(self):
    for name in (_PUBLIC, _SECRET):
      if not (self._folder / name).is_file():
        raise ValueError(f'key_holder_dir={self._folder} has no {name}; give the folder of one key pair, or an empty '
                         'one.')
    if (self._folder / _SECRET).stat().st_mode & 0o077:
      raise ValueError(f'{self._folder / _SECRET} can be read by others than its owner; make it mode 0600.')

  def _loaded(self, key, name):
    try:
      key.load(self._context, str(self._folder / name))
    except (RuntimeError, ValueError) as error:
      raise ValueError(f'{self._folder / name} is damaged, or was made for another secure_bits or secure_clients_max '
                       f'({error}); give those, or an empty key_holder_dir.') from None
    return key

  def _decrypt(self, residues, *, checked=False):
    plain, cipher = sealapi.Plaintext(), self._ciphertext(residues, ntt=False)
    # What is not under this key has no budget left; the parameters leave several bits to every honest sum.
    if checked and not self._decryptor.invariant_noise_budget(cipher):
      raise ValueError('the key holder: a ciphertext is not under its key.')
    self._decryptor.decrypt(cipher, plain)
    found = _words(plain)  # Leading zeros are cut off.
    return np.pad(found, (0, DEGREE - len(found)))

  def _coefficients(self, spectra):
    """Returns the coefficient form of SEAL's public key without its special prime's row."""
    rows = len(self._params.primes) + len(self._params.special_primes)
    words = _words(spectra).reshape(2, rows, DEGREE)
    cipher = self._ciphertext(words[:, :len(self._params.primes)], ntt=True)
    sealapi.Evaluator(self._context).transform_from_ntt_inplace(cipher)
    return _words(cipher).reshape(2, -1, DEGREE).astype(np.int32)

  def _ciphertext(self, residues, *, ntt):
    """Returns SEAL's object for [2, primes, degree] residues; its loader reads files only."""
    body = (struct.pack('<4Q?3Q', *self._context.first_parms_id(), ntt, 2, DEGREE, len(self._params.primes))
            + struct.pack('<dQ', 1.0, 1) + self._stream(struct.pack('<Q', residues.size)
                                                        + np.ascontiguousarray(residues, '<u8').tobytes()))
    cipher = sealapi.Ciphertext()
    with tempfile.NamedTemporaryFile() as file:
      file.write(self._stream(body))
      file.flush()
      cipher.load(self._context, file.name)
    return cipher

  def _stream(self, body):
    """Returns `body` behind SEAL's stream head, uncompressed, of the version that wrote our keys."""
    magic, size, major, minor, _, reserved, _ = struct.unpack(
        _STREAM_HEAD, (self._folder / _PUBLIC).read_bytes()[:_STREAM_HEAD_SIZE])
    return struct.pack(_STREAM_HEAD, magic, size, major, minor, 0, reserved, _STREAM_HEAD_SIZE + len(body)) + body


def decoded(coefficients: np.ndarray, clients: int, *, length: int, params: BfvParameters,
            encoding: fixed_point.Encoding) -> np.ndarray:
  """Returns the sum of the values of `clients` clients, [length] float32, from `KeyHolder.decrypted`."""
  total = fixed_point.from_coefficients(coefficients, params.field_bits, params.values_per_coefficient, length)
  return encoding.decode(total, clients).numpy()


def _words(polynomials):
  """Returns the int64 words of a plaintext or ciphertext; the binding gives them one by one."""
  words = polynomials.dyn_array()
  return np.array(list(map(words.at, range(words.size()))), np.int64)


def _context(params):
  made = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
  made.set_poly_modulus_degree(DEGREE)
  made.set_coeff_modulus([sealapi.Modulus(p) for p in (*params.primes, *params.special_primes)])
  made.set_plain_modulus(1 << params.plain_bits)
  context = sealapi.SEALContext(made, True, sealapi.SEC_LEVEL_TYPE.TC128)
  assert context.parameters_set(), context.parameters_error_message()
  return context
