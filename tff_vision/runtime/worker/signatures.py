"""Signatures with the key of a site's TLS certificate, by the schemes that certificates use."""

import pathlib

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)


def sign(key_file: pathlib.Path, message: bytes) -> bytes:
  """Returns a signature by the private key in a PEM file: Ed25519, ECDSA or RSA, the last two with SHA-256.

  Raises:
    ValueError: The file cannot be read, or holds no such key.
  """
  try:
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
  except OSError as error:
    raise ValueError(f'tls_key={key_file} cannot be read: {error.strerror}.') from None
  except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
    raise ValueError(f'tls_key={key_file} holds no private key in PEM format without a password.') from None
  if isinstance(key, ed25519.Ed25519PrivateKey):
    return key.sign(message)
  if isinstance(key, ec.EllipticCurvePrivateKey):
    return key.sign(message, ec.ECDSA(hashes.SHA256()))
  if isinstance(key, rsa.RSAPrivateKey):
    return key.sign(message, _PSS, hashes.SHA256())
  raise ValueError(f'tls_key={key_file} is a key of a kind that does not sign here; give Ed25519, ECDSA or RSA.')


def is_signed(certificate_file: pathlib.Path, message: bytes, signature: bytes) -> bool:
  """Returns whether the key of a certificate made the signature.

  Raises:
    ValueError: The file cannot be read, or holds no certificate of such a key.
  """
  try:
    key = x509.load_pem_x509_certificate(certificate_file.read_bytes()).public_key()
  except OSError as error:
    raise ValueError(f'tls_cert={certificate_file} cannot be read: {error.strerror}.') from None
  except (ValueError, exceptions.UnsupportedAlgorithm):
    raise ValueError(f'tls_cert={certificate_file} holds no certificate in PEM format.') from None
  try:
    if isinstance(key, ed25519.Ed25519PublicKey):
      key.verify(signature, message)
    elif isinstance(key, ec.EllipticCurvePublicKey):
      key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, rsa.RSAPublicKey):
      key.verify(signature, message, _PSS, hashes.SHA256())
    else:
      return False
  except exceptions.InvalidSignature:
    return False
  return True
