"""Where a model is wrong, in report.html: from the section `where_it_is_wrong` of report.json."""

from collections.abc import Mapping, Sequence

from tff_vision import wording
from tff_vision.data import images as images_lib
from tff_vision.report import axes, chart, declared, marks, palette, pictures, tables
from tff_vision.report import number_format as numbers

SHOWN_IMAGES = 16
_WRITTEN_CLASSES = 16
_DRAWN_CURVES = 6
_BANDS = 3  # Up to so many curves are drawn with their bands.
_CONFUSED = 8
_PROBABILITY = declared.Metric(name='probability', percent=True)


def _names(report: Mapping) -> Sequence[str]:
  return list(map(str, tables.part(report, 'dataset').get('class_names') or ()))


def _name(names, number):
  return names[number] if 0 <= number < len(names) else f'class {number}'


def _section(report):
  return tables.part(report, 'where_it_is_wrong')


def confusion(report: Mapping) -> chart.Figure | None:
  """Draws what the examples of each class were taken for; colours are shares of the class. None without a matrix."""
  counts = tables.part(_section(report), 'confusion').get('counts')
  if not counts:
    return None
  names = [_name(_names(report), number) for number in range(len(counts))]
  shares = [[count / (sum(row) or 1) for count in row] for row in counts]
  texts = [[f'{names[i]} taken for {names[j]}: {count:,} of {sum(row):,}' for j, count in enumerate(row)]
           for i, row in enumerate(counts)]
  few = len(counts) <= _WRITTEN_CLASSES
  size = min(36, max(9, 440 // len(counts)))
  panel = chart.Panel(
      title='What the test images of each class (row) were taken for (column)', grid=False,
      x=axes.named(names, most=40), y=axes.named(names, downwards=True, most=40), height=size * len(counts),
      width=chart.WIDE if len(counts) > 9 else chart.NARROW,
      marks=[marks.Cells(values=shares, most=1.0, texts=texts, written=[
          [f'{count:,}' for count in row] for row in counts] if few else ())])
  right = sum(counts[i][i] for i in range(len(counts)))
  return chart.Figure(alt=f'Confusion matrix of {len(counts)} classes: {right:,} of '
                          f'{sum(map(sum, counts)):,} test images on the diagonal.', panels=[panel])


def rates(report: Mapping) -> tables.Table | None:
  """Returns precision, recall, F1 and counts of each class or finding."""
  section, names = _section(report), _names(report)
  found = tables.part(section, 'confusion').get('classes') or section.get('findings')
  if not found:
    return None
  areas = {one['class']: one for one in section.get('curves') or ()}
  findings = 'findings' in section
  rows = []
  for number, one in enumerate(found):
    cells = [numbers.data(one[key], _percent(one[key])) for key in ('precision', 'recall', 'f1')]
    counts = [numbers.data(one[key]) for key in ('support', 'predicted')]
    rows.append([_name(names, number), *cells, *counts, *([_area(areas.get(number))] if areas else [])])
  header = ['finding' if findings else 'class', 'precision', 'recall', 'F1', 'test images', 'answers']
  return tables.Table(caption=f'Each {header[0]} on the test set', rows=rows,
                      header=[*header, *(['AUC, 95 % interval'] if areas else [])])


def _percent(share):
  return numbers.MISSING if share is None else numbers.percent(share)


def _area(one):
  if one is None:
    return numbers.MISSING
  between = '' if one['auc_low'] is None else f' ({one["auc_low"]:.3f}–{one["auc_high"]:.3f})'
  return numbers.data(one['auc'], f'{one["auc"]:.3f}{between}')


def confused(report: Mapping) -> tables.Table | None:
  """Returns the most frequent errors; None if there are none, or for two classes, whose matrix tells them."""
  section = tables.part(_section(report), 'confusion')
  pairs = [one for one in section.get('confused') or () if one['count']][:_CONFUSED]
  if not pairs or len(section.get('classes') or ()) <= 2:
    return None
  names = _names(report)
  return tables.Table(caption='The most frequent errors', header=['is', 'taken for', 'test images'], rows=[
      [_name(names, one['label']), _name(names, one['prediction']), numbers.data(one['count'])] for one in pairs])


def curves(report: Mapping) -> chart.Figure | None:
  """Draws ROC and precision-recall curves of classes or findings; of many, of those with the smallest areas."""
  held = sorted(_section(report).get('curves') or (), key=lambda one: one['auc'])[:_DRAWN_CURVES]
  if not held:
    return None
  held.sort(key=lambda one: one['class'])
  names, banded = _names(report), len(held) <= _BANDS
  roc: list[marks.Mark] = [marks.Line(xs=[0, 1], ys=[0, 1], look='third', dashed=True, dots=False, name='chance')]
  recalls: list[marks.Mark] = []
  keys, said = [], []
  many = max(one['class'] for one in held) >= len(palette.CLASS_COLORS)
  for place, one in enumerate(held):
    name, look = _name(names, one['class']), palette.look(place if many else one['class'])
    for drawn, (x_key, y_key), curve in ((roc, ('false_positive_rate', 'true_positive_rate'), one['roc']),
                                         (recalls, ('recall', 'precision'), one['precision_recall'])):
      xs, ys = curve[x_key], curve[y_key]
      if banded:
        drawn.insert(0, marks.Band(xs=xs, lows=curve['low'], highs=curve['high'], look=look))
      drawn.append(marks.Line(xs=xs, ys=ys, look=look, dots=False, name=name, texts=[
          f'{x_key.replace("_", " ")} {numbers.percent(x)}, {y_key.replace("_", " ")} {_percent(y)}'
          for x, y in zip(xs, ys, strict=True)]))
    text = f'{name}: AUC {one["auc"]:.3f}, average precision {one["average_precision"]:.3f}'
    keys.append(chart.Key(look=look, name=text))
    said.append(text)
  share = lambda value: f'{numbers.plain(round(100 * value, 6))} %'
  side = lambda label: axes.numeric([0, 1], low=0, high=1, label=label, text=share)
  panels = [chart.Panel(title='ROC: true positive rate', x=side('false positive rate'), y=side(''), marks=roc,
                        height=230),
            chart.Panel(title='Precision', x=side('recall'), y=side(''), marks=recalls, height=230)]
  return chart.Figure(alt=f'ROC and precision-recall curves. {"; ".join(said)}.', panels=panels,
                      legend=[*keys, chart.Key(look='third', name='chance', kind='dashed')])


def reliability(report: Mapping) -> chart.Figure | None:
  """Draws the share of right answers over the probability that the model gave them, in bins of equal counts."""
  section = tables.part(_section(report), 'calibration')
  bins = section.get('bins')
  if not bins:
    return None
  error = numbers.percent(section['expected_calibration_error'])
  return chart.Figure(
      alt=f'Reliability in {len(bins)} bins of equal numbers of answers; expected calibration error {error}.',
      legend=[chart.Key(look='first', name='the model’s answers, in bins of equal counts'),
              chart.Key(look='third', name='perfectly calibrated', kind='dashed')],
      panels=[reliability_panel('Share of right answers', 'probability that the model gave its answer', [
          ('first', 'bin', [(one['confidence'], one['accuracy'], one['count']) for one in bins])])])


def residuals(report: Mapping) -> chart.Figure | None:
  """Draws mean numbers over mean predictions, in bins of equal counts; None unless the task predicts numbers."""
  held = tables.part(_section(report), 'residuals').get('bins')
  if not held:
    return None
  ends = [value for one in held for value in (one['prediction'], one['label'])]
  drawn: list[marks.Mark] = [
      marks.Line(xs=[min(ends), max(ends)], ys=[min(ends), max(ends)], look='third', dashed=True, dots=False),
      marks.Line(xs=[one['prediction'] for one in held], ys=[one['label'] for one in held], look='first', dots=True,
                 name='bin', texts=[f'predicted {numbers.plain(one["prediction"])}, is {numbers.plain(one["label"])}, '
                                    f'{wording.counted(one["count"], "image")}' for one in held])]
  return chart.Figure(
      alt=f'Mean numbers over mean predictions in {len(held)} bins of equal numbers of test images.',
      legend=[chart.Key(look='first', name='test images, in bins of equal counts'),
              chart.Key(look='third', name='right on average', kind='dashed')],
      panels=[chart.Panel(title='What the numbers are', x=axes.numeric(ends, label='what the model says'),
                          y=axes.numeric(ends), marks=drawn, height=230)])


def reliability_panel(title: str, label: str, lines: Sequence[tuple[str, str, Sequence[tuple[float, float, int]]]]
                      ) -> chart.Panel:
  """Draws observed over predicted shares.

  Args:
    lines: The colour, the name, and the bins of each line: predicted share, observed share, count.
  """
  share = lambda value: f'{numbers.plain(round(100 * value, 6))} %'
  least = min((min(p, o) for _, _, bins in lines for p, o, _ in bins), default=0.0)
  side = lambda text: axes.numeric([min(least, 0.99), 1], high=1, label=text, text=share)
  x = side(label)
  drawn: list[marks.Mark] = [marks.Line(xs=[x.low, 1], ys=[x.low, 1], look='third', dashed=True, dots=False)]
  drawn += [marks.Line(xs=[p for p, _, _ in bins], ys=[o for _, o, _ in bins], look=look, name=name, dots=True, texts=[
      f'predicted {numbers.percent(p)}, observed {numbers.percent(o)}, '
      f'{wording.counted(count, "image")}' for p, o, count in bins])
            for look, name, bins in lines]
  return chart.Panel(title=title, x=x, y=side(''), marks=drawn, height=230)


def bins(report: Mapping) -> tables.Table | None:
  """Returns the bins of the reliability figure."""
  held = tables.part(_section(report), 'calibration').get('bins')
  if not held:
    return None
  return tables.Table(caption='The bins of the reliability figure', header=['probability', 'mean', 'right', 'answers'],
                      rows=[[f'{numbers.percent(one["lowest"])} to {numbers.percent(one["highest"])}',
                             *(numbers.data(one[key], numbers.percent(one[key])) for key in ('confidence', 'accuracy')),
                             numbers.data(one['count'])] for one in held])


def worst_images(report: Mapping, images: images_lib.FederatedImages) -> list[Mapping]:
  """Returns the test images with the most confident errors: `png`, `truth`, `answer`, `confidence`."""
  names, shown = _names(report), []
  held = [one for one in _section(report).get('worst') or () if 0 <= one['example'] < len(images.test.examples)]
  for one in held[:SHOWN_IMAGES]:
    example = images.test.examples.take([one['example']])
    if 'finding' in one:
      finding = _name(names, one['finding'])
      truth, answer = ((finding if there else f'no {finding}') for there in (one['label'], one['prediction']))
    elif 'confidence' not in one:
      truth, answer = numbers.plain(one['label']), numbers.plain(one['prediction'])
    else:
      truth, answer = _name(names, one['label']), _name(names, one['prediction'])
    apart = f'{numbers.plain(abs(one["label"] - one["prediction"]))} apart'
    shown.append({'png': pictures.png(pictures.displayable(example.x)[0]), 'truth': truth, 'answer': answer,
                  'confidence': numbers.percent(one['confidence']) if 'confidence' in one else apart})
  return shown
