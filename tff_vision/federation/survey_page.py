"""The page of a survey."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import wording
from tff_vision.report import axes, chart, marks, pages, palette, tables
from tff_vision.report import number_format as numbers

# A client whose labels or intensities are so far from those of the others is counted as apart.
_APART = 0.3


def write_html(path: str | os.PathLike[str], found: Mapping[str, Any]) -> None:
  """Writes the page that shows the result of `surveying.survey`."""
  shown = {'labels': _bars(found['labels']), 'intensity': _lines(found['intensity']),
           **{name: _distances(found[name]) for name in ('label_mismatch', 'intensity_shift') if name in found}}
  pages.write(path, pages.render('survey.html.j2', dict(
      found=found, said=_said(found), labels=_labels(found), pixels=_pixels(found), sites=_sites(found),
      warnings=warnings(found), footer=_footer(found), figures=shown)))


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
      said.append(f'{apart} of {sum(counts)} clients have {what} of which {_APART:.0%} or more are unlike those of the '
                  'others.')
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
  return (f'Every number has Gaussian noise of {noise["noise_multiplier"]:g} times its sensitivity: '
          f'epsilon {wording.at_most(noise["epsilon"], ".3g")} '
          f'at delta {wording.at_most(noise["delta"], ".3g")} for one image added or removed, against '
          'readers of this page; it adds to what a training costs.')


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


def _bars(labels):
  names, values = list(map(str, labels)), list(labels.values())
  said = ', '.join(f'{name} {numbers.plain(value)}' for name, value in labels.items())
  return chart.Figure(
      alt=f'Images of each label: {said}.',
      panels=[chart.Panel(
          title='Images of each label', x=axes.numeric([0, *values]), y=axes.named(names, downwards=True, most=40),
          height=min(520, max(48, 24 * len(names))), margin=64, marks=[marks.Bars(
              places=range(len(names)), values=values, bases=[0.0] * len(names), look='first', rows=True,
              texts=[f'{name}: {numbers.plain(value)} images' for name, value in labels.items()],
              written=[numbers.plain(value) for value in values] if len(names) <= 20 else ())])])


def _lines(intensity: Sequence[Sequence[float]]):
  drawn = [marks.Line(xs=np.linspace(0, 1, len(channel)).tolist(), ys=list(channel), look=palette.look(number),
                      dots=False, name=f'channel {number}') for number, channel in enumerate(intensity)]
  return chart.Figure(
      alt='Histogram of intensities of each channel.', panels=[chart.Panel(
          title='Share of pixels', x=axes.numeric([0, 1], low=0, high=1, label='from black to white'), marks=drawn,
          y=axes.numeric([value for line in drawn for value in line.ys]))],
      legend=[chart.Key(look=line.look, name=line.name) for line in drawn])


def _distances(counts):
  width = 1 / len(counts)
  places = [(number + 0.5) * width for number in range(len(counts))]
  return chart.Figure(alt=f'Number of clients at each distance: {counts}.', panels=[chart.Panel(
      title='Clients', x=axes.numeric([0, 1], low=0, high=1, label='total variation from all other clients'),
      y=axes.numeric([0, *counts], integer=True), height=140, marks=[marks.Bars(
          places=places, values=list(counts), bases=[0.0] * len(counts), size=0.9 * width, look='second',
          texts=[f'{place - width / 2:.2f} to {place + width / 2:.2f}: {numbers.plain(count)} clients'
                 for place, count in zip(places, counts, strict=True)])])])
