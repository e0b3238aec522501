"""The configuration of images, clients and partitions."""

import dataclasses
import math
from typing import Any

from tff_vision.configs import compatibility, option, validate

PIXELS = ('raw', 'none', 'invert', 'standardize', 'per_image')
CORRUPT_IMAGES = ('refuse', 'skip')
LABEL_CASE = ('ask', 'merge', 'keep')
CLIENT_BY = ('folder', 'patient', 'institution')
_LEAST_DEPTH = 4
SLICE_AXES = ('axial', 'coronal', 'sagittal')

_SCHEMES = 'Partition: what single schemes read'
_SHIFT = 'Feature shift: how images differ between clients'
_IMAGES = 'Images'
_FILES = 'Your own files'
_FORMATS = 'Your own files: patients, volumes and tables'
_AUGMENTATION = 'Augmentation of training images'


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """Which images, and how they are spread over clients; docs/reference/partitions.md explains the schemes.

  `dataset` may also be images that are already distributed over clients (`data.images.FederatedImages`), a reference to
  such images or to a function that takes this section and returns them, or a `data.pool.Pool`, which the partition
  distributes.
  """
  dataset: Any = option.option(
      'digits', 'Data set; `python -m pipelines.doctor` lists what is here.', own='package.module:attribute')
  data_dir: str | None = option.option(
      None, 'Folder that holds the files of the data set; unset means the places where its source looks.', path=True)
  partition: str = option.option('dirichlet', 'How examples become clients; natural keeps the clients of the source.')
  partition_alpha: float = option.option(
      1.0, 'Dirichlet concentration of dirichlet (a class over clients), dirichlet_equal (classes within a client) and '
      'quantity (sizes); large is near IID.')
  num_clients: int | None = option.option(
      None, 'Clients that train; unset means all of a natural source, and 20 of a partition.')
  held_out_clients: int | None = option.option(
      None, 'So many clients more never train and are evaluated on; unset means as the source has it.')
  client_test_fraction: float = option.option(
      0.0, 'Share of its own training examples that each client is tested on instead, beside the test examples that '
      'the source has.')
  client_validation_fraction: float = option.option(
      0.0, 'Share of its own training examples that each client keeps for select_best instead, beside the validation '
      'examples that the source has.')
  min_client_examples: int = option.option(
      1, 'dirichlet, quantity: no client has fewer training examples.', topic=_SCHEMES)
  classes_per_client: int = option.option(
      2, 'shards, label_quantity: a client has at most so many classes.', topic=_SCHEMES)
  quantity_distribution: str = option.option(
      'lognormal', 'quantity: what client sizes are in proportion to.', topic=_SCHEMES)
  quantity_sigma: float = option.option(
      1.0, 'quantity: deviation of the logarithm of log-normal sizes; 0 for equal sizes.', topic=_SCHEMES)
  pachinko_coarse_alpha: float = option.option(
      0.1, 'pachinko: concentration of a client over superclasses.', topic=_SCHEMES)
  pachinko_fine_alpha: float = option.option(
      10.0, 'pachinko: concentration of a client over the classes of a superclass.', topic=_SCHEMES)
  client_shift: str = option.option(
      'none', 'Whether the same objects look different at different clients, whose training and test images an imaging '
      'device of their own changes; for any partition.', topic=_SHIFT)
  shift_rotation: float = option.option(
      15.0, 'A client\'s images are rotated by one angle of up to so many degrees.', topic=_SHIFT)
  shift_contrast: float = option.option(
      0.4, 'A client\'s contrast is multiplied by one factor in 1 -+ this.', topic=_SHIFT)
  shift_noise: float = option.option(
      0.08, 'A client\'s noise deviates by up to this share of full intensity.', topic=_SHIFT)
  shift_gamma: float = option.option(
      0.0, 'A client\'s pixels are raised to one power between 1 / (1 + this) and 1 + this.', topic=_SHIFT)
  shift_blur: float = option.option(
      0.0, 'A client\'s images are blurred by one Gaussian with a deviation of up to so many pixels.', topic=_SHIFT)
  shift_brightness: float = option.option(
      0.0, 'One change of up to this share of full intensity is added to a client\'s pixels.', topic=_SHIFT)
  preprocess: str | None = option.option(
      None, 'What is done to pixels after scaling to 0..1: raw, invert (1 - x), standardize (mean and deviation of the '
      'data set), per_image; none: not even scaling; unset: what suits the data set.', choices=PIXELS, topic=_IMAGES)
  image_size: int | None = option.option(
      None, 'Height and width that images are resized to; of medmnist:*, which of its sizes is read.', topic=_IMAGES)
  image_channels: int | None = option.option(None, '1 turns colour to grey, 3 repeats grey.', topic=_IMAGES)
  crop: int | None = option.option(
      None, 'Height and width of a crop, random in training and central in evaluation; 0 for none.', topic=_IMAGES)
  flip: bool | None = option.option(None, 'Whether training mirrors every other image.', topic=_IMAGES)
  augment_rotation: float = option.option(0.0, 'Largest rotation in degrees, to either side.', topic=_AUGMENTATION)
  augment_translation: float = option.option(
      0.0, 'Largest shift, as a share of height and width; below 1.', topic=_AUGMENTATION)
  augment_scale: float = option.option(0.0, 'Sizes change by factors of up to 1 -+ this; below 1.', topic=_AUGMENTATION)
  augment_brightness: float = option.option(
      0.0, 'Largest change of all pixels of an image, as a share of the range from black to white.',
      topic=_AUGMENTATION)
  augment_contrast: float = option.option(
      0.0, 'Contrast is multiplied by a factor of up to 1 -+ this; below 1.', topic=_AUGMENTATION)
  augment_erasing: float = option.option(
      0.0, 'Every other image loses a rectangle of up to this share of its area; below 1.', topic=_AUGMENTATION)
  augment_mixup: float = option.option(
      0.0, 'Images of a batch are mixed in pairs, by shares from Beta(this, this).', topic=_AUGMENTATION)
  normal_class: str | None = option.option(
      None, 'The class that task=anomaly trains on; other training images are left out, test images stay.',
      topic=_IMAGES)
  test_fraction: float = option.option(
      0.2, 'Share of every class that is held out, of sources without a test set of their own.', topic=_FILES)
  corrupt_images: str = option.option(
      'refuse', 'Whether an image file that cannot be decoded stops the run or is left out and counted.',
      choices=CORRUPT_IMAGES, topic=_FILES)
  pixel_range: str | None = option.option(
      None, 'BLACK,WHITE: the stored values that are black and white. Image files and arrays of whole numbers are '
      'brought to 0..1 by it, and files for prediction to arrays of floats; not given, what type and values tell.',
      topic=_FILES)
  label_case: str = option.option(
      'ask', 'Classes whose names differ in case only are refused, made one, or left apart.', choices=LABEL_CASE,
      topic=_FILES)
  target: str | None = option.option(
      None, 'The column of manifest.csv, or the array of the .npz, that holds the number of each image; folder: the '
      'name of its folder is the number. For task=regression.', topic=_FILES)
  max_boxes: int = option.option(
      100, 'coco, voc: how many boxes an image may have; labels are padded to this number.', topic=_FILES)
  finding_separator: str | None = option.option(
      None, 'Stands between findings in one label; empty: labels are classes; not given: | does, if there.',
      topic=_FILES)
  client_by: str = option.option(
      'folder', 'natural: what makes a client of image files: the folder (or the column client of a manifest), the '
      'patient (of DICOM files, or the column patient), or the institution (of DICOM files).', choices=CLIENT_BY,
      topic=_FORMATS)
  slice_axis: str = option.option(
      'axial', 'Along which axis a volume (NIfTI) is cut into images.', choices=SLICE_AXES, topic=_FORMATS)
  volume_depth: int | None = option.option(
      None, 'Takes each file of several slices as one volume of so many slices, for task=segmentation and '
      'model=unet3d_gn; unset: every slice is an image.', topic=_FORMATS)
  image_column: str | None = option.option(
      None, 'parquet: the column with the images; unset means what the file\'s description says, or the only one '
      'that holds bytes.', topic=_FORMATS)
  label_column: str | None = option.option(
      None, 'parquet, webdataset: the column, or the field of the samples\' JSON, with the labels; unset means what '
      'the file\'s description says, or label.', topic=_FORMATS)
  client_column: str | None = option.option(
      None, 'parquet, webdataset: the column, or the field of the samples\' JSON, with the clients; unset means '
      'client or client_id, if there.', topic=_FORMATS)

  ignore_index: int | None = option.option(
      None, 'The value of mask pixels that do not count; unset: 255 in masks of class numbers, if the list of classes '
      'has none of that number.', topic=_FILES)

  @property
  def numeric_pixel_range(self) -> tuple[float, float] | None:
    """The values of black and of white in `pixel_range`."""
    if self.pixel_range is None:
      return None
    black, white = map(float, self.pixel_range.split(','))
    return black, white

  def __post_init__(self):
    option.check_choices(self)
    self._check_partition()
    if self.data_dir == '':  # As a shell leaves it of a variable that is not set: it would be the working directory.
      raise ValueError('data_dir is empty: name a file or a folder, or leave it out.')
    if not isinstance(self.dataset, str):
      for name, value in option.changed(self).items():
        if name != 'dataset' and not name.startswith('augment_'):
          raise ValueError(f'{name}={value!r} has no effect with images that are given as an object: they have their '
                           'clients and their preprocessing.')
    if self.image_size is not None:
      validate.positive(image_size=self.image_size)
    if self.image_channels not in (None, 1, 3):
      raise ValueError(f'image_channels must be 1 or 3, found {self.image_channels!r}.')
    if self.crop is not None:
      validate.non_negative(crop=self.crop)
    validate.open_unit(test_fraction=self.test_fraction)
    validate.positive(max_boxes=self.max_boxes)
    if self.volume_depth is not None and self.volume_depth < _LEAST_DEPTH:
      raise ValueError(f'volume_depth must be at least {_LEAST_DEPTH} slices, found {self.volume_depth!r}.')
    if self.volume_depth is not None and self.image_channels is not None:
      raise ValueError(f'image_channels={self.image_channels} has no effect with volume_depth={self.volume_depth}: '
                       'volumes are grey.')
    self._check_pixel_range()
    validate.non_negative(augment_rotation=self.augment_rotation, augment_brightness=self.augment_brightness,
                          augment_mixup=self.augment_mixup)
    validate.fraction(augment_translation=self.augment_translation, augment_scale=self.augment_scale,
                      augment_contrast=self.augment_contrast, augment_erasing=self.augment_erasing)
    if self.augment_rotation > 180 or self.augment_brightness > 1:
      raise ValueError(f'augment_rotation must be at most 180 degrees, and augment_brightness at most 1; found '
                       f'{self.augment_rotation:g} and {self.augment_brightness:g}.')
    compatibility.check(self)

  def _check_pixel_range(self):
    if self.pixel_range is None:
      return
    try:
      black, white = self.numeric_pixel_range or (math.nan, math.nan)
    except ValueError:
      black = white = math.nan
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
      raise ValueError(f'pixel_range must be BLACK,WHITE, two numbers of which the second is larger; found '
                       f'{self.pixel_range!r}.')

  def _check_partition(self):
    validate.positive(partition_alpha=self.partition_alpha, min_client_examples=self.min_client_examples,
                      classes_per_client=self.classes_per_client, pachinko_coarse_alpha=self.pachinko_coarse_alpha,
                      pachinko_fine_alpha=self.pachinko_fine_alpha)
    validate.non_negative(quantity_sigma=self.quantity_sigma, shift_rotation=self.shift_rotation,
                          shift_noise=self.shift_noise, shift_gamma=self.shift_gamma, shift_blur=self.shift_blur)
    validate.fraction(client_test_fraction=self.client_test_fraction,
                      client_validation_fraction=self.client_validation_fraction, shift_contrast=self.shift_contrast,
                      shift_brightness=self.shift_brightness)
    if self.num_clients is not None:
      validate.positive(num_clients=self.num_clients)
    if self.held_out_clients is not None:
      validate.non_negative(held_out_clients=self.held_out_clients)
