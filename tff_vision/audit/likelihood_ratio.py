"""Membership inference by likelihood ratio, with shadow models (Carlini et al., 2022).

LiRA, Carlini et al. 2022, arXiv:2112.03570, algorithm 1, online. For each example, two normal distributions of the
confidence are fitted: over the shadow models that were trained on it, and over those that were not. With few shadow
models, all examples share the variances (section VI-C).
"""

import numpy as np
from scipy import special, stats

_OWN_VARIANCE = 64  # From this number of shadow models on, a variance per example works better (section VI-C).
_SMALLEST = 1e-300
_LEAST_VARIANCE = 1e-12


def confidences(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Returns log(p / (1 - p)) of each example's true labels, [n] float64, without computing 1 - p.

  Args:
    logits: [n, outputs].
    y: Class numbers, [n]; or findings, 0 or 1, [n, outputs], where p is the probability of all findings together.
  """
  logits = logits.astype(np.float64)
  if y.ndim == 1:
    true = np.arange(logits.shape[1]) == y[:, np.newaxis]
    return logits[true] - special.logsumexp(np.where(true, -np.inf, logits), axis=1)
  loss = np.maximum(np.logaddexp(0, np.where(y > 0.5, -logits, logits)).sum(1), _SMALLEST)
  return -loss - np.log(-np.expm1(-loss))


def halves(models: int, examples: int, *, seed: int) -> np.ndarray:
  """Returns a random choice of which shadow model learns from which example, bool [models, examples].

  Every example is in half of the models, rounded down, so that both distributions can be fitted.

  Raises:
    ValueError: There are fewer than four models; two on each side are needed to estimate how a confidence varies.
  """
  if models < 4:
    raise ValueError(f'shadow_models={models}: two that learned from an example and two that did not are needed, so 4 '
                     'or more, or 0 for none.')
  return np.random.default_rng(seed).random((models, examples)).argsort(axis=0) < models // 2


def log_ratios(observed: np.ndarray, shadow: np.ndarray, inside: np.ndarray) -> np.ndarray:
  """Returns log(density if a member / density if not) of each example's confidence, [n]; high values indicate a member.

  Args:
    observed: Confidences of the attacked model, [n].
    shadow: Confidences of the shadow models, [models, n].
    inside: Which shadow model learned from which example, as returned by `halves`.
  """
  return _log_density(observed, shadow, inside) - _log_density(observed, shadow, ~inside)


def _log_density(observed, shadow, chosen):
  count = chosen.sum(0)
  mean = np.where(chosen, shadow, 0).sum(0) / count
  squares = np.where(chosen, (shadow - mean) ** 2, 0).sum(0)
  variance = squares / (count - 1) if len(shadow) >= _OWN_VARIANCE else squares.sum() / (count - 1).sum()
  return stats.norm.logpdf(observed, mean, np.sqrt(np.maximum(variance, _LEAST_VARIANCE)))
