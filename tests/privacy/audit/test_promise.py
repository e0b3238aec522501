import dataclasses
import math

import pytest

from tff_vision.accounting import accounting, gdp, ledger
from tff_vision.accounting.conditions import Accountant, Relation, Sampling, Scheme, Unit
from tff_vision.audit import promise


def test_one_example_is_promised_what_the_unit_says():
  made = ledger.Ledger(
      mechanism='client_gaussian', epsilon=1.0, delta=1e-6, unit=Unit.CLIENT, relation=Relation.ADD_OR_REMOVE_ONE,
      sampling=Sampling(Scheme.POISSON, 'rate 0.5'), rounds=3, accountant=Accountant.PLD)
  said = lambda **other: promise.to_examples(dataclasses.replace(made, **other))
  assert said() == (2.0, pytest.approx(1e-6 * (1 + math.e)))
  assert said(unit=Unit.EXAMPLE) == (1.0, 1e-6)
  assert said(relation=Relation.REPLACE_ONE, against_server=True) == (1.0, 1e-6)
  assert said(relation=Relation.ZERO_OUT_ONE, against_server=True) == said()
  assert promise.to_examples(ledger.NoGuarantee())[0] == math.inf
  assert said(epsilon=20.0) == said(epsilon=math.inf) == (math.inf, 1e-6)


@pytest.mark.parametrize('mu', [0.3, 1.0, 2.0])
def test_two_changes_are_bounded_by_twice(mu):
  # Two changes of a Gaussian mechanism are one of twice the sensitivity.
  epsilon, delta = accounting.twice(gdp.epsilon(mu, 1e-6), 1e-6)
  assert gdp.epsilon(2 * mu, delta) <= epsilon
