"""report.html: one self-contained page with the quality, the privacy and the cost of a run.

The page loads nothing (a content security policy forbids it) and runs no script; its charts are inline SVG. It is made
from the same mapping as report.json.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tff_vision.accounting import ledger
from tff_vision.data import images as images_lib
from tff_vision.program import released
from tff_vision.report import anomalies as anomalies_lib
from tff_vision.report import (
  augmented,
  chart,
  clients,
  contribution,
  costs,
  declared,
  mistakes,
  pages,
  partition,
  privacy_profile,
  roc,
  run_charts,
  settings,
  tables,
)
from tff_vision.report import number_format as numbers

_FILES = {'model_card.md': 'model card', 'logdir': 'TensorBoard events', 'metrics.csv': 'metrics.csv'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Live:
  """The state of a run that is not finished.

  Attributes:
    state: `training` or `stopped`.
    done: The rounds that are finished.
    rounds: The rounds that were planned.
  """
  state: str
  done: int
  rounds: int


def write_html(path: os.PathLike | str, report: Mapping, images: images_lib.FederatedImages | None, *,
               pictures: Mapping[str, bytes] = MappingProxyType({}),
               anomalies: Sequence[anomalies_lib.Shown] = (), live: Live | None = None) -> None:
  """Writes report.html; an existing page is replaced atomically.

  Args:
    path: The file to write.
    report: The content of report.json; every key may be missing or None.
    images: The run's data: names and sizes of clients as far as they are public, and the class mix and single images,
      used if the report says that training data are shown; None leaves all of it out.
    pictures: Further PNG pictures, by caption.
    anomalies: Test images with their reconstructions, also used only if training data are shown.
    live: The state of a run that is not finished; the page then loads itself again and again. None: it is finished.
  """
  links = _links(pathlib.Path(path).parent, finished=live is None)
  pages.write(path, _render(report, images, pictures, anomalies, live, links))


def _links(folder, *, finished):
  """Returns the files of a run beside its page that a reader may want, each with its name."""
  if not (folder / 'config.json').exists():
    return ()
  found = [(name, words) for name, words in _FILES.items() if (folder / name).exists()]
  return (*([('report.json', 'report.json')] if finished else []), *found)


def _render(report: Mapping, images: images_lib.FederatedImages | None, pictures: Mapping[str, bytes],
            anomalies: Sequence[anomalies_lib.Shown], live: Live | None, links: Sequence[tuple[str, str]]) -> str:
  history = [entry for entry in report.get('history') or () if numbers.is_finite(entry.get('round'))]
  dataset = tables.part(report, 'dataset')
  is_shown = images is not None and len(images.train) and images.train.here and released.training_data_shown(report)
  shown = images if is_shown else None
  mix = partition.class_mix(shown) if shown else None
  who = clients.of(report, images)
  return pages.render('report.html.j2', dict(
      name=str(dataset.get('name', 'images')),
      live=live,
      last_fault=_last_fault(history),
      origin=tables.part(report, 'origin'),
      links=links,
      notes=(*(report.get('warnings') or ()), *(dataset.get('notes') or ())),
      tiles=tables.tiles(report, images and partition.commonest_share(images)),
      privacy_tile=tables.privacy_tile(report),
      guaranteed=tables.has_guarantee(report),
      results=tables.results(report),
      rates=mistakes.rates(report),
      confused=mistakes.confused(report),
      bins=mistakes.bins(report),
      bands=tables.part(report, 'where_it_is_wrong').get('bands'),
      worst=mistakes.worst_images(report, shown) if shown else (),
      anomalies=anomalies if shown else (),
      clients=clients.summary(report),
      each_client=clients.ledger(report, who),
      contribution=contribution.table(report, who.names),
      few_clients=len(who.names) <= run_charts.NAMED_CLIENTS,
      history=tables.history(report, history),
      local=any(tables.part(entry, 'train') for entry in history),
      export_parity=report.get('export_parity'),
      parts=costs.parts(report),
      times_rounded=costs.rounded(report),
      time=costs.time(report),
      resources=costs.resources(report),
      dataset=tables.facts(dataset, 'The data', leave_out=('name', 'notes', 'class names')),
      privacy=tables.privacy(report),
      privacy_profile=privacy_profile.table(report),
      privacy_warnings=ledger.of_report(report).warnings,
      changed=settings.changed(report),
      every_setting=settings.every(report),
      environment=tables.facts(tables.part(report, 'environment'), 'Environment'),
      extras=tables.extras(report),
      pictures=pictures,
      figures=_figures(report, history, mix, who),
      mix=mix,
      classes=[] if mix is None or run_charts.is_stacked(mix) else list(map(str, mix.class_names)),
      samples=partition.sample_images(shown) if shown else (),
      augmentation=report.get('augmentation'),
      augmented=augmented.strip(shown) if shown else ()))


def _last_fault(history: Sequence[Mapping]) -> Mapping | None:
  """Returns round, worker and reason of the latest failure of which the rounds' records tell; None: there was none."""
  found = [{'round': entry['round'], **fault} for entry in history
           for fault in (*(entry.get('faults') or ()), *(entry.get('evaluation_faults') or ()))]
  return found[-1] if found else None


def _figures(report: Mapping, history: Sequence[Mapping], mix: partition.ClassMix | None, who: clients.Clients
             ) -> Mapping[str, chart.Figure]:
  """Returns the figures that the report has numbers for."""
  stated = ledger.of_report(report)
  rocs = {name: curve for name, curve in (('Test set', report.get('roc')),
                                          ('Unseen clients', tables.part(report, 'unseen').get('roc'))) if curve}
  made = {
      'curves': run_charts.curves(history, declared.leading(report)),
      'roc': roc.figure(rocs) if rocs else None,
      'confusion': mistakes.confusion(report), 'class curves': mistakes.curves(report),
      'reliability': mistakes.reliability(report),
      'residuals': mistakes.residuals(report),
      'clients': clients.figure(report, who),
      'mix': None if mix is None else run_charts.class_mix(mix),
      'epsilon': run_charts.epsilon(history, tables.part(tables.part(report, 'config'), 'privacy').get(
          'target_epsilon')),
      'profile': privacy_profile.figure(stated, privacy_profile.measured(report)) if isinstance(
          stated, ledger.Ledger) and stated.profile is not None else None}
  return {name: figure for name, figure in made.items() if figure is not None}
