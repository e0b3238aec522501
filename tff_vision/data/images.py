"""The data structure that every source produces: the images of each client, a test set, and names.

Arrays stay numpy on the host that holds them; `tff_vision.tasks` turns a client's examples into the `tf.data`
dataset that a TFF computation receives.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision import configs
from tff_vision import labels as labels_lib
from tff_vision.data import augmentation as augmentation_lib
from tff_vision.data import examples as examples_lib

ExamplePool = examples_lib.ExamplePool
Examples = examples_lib.Examples
ImageSpec = examples_lib.ImageSpec
StoredPixels = examples_lib.StoredPixels
Augmentation = augmentation_lib.Augmentation


class ClientImages(abc.ABC):
  """The training examples of each client, in a fixed order; clients are addressed by position."""

  @property
  @abc.abstractmethod
  def client_ids(self) -> Sequence[str]:
    """Unique names."""

  @abc.abstractmethod
  def num_examples(self, client: int) -> int:
    """The number of examples of one client, without loading them."""

  @abc.abstractmethod
  def examples(self, client: int) -> Examples:
    """Loads the examples of one client."""

  @property
  def here(self) -> bool:
    """Whether this machine has the examples; otherwise `examples` and perhaps `num_examples` raise ValueError."""
    return True

  @property
  def counted(self) -> bool:
    """Whether this machine may know how many examples each client has; otherwise `num_examples` raises ValueError."""
    return True

  @property
  def most_examples(self) -> int:
    """A public bound on the number of examples of a client: that of the largest one, where it is known."""
    return max(self.num_examples(client) for client in range(len(self)))

  @property
  def always_together(self) -> bool:
    """Whether every sum must be over all clients, because sums over others would tell the count of one of them."""
    return False

  @property
  def sharing_sites(self) -> Mapping[str, Sequence[int]]:
    """The sites that share their own numbers: name -> its clients; empty where sums over all clients alone are told."""
    return {}

  def __len__(self) -> int:
    return len(self.client_ids)

  def __repr__(self) -> str:
    return f'{type(self).__name__}({len(self)} clients)'


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ArrayClients(ClientImages):
  """Clients as index arrays into one pool of examples, in memory or read from its files as needed."""
  pool: ExamplePool
  indices: Sequence[np.ndarray]
  client_ids: Sequence[str] = ()

  def __post_init__(self):
    if len(self.client_ids) != len(self.indices):
      raise ValueError(f'{len(self.client_ids)} client ids for {len(self.indices)} clients.')

  def num_examples(self, client: int) -> int:
    return len(self.indices[client])

  def examples(self, client: int) -> Examples:
    return self.pool.take(self.indices[client])


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CountedClients(ClientImages):
  """Clients that train on their own files. This machine knows the sizes of the files and has copies that may differ.

  Attributes:
    copies: The copies on this machine; `examples` returns these.
    counts: The number of examples of each client in its own file.
  """
  copies: ClientImages
  counts: Sequence[int]

  @property
  def client_ids(self) -> Sequence[str]:
    return self.copies.client_ids

  def num_examples(self, client: int) -> int:
    return self.counts[client]

  @property
  def here(self) -> bool:
    return self.copies.here

  @property
  def sharing_sites(self) -> Mapping[str, Sequence[int]]:
    return self.copies.sharing_sites

  def examples(self, client: int) -> Examples:
    return self.copies.examples(client)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class JoinedClients(ClientImages):
  """Clients each of which has the examples that it has in all parts; the parts have the same clients."""
  parts: Sequence[ClientImages]

  @property
  def client_ids(self) -> Sequence[str]:
    return self.parts[0].client_ids

  def num_examples(self, client: int) -> int:
    return sum(part.num_examples(client) for part in self.parts)

  def examples(self, client: int) -> Examples:
    found = [part.examples(client) for part in self.parts]
    return Examples(np.concatenate([one.x for one in found]), np.concatenate([one.y for one in found]))


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
      nobodys = np.zeros(0, np.int64)
      object.__setattr__(self, 'test', HeldOut(examples=self.spec.no_examples(), clients=[nobodys] * len(self.train)))
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

  def training_labels(self) -> np.ndarray:
    """Returns the labels of all training examples, [n, ...], client after client; images are not read if possible."""
    if isinstance(self.train, ArrayClients):
      return self.train.pool.y[np.concatenate([np.zeros(0, np.int64), *self.train.indices])]
    return np.concatenate([self.train.examples(client).y for client in range(len(self.train))])

  @property
  def stored_pixels(self) -> StoredPixels:
    """The stored values of the black and white of files."""
    return self.spec.stored_pixels

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
