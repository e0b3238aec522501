"""What a ledger promises to one example: the theory beside which membership is measured."""

import math
from collections.abc import Mapping
from typing import Any

from tff_vision.accounting import accounting

_NO_PROMISE_DELTA = 1e-5
_LARGEST_DELTA = 0.5  # Beyond it a bound says nothing.


def to_examples(ledger: Mapping[str, Any]) -> tuple[float, float]:
  """Returns the epsilon and delta that one example is promised; infinite epsilon without a promise.

  A client with one more example is another client: a removal and an addition, unless replacing is what is promised.
  """
  if 'epsilon' not in ledger:
    return math.inf, _NO_PROMISE_DELTA
  epsilon, delta = ledger['epsilon'], ledger['delta']
  if ledger['unit'] == 'example' or ledger['relation'].startswith('replace'):
    return epsilon, delta
  doubled, larger_delta = accounting.twice(epsilon, delta)
  return (doubled, larger_delta) if larger_delta < _LARGEST_DELTA else (math.inf, delta)
