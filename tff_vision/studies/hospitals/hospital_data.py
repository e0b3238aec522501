"""The hospitals' images: what each trains on, chooses its threshold on, and is tested on."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision import labels, seeds
from tff_vision.data import images as images_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hospitals:
  """Images of two classes, from at least two hospitals.

  Attributes:
    names: The names of the hospitals.
    images: The hospitals as clients, without the images kept for validation.
    pooled: The same images as one client.
    validation: The validation images of each hospital.
    test: The test images of each hospital.
  """
  names: Sequence[str]
  images: images_lib.FederatedImages
  pooled: images_lib.FederatedImages
  validation: Sequence[images_lib.Examples]
  test: Sequence[images_lib.Examples]

  def describe(self, *, prevalence: bool) -> list[Mapping]:
    """Returns the size of each hospital, and its prevalence if `prevalence`: no guarantee for images covers it."""
    made = []
    for client, name in enumerate(self.names):
      y = self.images.train.examples(client).y
      made.append({'hospital': name, 'training_images': len(y), 'validation_images': len(self.validation[client]),
                   'test_images': len(self.test[client]),
                   **({'share_of_second_class': float(np.mean(y))} if prevalence else {})})
    return made


def check(images: images_lib.FederatedImages) -> None:
  """Refuses images that are not of two classes, images of one hospital only, and data that no guarantee would cover.

  Raises:
    ValueError: The images are refused.
  """
  if images.spec.labels is not labels.Kind.CLASS or len(images.class_names) != 2:
    raise ValueError(f'hospitals compares models of two classes; dataset {images.name} has '
                     f'{len(images.class_names)} {"findings" if images.multi_label else "classes"}.')
  if images.preprocessing.measured:
    raise ValueError('preprocess=standardize does not go with hospitals: mean and deviation would be computed from the '
                     'hospitals\' own images and told with the private models; choose per_image, raw or invert.')
  if len(images.train) < 2:
    raise ValueError(f'hospitals compares two hospitals or more; found {len(images.train)} client.')


def divide(images: images_lib.FederatedImages, *, validation_share: float, seed: int) -> Hospitals:
  """Returns the clients of `images` as hospitals.

  Raises:
    ValueError: A hospital does not have both classes in its training, validation and test images.
  """
  kept, validation, test = [], [], []
  for client, name in enumerate(images.train.client_ids):
    whole = images.train.examples(client)
    apart = _apart(whole.y, validation_share, seeds.derive(seed, 'validation', str(name)))
    kept.append(whole.take(np.setdiff1d(np.arange(len(whole)), apart)))
    validation.append(whole.take(apart))
    test.append(images.test.examples.take(images.test.clients[client]))
    for what, part in (('training', kept[-1]), ('validation', validation[-1]), ('test', test[-1])):
      if len(np.unique(part.y)) < 2:
        raise ValueError(f'hospital {name} has {what} images of fewer than two classes; choose another partition, or '
                         'client_test_fraction to give each hospital test images.')
  names = [str(name) for name in images.train.client_ids]
  return Hospitals(names=names, validation=validation, test=test,
                   images=dataclasses.replace(images, train=clients_of(kept, names)),
                   pooled=dataclasses.replace(images, train=clients_of([joined(kept)], ['pooled'])))


def _apart(y, share, seed):
  """Returns the positions kept for validation: the given share of each class."""
  rng = np.random.default_rng(seed)
  chosen = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
  return np.sort(np.concatenate([positions[:max(1, round(share * len(positions)))] for positions in chosen]))


def joined(parts: Sequence[images_lib.Examples]) -> images_lib.Examples:
  """Returns all examples joined into one set."""
  return images_lib.Examples(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))


def clients_of(parts: Sequence[images_lib.Examples], names: Sequence[str]) -> images_lib.ArrayClients:
  """Returns clients that hold these examples."""
  ends = np.cumsum([len(part) for part in parts])[:-1]
  return images_lib.ArrayClients(joined(parts), np.split(np.arange(sum(map(len, parts))), ends), names)
