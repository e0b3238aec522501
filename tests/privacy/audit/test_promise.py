import math

import pytest

from tff_vision.accounting import accounting, gdp
from tff_vision.audit import promise


def test_one_example_is_promised_what_the_unit_says():
  ledger = {'epsilon': 1.0, 'delta': 1e-6, 'unit': 'client', 'relation': 'add or remove one client'}
  assert promise.to_examples(ledger) == (2.0, pytest.approx(1e-6 * (1 + math.e)))
  assert promise.to_examples({**ledger, 'unit': 'example'}) == (1.0, 1e-6)
  replaced = {**ledger, 'relation': "replace one client's update, against the server too"}
  assert promise.to_examples(replaced) == (1.0, 1e-6)
  assert promise.to_examples({'mechanism': 'none'})[0] == math.inf
  assert promise.to_examples({**ledger, 'epsilon': 20.0}) == (math.inf, 1e-6)
  assert promise.to_examples({**ledger, 'epsilon': math.inf}) == (math.inf, 1e-6)


@pytest.mark.parametrize('mu', [0.3, 1.0, 2.0])
def test_two_changes_are_bounded_by_twice(mu):
  # Two changes of a Gaussian mechanism are one of twice the sensitivity.
  epsilon, delta = accounting.twice(gdp.epsilon(mu, 1e-6), 1e-6)
  assert gdp.epsilon(2 * mu, delta) <= epsilon
