"""Charts: ticks at round numbers, marks where values are, colours that can be told apart, nothing but text of ours."""

import math
import re
import xml.etree.ElementTree as ElementTree

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from tests.program import test_report
from tff_vision.report import axes, chart, declared, marks, mistakes, palette, run_charts

FINITE = strategies.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)


@hypothesis.given(strategies.lists(FINITE, min_size=1, max_size=8), strategies.booleans(), strategies.integers(2, 9))
def test_axes_hold_their_values_and_have_few_round_ticks(values, integer, count):
  hypothesis.assume(max(values) - min(values) > 1e-3 or max(values) == min(values))
  axis = axes.numeric(values, integer=integer, count=count)
  ticks = [value for value, _ in axis.ticks]
  slack = 1e-6 * (axis.high - axis.low)
  assert axis.low <= min(values) + slack and max(values) <= axis.high + slack and ticks == sorted(ticks)
  assert all(-1e-9 <= axis.place(value) <= 1 + 1e-9 for value in values)
  steps = np.diff(ticks)
  if len(steps):
    mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
    assert min(abs(mantissa - round_one) for round_one in (1, 2, 5, 10)) < 1e-6
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert ticks[0] == pytest.approx(axis.low, abs=slack) and ticks[-1] == pytest.approx(axis.high, abs=slack)
  assert len(ticks) <= count + 3


def test_places_by_hand():
  axis = axes.numeric([0.13, 0.87])
  assert [text for _, text in axis.ticks] == ['0', '0.2', '0.4', '0.6', '0.8', '1'] and axis.place(0.25) == 0.25
  assert axes.numeric([3, 78], integer=True, tight=True, count=8).ticks[0] == (10, '10')
  log = axes.logarithmic(1e-4, 1)
  assert log.place(1e-2) == pytest.approx(0.5) and log.place(0) == 0 and [v for v, _ in log.ticks][0] == 1e-4
  down = axes.named(['a', 'b'], downwards=True)
  assert down.place(0) == 0.75 and down.place(1) == 0.25, 'the first row is above'
  assert len(axes.named([str(i) for i in range(90)], most=40).ticks) == 30


def test_marks_stand_where_values_are_and_gaps_are_left_out():
  x, y = axes.numeric([0, 10], low=0, high=10), axes.numeric([0, 1], low=0, high=1)
  panel = chart.Panel(title='t', x=x, y=y, marks=[marks.Line(xs=[0, 5, 10], ys=[0, None, 1], look='c0', name='<one>')])
  tree = ElementTree.fromstring(panel.svg())
  dots = [(float(dot.get('cx')), float(dot.get('cy')), dot[0].text) for dot in tree.iter('circle')]
  grid = [re.findall(r'[\d.]+', path.get('d')) for path in tree.iter('path') if path.get('class') == 'grid']
  left, right = float(grid[0][0]), float(grid[0][2])
  assert len(dots) == 2 and dots[0][0] == pytest.approx(left, abs=0.1) and dots[1][0] == pytest.approx(right, abs=0.1)
  assert dots[0][1] - dots[1][1] == pytest.approx(panel.height) and dots[0][2] == '<one>, 0: 0'


def test_what_comes_from_outside_stays_text():
  names = test_report.HOSTILE[:2]
  counts = [[3, 1], [0, 2]]
  report = {'dataset': {'class_names': names}, 'where_it_is_wrong': {'confusion': {'counts': counts, 'classes': []}}}
  svg = mistakes.confusion(report).panels[0].svg()
  tree = ElementTree.fromstring(svg)
  assert {element.tag for element in tree.iter()} <= {'svg', 'g', 'path', 'text', 'title', 'rect', 'circle', 'polygon'}
  assert not any(name.startswith('on') for element in tree.iter() for name in element.keys())
  cells = [float(cell.get('fill-opacity')) for cell in tree.iter('rect')]
  assert cells == [0.75, 0.25, 0, 1] and [t.text for t in tree.iter('text')][-4:] == ['3', '1', '0', '2']


def test_colours_can_be_told_from_the_page_and_text_can_be_read():
  for theme in (palette.LIGHT, palette.DARK):
    for color in (*palette.CLASS_COLORS, theme.first, theme.second, theme.third):
      assert palette.contrast(color, theme.card) >= 3, (color, theme.card)
    for below in (theme.card, theme.page, theme.band):
      assert min(palette.contrast(text, below) for text in (theme.ink, theme.muted, theme.accent)) >= 4.5
    assert palette.contrast(theme.warn, theme.warn_band) >= 4.5
  assert len(set(palette.CLASS_COLORS)) == len(palette.CLASS_COLORS) == 12
  assert palette.contrast('#000000', '#ffffff') == pytest.approx(21)
  for share in np.linspace(0, 1, 101):
    kinds = palette.text_on_heat(share)[1:]
    for kind, theme in zip(kinds, (palette.LIGHT, palette.DARK), strict=True):
      text = {'d': '#000000', 'l': '#ffffff'}[kind]
      assert palette.contrast(text, palette.mix(theme.card, theme.first, share)) >= 4.5, share


def test_six_classes_are_a_heat_map_and_five_are_parts_of_bars():
  from tff_vision.report import partition
  for number, stacked in ((5, True), (6, False)):
    mix = partition.class_mix(test_report.make_images([f'c{i}' for i in range(number)]))
    drawn = run_charts.class_mix(mix).panels[1].marks
    assert run_charts.is_stacked(mix) == stacked
    assert all(isinstance(mark, marks.Bars if stacked else marks.Cells) for mark in drawn)
    if stacked:  # Parts of one bar lie on each other and end at 100 %.
      assert list(drawn[0].bases) == 4 * [0.0]
      assert drawn[-1].values == pytest.approx([sum(row) for row in mix.shares])


def test_training_numbers_are_named_as_those_of_local_steps():
  history = [{'round': 1, 'train': {'accuracy': 0.95, 'loss': 0.1}, 'evaluation': {'accuracy': 0.86, 'loss': 0.5}}]
  figure = run_charts.curves(history, declared.named('accuracy'))
  assert [key.name for key in figure.legend] == ['test set', 'local training, during local steps']
  assert run_charts.curves([{'round': 1}], declared.named('accuracy')) is None
