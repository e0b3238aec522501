"""The page of a survey."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision.report import number_format as numbers
from tff_vision.report import pages, tables

# A client whose labels or intensities are so far from those of the others is counted as apart.
_APART = 0.5


def write_html(path: str | os.PathLike[str], found: Mapping[str, Any]) -> None:
  """Writes the page that shows the result of `surveying.survey`."""
  from tff_vision.report import figures  # Imported late: it loads matplotlib.
  shown = {'labels': (functools.partial(_bars, found['labels']), 'Images of each label: ' + ', '.join(
               f'{name} {numbers.plain(value)}' for name, value in found['labels'].items()) + '.'),
           'intensity': (functools.partial(_lines, found['intensity']), 'Histogram of intensities of each channel.')}
  for name in ('label_mismatch', 'intensity_shift'):
    if name in found:
      shown[name] = (functools.partial(_distances, found[name]), f'Number of clients at each distance: {found[name]}.')
  pages.write(path, pages.render('survey.html.j2', dict(
      found=found, said=_said(found), labels=_labels(found), pixels=_pixels(found), sites=_sites(found),
      warnings=warnings(found), footer=_footer(found),
      figures={name: {**figures.render(draw), 'alt': alt} for name, (draw, alt) in shown.items()})))


def warnings(found: Mapping[str, Any]) -> list[str]:
  """Returns sentences on what should be looked into before training."""
  said = []
  if missing := [name for name, number in found['labels'].items() if number <= 0]:
    said.append(f'No site has an image of {", ".join(missing)}.')
  if found['images_of_one_value'] > 0:
    said.append(f'{numbers.plain(found["images_of_one_value"])} images have one value in all pixels.')
  for name, what in (('label_mismatch', 'labels'), ('intensity_shift', 'intensities')):
    counts = found.get(name, ())
    if apart := sum(counts[round(_APART * len(counts)):]):
      said.append(f'{apart} of {sum(counts)} clients have {what} of which half or more is unlike those of the others.')
  if (outside := max(found['pixels_out_of_range'])) > 0.001:
    said.append(f'{numbers.percent(outside)} of the pixels of a channel lie outside of the stored range of the plan.')
  return said


def _said(found):
  images = 'x'.join(map(str, found['image_shape']))
  return (f'{numbers.plain(found["examples"])} training images of {images} at {found["sites"]} sites with '
          f'{found["clients"]} clients.')


def _footer(found):
  noise = found['noise']
  if noise is None:
    return ('Exact sums over all sites. No noise covers them: whoever reads this page learns what they say of the '
            'training images.')
  return (f'Every number has Gaussian noise of {noise["noise_multiplier"]:g} times its sensitivity: epsilon '
          f'{noise["epsilon"]:.3g} at delta {noise["delta"]:.3g} for one image added or removed, against readers of '
          'this page; it adds to what a training costs.')


def _labels(found):
  total = sum(max(value, 0) for value in found['labels'].values()) or 1
  return tables.Table(caption='Labels of training images', header=['label', 'images', 'share'], rows=[
      [name, numbers.data(value), numbers.percent(max(value, 0) / total)] for name, value in found['labels'].items()])


def _pixels(found):
  rows = [[str(channel), *(numbers.data(found[name][channel]) for name in ('mean', 'deviation', 'pixels_out_of_range'))]
          for channel in range(len(found['mean']))]
  return tables.Table(caption='Intensities', header=['channel', 'mean', 'deviation', 'share outside of the range'],
                      rows=rows)


def _sites(found):
  if 'of_sites' not in found:
    return None
  rows = [[name, numbers.data(one['examples']), *(numbers.data(value) for value in one['labels'].values()),
           numbers.data(float(np.mean(one['mean']))), numbers.data(float(np.mean(one['deviation'])))]
          for name, one in found['of_sites'].items()]
  return tables.Table(caption='What each site shares', rows=rows,
                      header=['site', 'images', *found['labels'], 'mean', 'deviation'])


def _axes(width=9.6, height=2.8):
  from matplotlib import figure
  fig = figure.Figure(figsize=(width, height))
  return fig, fig.subplots()


def _bars(labels, theme):
  fig, axes = _axes()
  axes.bar(range(len(labels)), list(labels.values()), color=theme.first)
  axes.set_xlabel('label, in the order of the table')
  axes.set_ylabel('images')
  return fig


def _lines(intensity: Sequence[Sequence[float]], theme):
  fig, axes = _axes()
  for channel, color in zip(intensity, (theme.first, theme.second, theme.third) * len(intensity), strict=False):
    axes.plot(np.linspace(0, 1, len(channel)), channel, color=color)
  axes.set_xlabel('from black to white')
  axes.set_ylabel('share of pixels')
  return fig


def _distances(counts, theme):
  fig, axes = _axes(height=2.2)
  axes.bar((np.arange(len(counts)) + 0.5) / len(counts), counts, width=0.9 / len(counts), color=theme.second)
  axes.set_xlim(0, 1)
  axes.set_xlabel('total variation from all other clients')
  axes.set_ylabel('clients')
  return fig
