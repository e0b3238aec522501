"""The charts of a comparison over hospitals."""

from collections.abc import Mapping

from tff_vision.report import axes, chart, marks, mistakes, palette
from tff_vision.studies.hospitals import ways

_CALIBRATED = (ways.REFERENCE, 'fedavg', 'personal', 'private_encrypted')


def areas(content: Mapping) -> chart.Figure:
  """Draws the AUC of every way with its interval, one panel per hospital."""
  names, keys = [one['hospital'] for one in content['hospitals']], list(content['ways'])
  titles = [content['ways'][key]['title'] for key in keys]
  found = {name: [content['ways'][key]['hospitals'][name] for key in keys] for name in names}
  x = axes.numeric([end for held in found.values() for one in held for end in one['auc_interval']], label='AUC')
  panels = []
  for name in names:
    drawn: list[marks.Mark] = [marks.Rule(
        value=content['ways'][ways.REFERENCE]['hospitals'][name]['auc'], look='second', upright=True,
        text=f'pooled: {content["ways"][ways.REFERENCE]["hospitals"][name]["auc"]:.3f}')]
    for look, federated in (('third', False), ('first', True)):
      rows = [row for row, key in enumerate(keys) if (key in ways.WAYS) == federated]
      held = [found[name][row] for row in rows]
      drawn.append(marks.Spans(places=rows, lows=[one['auc_interval'][0] for one in held],
                               highs=[one['auc_interval'][1] for one in held], look=look))
      drawn.append(marks.Line(xs=[one['auc'] for one in held], ys=rows, look=look, dots=True, joined=False, texts=[
          f'{titles[row]}: {one["auc"]:.3f} ({one["auc_interval"][0]:.3f}–{one["auc_interval"][1]:.3f})'
          for row, one in zip(rows, held, strict=True)]))
    panels.append(chart.Panel(title=f'AUC, tested at {name}', x=x, y=axes.named(titles, downwards=True), marks=drawn,
                              height=22 * len(keys)))
  said = [f'{way["title"]}: ' + ', '.join(f'{name} {one["auc"]:.3f}' for name, one in way['hospitals'].items())
          for way in content['ways'].values()]
  return chart.Figure(alt=f'AUC with 95 % intervals. {"; ".join(said)}.', panels=panels, legend=[
      chart.Key(look='first', name='federated or pooled', kind='dot'),
      chart.Key(look='third', name='one hospital alone', kind='dot'),
      chart.Key(look='second', name='the pooled model', kind='dashed')])


def reliability(content: Mapping) -> chart.Figure:
  """Draws the observed against the predicted frequency of the second class, one panel per hospital."""
  keys = [key for key in _CALIBRATED if key in content['ways']]
  panels = [mistakes.reliability_panel(f'Observed frequency at {one["hospital"]}', 'predicted probability', [
      (palette.look(number), content['ways'][key]['title'], [
          (each['predicted'], each['observed'], each['images'])
          for each in content['ways'][key]['hospitals'][one['hospital']]['reliability']])
      for number, key in enumerate(keys)]) for one in content['hospitals']]
  return chart.Figure(
      alt='Observed frequency of the second class against its predicted probability, by hospital.', panels=panels,
      legend=[*(chart.Key(look=palette.look(number), name=content['ways'][key]['title'])
                for number, key in enumerate(keys)),
              chart.Key(look='third', name='perfectly calibrated', kind='dashed')])
