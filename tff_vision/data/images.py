"""The data structure that every source produces: the images of each client, a test set, and names.

Arrays stay numpy on the host that holds them; `tff_vision.tasks` turns a client's examples into the `tf.data`
dataset that a TFF computation receives.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision import configs
from tff_vision import labels as labels_lib
from tff_vision.data import augmentation as augmentation_lib
from tff_vision.data import clients as clients_lib
from tff_vision.data import examples as examples_lib
from tff_vision.data import pieces, pixel_ranges

ExamplePool = examples_lib.ExamplePool
Examples = examples_lib.Examples
ImageSpec = examples_lib.ImageSpec
StoredPixels = examples_lib.StoredPixels
ClientImages = clients_lib.ClientImages
ArrayClients = clients_lib.ArrayClients
CountedClients = clients_lib.CountedClients
JoinedClients = clients_lib.JoinedClients
Augmentation = augmentation_lib.Augmentation


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class HeldOut:
  """Examples for evaluation, with the positions that belong to each client (some clients may have none)."""
  examples: Examples
  clients: Sequence[np.ndarray]

  def __repr__(self) -> str:
    return f'HeldOut({self.examples!r} of {len(self.clients)} clients)'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
  """How stored pixels become model input; the same for training, evaluation and the exported model.

  The steps run in the order of the attributes; `tff_vision.data.preprocess` carries them out.

  Attributes:
    scale: uint8 pixels are multiplied by this; float32 pixels are taken as they are.
    channels: 1 turns colour to grey (Rec. 601 luma), 3 repeats grey; None keeps what is stored.
    size: Height and width to resize to, bilinear with antialiasing; None keeps what is stored.
    crop: Height and width to crop to: anywhere in training, the centre in evaluation; None crops nothing.
    flip: Whether training mirrors every other image left to right.
    pixels: `raw` changes nothing; `none` also changes nothing and is used with a `scale` of 1; `invert` is 1 - x;
      `standardize` subtracts `mean` and divides by `std`;
      `per_image` gives every image mean 0 and deviation 1 (`tf.image.per_image_standardization`).
    mean: One value for each channel, after `scale`. Used by `standardize` only.
    std: One value for each channel, after `scale`. Used by `standardize` only.
    measured: Whether mean and std were computed from the clients' own examples; the model then reveals them.
    augmentation: How training images vary; applied before `crop`, and its changes of values before `pixels`.
  """
  scale: float = 1 / 255
  channels: int | None = None
  size: int | None = None
  crop: int | None = None
  flip: bool = False
  pixels: str = 'raw'
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  measured: bool = False
  augmentation: augmentation_lib.Augmentation = augmentation_lib.Augmentation()


class Counted(str):
  """A note with numbers counted or measured in the clients' own examples; readers of a private run must not see it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """The settings with which images were loaded; loading with the same settings gives the same images.

  Attributes:
    config: The section `data` of an experiment.
    seed: Root seed of the partition.
  """
  config: configs.DataConfig
  seed: int


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class FederatedImages:
  """One data set, split over clients.

  Attributes:
    name: The data set's name.
    train: The clients.
    spec: Shape, type and meaning of one image and its label. May be omitted if there is an example to take it from and
      `class_names` are given; it is never None afterwards.
    test: The global test set; `test.clients[i]` are the positions that belong to training client i. None, or without
      examples, if this machine has no test examples.
    unseen: Test examples of clients that never train, or None.
    validation: Examples of the same clients as those of `train`, in the same order, by which a model is chosen; None:
      there are none here. Images with other clients than they were loaded with are not chosen by.
    class_names: The class names of `spec`.
    preprocessing: How stored pixels become the model's input.
    fingerprint: Digests that distinguish this data from any other; the keys say what each digest is of.
    notes: Sentences a user must see: licence, examples left out and why. Notes with information on training examples
      are `Counted`.
    counted_classes: Whether `class_names` were collected from labels, including labels of the clients.
    deduced: What of all images the clients' own ones tell and the test images do not, beside classes and range, each
      with what to do about it. What a model learns tells it.
    origin: The settings of images that come from `data.load` and were not changed since; otherwise None.
  """
  name: str
  train: ClientImages
  spec: ImageSpec = None  # type: ignore[assignment]  # Set in `__post_init__`.
  test: HeldOut = None  # type: ignore[assignment]
  unseen: HeldOut | None = None
  validation: ClientImages | None = None
  class_names: Sequence[str] = ()
  preprocessing: Preprocessing = Preprocessing()
  fingerprint: Mapping[str, str] = dataclasses.field(default_factory=dict)
  notes: Sequence[str] = ()
  counted_classes: bool = False
  deduced: Sequence[str] = ()
  # This is no argument of the constructor, so that `dataclasses.replace`, which changes images, drops it.
  origin: Origin | None = dataclasses.field(default=None, init=False)

  def loaded_by(self, origin: Origin) -> 'FederatedImages':
    """Returns the same images with `origin` recorded as the settings that load them."""
    found = dataclasses.replace(self)
    object.__setattr__(found, 'origin', origin)
    return found

  def __repr__(self) -> str:
    """Gives the number of examples and never their content, because other people read logs."""
    height, width, channels = self.spec.shape
    return (f'FederatedImages({self.name!r}: {len(self.train)} clients, {len(self.test.examples)} test images of '
            f'{height}x{width}x{channels}, {len(self.class_names)} classes)')

  def __post_init__(self):
    if self.spec is None:
      object.__setattr__(self, 'spec', self._spec_of_examples())
    if self.class_names and tuple(self.class_names) != self.spec.class_names:
      raise ValueError(f'dataset {self.name}: class_names are not those of its spec.')
    object.__setattr__(self, 'class_names', self.spec.class_names)
    if self.test is None:
      object.__setattr__(self, 'test', HeldOut(examples=self.spec.no_examples(),
                                               clients=pieces.Pieces.nothing(len(self.train))))
    for what, held_out in (('test', self.test), ('unseen', self.unseen)):
      if held_out is not None and (found := self.spec.difference(held_out.examples)):
        raise ValueError(f'dataset {self.name}: the {what} images have {found} as the spec of the data set says.')

  def _spec_of_examples(self):
    if self.test is not None:
      return ImageSpec.of(self.test.examples, self.class_names)
    if not len(self.train):
      raise ValueError(f'dataset {self.name} has neither clients nor test images: say what its images are (spec).')
    return ImageSpec.of(self.train.examples(0), self.class_names)

  @property
  def told_by_clients(self) -> Sequence[str]:
    """The classes or findings known only from the clients' labels, and revealed by the model's outputs."""
    if not self.counted_classes:
      return ()
    y = labels_lib.tags(self.test.examples.y, len(self.class_names))
    return [str(self.class_names[number])
            for number in labels_lib.without_example(y, len(self.class_names), self.spec.labels)]

  @property
  def range_told_by_clients(self) -> bool:
    """Whether black and white follow from clients' pixels and not from the test images; what a model learns tells them.

    Without test images, those that the type of pixels tells count as known.
    """
    stored, x = self.spec.stored, self.test.examples.x
    if stored.deduced is None:
      return False
    if self.spec.dtype.kind == 'f' and stored.window is None:
      known = pixel_ranges.ends_of(float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
      return known != stored.deduced
    as_stored = np.round(x.max(initial=0) * (stored.deduced[1] / stored.white))
    if stored.window is None:
      return pixel_ranges.ends_of_whole(as_stored) != stored.deduced
    return pixel_ranges.white_of_depth(as_stored) != stored.deduced[1]

  def training_labels(self) -> np.ndarray:
    """Returns the labels of all training examples, [n, ...], client after client; images are not read if possible."""
    if isinstance(self.train, ArrayClients):
      return self.train.pool.y[pieces.Pieces.of(self.train.indices).values]
    return np.concatenate([self.train.examples(client).y for client in range(len(self.train))])

  @property
  def stored_pixels(self) -> StoredPixels:
    """The stored values of the black and white of files."""
    return self.spec.stored

  @property
  def multi_label(self) -> bool:
    """Whether an image has findings rather than one class or a mask."""
    return self.spec.multi_label

  def describe(self) -> dict[str, object]:
    """Returns the entry of config.json for images given as an object; it contains nothing of any client's examples."""
    return {'name': self.name, 'clients': len(self.train), 'class_names': list(self.class_names),
            'image_shape': list(self.spec.shape), 'preprocessing': self._preprocessing(),
            **({} if self.origin is None else {'loaded_by': dataclasses.asdict(self.origin)})}

  def _preprocessing(self):
    found = dataclasses.asdict(self.preprocessing)
    if not self.preprocessing.augmentation.changes:  # Folders of earlier versions say nothing of it.
      del found['augmentation']
    return found
