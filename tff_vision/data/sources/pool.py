"""All examples of a source, before a partition divides them over clients."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from tff_vision import labels as labels_lib
from tff_vision.data import images

_LISTED = 20  # A note names so many classes.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
  """All examples of one data set.

  Attributes:
    train: Examples for training.
    test: Examples for evaluation.
    validation: Examples to choose a model by; None: the source sets none apart.
    class_names: One name for each class number (or finding).
    train_owners: [len(train)] of str, the natural client of each example; None if the source has none.
    test_owners: The same for `test`.
    validation_owners: The same for `validation`.
    strangers: Whether the owners in `test` are different clients from those in `train`, even if they have equal names.
    unseen_clients: How many of the owners are held-out clients, which never train, unless the user gives a number.
    coarse_labels: [len(train)] int32, the superclass of each example, for the Pachinko partition.
    preprocessing: The default preprocessing for a model of this data set, unless the user chooses another.
    stored: The stored values of the black and white of files, as in `images.FederatedImages`.
    digest: Digest of the user's own files, which does not depend on their folder; '' for data sets that are the same
      everywhere.
    labels_at_hand: Whether reading `y` costs nothing; if not, labels are checked when they are read.
    notes: Sentences a user must see: licence, examples left out and why.
    counted_classes: As in `images.FederatedImages`.
    deduced: As in `images.FederatedImages`.
  """
  train: images.ExamplePool
  test: images.ExamplePool
  class_names: Sequence[str]
  train_owners: np.ndarray | None = None
  test_owners: np.ndarray | None = None
  validation: images.ExamplePool | None = None
  validation_owners: np.ndarray | None = None
  strangers: bool = False
  unseen_clients: int = 0
  coarse_labels: np.ndarray | None = None
  preprocessing: images.Preprocessing = images.Preprocessing()
  stored: images.StoredPixels | None = None
  digest: str = ''
  labels_at_hand: bool = True
  notes: Sequence[str] = ()
  counted_classes: bool = False
  deduced: Sequence[str] = ()

  def __post_init__(self):
    for split, examples, owners in (('train', self.train, self.train_owners), ('test', self.test, self.test_owners)):
      if not len(examples):
        raise ValueError(f'the {split} set holds no example.')
      if owners is not None and len(owners) != len(examples):
        raise ValueError(f'{len(examples)} {split} examples have {len(owners)} owners.')
    if self.train.shape != self.test.shape:
      raise ValueError(f'training images are {list(self.train.shape)} and test images {list(self.test.shape)}.')

  @functools.cached_property
  def spec(self) -> images.ImageSpec:
    """Shape, type and meaning of one image and its label; no image is read."""
    return images.ImageSpec.of(self.test.take(np.zeros(0, np.int64)), self.class_names, stored=self.stored)

  def check_labels(self, dataset: str) -> list[str]:
    """Returns notes on classes without training examples; `dataset` names the set in errors.

    Raises:
      ValueError: A label is not a class of this data set, or no training image has a box.
    """
    number = len(self.class_names)
    for split, examples in (('train', self.train), ('test', self.test)):
      y = tagged(examples, number)
      if y.ndim == 2 and y.shape[1] != number:
        raise ValueError(f'dataset={dataset}: {split} labels have {y.shape[1]} findings, but {number} are named.')
      wrong = [] if hasattr(examples, 'tags') else labels_lib.outside(examples.y, number)
      if len(wrong):
        label = examples.y[wrong[0]]
        raise ValueError(f'dataset={dataset}: the {split} example {wrong[0]} has the label '
                         f'{label if label.ndim == 0 else label.max()}, outside 0..{number - 1}.')
    y = tagged(self.train, number)
    if self.spec.labels is labels_lib.Kind.BOXES and not y.any():
      raise ValueError(f'dataset={dataset}: no training image has a box to learn from; boxes of crowds and difficult '
                       'ones are not trained on.')
    missing = [str(self.class_names[c]) for c in labels_lib.without_example(y, number, self.spec.labels)]
    return [images.Counted(f'{len(missing)} of {number} classes have no training example: '
                           f'{", ".join(missing[:_LISTED])}{", …" if len(missing) > _LISTED else ""}.')
            ] if missing else []


def tagged(examples: images.ExamplePool, num_classes: int) -> np.ndarray:
  """Returns the labels of a pool as partitions count them; a pool of files says itself what its masks show (`tags`)."""
  own = getattr(examples, 'tags', None)
  return labels_lib.tags(examples.y, num_classes) if own is None else own
