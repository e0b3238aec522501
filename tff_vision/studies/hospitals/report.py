"""report.html of a comparison over hospitals."""

import os
from collections.abc import Mapping

import markupsafe

from tff_vision.accounting.ledger import Ledger
from tff_vision.report import number_format as numbers
from tff_vision.report import pages, tables
from tff_vision.studies.hospitals import figures, ways


def write_html(path: os.PathLike | str, content: Mapping) -> None:
  """Writes the page that shows `content`, the content of report.json."""
  names = [one['hospital'] for one in content['hospitals']]
  shown = {'auc': figures.areas(content), 'reliability': figures.reliability(content)}
  pages.write(path, pages.render('hospitals.html.j2', dict(
      content=content, origin=content.get('origin') or {}, figures=shown, hospitals=_hospitals(content),
      aucs=_aucs(content, names), accuracies=_accuracies(content, names), findings=_findings(content),
      privacy=_privacy(content, names), secured=[table for key, one in content['secure_sum'].items()
               if (table := tables.facts(one, ways.WAYS[key].title))])))


def _hospitals(content):
  rows = [[one['hospital'],
           *(numbers.data(one[key]) for key in ('training_images', 'validation_images', 'test_images')),
           *(numbers.data(one[key], numbers.percent(one[key])) for key in ('share_of_second_class',) if key in one)]
          for one in content['hospitals']]
  header = ['hospital', 'training', 'validation', 'test', f'{content["class_names"][1]} among training images']
  return tables.Table(caption='The hospitals', rows=rows, header=header[:max(map(len, rows))])


def _aucs(content, names):
  rows = [[way['title'], *(_with_interval('auc', way['hospitals'][name]) for name in names)]
          for way in content['ways'].values()]
  return tables.Table(caption='AUC at each hospital, with 95 % interval; in bold the federated way with the best mean',
                      header=['training', *names], rows=rows, best=_best(content))


def _best(content):
  """Returns the row of the way that keeps images at their hospitals and has the best mean AUC over them."""
  keys = list(content['ways'])
  federated = [row for row, key in enumerate(keys) if key in ways.WAYS and not ways.WAYS[key].pooled]
  mean = lambda row: sum(one['auc'] for one in content['ways'][keys[row]]['hospitals'].values())
  return [max(federated, key=mean)] if federated else ()


def _accuracies(content, names):
  header = ['training', *(f'{name}: {what}' for name in names for what in ('balanced accuracy', 'calibration error'))]
  rows = [[way['title'], *(cell for name in names for cell in (
      _with_interval('balanced_accuracy', way['hospitals'][name]),
      numbers.data(way['hospitals'][name]['calibration_error'], f'{way["hospitals"][name]["calibration_error"]:.3f}')))]
      for way in content['ways'].values()]
  return tables.Table(caption='At the threshold that each hospital chose on its validation images',
                      header=header, rows=rows)


def _with_interval(key, found):
  low, high = found[f'{key}_interval']
  return markupsafe.Markup('{} <span class="note">{}</span>').format(
      numbers.data(found[key], f'{found[key]:.3f}'), f'{low:.3f}–{high:.3f}')


def _findings(content):
  rows = [[content['ways'][key]['title'], *(numbers.data(one[name], f'{one[name]:+.3f}') for name in (
      'behind_pooled', 'ahead_of_foreign'))] for key, one in content['findings'].items() if key != ways.REFERENCE]
  return tables.Table(caption='AUC, at the hospital where it is worst', rows=rows, header=[
      'training', 'gap to pooled, lower is better', 'lead over the best model of another hospital, higher is better'])


def _privacy(content, names):
  rows = []
  for key, stated in content['privacy'].items():
    ledger = Ledger.from_json(stated)
    for name, one in zip(names, ledger.per_client, strict=True):
      # The rounds in which a hospital took part differ between hospitals.
      conditions = {**ledger.conditions, 'rounds': one.rounds, 'noise_multiplier': ledger.noise_multiplier,
                    'clip_norm': ledger.clip_norm}
      rows.append([content['ways'][key]['title'], name, numbers.data(one.smallest_epsilon),
                   *map(numbers.data, conditions.values())])
      header = ['training', 'hospital', 'ε', *map(numbers.label, conditions)]
  return tables.Table(caption='ε of each hospital, and the conditions under which it holds', rows=rows, header=header)
