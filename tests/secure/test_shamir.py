import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision.secure.masking import shamir

SECRET = bytes(range(32))


@settings(max_examples=20, deadline=None)
@given(secret=st.binary(min_size=32, max_size=32), holders=st.sets(st.integers(0, 1000), min_size=1, max_size=6),
       data=st.data())
def test_every_set_of_threshold_holders_recovers(secret, holders, data):
  threshold = data.draw(st.integers(1, len(holders)))
  shares = shamir.split(secret, threshold=threshold, holders=sorted(holders))
  for size in range(threshold, len(holders) + 1):
    for chosen in itertools.combinations(holders, size):
      assert shamir.join({h: shares[h] for h in chosen}, threshold=threshold) == secret


def test_fewer_than_threshold_are_refused_and_say_nothing():
  """For one share short, every candidate secret is explained by some value of the missing share."""
  shares = shamir.split(SECRET, threshold=3, holders=[0, 1, 2, 3])
  with pytest.raises(ValueError, match='2 shares of a secret, 3 are needed'):
    shamir.join({0: shares[0], 1: shares[1]}, threshold=3)
  p = shamir._PRIME
  for candidate in (int.from_bytes(SECRET, 'little'), 0, 12345):
    # A parabola through (0, candidate) and the two shares exists: the third holder may have its value.
    (x1, y1), (x2, y2) = ((h + 1, int.from_bytes(shares[h], 'little')) for h in (0, 1))
    a, b = _parabola(candidate, x1, y1, x2, y2, p)
    assert (candidate + a * x1 + b * x1 * x1) % p == y1 and (candidate + a * x2 + b * x2 * x2) % p == y2


def test_shares_of_different_secrets_do_not_join():
  one = shamir.split(SECRET, threshold=2, holders=[0, 1])
  other = shamir.split(bytes(32), threshold=2, holders=[0, 1])
  with pytest.raises(ValueError, match='do not belong together'):
    shamir.join({0: one[0], 1: other[1]}, threshold=2)


def test_splitting_is_random():
  assert shamir.split(SECRET, threshold=2, holders=[0, 1]) != shamir.split(SECRET, threshold=2, holders=[0, 1])


def _parabola(candidate, x1, y1, x2, y2, p):
  """Solves candidate + a x + b x^2 through two points, modulo p (Cramer)."""
  inverse = pow(x1 * x2 * x2 - x2 * x1 * x1, -1, p)
  c1, c2 = y1 - candidate, y2 - candidate
  return (c1 * x2 * x2 - c2 * x1 * x1) * inverse % p, (x1 * c2 - x2 * c1) * inverse % p
