"""Parts of report.html and of a model card, against numbers made by hand."""

import datetime
import re
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest

from tests.program import test_report
from tests.report import made
from tff_vision import configs
from tff_vision.data import images as images_lib
from tff_vision.export import model_card
from tff_vision.learning import evaluation
from tff_vision.report import (
    anomalies,
    clients,
    content,
    costs,
    declared,
    mistakes,
    number_format,
    origin,
    page,
    pages,
    partition,
    settings,
    tables,
)


def cells(table):
  return [[re.sub('<.*?>', '', str(cell)) for cell in row] for row in table.rows]


def test_few_clients_stand_by_name_with_sizes_and_epsilon():
  data = test_report.make_images(clients=4)
  report = test_report.make_report()
  report['privacy'] |= {'mechanism': 'example_dp_sgd', 'unit': 'example', 'relation': 'add or remove one example',
                        'per_client': [{'examples': 6, 'rounds': 2, 'epsilon_rdp': 3.0, 'epsilon': epsilon}
                                       for epsilon in (0.0, 1.23456, 2.0, 3.0)]}
  who = clients.of(report, data)
  table = clients.ledger(report, who)
  assert table.header == ['client', 'training images', 'test images', 'ε', 'rounds', 'accuracy']
  assert cells(table)[1] == ['client 1', '12', '12', '1.24', '2', '25.0 %'] and cells(table)[0][-1] == '—'
  figure = clients.figure(report, who)
  bars = figure.panels[0].marks[0]
  assert bars.rows and bars.texts[1] == 'client 1: 25.0 %, 12 training images, 12 test images, ε 1.24, 2 rounds'
  assert [text for _, text in figure.panels[0].y.ticks] == [f'client {i}' for i in range(4)]
  # The table of the mechanism no longer holds the clients in one cell.
  assert not any('per client' in row[0] for row in cells(tables.privacy(report)))
  many = test_report.make_report(per_client={'accuracies': [0.5] * 21, 'mean': 0.5}, unseen=None)
  assert clients.figure(many, clients.of(many, None)).panels[0].title.endswith('number of clients')
  # Of very many clients the report has a histogram in place of a row for each.
  counted = test_report.make_report(unseen=None, per_client={
      'histogram': {'edges': [0.4, 0.6, 0.8], 'counts': [20_000, 1]}, 'mean': 0.5, 'count': 20_001})
  who = clients.of(counted, None)
  panel = clients.figure(counted, who).panels[0]
  assert sum(panel.marks[0].values) == 20_001 and max(panel.marks[0].values) == 20_000
  assert panel.title.endswith('number of clients') and clients.ledger(counted, who) is None


def test_sizes_of_clients_are_told_only_where_they_are_public():
  data = test_report.make_images(clients=4)
  secret = test_report.make_report(training_data_shown=False)
  assert 'training images' not in clients.of(secret, data).facts[1]
  assert clients.of(test_report.make_report(), data).facts[1]['training images'] == 12


def test_time_adds_up_and_under_a_promise_says_that_it_is_rounded():
  table = costs.time(test_report.make_report())
  assert cells(table)[-1] == ['total', '2 min 10 s', '100 %'] and list(table.best) == [len(table.rows) - 1]
  assert sum(one.share for one in costs.parts(test_report.make_report())) == pytest.approx(1)
  coarse = test_report.make_report(seconds={'setup': 5.0, 'train': 20.0, 'evaluate': 0.1, 'total': 50.0})
  assert costs.rounded(coarse) and cells(costs.time(coarse))[-1] == ['total', '50 s']
  assert ['sent to a client in a round', '6.65 MB'] in cells(costs.resources(
      {'traffic': {'bytes_down_per_client_and_round': 6653480}}))


def test_a_resumed_runs_clock_has_the_time_of_earlier_processes(monkeypatch):
  clock = content.Clock(started=100.0, setup_ended=103.0, export_seconds=2.0)
  monkeypatch.setattr(content.time, 'monotonic', lambda: 120.0)
  outcome = types.SimpleNamespace(history=[{'seconds': 60.0}, {'seconds': 8.0, 'evaluation_seconds': 1.0}],
                                  earlier_seconds=62.0)
  assert clock.seconds(outcome) == {'setup': 3.0, 'train': 68.0, 'evaluate': 1.0, 'export': 2.0, 'other': 8.0,
                                    'total': 82.0}


def test_settings_show_what_differs_with_what_was_in_effect():
  config = configs.ExperimentConfig(cohort=configs.CohortConfig(cohort_size=50),
                                    client=configs.ClientConfig(client_learning_rate=0.07))
  report = {'config': configs.readable(config), 'rounds': 12, 'dataset': {'num_clients': 20}}
  found = {row[0]: row[1:] for row in cells(settings.changed(report))}
  assert found == {'client_learning_rate': ['0.07', '0.2', 'Client'], 'cohort_size': ['20', '10', 'Cohort'],
                   'rounds': ['12', '80', 'Program'], 'num_clients': ['20', '—', 'Data']}
  assert sum(len(table.rows) for table in settings.every(report)) == sum(map(len, report['config'].values()))


