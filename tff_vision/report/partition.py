"""The part of report.html about the data of clients: sizes, class mixes, and a few images.

Only a sample of the clients is loaded, so the page costs the same for 3,400 clients as for 60.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision import labels as labels_lib
from tff_vision.data import images as images_lib
from tff_vision.report import pictures

MAX_CLIENTS_IN_ORDER = 60
MAX_CLIENTS_SAMPLED = 120
SAMPLE_CLIENTS = 5
SAMPLE_IMAGES = 8


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
  sizes = images.train.sizes
  sampled = len(clients) > MAX_CLIENTS_IN_ORDER
  if sampled:
    clients = _spread(np.argsort(sizes, kind='stable'), MAX_CLIENTS_SAMPLED)
  shares = np.zeros((len(clients), len(images.class_names)))
  for row, client in enumerate(clients):
    if sizes[client]:
      y = labels_lib.tags(images.train.examples(client).y, len(images.class_names))
      shares[row] = _shares(y, len(images.class_names))
  return ClassMix(client_ids=[images.train.client_ids[c] for c in clients], sizes=sizes[clients], shares=shares,
                  class_names=images.class_names, multi_label=not images.spec.labels.has_one_tag,
                  sampled=sampled)


def commonest_share(images: images_lib.FederatedImages) -> float | None:
  """Returns the accuracy of always answering the test set's most common class, or no finding; None for other labels."""
  labels = images.test.examples.y
  if not len(labels) or not (images.multi_label or images.spec.labels is labels_lib.Kind.CLASS):
    return None
  return float(1 - labels.mean()) if images.multi_label else float(np.bincount(labels).max() / len(labels))


def sample_images(images: images_lib.FederatedImages) -> list[Mapping]:
  """Returns a few images of a few clients, spread over the sizes of clients and the classes of each client.

  Returns:
    For each client `{'client', 'size', 'images': [{'png': bytes, 'label': str}]}`.
  """
  sizes = images.train.sizes
  by_size = np.argsort(sizes, kind='stable')
  chosen = _spread(by_size[sizes[by_size] > 0], SAMPLE_CLIENTS)
  rows = []
  for client in chosen[::-1]:
    examples = images.train.examples(client)
    is_number = images.spec.labels is labels_lib.Kind.NUMBER
    tags = examples.y if is_number else labels_lib.tags(examples.y, len(images.class_names))
    order = np.lexsort(tags.T) if tags.ndim == 2 else np.argsort(tags, kind='stable')
    shown = _spread(order, SAMPLE_IMAGES)
    rows.append({
        'client': images.train.client_ids[client],
        'size': int(sizes[client]),
        'images': [{'png': pictures.png(x), 'label': f'{y:g}' if is_number else pictures.label(y, images.class_names)}
                   for x, y in zip(pictures.displayable(examples.x[shown]), tags[shown], strict=True)],
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
