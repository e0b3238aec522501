"""What an objective declares of its metrics is what every reader goes by, also of an objective that is the user's."""

import dataclasses
import json
import re

import numpy as np
import pytest

import tff_vision as tv
from pipelines import progress
from tff_vision import objectives
from tff_vision.objectives import classification, metric
from tff_vision.report import declared, run_comparison, run_comparison_figures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cautious(classification.Classification):
  """Counts the errors that are sure of themselves, of which fewer are better, and how sure the answers are."""
  num_outputs: int = 3
  multi_label: bool = False
  metric: str = 'sure_errors'
  task: str = 'cautious'

  @property
  def declared(self):
    return (tv.Metric(name='sure_errors', title='sure and wrong', higher_is_better=False, percent=True),
            tv.Metric(name='sureness'), tv.Metric(name='hidden_detail', detail=True))

  def measure(self, outputs, y):
    shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    wrong = (shares.max(axis=1) > 0.5) & (outputs.argmax(axis=1) != y)
    return {'evaluation': {'sure_errors': float(wrong.mean()), 'sureness': float(shares.max(axis=1).mean()),
                           'hidden_detail': 1.0, 'loss': float(self._losses(outputs, y).mean())}}

  def client_values(self, outputs, y, clients):
    return [float((outputs[own].argmax(axis=1) != y[own]).mean()) if len(own) else None for own in clients]


def test_every_built_in_objective_measures_what_it_declares():
  y = np.arange(12) % 2
  outputs = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
  vectors = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)
  made = {'classification': (classification.Classification(num_outputs=2, multi_label=False), outputs),
          'anomaly': (objectives.anomaly.Anomaly(normal=0), np.abs(outputs)),
          'embedding': (objectives.embedding.Embedding(num_outputs=2), vectors),
          'segmentation': (objectives.segmentation.Segmentation(num_outputs=2), outputs.reshape(3, 2, 2, 2)),
          'regression': (objectives.regression.Regression(offset=0.0, scale=1.0), outputs[:, :1]),
          'ordinal': (objectives.ordinal.Ordinal(order=(0, 1, 2)), np.sort(outputs)[:, ::-1])}
  # What boxes are measured by needs maps of centre points.
  assert {*made, 'detection'} == set(objectives.TASKS) == set(objectives.METRICS)
  for task, (objective, found) in made.items():
    measured = objective.measure(found, y.reshape(3, 2, 2) if found.ndim == 4 else y)['evaluation']
    assert {one.name for one in metric.of(objective)} <= set(measured)
    assert objectives.METRICS[task] == metric.of(objective)
    worse = {one.name for one in metric.of(objective) if not one.higher_is_better}
    assert worse == {name for name in measured if name in ('loss', 'mae', 'rmse') or 'error' in name}
    for one in metric.of(objective):
      assert not one.percent or 0 <= measured[one.name] <= 1


def test_runs_are_chosen_by_the_first_metric_that_all_have_and_in_its_direction():
  first = metric.Metric(name='errors', higher_is_better=False)
  rest = (metric.Metric(name='detail', detail=True), metric.Metric(name='score'))
  assert metric.choosing((first, *rest), [{'errors': 1, 'score': 2}, {'errors': 0}]) is first
  assert metric.choosing((first, *rest), [{'errors': 1, 'score': 2, 'detail': 1}, {'score': 0, 'detail': 1}]) is rest[1]
  assert metric.choosing((first, *rest), [{'detail': 1}]) is None
  rows = [{'errors': {'mean': mean}} for mean in (0.3, 0.1, 0.2)]
  assert run_comparison_figures.best_row(rows, first) == 1
  assert run_comparison_figures.best_row(rows, dataclasses.replace(first, higher_is_better=True)) == 0
  # Of two classes AUC decides, as before; of more, accuracy.
  assert declared.choosing({'evaluation': {'accuracy': 0.5, 'auc': 0.5, 'loss': 1.0}}).name == 'auc'
  assert declared.choosing({'evaluation': {'accuracy': 0.5, 'auc': None, 'loss': 1.0}}).name == 'accuracy'


def test_an_objective_of_ones_own_is_read_by_its_declaration(tmp_path):
  task = tv.Task(tv.testing.tiny_images(), model='linear', objective=Cautious())
  parts = {'participation': tv.Fixed(3), 'rounds': 2, 'rounds_per_evaluation': 1}
  for seed, rate in ((0, 0.001), (1, 0.001), (0, 0.2)):
    tv.Experiment(task, seed=seed, client=tv.Client(tv.sgd(rate), epochs=1, batch_size=4), **parts).run(
        tmp_path / f'{rate}-{seed}')
  report = json.loads((tmp_path / '0.2-0' / 'report.json').read_text())
  assert report['task']['metric'] == 'sure_errors' and [one['name'] for one in report['task']['metrics']] == [
      'sure_errors', 'sureness', 'hidden_detail']
  page = (tmp_path / '0.2-0' / 'report.html').read_text()
  shown = f'{100 * report["evaluation"]["sure_errors"]:.1f} %'
  assert 'Test sure and wrong' in page and shown in page

  groups = run_comparison.read([str(tmp_path / name) for name in ('0.001-0', '0.001-1', '0.2-0')])
  assert [one.name for one in run_comparison.metrics(groups)] == ['sure_errors', 'sureness']
  rows, chosen = run_comparison.summary(groups), run_comparison.choosing(groups)
  assert chosen.name == 'sure_errors' and not chosen.higher_is_better and 'hidden_detail' not in rows[0]
  means = [row['sure_errors']['mean'] for row in rows]
  assert run_comparison_figures.best_row(rows, chosen) == int(np.argmin(means))
  run_comparison.write_html(tmp_path / 'page.html', groups, title='Runs')
  page = (tmp_path / 'page.html').read_text()
  assert 'sure and wrong' in page and re.search(r'\d %', page)


def test_built_in_declarations_are_not_repeated_in_a_report():
  assert declared.section(classification.Classification(num_outputs=3, multi_label=False)) == {
      'name': 'classification', 'metric': 'accuracy'}
  assert set(declared.section(Cautious())) == {'name', 'metric', 'metrics'}


def test_a_declaration_that_is_none_is_refused():
  class Undeclared(classification.Classification):
    declared = None

  bare = Undeclared(num_outputs=3, multi_label=False)
  assert [one.name for one in metric.of(bare)] == ['accuracy', 'loss']
  for wrong, said in ((('accuracy',), 'tff_vision.Metric'), ((metric.AUC,), "'accuracy' is not among"),
                      ((metric.LOSS, metric.LOSS), 'each name once')):
    Undeclared.declared = wrong
    with pytest.raises(ValueError, match=said):
      metric.of(bare)


def test_progress_shows_the_declared_metrics_the_leading_one_first(capsys):
  shown = progress.Progress(rounds=2)
  cautious = Cautious()
  shown.metrics = [one.name for one in metric.shown(metric.of(cautious), cautious.metric)]
  shown({'round': 1, 'evaluation': {'sureness': 0.5, 'sure_errors': 0.25, 'hidden_detail': 1.0}})
  assert 'round 1/2  sure_errors 0.2500  sureness 0.5000\n' == capsys.readouterr().err
