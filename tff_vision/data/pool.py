"""What a source loads, before a partition makes clients of it."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tff_vision.data import images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
  """All examples of one data set.

  Attributes:
    train: Examples for training.
    test: Examples for evaluation.
    class_names: One for each class number (or finding).
    train_owners: [len(train)] of str, the natural client of each example; None if the source has none.
    test_owners: The same for `test`.
    strangers: Whether the owners in `test` are other clients than those in `train`, even where names agree.
    coarse_labels: [len(train)] int32, the superclass of each example, for the Pachinko partition.
    preprocessing: What a model of this data set reads unless the user says otherwise.
    notes: Sentences a user must see: licence, examples left out and why.
  """
  train: images.ExamplePool
  test: images.ExamplePool
  class_names: Sequence[str]
  train_owners: np.ndarray | None = None
  test_owners: np.ndarray | None = None
  strangers: bool = False
  coarse_labels: np.ndarray | None = None
  preprocessing: images.Preprocessing = images.Preprocessing()
  notes: Sequence[str] = ()

  def __post_init__(self):
    for split, examples, owners in (('train', self.train, self.train_owners), ('test', self.test, self.test_owners)):
      if not len(examples):
        raise ValueError(f'the {split} set holds no example.')
      if owners is not None and len(owners) != len(examples):
        raise ValueError(f'{len(examples)} {split} examples have {len(owners)} owners.')
    if self.train.shape != self.test.shape:
      raise ValueError(f'training images are {list(self.train.shape)} and test images {list(self.test.shape)}.')
