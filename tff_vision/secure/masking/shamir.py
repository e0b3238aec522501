"""Secret sharing over a prime field (Shamir, "How to share a secret", CACM 1979)."""

import secrets
from collections.abc import Mapping, Sequence

_PRIME = 2**521 - 1
SECRET_BYTES = 32
SHARE_BYTES = 66


def split(secret: bytes, *, threshold: int, holders: Sequence[int]) -> dict[int, bytes]:
  """Returns one share for each holder; any `threshold` of them give the secret, fewer tell nothing about it.

  Args:
    secret: SECRET_BYTES bytes.
    holders: Distinct non-negative numbers; holder h gets the polynomial at h + 1.
  """
  assert len(secret) == SECRET_BYTES and 0 < threshold <= len(holders) and len(set(holders)) == len(holders)
  coefficients = [int.from_bytes(secret, 'little')] + [secrets.randbelow(_PRIME) for _ in range(threshold - 1)]
  return {holder: _evaluate(coefficients, holder + 1).to_bytes(SHARE_BYTES, 'little') for holder in holders}


def join(shares: Mapping[int, bytes], *, threshold: int) -> bytes:
  """Returns the secret from the shares of at least `threshold` holders.

  Raises:
    ValueError: There are too few shares, or they do not belong together.
  """
  if len(shares) < threshold:
    raise ValueError(f'{len(shares)} shares of a secret, {threshold} are needed.')
  points = [(holder + 1, int.from_bytes(share, 'little')) for holder, share in sorted(shares.items())[:threshold]]
  secret = 0
  for x, y in points:
    numerator = denominator = 1
    for other, _ in points:
      if other != x:
        numerator = numerator * other % _PRIME
        denominator = denominator * (other - x) % _PRIME
    secret = (secret + y * numerator * pow(denominator, -1, _PRIME)) % _PRIME
  if secret.bit_length() > 8 * SECRET_BYTES:
    raise ValueError('the shares of a secret do not belong together.')
  return secret.to_bytes(SECRET_BYTES, 'little')


def _evaluate(coefficients, x):
  value = 0
  for coefficient in reversed(coefficients):
    value = (value * x + coefficient) % _PRIME
  return value
