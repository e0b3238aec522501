"""Derives all seeds: every random choice is named by a path below the root seed of the run.

Two uses never share a stream, and a choice does not depend on anything that happened before it. This makes a resumed
run equal to an uninterrupted one. Differential-privacy noise and cryptographic keys never come from here: a known seed
would void them.
"""

import hashlib


def derive(root: int, *path: str | int) -> int:
  """Returns the seed, in [0, 2**63), of the random choice named `path` below `root`.

  >>> derive(7, 'cohort', 1) == derive(7, 'cohort', 1) != derive(7, 'cohort', 2)
  True
  """
  name = repr((int(root),) + tuple(path)).encode()
  return int.from_bytes(hashlib.sha256(name).digest()[:8], 'big') >> 1
