"""Fingerprints of a data set, so that a resumed run is known to use the same data."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision.data import images


def of(found: images.FederatedImages, digest: str, positions: Sequence[np.ndarray]) -> Mapping[str, str]:
  """Returns digests with these keys: `files`, `classes`, `clients`, `examples of clients`, `test set`.

  Anyone who holds the data can use them to find out whether it is the same data: keep them as a secret of the run.

  Args:
    found: The data set, spread over its clients.
    digest: The digest of the user's own files, or ''.
    positions: For each client, the positions of its training examples in the pool.
  """
  test = found.test.examples
  bytes_of = lambda arrays: (np.asarray(own, np.int64).tobytes() for own in arrays)
  parts = {'classes': (str(name).encode() for name in found.class_names),
           'clients': (str(name).encode() for name in found.train.client_ids),
           'examples of clients': bytes_of(positions),
           'test set': itertools.chain([test.y.tobytes(), test.x.tobytes()], bytes_of(found.test.clients))}
  return {**({'files': digest} if digest else {}), **{name: _digest(content) for name, content in parts.items()}}


def _digest(content):
  digest = hashlib.blake2b(digest_size=32)
  for part in content:
    digest.update(len(part).to_bytes(8, 'little'))
    digest.update(part)
  return digest.hexdigest()
