"""Public keys by which sites and the coordinator's doorway recognise each other, in OpenSSH's format."""

import os
import pathlib

from cryptography import exceptions
from cryptography.hazmat.primitives import serialization


def check_private(path: str | os.PathLike[str], what: str) -> None:
  """Refuses a file that is no private key by which OpenSSH can show who it is without asking for a password.

  Args:
    what: The flag that names the file, for errors.

  Raises:
    ValueError: The file cannot be read, or holds something else, such as a public key.
  """
  try:
    content = pathlib.Path(path).expanduser().read_bytes()
    openssh = content.startswith(b'-----BEGIN OPENSSH PRIVATE KEY-----')
    (serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key)(content, None)
  except OSError as error:
    raise ValueError(f'{what}={path} cannot be read: {error.strerror}.') from None
  except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):  # TypeError: it has a password.
    raise ValueError(f'{what}={path} holds no private key of OpenSSH without a password; python -m '
                     'pipelines.certificates makes one.') from None


def public_line(path: str | os.PathLike[str], what: str) -> str:
  """Returns the key's kind and its text, as lines of known_hosts and authorized_keys hold them.

  Args:
    what: The flag that names the file, for errors.

  Raises:
    ValueError: The file cannot be read, or holds something else, such as a private key.
  """
  try:
    content = pathlib.Path(path).expanduser().read_bytes()
    serialization.load_ssh_public_key(content)
  except OSError as error:
    raise ValueError(f'{what}={path} cannot be read: {error.strerror}.') from None
  except (ValueError, exceptions.UnsupportedAlgorithm):
    raise ValueError(f'{what}={path} holds no public key of OpenSSH; python -m pipelines.certificates makes one, '
                     'whose name ends with .pub.') from None
  return ' '.join(content.decode().split()[:2])


def quoted(path: str | os.PathLike[str], *, tokens: bool = True) -> str:
  """Returns a path as one word of OpenSSH's settings, where a space would end it.

  Args:
    tokens: Whether OpenSSH replaces `%` and a letter in this setting.
  """
  text = str(path).replace('\\', '\\\\').replace('"', '\\"')
  return f'"{text.replace("%", "%%") if tokens else text}"'
