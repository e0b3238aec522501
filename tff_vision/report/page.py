"""report.html: one self-contained page with the quality, the privacy and the cost of a run.

The page loads nothing (a content security policy forbids it), runs no script, and embeds its figures twice, for
light and dark screens. It is made from the same mapping as report.json.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tff_vision.accounting import ledger
from tff_vision.data import images as images_lib
from tff_vision.program import released
from tff_vision.report import declared, pages, partition, privacy_profile, tables
from tff_vision.report import number_format as numbers


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
               pictures: Mapping[str, bytes] = MappingProxyType({}), live: Live | None = None) -> None:
  """Writes report.html; an existing page is replaced atomically.

  Args:
    path: The file to write.
    report: The content of report.json; every key may be missing or None.
    images: The run's data, for the class mix and the sample of images, used if the report says that training data are
      shown; None leaves both out.
    pictures: Further PNG pictures, by caption.
    live: The state of a run that is not finished; the page then loads itself again and again. None: it is finished.
  """
  pages.write(path, _render(report, images, pictures, live))


def _render(report: Mapping, images: images_lib.FederatedImages | None, pictures: Mapping[str, bytes],
            live: Live | None = None) -> str:
  history = [entry for entry in report.get('history') or () if numbers.is_finite(entry.get('round'))]
  dataset = tables.part(report, 'dataset')
  seconds = {k: v for k, v in tables.part(report, 'seconds').items() if numbers.is_finite(v) and k != 'total'}
  shown = images if images is not None and len(images.train) and released.training_data_shown(report) else None
  mix = partition.class_mix(shown) if shown else None
  return pages.render('report.html.j2', dict(
      name=str(dataset.get('name', 'images')),
      live=live,
      notes=(*(report.get('warnings') or ()), *(dataset.get('notes') or ())),
      tiles=tables.tiles(report, images and partition.commonest_share(images)),
      privacy_tile=tables.privacy_tile(report),
      guaranteed=tables.has_guarantee(report),
      results=tables.results(report),
      clients=tables.clients(report),
      history=tables.history(report, history),
      export_parity=report.get('export_parity'),
      costs=tables.costs(report),
      shares={k: v / (sum(seconds.values()) or 1) for k, v in seconds.items()},
      dataset=tables.facts(dataset, 'The data', leave_out=('name', 'notes', 'class names')),
      privacy=tables.privacy(report),
      privacy_profile=privacy_profile.table(report),
      privacy_warnings=ledger.of_report(report).warnings,
      config=tables.config(report),
      environment=tables.facts(tables.part(report, 'environment'), 'Environment'),
      extras=tables.extras(report),
      pictures=pictures,
      figures=_figures(report, history, mix),
      mix=mix,
      legend=_legend(mix),
      samples=partition.sample_images(shown) if shown else ()))


def _figures(report: Mapping, history: Sequence[Mapping], mix: partition.ClassMix | None) -> Mapping:
  """Returns the figures that the report has numbers for: `{name: {'light': PNG, 'dark': PNG, 'alt': text}}`."""
  from tff_vision.report import figures, roc
  metric, made = declared.leading(report), {}

  def add(name, draw, alt):
    made[name] = {**figures.render(draw), 'alt': alt}

  if history:
    add('curves', functools.partial(figures.curves, history=history, metric=metric),
        _curves_alt(history, metric))
  groups = {name: group for name, group in tables.client_groups(report).items()
            if any(map(numbers.is_finite, group.get('accuracies') or ()))}
  if groups:
    metrics = {name: tables.spread_metric(report, group) for name, group in groups.items()}
    add('clients', functools.partial(figures.client_histograms, groups=groups, metrics=metrics),
        _clients_alt(groups, metrics))
  if rocs := {name: curve for name, curve in (('Test set', report.get('roc')), ('Unseen clients', tables.part(
      report, 'unseen').get('roc'))) if curve}:
    add('roc', functools.partial(roc.draw, curves=rocs), roc.describe(rocs))
  if mix is not None:
    add('mix', functools.partial(figures.class_mix, mix=mix), _mix_alt(mix))
  if figures.series(history, 'privacy', 'epsilon')[0]:
    target = tables.part(tables.part(report, 'config'), 'privacy').get('target_epsilon')
    add('epsilon', functools.partial(figures.epsilon, history=history, target=target), _epsilon_alt(history))
  stated = ledger.of_report(report)
  if isinstance(stated, ledger.Ledger) and stated.profile is not None:
    measured = privacy_profile.measured(report)
    add('profile', functools.partial(privacy_profile.draw, ledger=stated, found=measured),
        privacy_profile.describe(stated, measured))
  return made


def _ends(points: tuple[list, list], metric: str | declared.Metric) -> str:
  rounds, values = points
  first, last = (numbers.metric_text(metric, values[i]) for i in (0, -1))
  return f'{first} in round {rounds[0]}' + (f', {last} in round {rounds[-1]}' if len(rounds) > 1 else '')


def _curves_alt(history: Sequence[Mapping], metric: declared.Metric) -> str:
  from tff_vision.report import figures
  points = {one: figures.series(history, 'evaluation', one.name) for one in (metric, declared.named('loss'))}
  said = [f'test {one.label} {_ends(found, one)}' for one, found in points.items() if found[0]]
  return f'Curves over rounds: {"; ".join(said) or "nothing evaluated"}.'


def _clients_alt(groups: Mapping[str, Mapping], metrics: Mapping[str, declared.Metric]) -> str:
  said = [f'{name}: ' + ', '.join(f'{numbers.label(key)} {numbers.metric_text(metrics[name], group.get(key))}'
                                  for key in ('mean', 'percentile_10', 'worst')) for name, group in groups.items()]
  return f'Histogram of {next(iter(metrics.values())).label} over clients. {"; ".join(said)}.'


def _mix_alt(mix: partition.ClassMix) -> str:
  return (f'Training images and class shares of {len(mix.sizes)} clients; they hold {mix.sizes.min():,} to '
          f'{mix.sizes.max():,} images each, of {len(mix.class_names)} classes.')


def _epsilon_alt(history: Sequence[Mapping]) -> str:
  from tff_vision.report import figures
  return f'Epsilon over rounds: {_ends(figures.series(history, "privacy", "epsilon"), "epsilon")}.'


def _legend(mix: partition.ClassMix | None) -> Sequence[Mapping]:
  """Returns the number and the name of each class, and its colour if the figure uses one."""
  if mix is None:
    return ()
  from tff_vision.report import figures
  swatches = figures.CLASS_COLORS if figures.is_stacked(mix) else ()
  return [{'number': i, 'name': str(name), 'color': swatches[i] if swatches else None}
          for i, name in enumerate(mix.class_names)]
