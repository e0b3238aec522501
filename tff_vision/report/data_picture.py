"""Draws a partition: class mix and size of each client, and a few images of a few clients.

Nothing here uses matplotlib's global state, so no display is needed.
"""

import contextlib
import os
import pathlib

import numpy as np
from matplotlib import colormaps, figure

from tff_vision import labels
from tff_vision.data import images as images_lib
from tff_vision.report.data_summary import LabelCounts

MAX_BARS = 60
SHEET_CLIENTS = 6
SHEET_IMAGES = 12
_MAX_LEGEND = 20


def save(path: str | os.PathLike, images: images_lib.FederatedImages, counts: LabelCounts, *, title: str) -> None:
  """Writes the picture as one atomic step; the file name's extension selects the format.

  Raises:
    ValueError: The file cannot be written, or matplotlib does not know its format.
  """
  fig = figure.Figure(figsize=(12, 11), layout='constrained')
  fig.suptitle(title)
  bars, sheet = fig.subfigures(2, 1, height_ratios=(1, 1))
  _draw_bars(bars, images, counts)
  _draw_sheet(sheet, images)
  path = pathlib.Path(path)
  part = path.with_name(f'{path.stem}.part{path.suffix}')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(part, dpi=100)
    os.replace(part, path)
  except (OSError, ValueError) as error:  # matplotlib raises ValueError for an unknown format.
    raise ValueError(f'picture={path} cannot be written: {error}.') from error
  finally:
    with contextlib.suppress(OSError):
      part.unlink()


def _draw_bars(fig, images, counts):
  """Draws each client's shares of labels above its size; for many clients, a sample evenly spaced by size."""
  sizes = counts.counts.sum(axis=1)
  shown = np.arange(len(sizes))
  if len(shown) > MAX_BARS:
    shown = np.argsort(sizes, kind='stable')[np.linspace(0, len(sizes) - 1, MAX_BARS).round().astype(int)]
  shares = counts.counts[shown] / sizes[shown, None]
  mix, size = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
  colors = colormaps['tab20' if shares.shape[1] <= 20 else 'turbo'](np.linspace(0, 1, shares.shape[1]))
  bottom = np.zeros(len(shown))
  for label, share, color in zip(counts.labels, shares.T, colors, strict=True):
    mix.bar(np.arange(len(shown)), share, bottom=bottom, width=0.9, color=color, label=_name(label, images))
    bottom += share
  mix.set(ylabel='share of labels', ylim=(0, 1), xlim=(-0.6, len(shown) - 0.4))
  size.bar(np.arange(len(shown)), sizes[shown], width=0.9, color='#5a6675')
  what = 'clients' if len(shown) == len(sizes) else f'{len(shown)} of {len(sizes)} clients, in order of size'
  size.set(ylabel='examples', xlabel=what, xticks=[])
  if len(counts.labels) <= _MAX_LEGEND:
    mix.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=8, reverse=True)


def _draw_sheet(fig, images):
  """Draws the first images of some clients, spread evenly over all clients; one row per client."""
  clients = np.unique(np.linspace(0, len(images.train) - 1, SHEET_CLIENTS).round().astype(int))
  axes = fig.subplots(len(clients), SHEET_IMAGES, squeeze=False)
  for row, client in zip(axes, clients, strict=True):
    examples = images.train.examples(client)
    is_number = images.spec.labels is labels.Kind.NUMBER
    tags = examples.y if is_number else labels.tags(examples.y, len(images.class_names))
    for cell in row:
      cell.set_axis_off()
    for cell, x, y in zip(row, examples.x[:SHEET_IMAGES], tags[:SHEET_IMAGES], strict=False):
      stored = images.stored_pixels
      low, high = (stored.black, stored.white) if stored.black is not None else (float(x.min()), float(x.max()))
      pixels = np.clip((x.astype(float) - low) / max(high - low, 1e-9), 0, 1)
      cell.imshow(pixels if x.shape[-1] == 3 else pixels[..., 0], cmap='gray', vmin=0, vmax=1)
      cell.set_title(_name(np.atleast_1d(y), images), fontsize=7, pad=2)
    row[0].text(-0.15, 0.5, _plain(images.train.client_ids[client]), transform=row[0].transAxes, ha='right',
                va='center', fontsize=8)


def _name(label, images):
  if images.spec.labels is labels.Kind.NUMBER:
    return f'{label[0]:g}'
  if images.spec.labels is labels.Kind.CLASS:
    return _plain(images.class_names[int(label[0])])
  return _plain(', '.join(images.class_names[c] for c in np.flatnonzero(label)) or 'no finding')


def _plain(name):
  """Escapes dollar signs, which would start a formula."""
  name = str(name).replace('$', r'\$')
  return name if len(name) <= 24 else name[:23] + '…'
