"""Held-out examples for data sets that come without a test set."""

import numpy as np

from tff_vision import configs
from tff_vision.configs import option


def stratified(classes: np.ndarray, fraction: float, owners: np.ndarray | None = None,
               identities: np.ndarray | None = None) -> np.ndarray:
  """Chooses `fraction` of every class, always the same ones, so that runs of different seeds share a test set.

  An owner of two or more examples never loses all of them. It loses more than its share only if others have none left
  to give.

  Args:
    classes: [n] of any type that `np.unique` sorts.
    fraction: Share of every class; at least one example of a class stays for training.
    owners: [n] natural clients; within a class, examples are held out evenly from all owners.
    identities: [n] Examples of one identity are the same image, which is not both held out and trained on.

  Returns:
    [n] bool: whether an example is held out.
  """
  if identities is not None:
    _, firsts, copies = np.unique(identities, return_index=True, return_inverse=True)
    if len(firsts) < len(classes):
      chosen = stratified(classes[firsts], fraction, None if owners is None else owners[firsts])
      return chosen[copies]
  held_out = np.zeros(len(classes), bool)
  order = np.random.default_rng(0).permutation(len(classes))
  if owners is not None:
    order = order[np.argsort(owners[order], kind='stable')]
  by_class = order[np.argsort(classes[order], kind='stable')]
  _, sizes = np.unique(classes, return_counts=True)
  shares = None if owners is None else _Shares(owners, fraction)
  for members in np.split(by_class, np.cumsum(sizes)[:-1]):
    quota = min(round(fraction * len(members)), len(members) - 1)
    # Evenly spaced over the members, which are in the order of their owners.
    wanted = ((np.arange(quota) + 0.5) * len(members) / max(quota, 1)).astype(np.int64)
    held_out[members[wanted] if shares is None else shares.take(members, wanted)] = True
  return held_out


class _Shares:
  """The number of examples that can still be held out from each owner."""

  def __init__(self, owners, fraction):
    _, self._owner, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    # An owner with a single example may lose it, but only if no other owner has an example to give.
    fair = np.minimum(np.ceil(fraction * sizes - 1e-9), sizes - 1)
    self._rounds = [fair.astype(np.int64), (sizes - 1 - fair).astype(np.int64), (sizes == 1).astype(np.int64)]

  def take(self, members, wanted):
    """Returns one of `members` for each wanted place: the one there, or the next one whose owner can still give."""
    found, free = [], np.ones(len(members), bool)
    owner = self._owner[members]
    for left in self._rounds:
      ahead = np.arange(len(members) + 1)  # For a place that cannot be used, the next place to try.
      missed = []
      for place in wanted:
        place = self._next(ahead, int(place), free, left, owner)
        if place is None:
          missed.append(0)
          continue
        free[place] = False
        left[owner[place]] -= 1
        found.append(place)
      wanted = missed
    return members[np.array(found, np.int64)]

  @staticmethod
  def _next(ahead, place, free, left, owner):
    for at in (place, 0):
      passed = []
      while at < len(free) and not (free[at] and left[owner[at]] > 0):
        passed.append(at)
        at = max(int(ahead[at]), at + 1)
      ahead[passed] = at
      if at < len(free):
        return at
    return None


def emptied(is_test: np.ndarray, owners: np.ndarray) -> int:
  """Returns how many owners have no example left to train on."""
  return len(set(owners[is_test].tolist()) - set(owners[~is_test].tolist()))


def refuse_nothing(is_test: np.ndarray, config: configs.DataConfig) -> None:
  """Refuses a test set without an example.

  Raises:
    ValueError: None is held out; the message names the data and the share.
  """
  if not is_test.any():
    raise ValueError(f'test_fraction={config.test_fraction} of the {len(is_test)} images of data_dir={config.data_dir} '
                     'holds out none of any class: raise it, or give a test set.')


def unread(config: configs.DataConfig) -> list[str]:
  """Returns a note if a share to hold out was chosen for data that have a test set, which is taken as it is."""
  if 'test_fraction' not in option.changed(config):
    return []
  return [f'test_fraction={config.test_fraction} is not read: data_dir={config.data_dir} has a test set.']


def note(is_test: np.ndarray, fraction: float, owners: np.ndarray | None) -> str:
  """Returns a sentence that says which examples were held out."""
  said = f'There is no test set: {is_test.sum()} of {len(is_test)} images were held out (test_fraction={fraction}).'
  if owners is not None and (lost := emptied(is_test, owners)):
    said += f' {lost} clients of one image or one patient each gave it up and test only.'
  return said

