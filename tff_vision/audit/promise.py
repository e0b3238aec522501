"""The bound that a ledger gives for one example: attacks are compared with it."""

import math

from tff_vision.accounting import accounting
from tff_vision.accounting.conditions import Relation, Unit
from tff_vision.accounting.ledger import NoGuarantee, Statement

_NO_PROMISE_DELTA = 1e-5
_LARGEST_DELTA = 0.5  # Beyond it a bound says nothing.


def to_examples(ledger: Statement) -> tuple[float, float]:
  """Returns the epsilon and delta that one example is promised; infinite epsilon without a promise.

  A client with one more example is another client: a removal and an addition, unless replacing is what is promised.
  """
  if isinstance(ledger, NoGuarantee):
    return math.inf, _NO_PROMISE_DELTA
  if ledger.unit is Unit.EXAMPLE or ledger.relation is Relation.REPLACE_ONE:
    return ledger.epsilon, ledger.delta
  doubled, larger_delta = accounting.twice(ledger.epsilon, ledger.delta)
  return (doubled, larger_delta) if larger_delta < _LARGEST_DELTA else (math.inf, ledger.delta)
