"""Public keys by which sites and the coordinator's doorway recognise each other, in OpenSSH's format."""

import os
import pathlib

from cryptography import exceptions
from cryptography.hazmat.primitives import serialization


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