def test_findings_stand_by_name_and_auc_comes_first():
  report = made.report(test_report.make_images(made.FINDINGS, multi_label=True))
  rows = cells(tables.results(report))
  assert rows[0][0] == 'AUC' and ['AUC: Cardiomegaly', '0.989', '—'] in rows
  assert declared.leading(report).name == 'auc'
  # What is spread over clients is their accuracy, in percent although AUC leads.
  table = tables.history(report, report['history'])
  assert cells(table)[-1][table.header.index('clients’ worst')] == '25.0 %'
  assert cells(table)[-1][table.header.index('test AUC')] == '0.9'
  data = test_report.make_images(made.FINDINGS, multi_label=True)
  share = partition.commonest_share(data)
  assert share == pytest.approx(1 - data.test.examples.y.mean())
  note = tables.tiles(report, share)[0].note
  assert f'always answering that there is no finding scores an accuracy of {100 * share:.1f} %' in note
  assert [row[0] for row in cells(mistakes.rates(report))] == list(made.FINDINGS)


def test_the_worst_images_come_with_both_names():
  y = np.array([0, 1], np.int32)
  x = np.stack([np.full((2, 2, 1), 10), np.full((2, 2, 1), 200)]).astype(np.uint8)
  examples = images_lib.Examples(x, y)
  data = images_lib.FederatedImages(name='n', class_names=['a', 'b'], test=images_lib.HeldOut(
      examples=examples, clients=[]), train=images_lib.ArrayClients(examples, [np.arange(2)], ['c']))
  wrong = {'worst': [{'example': 1, 'label': 1, 'prediction': 0, 'confidence': 0.987},
                     {'example': 7, 'label': 1, 'prediction': 0, 'confidence': 0.9}]}
  shown, = mistakes.worst_images({'dataset': {'class_names': ['a', 'b']}, 'where_it_is_wrong': wrong}, data)
  assert (shown['truth'], shown['answer'], shown['confidence']) == ('b', 'a', '98.7 %')


def test_an_anomaly_is_shown_as_the_model_sees_it():
  """An autoencoder that always rebuilds black: the error is the image itself."""
  import tensorflow as tf

  from tff_vision.objectives import anomaly
  x = np.zeros((40, 8, 8, 1), np.uint8)
  x[20:, 2:6, 2:6] = np.arange(100, 200, 5)[:, None, None, None]
  y = (np.arange(40) >= 20).astype(np.int32)
  examples = images_lib.Examples(x, y)
  data = images_lib.FederatedImages(name='n', class_names=['good', 'bad'], test=images_lib.HeldOut(
      examples=examples, clients=[np.arange(40)]), train=images_lib.ArrayClients(examples, [np.arange(20)], ['c']))
  objective = anomaly.Anomaly(normal=0)

  def builder(shape, outputs):
    del outputs
    image = tf.keras.Input(shape)
    return tf.keras.Model(image, tf.keras.layers.Conv2D(1, 3, padding='same', kernel_initializer='zeros')(image))
  model = objective.keras_model(builder, (8, 8, 1))
  rebuilt = objective.reconstruction(model)(np.ones((3, 8, 8, 1), np.float32)).numpy()
  assert rebuilt.shape == (3, 8, 8, 1) and not rebuilt.any()
  problem = types.SimpleNamespace(images=data, objective=objective)
  shown = anomalies.worst(problem, evaluation.Evaluator(model, preprocessing=data.preprocessing, objective=objective))
  assert [one.truth for one in shown] == 4 * ['bad'] + 4 * ['good'] + 4 * ['bad']
  scores = [one.score for one in shown]
  assert scores[:4] == sorted(scores[:4]) and all(one.verdict == 'reported' for one in (*shown[:4], *shown[8:]))
  assert all(one.image.startswith(b'\x89PNG') for one in shown) and shown[0].error != shown[4].error


def test_where_a_report_comes_from(tmp_path, monkeypatch):
  started = datetime.datetime(2026, 11, 29, 17, 5, 59, tzinfo=datetime.UTC)
  found = origin.describe(tmp_path, started)
  assert found['date'] == '2026-11-29 17:05 UTC' and found['run_dir'] == str(tmp_path) and found['host']
  assert found['command'] is None, 'a test runner is no pipeline'
  module = types.ModuleType('__main__')
  module.__spec__ = types.SimpleNamespace(name='pipelines.train')
  monkeypatch.setitem(sys.modules, '__main__', module)
  monkeypatch.setattr(sys, 'argv', ['/x/train.py', '--data_dir=my films', '--rounds=3'])
  assert origin.command() == "python -m pipelines.train '--data_dir=my films' --rounds=3"


