"""Checks that a resumed run uses the data that it began with, by keyed digests.

Without the key, anyone with a list of candidate images could tell from the digests which of them were trained on.
"""

import hmac
import pathlib
from collections.abc import Mapping

from tff_vision import secret_files
from tff_vision.program import json_file


def write(path: pathlib.Path, fingerprint: Mapping[str, str], secret: bytes) -> None:
  """Writes keyed digests to a file that only its owner can read.

  Args:
    path: The file.
    fingerprint: Digests as in `data.images.FederatedImages`.
    secret: The key.
  """
  json_file.write(path, _keyed(fingerprint, secret))
  path.chmod(secret_files.FILE)


def differing(path: pathlib.Path, fingerprint: Mapping[str, str], secret: bytes) -> list[str]:
  """Returns the names of the parts of the data that differ from those given to `write`."""
  known, found = json_file.read(path), _keyed(fingerprint, secret)
  return [name for name in fingerprint if known.get(name) != found[name]]


def _keyed(fingerprint, secret):
  return {name: hmac.new(secret, f'data fingerprint\0{name}\0{digest}'.encode(), 'sha256').hexdigest()
          for name, digest in fingerprint.items()}
