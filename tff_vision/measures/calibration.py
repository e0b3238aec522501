"""Whether probabilities are what they say: reliability by bins of equal size, and the expected calibration error.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3, with bins of equal numbers of examples
(Nixon et al., "Measuring Calibration in Deep Learning", CVPR workshops 2019): bins of equal width leave most of them
empty for a confident model.
"""

from typing import Any

import numpy as np

_BINS = 10


def reliability(confidence: np.ndarray, right: np.ndarray, *, number: int = _BINS) -> dict[str, Any]:
  """Returns the calibration error and the bins from which it is computed.

  Args:
    confidence: [n] probabilities that the model gave to its answers.
    right: [n] whether the answers were right, 0 or 1.
    number: The number of bins; equal confidences stay in one bin, so there may be fewer.

  Returns:
    `expected_calibration_error`, `largest_calibration_error` (over the bins), and `bins`, in the order of confidence:
    `lowest`, `highest` and mean `confidence`, the share of right answers `accuracy`, and `count`.
  """
  confidence, right = confidence.astype(np.float64), right.astype(np.float64)
  last = -(-np.arange(1, number) * len(confidence) // number) - 1  # Of each bin but the highest, in sorted order.
  edges = np.unique(np.sort(confidence)[last[last >= 0]])
  place = np.searchsorted(edges, confidence, side='left')
  bins = []
  for each in np.unique(place):
    own = place == each
    bins.append({'lowest': float(confidence[own].min()), 'highest': float(confidence[own].max()),
                 'confidence': float(confidence[own].mean()), 'accuracy': float(right[own].mean()),
                 'count': int(own.sum())})
  gaps = [abs(one['confidence'] - one['accuracy']) for one in bins]
  total = sum(gap * one['count'] for gap, one in zip(gaps, bins, strict=True))
  return {'expected_calibration_error': total / len(confidence), 'largest_calibration_error': max(gaps), 'bins': bins}