@pytest.mark.skipif(shutil.which('git') is None, reason='there is no git')
def test_the_code_version_is_that_of_its_own_repository(tmp_path, monkeypatch):
  def git(*words):
    return subprocess.run(['git', '-C', str(tmp_path), '-c', 'user.name=n', '-c', 'user.email=e', *words], check=True,
                          capture_output=True, text=True).stdout.strip()
  git('init', '-q')
  (tmp_path / 'file').write_text('a')
  git('add', '.')
  git('commit', '-qm', 'first')
  monkeypatch.setattr(origin, '_SOURCE', tmp_path.resolve())
  commit = git('rev-parse', '--short=10', 'HEAD')
  assert origin.code_version().endswith(f', commit {commit}')
  (tmp_path / 'file').write_text('b')
  assert origin.code_version().endswith(f'{commit}-dirty')
  (tmp_path / 'site-packages').mkdir()
  monkeypatch.setattr(origin, '_SOURCE', (tmp_path / 'site-packages').resolve())
  assert 'commit' not in origin.code_version(), 'somebody else\'s repository around an installed package'


def test_numbers_have_three_digits_and_stay_whole():
  assert [number_format.plain(value) for value in (0.123456, 12.3456, 1234.56, 0.0)] == ['0.123', '12.3', '1,235', '0']
  assert [number_format.percent(value) for value in (0.91237, 1.0, 0.004217, 0.0)] == [
      '91.2 %', '100.0 %', '0.42 %', '0.0 %']
  assert number_format.size(1234567) == '1.23 MB'
  table = tables.Table(caption='c', header=['', 'v'], rows=[['a', '0.654 ± 0.036'], ['b', 'words ' * 9]], best=[0])
  page = pages.render('hospitals.html.j2', dict(
      content={'hospitals': [], 'dataset': 'd', 'parameters': 1, 'config': {'model': {'model': 'm'}}, 'notes': ()},
      origin={}, figures={}, hospitals=table, aucs=table, accuracies=table, findings=table, privacy=table, secured=()))
  assert '<tr class="best"><th scope="row">a</th><td>0.654 ± 0.036</td></tr>' in page
  assert '<td class="words">words' in page and '<th scope="col"></th>' not in page
  style = page[page.index('<style>'):page.index('</style>')]
  assert 'td { white-space: nowrap; }' in style and 'anywhere' not in style


def test_a_card_tells_of_classes_and_findings_by_name():
  data = test_report.make_images(made.FINDINGS, multi_label=True)
  report = made.report(data)
  rows = model_card.classes(report)
  assert [row['class'] for row in rows] == list(made.FINDINGS) and rows[1]['auc'] == 0.9894
  assert set(rows[0]) == {'class', 'precision', 'recall', 'f1', 'support', 'auc'}
  ten = model_card.classes(made.report(test_report.make_images(made.TEN)))
  assert [row['class'] for row in ten] == list(made.TEN) and 'auc' not in ten[0]
  masks = {'dataset': {'class_names': ['lung', 'heart']}, 'evaluation': {'dice': 0.5, 'dice_by_class': [0.25, None]}}
  assert model_card.classes(masks) == [{'class': 'lung', 'dice': 0.25}, {'class': 'heart', 'dice': None}]
  assert ['dice: lung', '0.25'] in [[cell.lower() for cell in row] for row in cells(tables.results(masks))]
  assert model_card.classes({'dataset': {}, 'evaluation': {}}) == ()


@pytest.mark.parametrize(('dataset', 'told'), [
    ('digits', 'iid'), ('npz', 'iid'), ('plan', None), ('tff_vision.data.images.FederatedImages', None)])
def test_a_card_tells_of_a_partition_only_where_one_made_the_clients(dataset, told):
  assert model_card.partition({'dataset': dataset, 'partition': 'iid'}) == told


def test_a_class_that_looks_like_a_tag_or_a_column_stays_to_be_read_in_the_model_card():
  assert model_card._cell('<benign> | other\nline') == '&lt;benign> \\| other line'


def test_a_run_that_is_under_way_tells_its_latest_fault(tmp_path):
  gone = {'worker': 'north:1', 'reason': 'UNAVAILABLE: <gone>.', 'clients': []}
  slow = {'worker': 'key_holder=keys:1', 'reason': 'it is slow.', 'clients': []}
  for faults, said in (([None, None], None), ([[slow, gone], []], 'Last fault, in round 1: north:1: UNAVAILABLE'),
                       ([[gone], [slow]], 'Last fault, in round 2: key_holder=keys:1: it is slow.')):
    history = [{'round': number, 'faults': found} for number, found in enumerate(faults, 1)]
    for live in (page.Live(state='training', done=2, rounds=9), None):
      page.write_html(tmp_path / 'report.html', test_report.make_report(history=history), None, live=live)
      shown = (tmp_path / 'report.html').read_text()
      assert (said is not None and live is not None) == ('Last fault' in shown)
      assert live is None or said is None or said in shown
