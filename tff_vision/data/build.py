"""Builds `FederatedImages` from a configuration: source, then partition."""

import dataclasses

import numpy as np

from tff_vision import configs, plugins, seeds
from tff_vision import labels as labels_lib
from tff_vision.data import augmentation as augmentation_lib
from tff_vision.data import fingerprint, images, ownership, pieces, preprocess
from tff_vision.data.partition import client_shift, imaging_device
from tff_vision.data.sources import pool as pool_lib
from tff_vision.data.sources import registry

_MOMENTS_FROM = 10_000
_AT_ONCE = 256  # So many images are decoded at a time for their mean and deviation.
_ROUNDING = 1e-6  # Of the largest value: so much may images of one colour differ after they are resized.
_NEARLY_BLACK = 31


def build(config: configs.DataConfig, *, seed: int) -> images.FederatedImages:
  """Loads a data set and spreads it over clients.

  Args:
    config: What to load and how to spread it.
    seed: Root of the random choices; the data set itself does not depend on it.

  Raises:
    ValueError: The data is missing or corrupt, or the partition is not possible on it.
  """
  pool = own(config) if plugins.is_own(config.dataset, registry.SOURCES) else registry.find(config.dataset).load(config)
  if isinstance(pool, images.FederatedImages):
    return _augmented(pool, config)
  notes = list(pool.notes)
  if pool.labels_at_hand:
    notes += pool.check_labels(config.dataset)
  seed = seeds.derive(seed, 'data', 'partition')
  who = (ownership.natural if config.partition == 'natural' else ownership.partitioned)(pool, config, seed=seed)
  who = ownership.on_devices(who, config, seed=seed)
  who = ownership.hold_out_examples(who, config.client_test_fraction, seed=seed)
  who = ownership.keep_for_validation(who, config.client_validation_fraction, seed=seed)
  notes += who.notes
  trainers = _with_examples(_of_class(who.trainers, pool, config, notes), notes)
  preprocessing, preprocessing_notes = _preprocessing(pool, config)
  unseen = _held_out(pool, who.unseen) if who.unseen else None
  test = _held_out(pool, trainers, who.common)
  if not len(test.examples) and unseen is not None:  # Only unseen clients have test examples: they are the test set.
    test = dataclasses.replace(test, examples=unseen.examples)
  notes += _nearly_black(pool, test.examples.x, notes)
  made = images.FederatedImages(
      name=config.dataset, spec=pool.spec, train=_clients(pool, trainers), test=test, unseen=unseen,
      validation=_validation(pool, trainers),
      preprocessing=preprocessing, notes=(*notes, *preprocessing_notes),
      counted_classes=pool.counted_classes, deduced=pool.deduced)
  return dataclasses.replace(made, fingerprint=fingerprint.of(made, pool.digest, trainers.pieces['train']))


def _nearly_black(pool, x, notes):
  """Adds a note if a user's own uint8 images use only a small part of 0..255, as masks of 0 and 1 do."""
  if not pool.digest or x.dtype != np.uint8 or not 0 < x.max(initial=0) <= _NEARLY_BLACK or any(
      'nearly black' in note for note in notes):
    return []
  return [f'The test images hold values in 0..{x.max()}, which of 0..255 are nearly black: say pixel_range=0,{x.max()} '
          'if the largest is white.']


def _augmented(found, config):
  """Returns images that are given as an object, with the augmentation that the config asks for, if any."""
  if not augmentation_lib.of(config).changes:
    return found
  preprocessing = dataclasses.replace(found.preprocessing, augmentation=_augmentation(
      config, found.preprocessing, found.spec.stored, found.spec.dtype))
  return dataclasses.replace(found, preprocessing=preprocessing)


def _augmentation(config, preprocessing, stored, dtype):
  """Returns the augmentation of a config, in the range of pixels before they are normalised.

  Raises:
    ValueError: It would have no effect, or the range is not known.
  """
  asked = augmentation_lib.of(config)
  if not asked.shades:
    return asked
  name = 'augment_brightness' if asked.brightness else 'augment_contrast'
  if preprocessing.pixels == 'per_image':
    raise ValueError(f'{name}={getattr(config, name):g} has no effect with preprocess=per_image, which takes '
                     'brightness and contrast out of every image.')
  if stored.black is None:
    raise ValueError(f'{name}={getattr(config, name):g} needs to know which stored values are black and white: say '
                     'pixel_range=BLACK,WHITE.')
  scale = preprocessing.scale if dtype == np.uint8 else 1.0
  return dataclasses.replace(asked, black=stored.black * scale, white=stored.white * scale)


