"""Signatures with the key of a site's TLS certificate, by the schemes that certificates use."""

import hashlib
import pathlib

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
_ED25519_BYTES = 64
_DER_BYTES = 9  # Around the two numbers of ECDSA.


class Key:
  """A private key that signs; read once, from a PEM file."""

  def __init__(self, key_file: pathlib.Path):
    """Raises: ValueError: The file cannot be read, or holds no key of Ed25519, ECDSA or RSA."""
    try:
      self._key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except OSError as error:
      raise ValueError(f'tls_key={key_file} cannot be read: {error.strerror}.') from None
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
      raise ValueError(f'tls_key={key_file} holds no private key in PEM format without a password.') from None
    if not isinstance(self._key, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
      raise ValueError(f'tls_key={key_file} is a key of a kind that does not sign here; give Ed25519, ECDSA or RSA.')

  @property
  def public(self) -> bytes:
    """The public key, as `public_key` returns it."""
    return _described(self._key.public_key())

  def sign(self, message: bytes) -> bytes:
    """Returns the signature; of ECDSA and RSA keys, with SHA-256."""
    if isinstance(self._key, ec.EllipticCurvePrivateKey):
      return self._key.sign(message, ec.ECDSA(hashes.SHA256()))
    if isinstance(self._key, rsa.RSAPrivateKey):
      return self._key.sign(message, _PSS, hashes.SHA256())
    return self._key.sign(message)


def is_signed(certificate_file: pathlib.Path, message: bytes, signature: bytes) -> bool:
  """Returns whether the key of a certificate made the signature. Raises: as `public_key`."""
  return made_by(public_key(certificate_file), message, signature)


def public_key(certificate_file: pathlib.Path, what: str = 'tls_cert') -> bytes:
  """Returns the public key of the certificate in a PEM file, as DER (SubjectPublicKeyInfo).

  Args:
    what: The flag that named the file.

  Raises:
    ValueError: The file cannot be read, or holds no certificate.
  """
  try:
    key = x509.load_pem_x509_certificate(certificate_file.read_bytes()).public_key()
  except OSError as error:
    raise ValueError(f'{what}={certificate_file} cannot be read: {error.strerror}.') from None
  except (ValueError, exceptions.UnsupportedAlgorithm):
    raise ValueError(f'{what}={certificate_file} holds no certificate in PEM format.') from None
  return _described(key)


def check_pair(certificate_file: pathlib.Path, key_file: pathlib.Path) -> None:
  """Refuses files of `tls_cert` and `tls_key` that do not belong together.

  Raises:
    ValueError: A file cannot be read or holds something else, or the key is not that of the certificate.
  """
  if public_key(certificate_file) != Key(key_file).public:
    raise ValueError(f'tls_key={key_file} is not the key of tls_cert={certificate_file}.')


def check_authority(path: pathlib.Path, what: str) -> None:
  """Refuses a file that holds no certificates; `what` is the flag that named it. Raises: ValueError."""
  try:
    x509.load_pem_x509_certificates(path.read_bytes())
  except OSError as error:
    raise ValueError(f'{what}={path} cannot be read: {error.strerror}.') from None
  except ValueError:
    raise ValueError(f'{what}={path} holds no certificate in PEM format.') from None


def fingerprint(key: bytes) -> str:
  """Returns the SHA-256 of a public key, as people compare it; OpenSSL prints it for `-pubkey -outform DER`."""
  return hashlib.sha256(key).hexdigest()


def made_by(key: bytes, message: bytes, signature: bytes) -> bool:
  """Returns whether the private key of a public key (`public_key`) made the signature."""
  try:
    found = serialization.load_der_public_key(key)
    if isinstance(found, ed25519.Ed25519PublicKey):
      found.verify(signature, message)
    elif isinstance(found, ec.EllipticCurvePublicKey):
      found.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    elif isinstance(found, rsa.RSAPublicKey):
      found.verify(signature, message, _PSS, hashes.SHA256())
    else:
      return False
  except (exceptions.InvalidSignature, exceptions.UnsupportedAlgorithm, ValueError):
    return False
  return True


def longest(key: bytes) -> int:
  """Returns the most bytes of a signature by the private key of a public key (`public_key`)."""
  found = serialization.load_der_public_key(key)
  if isinstance(found, ec.EllipticCurvePublicKey):
    return 2 * (found.key_size // 8 + 1) + _DER_BYTES
  return found.key_size // 8 if isinstance(found, rsa.RSAPublicKey) else _ED25519_BYTES


def _described(key):
  return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
