"""The section of an experiment about images and clients; use it as `configs.DataConfig`."""

import dataclasses
import math
from typing import Any

from tff_vision.configs import validate

# What may be chosen; the registries that give the names a meaning need more than the standard library, so the names
# stand here too, and a test holds both equal.
PARTITIONS = ('natural', 'iid', 'dirichlet', 'dirichlet_equal', 'shards', 'quantity', 'pachinko', 'feature_shift')
QUANTITY_DISTRIBUTIONS = ('lognormal', 'dirichlet')
PIXELS = ('raw', 'none', 'invert', 'standardize', 'per_image')
CORRUPT_IMAGES = ('refuse', 'skip')
READS_PIXEL_RANGE = ('folder', 'idx', 'medical_mnist', 'npz')
LABEL_CASE = ('ask', 'merge', 'keep')

_READ_BY_PARTITION = {
    'partition_alpha': ('dirichlet', 'dirichlet_equal', 'quantity'),
    'min_client_examples': ('dirichlet', 'quantity'),
    'classes_per_client': ('shards',),
    **dict.fromkeys(('quantity_distribution', 'quantity_sigma'), ('quantity',)),
    **dict.fromkeys(('pachinko_coarse_alpha', 'pachinko_fine_alpha'), ('pachinko',)),
    **dict.fromkeys(('shift_rotation', 'shift_contrast', 'shift_noise'), ('feature_shift',)),
}
_READ_BY_QUANTITY_DISTRIBUTION = {'partition_alpha': 'dirichlet', 'quantity_sigma': 'lognormal'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """Which images, and how they are spread over clients; docs/reference/partitions.md explains the schemes.

  Attributes:
    dataset: A key of `tff_vision.data.sources.registry.SOURCES`; or images that are spread over clients already
      (`data.images.FederatedImages`); or a reference to those or to a function that takes this section and returns
      them, or a `data.pool.Pool` that the partition spreads.
    data_dir: Folder that holds the files; None means the source's own default places.
    partition: How examples become clients; `natural` keeps the source's own clients.
    partition_alpha: Dirichlet concentration; large is near IID. Read by `dirichlet` (a class over clients),
      `dirichlet_equal` (classes within a client) and `quantity` with quantity_distribution=dirichlet (sizes).
    num_clients: How many clients train: made by a partition, drawn by a generator, or kept of a natural source
      (the first so many). None means all of a natural source, and 20 otherwise.
    held_out_clients: So many clients more never train: all that they have serves to evaluate on unseen clients.
      None means the source's own number, which is 0 but for generated writers with partition=natural.
    client_test_fraction: This share of each client's own training examples is held out as that client's test
      examples, beside those that the source has.
    min_client_examples: No client has fewer training examples; read by `dirichlet` and `quantity`.
    classes_per_client: The k of `shards`: a client has at most so many classes.
    quantity_distribution: `quantity`: sizes are in proportion to log-normal or to Dirichlet draws.
    quantity_sigma: Standard deviation of the log-normal's logarithm; 0 means equal sizes.
    pachinko_coarse_alpha: `pachinko`: concentration of a client's draw of superclasses.
    pachinko_fine_alpha: `pachinko`: concentration of its draw of classes within a superclass.
    shift_rotation: `feature_shift`: a client's images are rotated by one angle of up to so many degrees.
    shift_contrast: `feature_shift`: a client's contrast is multiplied by one factor in 1 -+ shift_contrast.
    shift_noise: `feature_shift`: a client's sensor noise has one deviation of up to this share of full intensity.
    preprocess: What is done to pixels after scaling: `raw`, `invert` (1 - x), `standardize` (mean and deviation
      of the data set) or `per_image`; `none` does not scale either: a model gets stored pixels, 0..255. None means the
      source's own way, as for the fields below.
    image_size: Height and width that images are resized to; of `medmnist:*`, which of its sizes is read.
    image_channels: 1 turns colour to grey, 3 repeats grey.
    crop: Height and width of a crop, random in training and central in evaluation; 0 crops nothing.
    flip: Whether training mirrors every other image.
    normal_class: Training examples of other classes are left out; test examples stay. For task=anomaly.
    test_fraction: Share of every class that is held out, of sources without a test set of their own.
    corrupt_images: Whether an image file that cannot be decoded stops the run (`refuse`) or is left out and
      counted (`skip`). Read by sources of image files only.
    pixel_range: The stored values that are black and white, BLACK,WHITE. Image files and arrays of whole numbers are
      brought to 0..1 by it; arrays of floats stay as they are, and files for prediction are brought to it. None: what
      the data's type and values tell. Read by data sets of your own only.
    label_case: Class names that differ in case only are refused (`ask`), made one (`merge`) or left apart (`keep`).
    finding_separator: What separates findings in one label; '' leaves labels as they are. None: `|`, if labels have it.
  """
  dataset: Any = 'digits'
  data_dir: str | None = None
  partition: str = 'dirichlet'
  partition_alpha: float = 1.0
  num_clients: int | None = None
  held_out_clients: int | None = None
  client_test_fraction: float = 0.0
  min_client_examples: int = 1
  classes_per_client: int = 2
  quantity_distribution: str = 'lognormal'
  quantity_sigma: float = 1.0
  pachinko_coarse_alpha: float = 0.1
  pachinko_fine_alpha: float = 10.0
  shift_rotation: float = 15.0
  shift_contrast: float = 0.4
  shift_noise: float = 0.08
  preprocess: str | None = None
  image_size: int | None = None
  image_channels: int | None = None
  crop: int | None = None
  flip: bool | None = None
  normal_class: str | None = None
  test_fraction: float = 0.2
  corrupt_images: str = 'refuse'
  pixel_range: str | None = None
  label_case: str = 'ask'
  finding_separator: str | None = None

  @property
  def numeric_pixel_range(self) -> tuple[float, float] | None:
    """The values of black and of white in `pixel_range`."""
    return None if self.pixel_range is None else tuple(float(part) for part in self.pixel_range.split(','))

  def __post_init__(self):
    self._check_partition()
    if not isinstance(self.dataset, str):
      for field in dataclasses.fields(self):
        if field.name != 'dataset' and getattr(self, field.name) != field.default:
          raise ValueError(f'{field.name}={getattr(self, field.name)!r} has no effect with images that are given as an '
                           'object: they have their clients and their preprocessing.')
    if self.preprocess is not None:
      validate.one_of(PIXELS, preprocess=self.preprocess)
    if self.image_size is not None:
      validate.positive(image_size=self.image_size)
    if self.image_channels not in (None, 1, 3):
      raise ValueError(f'image_channels must be 1 or 3, found {self.image_channels!r}.')
    if self.crop is not None:
      validate.non_negative(crop=self.crop)
    validate.open_unit(test_fraction=self.test_fraction)
    validate.one_of(CORRUPT_IMAGES, corrupt_images=self.corrupt_images)
    validate.one_of(LABEL_CASE, label_case=self.label_case)
    self._check_pixel_range()

  def _check_pixel_range(self):
    if self.pixel_range is None:
      return
    try:
      black, white = self.numeric_pixel_range
    except ValueError:
      black = white = math.nan
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
      raise ValueError(f'pixel_range must be BLACK,WHITE, two numbers of which the second is larger; found '
                       f'{self.pixel_range!r}.')
    if self.dataset not in READS_PIXEL_RANGE:
      raise ValueError(f'pixel_range={self.pixel_range!r} has no effect with dataset={self.dataset}; it is read by '
                       f'{", ".join(READS_PIXEL_RANGE)}.')

  def _check_partition(self):
    validate.one_of(PARTITIONS, partition=self.partition)
    validate.one_of(QUANTITY_DISTRIBUTIONS, quantity_distribution=self.quantity_distribution)
    validate.positive(partition_alpha=self.partition_alpha, min_client_examples=self.min_client_examples,
                      classes_per_client=self.classes_per_client, pachinko_coarse_alpha=self.pachinko_coarse_alpha,
                      pachinko_fine_alpha=self.pachinko_fine_alpha)
    validate.non_negative(quantity_sigma=self.quantity_sigma, shift_rotation=self.shift_rotation,
                          shift_noise=self.shift_noise)
    validate.fraction(client_test_fraction=self.client_test_fraction, shift_contrast=self.shift_contrast)
    if self.num_clients is not None:
      validate.positive(num_clients=self.num_clients)
    if self.held_out_clients is not None:
      validate.non_negative(held_out_clients=self.held_out_clients)
    self._refuse_unread()

  def _refuse_unread(self):
    for name, partitions in _READ_BY_PARTITION.items():
      value, default = getattr(self, name), type(self).__dataclass_fields__[name].default
      if value == default:
        continue
      if self.partition not in partitions:
        raise ValueError(f'{name}={value!r} has no effect with partition={self.partition}; it is read by '
                         f'{", ".join(partitions)}.')
      distribution = _READ_BY_QUANTITY_DISTRIBUTION.get(name, self.quantity_distribution)
      if self.partition == 'quantity' and self.quantity_distribution != distribution:
        raise ValueError(f'{name}={value!r} has no effect with quantity_distribution={self.quantity_distribution}.')
