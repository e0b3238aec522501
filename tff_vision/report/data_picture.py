"""Draws a partition as a picture: class mix and size of each client, and a few images of a few clients.

Nothing here uses matplotlib's global state, so no display is needed. Classes have the colours of reports.
"""

import contextlib
import os
import pathlib

import numpy as np
from matplotlib import colors, figure, ticker

from tff_vision import labels, wording
from tff_vision.data import images as images_lib
from tff_vision.report import palette, partition, run_charts

SHEET_CLIENTS = 6
SHEET_IMAGES = 12
_NAMED = 30


def save(path: str | os.PathLike, images: images_lib.FederatedImages, *, title: str) -> None:
  """Writes the picture as one atomic step; the file name's extension selects the format.

  Raises:
    ValueError: The file cannot be written, or matplotlib does not know its format.
  """
  fig = figure.Figure(figsize=(12, 11), layout='constrained')
  fig.suptitle(_plain(title))
  bars, sheet = fig.subfigures(2, 1, height_ratios=(1, 1))
  _draw_mix(bars, partition.class_mix(images))
  _draw_sheet(sheet, images)
  path = pathlib.Path(path)
  part = path.with_name(f'{path.stem}.part{path.suffix}')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(part, dpi=100, format=path.suffix[1:])
    os.replace(part, path)
  except (OSError, ValueError) as error:  # matplotlib raises ValueError for an unknown format.
    raise ValueError(f'picture={path} cannot be written: {error}.') from error
  finally:
    with contextlib.suppress(OSError):
      part.unlink()


def _draw_mix(fig, mix):
  """Draws each client's shares of classes above its size: parts of bars, or a heat map for six classes or more."""
  names, places = list(map(_plain, mix.class_names)), np.arange(len(mix.sizes))
  shares, size = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
  if run_charts.is_stacked(mix):
    bottom = np.zeros(len(places))
    for number, (name, share) in enumerate(zip(names, mix.shares.T, strict=True)):
      shares.bar(places, share, bottom=bottom, width=0.9, color=palette.CLASS_COLORS[number], label=name)
      bottom += share
    shares.set(ylabel='share of each class', ylim=(0, 1))
    shares.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=8, reverse=True)
  else:
    scale = colors.LinearSegmentedColormap.from_list('shares', [palette.LIGHT.card, palette.LIGHT.first])
    drawn = shares.imshow(mix.shares.T, aspect='auto', cmap=scale, vmin=0, interpolation='nearest')
    step = -(-len(names) // _NAMED)
    shares.set_yticks(range(0, len(names), step), names[::step], fontsize=8)
    fig.colorbar(drawn, ax=shares, pad=0.01, format=ticker.PercentFormatter(1.0),
                 label='share of a client’s images')
  size.bar(places, mix.sizes, width=0.9, color=palette.LIGHT.third)
  what = wording.counted(len(places), 'client') + (', a sample in order of size' if mix.sampled else '')
  size.set(ylabel='images', xlabel=what, xticks=[], xlim=(-0.6, len(places) - 0.4))


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
      cell.imshow(pixels if x.shape[-1] == 3 else pixels[..., x.shape[-1] // 2], cmap='gray', vmin=0, vmax=1)
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
