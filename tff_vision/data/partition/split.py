"""The input and output of partitions: labels in, positions of training and test examples of each client out."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tff_vision.data import pieces
from tff_vision.data.partition.imaging_device import Device

_ONE_HOT_BELOW = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
  """The information about the examples that a partition may use.

  Attributes:
    train: [n] int32 class numbers, or [n, findings] float32 of 0 and 1; of masks, their `labels.tags`.
    test: The same for the test examples.
    coarse: [n] int32 superclass of each training example, or None.
  """
  train: np.ndarray
  test: np.ndarray
  coarse: np.ndarray | None = None

  def class_numbers(self) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns [n] class numbers for training and for test examples, and how many classes there are.

    A multi-label example counts as the class of its first positive finding. If it has none, it counts as one additional
    class. So a film with two findings is treated like films that have the first one.
    """
    train, test = _class_numbers(self.train), _class_numbers(self.test)
    return train, test, 1 + int(max(train.max(initial=0), test.max(initial=0)))


@dataclasses.dataclass(frozen=True)
class Split:
  """Which examples each client has; client i is the same in all lists.

  Attributes:
    train: For each client, positions among the training examples; disjoint.
    test: For each client, positions among the test examples; disjoint, some may be empty.
    devices: For each client, how its images differ from those in the pool; None if they do not.
  """
  train: Sequence[np.ndarray]
  test: Sequence[np.ndarray]
  devices: Sequence[Device] | None = None

  def __len__(self) -> int:
    return len(self.train)


def positions_by_class(rng: np.random.Generator, classes: np.ndarray, num_classes: int) -> list[np.ndarray]:
  """Returns the shuffled positions of each class 0..num_classes-1 in `classes`, [n] int."""
  return [rng.permutation(np.flatnonzero(classes == c)) for c in range(num_classes)]


def require_examples(num_examples: int, num_clients: int, each: int = 1) -> None:
  """Raises ValueError unless every client can have `each` training examples."""
  if num_examples < num_clients * each:
    wanted = 'a training example' if each == 1 else f'min_client_examples={each} training examples'
    raise ValueError(f'num_clients={num_clients} cannot each have {wanted}: there are only {num_examples} (clients '
                     'that are held out count too).')


def even_sizes(num_examples: int, num_clients: int) -> np.ndarray:
  """Returns [num_clients] sizes that differ by at most one and sum to `num_examples`."""
  return np.full(num_clients, num_examples // num_clients) + (np.arange(num_clients) < num_examples % num_clients)


def proportional_sizes(num_examples: int, proportions: np.ndarray) -> np.ndarray:
  """Returns sizes in `proportions` that sum to `num_examples`, each within one of its exact share.

  Args:
    num_examples: Number of examples to divide.
    proportions: [clients], sums to 1. Cutting at the rounded running total keeps the sum exact.
  """
  cuts = np.rint(np.cumsum(proportions) * num_examples).astype(np.int64)
  cuts[-1] = num_examples
  return np.diff(cuts, prepend=0)


def deal(rng: np.random.Generator, classes: np.ndarray, counts: np.ndarray) -> pieces.Pieces:
  """Returns for each client `counts[client, c]` examples of each class c, in random order.

  Args:
    classes: [n] class numbers.
    counts: [clients, classes]; no class may be asked for more often than it occurs. The rest belongs to no client.
  """
  by_class = positions_by_class(rng, classes, counts.shape[1])
  sizes, ends = counts.sum(axis=1), counts.cumsum(axis=0)
  dealt = pieces.Pieces(np.zeros(sizes.sum(), np.int64), sizes)
  for own, last, taken in zip(dealt, ends, counts, strict=True):
    own[:] = rng.permutation(np.concatenate(
        [positions[end - number:end] for positions, end, number in zip(by_class, last, taken, strict=True)]))
  return dealt


def draw_classes(rng: np.random.Generator, size: int, weights: np.ndarray, left: np.ndarray) -> np.ndarray:
  """Draws `size` classes without replacement: a class can be drawn until it has run out.

  Each single draw picks a class in proportion to `weights`, renormalised over the classes that are left. This function
  makes many draws at once, with the same distribution.

  Args:
    size: At most the sum of `left`.
    weights: [classes] zero or more.
    left: [classes] how many of each there are.

  Returns:
    [classes] how many of each were drawn.
  """
  drawn = np.zeros_like(left)
  while missing := size - drawn.sum():
    open_weights = np.where(drawn < left, weights, 0.0)
    if not open_weights.sum() > 0:  # The wanted classes have run out: any example that is left is equally good.
      open_weights = (left - drawn).astype(float)
    drawn = np.minimum(drawn + rng.multinomial(missing, open_weights / open_weights.sum()), left)
  return drawn


def draw_dirichlet(rng: np.random.Generator, alphas: np.ndarray, draws: int) -> np.ndarray:
  """Returns [draws, len(alphas)] Dirichlet draws; each sums to 1.

  For concentrations near zero the limit is used: all weight on one component, chosen in proportion to `alphas`.
  numpy's sampler does not return for such concentrations.
  """
  if alphas.max() < _ONE_HOT_BELOW:
    return np.eye(len(alphas))[rng.choice(len(alphas), size=draws, p=alphas / alphas.sum())]
  return rng.dirichlet(alphas, size=draws)


def _class_numbers(labels):
  if labels.ndim == 1:
    return labels
  positive = labels > 0.5
  return np.where(positive.any(axis=1), positive.argmax(axis=1), labels.shape[1])
