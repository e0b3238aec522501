"""The part of report.html about the data of clients: sizes, class mixes, and a few images.

Only a sample of the clients is loaded, so the page costs the same for 3,400 clients as for 60.
"""

import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision import labels as labels_lib
from tff_vision.data import images as images_lib

MAX_CLIENTS_IN_ORDER = 60
MAX_CLIENTS_SAMPLED = 120
SAMPLE_CLIENTS = 5
SAMPLE_IMAGES = 8
MAX_PIXELS = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassMix:
  """The shares of the classes at some clients.

  Attributes:
    client_ids: The clients shown.
    sizes: [clients] number of training examples.
    shares: [clients, classes] share of a client's examples that have a class; rows add up to 1 for single-label
      data, and to any value for multi-label data.
    class_names: One name for each column.
    multi_label: Whether an example may have several classes.
    sampled: Whether only a sample of the clients is shown, in order of size.
  """
  client_ids: Sequence[str]
  sizes: np.ndarray
  shares: np.ndarray
  class_names: Sequence[str]
  multi_label: bool
  sampled: bool


def class_mix(images: images_lib.FederatedImages) -> ClassMix:
  """Counts the classes of all clients; for many clients, of a sample evenly spaced in order of size."""
  clients = np.arange(len(images.train))
  sizes = np.array([images.train.num_examples(c) for c in clients], np.int64)
  sampled = len(clients) > MAX_CLIENTS_IN_ORDER
  if sampled:
    clients = _spread(np.argsort(sizes, kind='stable'), MAX_CLIENTS_SAMPLED)
  shares = np.zeros((len(clients), len(images.class_names)))
  for row, client in enumerate(clients):
    if sizes[client]:
      y = labels_lib.tags(images.train.examples(client).y, len(images.class_names))
      shares[row] = _shares(y, len(images.class_names))
  return ClassMix(client_ids=[images.train.client_ids[c] for c in clients], sizes=sizes[clients], shares=shares,
                  class_names=images.class_names, multi_label=images.spec.labels is not labels_lib.Kind.CLASS,
                  sampled=sampled)


def commonest_share(images: images_lib.FederatedImages) -> float | None:
  """Returns the accuracy of always predicting the test set's most common class; None if images have no one class."""
  labels = images.test.examples.y
  return None if labels.ndim > 1 or not len(labels) else float(np.bincount(labels).max() / len(labels))


def sample_images(images: images_lib.FederatedImages) -> list[Mapping]:
  """Returns a few images of a few clients, spread over the sizes of clients and the classes of each client.

  Returns:
    For each client `{'client', 'size', 'images': [{'png': bytes, 'label': str}]}`.
  """
  sizes = np.array([images.train.num_examples(c) for c in range(len(images.train))], np.int64)
  by_size = np.argsort(sizes, kind='stable')
  chosen = _spread(by_size[sizes[by_size] > 0], SAMPLE_CLIENTS)
  rows = []
  for client in chosen[::-1]:
    examples = images.train.examples(client)
    tags = labels_lib.tags(examples.y, len(images.class_names))
    order = np.lexsort(tags.T) if tags.ndim == 2 else np.argsort(tags, kind='stable')
    shown = _spread(order, SAMPLE_IMAGES)
    rows.append({
        'client': images.train.client_ids[client],
        'size': int(sizes[client]),
        'images': [{'png': _png(x), 'label': _label(y, images.class_names)}
                   for x, y in zip(displayable(examples.x[shown]), tags[shown], strict=True)],
    })
  return rows


def _spread(ordered: np.ndarray, count: int) -> np.ndarray:
  """Returns `count` elements, evenly spaced from the first to the last, or all if there are fewer."""
  if len(ordered) <= count:
    return ordered
  return ordered[np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def _shares(labels: np.ndarray, num_classes: int) -> np.ndarray:
  if labels.ndim == 2:
    return labels.mean(axis=0)
  return np.bincount(labels, minlength=num_classes)[:num_classes] / len(labels)


def _label(y: np.ndarray, class_names: Sequence[str]) -> str:
  if y.ndim == 0:
    return str(class_names[y])
  return ', '.join(str(class_names[i]) for i in np.flatnonzero(y)) or 'no finding'


def displayable(x: np.ndarray) -> np.ndarray:
  """Returns [n, height, width, 1 or 3] uint8; if float pixels leave [0, 1], all are rescaled together to the range."""
  if x.shape[-1] not in (1, 3):
    x = x[..., :1]
  step = -(-max(x.shape[1:3]) // MAX_PIXELS)
  x = x[:, ::step, ::step]
  if x.dtype == np.uint8:
    return x
  x = np.nan_to_num(x)
  low, high = min(x.min(), 0.0), max(x.max(), 1.0)
  return np.round(255 * (x - low) / (high - low)).astype(np.uint8)


def _png(x: np.ndarray) -> bytes:
  from matplotlib import image
  buffer = io.BytesIO()
  image.imsave(buffer, np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x, format='png',
               metadata={'Software': None})
  return buffer.getvalue()
