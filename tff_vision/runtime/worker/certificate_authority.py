"""A private certificate authority for one federation, kept in files.

Keys are ECDSA P-256. A worker's certificate is valid only for a TLS server and contains the worker's host name or
address. The coordinator's certificate is valid only for a TLS client. So the certificate of one hospital gives no
access to the worker of another hospital.
"""

import datetime
import ipaddress
import os
import pathlib
import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509 import oid

_CA_DAYS = 3650
_LEAF_DAYS = 730
_NAME = re.compile(r'[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?')


def make_authority(folder: pathlib.Path) -> None:
  """Writes ca.crt and ca.key into `folder`, which is created if needed; does not change an existing authority."""
  folder.mkdir(parents=True, exist_ok=True)
  if (folder / 'ca.crt').exists():
    return
  key = ec.generate_private_key(ec.SECP256R1())
  name = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, 'tff_vision federation')])
  builder = (_certificate(name, name, key.public_key(), _CA_DAYS)
             .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
             .add_extension(_usage(signs_certificates=True), critical=True))
  _write(folder, 'ca', key, builder.sign(key, hashes.SHA256()))


def check_new(folder: pathlib.Path, hosts: Sequence[str]) -> None:
  """Refuses hosts of which `make_worker` would refuse one, so that not half of them get certificates.

  Raises:
    ValueError: One is no name or address, is there twice, or already has a certificate.
  """
  for number, host in enumerate(hosts):
    _alternative_name(host)
    if host in hosts[:number]:
      raise ValueError(f'hosts names {host!r} twice.')
    _check_absent(folder, host)


def make_worker(folder: pathlib.Path, host: str) -> None:
  """Writes host.crt and host.key for a worker that the coordinator reaches as `host`, a name or an IP address.

  Raises:
    ValueError: `host` is not a valid name, or already has a certificate.
  """
  _make_leaf(folder, host, oid.ExtendedKeyUsageOID.SERVER_AUTH,
             x509.SubjectAlternativeName([_alternative_name(host)]))


def make_coordinator(folder: pathlib.Path, name: str = 'coordinator') -> None:
  """Writes name.crt and name.key with the subject CN=`name`, which workers require (`tls_client_name`)."""
  _make_leaf(folder, name, oid.ExtendedKeyUsageOID.CLIENT_AUTH, None)


def make_dial_key(folder: pathlib.Path, name: str) -> None:
  """Writes `name`, a private key for OpenSSH (Ed25519), and its public key `name`.pub; keeps keys that are there."""
  if (folder / name).exists():
    return
  key = ed25519.Ed25519PrivateKey.generate()
  private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH,
                              serialization.NoEncryption())
  with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as file:
    file.write(private)
  public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
  (folder / f'{name}.pub').write_bytes(public + b'\n')


def _alternative_name(host):
  try:
    return x509.IPAddress(ipaddress.ip_address(host))
  except ValueError:
    if not _NAME.fullmatch(host):
      raise ValueError(f'hosts must be names or addresses, found {host!r}.') from None
    return x509.DNSName(host)


def _check_absent(folder, name):
  if (folder / f'{name}.crt').exists():
    raise ValueError(f'{folder / name}.crt exists; remove it and its key to make new ones.')


def _authority(folder):
  """Returns certificate and key of the authority."""
  try:
    found = x509.load_pem_x509_certificate((folder / 'ca.crt').read_bytes())
    key = serialization.load_pem_private_key((folder / 'ca.key').read_bytes(), None)
  except (ValueError, TypeError):  # TypeError: the key has a password.
    raise ValueError(f'{folder}: ca.crt and ca.key must hold a certificate and its key without a password, in PEM '
                     'format.') from None
  if found.public_key() != key.public_key():  # Nobody would accept what it signs.
    raise ValueError(f'{folder}: ca.key is not the key of ca.crt.')
  return found, key


def _make_leaf(folder, name, purpose, names):
  _check_absent(folder, name)
  authority, authority_key = _authority(folder)
  key = ec.generate_private_key(ec.SECP256R1())
  subject = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, name)])
  builder = (_certificate(subject, authority.subject, key.public_key(), _LEAF_DAYS)
             .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
             .add_extension(_usage(signs_certificates=False), critical=True)
             .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False))
  if names is not None:
    builder = builder.add_extension(names, critical=False)
  _write(folder, name, key, builder.sign(authority_key, hashes.SHA256()))


def _certificate(subject, issuer, public_key, days):
  now = datetime.datetime.now(datetime.UTC)
  # Valid from one hour ago, because the clocks of hospitals differ.
  return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
          .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
          .not_valid_after(now + datetime.timedelta(days=days)))


def _usage(*, signs_certificates):
  return x509.KeyUsage(
      digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
      content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
      encipher_only=False, decipher_only=False)


def _write(folder, name, key, certificate):
  pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                          serialization.NoEncryption())
  with open(os.open(folder / f'{name}.key', os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as file:
    file.write(pem)
  (folder / f'{name}.crt').write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
