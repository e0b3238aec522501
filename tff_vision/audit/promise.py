"""The bound that a ledger gives for one example: attacks are compared with it."""

import math

from tff_vision.accounting import accounting
from tff_vision.accounting.conditions import Relation, Unit
from tff_vision.accounting.ledger import NoGuarantee, Statement

_NO_PROMISE_DELTA = 1e-5
_LARGEST_DELTA = 0.5  # Above it a bound has no meaning.


def to_examples(ledger: Statement) -> tuple[float, float]:
  """Returns the guaranteed epsilon and delta for one example; epsilon is infinite without a guarantee.

  A client with one more example is another client. This counts as one removal and one addition, unless the guarantee
  is about replacing a client.
  """
  if isinstance(ledger, NoGuarantee):
    return math.inf, _NO_PROMISE_DELTA
  if ledger.unit is Unit.EXAMPLE or ledger.relation is Relation.REPLACE_ONE:
    return ledger.epsilon, ledger.delta
  doubled, larger_delta = accounting.twice(ledger.epsilon, ledger.delta)
  return (doubled, larger_delta) if larger_delta < _LARGEST_DELTA else (math.inf, ledger.delta)