def own(config: configs.DataConfig) -> images.FederatedImages | pool_lib.Pool:
  """Returns the images that a config holds or refers to.

  Raises:
    ValueError: A reference points to nothing, or to an object of another kind; or settings have no effect on it.
  """
  made = plugins.value_of(config.dataset, {}, field='dataset')
  if isinstance(made, images.FederatedImages):
    dataclasses.replace(config, dataset=made)  # Refuses settings that a function would read, and an object does not.
  if callable(made):
    plugins.check_call(made, {}, setting=f'dataset={plugins.shown(config.dataset)}', positional=('config',))
    made = made(config)
  if not isinstance(made, (images.FederatedImages, pool_lib.Pool)):
    raise ValueError(f'dataset={plugins.shown(config.dataset)} must be tff_vision.data.FederatedImages or a '
                     f'function of the data settings that returns them, found {type(made).__name__}.')
  return made


def _of_class(trainers, pool, config, notes):
  """Leaves out training examples of classes other than normal_class."""
  if config.normal_class is None:
    return trainers
  if config.normal_class not in pool.class_names or pool.spec.labels is not labels_lib.Kind.CLASS:
    raise ValueError(f'normal_class={config.normal_class} is no class of dataset={config.dataset}; its classes are '
                     f'{", ".join(map(str, pool.class_names[:12]))}.')
  normal = pool.train.y == list(pool.class_names).index(config.normal_class)
  train = trainers.pieces['train']
  kept = train.where(normal[train.values])
  if not len(kept.values):
    raise ValueError(f'normal_class={config.normal_class}: no training image of dataset={config.dataset} is of this '
                     'class, so that there is nothing to train on.')
  if number := len(train.values) - len(kept.values):
    notes.append(images.Counted(
        f'{number} training examples of other classes than {config.normal_class} were left out.'))
  return trainers.replaced({'train': kept})


def _with_examples(trainers, notes):
  """Leaves out clients without examples, and adds notes with counts of anything that may surprise the user."""
  sizes = trainers.pieces['train'].sizes
  if empty := int(np.count_nonzero(sizes == 0)):
    notes.append(images.Counted(f'{empty} of {len(trainers)} clients received no training example and were left out.'))
  if single := int(np.count_nonzero(sizes == 1)):
    notes.append(images.Counted(f'{single} of {len(trainers) - empty} clients hold a single training example.'))
  return trainers.take(np.flatnonzero(sizes)) if empty else trainers


def _validation(pool, trainers):
  """Returns the validation examples of the clients, which are read when they are used; None: there are none."""
  own = trainers.pieces
  parts = [images.ArrayClients(pool.train, own['kept_for_validation'], trainers.names)]
  if pool.validation is not None:
    parts.append(images.ArrayClients(pool.validation, own['validation'], trainers.names))
  if not any(len(part.indices.values) for part in parts):
    return None
  return _on_devices(images.JoinedClients(parts=parts), trainers)


def _clients(pool, trainers):
  return _on_devices(images.ArrayClients(pool.train, trainers.pieces['train'], trainers.names), trainers)


def _on_devices(clients, trainers):
  if trainers.devices is None or all(device is None for device in trainers.devices):
    return clients
  return imaging_device.DeviceClients(clients, trainers.devices)


def _held_out(pool, owners, common=()):
  """Loads the examples that `owners` are tested on and the test examples in `common`, in the order of the pool.

  A client that never trains is tested on all its examples.
  """
  tested, kept = owners.pieces['test'], owners.pieces['kept_back']
  test = np.sort(np.concatenate([common, tested.values])).astype(np.int64)
  train = np.sort(kept.values).astype(np.int64)
  examples = pool.test.take(test)
  if len(train):
    kept_back = pool.train.take(train)
    examples = images.Examples(np.concatenate([examples.x, kept_back.x]), np.concatenate([examples.y, kept_back.y]))
  clients = pieces.Pieces(np.searchsorted(test, tested.values), tested.sizes).beside(
      pieces.Pieces(len(test) + np.searchsorted(train, kept.values), kept.sizes))
  for device, positions in zip(owners.devices or (), clients, strict=owners.devices is not None):
    if device is not None:
      seen = device.apply(examples.take(positions), split='test')
      examples.x[positions], examples.y[positions] = seen.x, seen.y
  return images.HeldOut(examples=examples, clients=clients)


def _refuse_other_range(stored, pixels, config):
  """Refuses settings that take 0 as black and 1 or 255 as white, if the pixels have another black or white."""
  if stored is None or (stored.black, stored.white) in ((0.0, 1.0), (0.0, 255.0)):
    return
  for name, value in (('preprocess', pixels), ('partition', config.partition), ('client_shift', config.client_shift)):
    if value in ('invert', 'feature_shift', *client_shift.SHIFTS):
      found = 'not known' if stored.black is None else f'{stored.black:g}..{stored.white:g}'
      raise ValueError(f'{name}={value} computes with pixels of 0..1, and the range of dataset={config.dataset} is '
                       f'{found}: store its pixels as 0..1.')


def chosen_preprocessing(own: images.Preprocessing, config: configs.DataConfig, *, shape: tuple[int, int, int],
                         stored: images.StoredPixels | None) -> images.Preprocessing:
  """Returns a source's own preprocessing, changed where the user chose something else.

  Args:
    own: The source's own.
    shape: (height, width, channels) of its stored images.
    stored: Their range of values; None: it is not known.

  Raises:
    ValueError: This preprocessing is not possible on the images.
  """
  pixels = config.preprocess or own.pixels
  _refuse_other_range(stored, pixels, config)
  chosen = dataclasses.replace(
      own, pixels=pixels, channels=config.image_channels or own.channels, size=config.image_size or own.size,
      crop=(own.crop if config.crop is None else config.crop) or None,
      flip=own.flip if config.flip is None else config.flip,
      # Standardizing an image cancels any scale, but not the lower limit on its deviation, which is meant for 0..255.
      scale=1.0 if pixels in ('per_image', 'none') else own.scale)
  preprocess.input_shape(chosen, shape)  # Raises if there is no such shape.
  return chosen


def has_constants(chosen: images.Preprocessing, shape: tuple[int, int, int]) -> bool:
  """Returns whether the mean and deviation are known that `chosen` needs for stored images of this shape."""
  *_, channels = preprocess.input_shape(chosen, shape)
  return chosen.pixels != 'standardize' or len(chosen.mean) == channels == shape[-1]


def _preprocessing(pool, config):
  """Returns the preprocessing of a pool, with mean and deviation of its images if it needs them, and notes."""
  chosen = chosen_preprocessing(pool.preprocessing, config, shape=pool.train.shape, stored=pool.stored)
  chosen = dataclasses.replace(chosen, augmentation=_augmentation(
      config, chosen, pool.spec.stored, pool.spec.dtype))
  if has_constants(chosen, pool.train.shape):
    return chosen, ()
  sample = np.unique(np.linspace(0, len(pool.train) - 1, _MOMENTS_FROM).astype(np.int64))
  raw = dataclasses.replace(chosen, pixels='raw', crop=None)
  parts = (np.asarray(preprocess.evaluation_fn(raw, pool.train.take(part).x), np.float64)
           for part in np.array_split(sample, -(-len(sample) // _AT_ONCE)))
  if config.volume_depth is not None:  # Slices are no colours: all have one mean, and the first may be empty.
    parts = (x[..., np.newaxis] for x in parts)
  mean, std = _moments(parts)
  if not std:
    raise ValueError(f'preprocess=standardize divides by the deviation of pixels, which is 0 in dataset='
                     f'{config.dataset}.')
  told = [', '.join(f'{float(value):.4g}' for value in values) for values in (mean, std)]
  note = images.Counted(f'The mean [{told[0]}] and deviation [{told[1]}] of preprocess=standardize were computed from '
                        f'{len(sample)} training images, outside of any privacy mechanism.')
  depth = config.volume_depth or 1
  return dataclasses.replace(chosen, mean=mean * depth, std=std * depth, measured=True), (note,)


def _moments(parts):
  """Returns the mean and the deviation of each channel; no deviations if all pixels of a channel are the same.

  Args:
    parts: Images, float64 [n, height, width, channels]. Sums of many pixels in float32 would not move any more.
  """
  count, mean, squares, largest = 0, 0.0, 0.0, 0.0
  for x in parts:
    pixels = x.reshape(-1, x.shape[-1])
    own = pixels.mean(axis=0)
    # Chan, Golub and LeVeque 1979: the squares of all pixels about their mean from those of two parts.
    squares = squares + np.square(pixels - own).sum(axis=0) + np.square(own - mean) * count * len(pixels) / (
        count + len(pixels))
    mean = mean + (own - mean) * len(pixels) / (count + len(pixels))
    count, largest = count + len(pixels), np.maximum(largest, np.abs(pixels).max(axis=0))
  std = np.sqrt(squares / count)
  return tuple(mean.tolist()), tuple(std.tolist()) if (std > _ROUNDING * largest).all() else ()
