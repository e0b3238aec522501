"""Comparisons: which runs are one group, and numbers checked by hand."""

import dataclasses
import math
import re

import pytest

from tff_vision import configs
from tff_vision.report import number_format, run_comparison, run_comparison_figures


def report(accuracies, *, seed=0, rate=0.1, privacy=None):
  config = configs.ExperimentConfig(client=configs.ClientConfig(client_learning_rate=rate),
                                    program=configs.ProgramConfig(seed=seed))
  history = [{'round': number, 'evaluation': {'accuracy': value, 'loss': 1 - value}}
             for number, value in accuracies.items()]
  return {'config': dataclasses.asdict(config), 'rounds': max(accuracies), 'history': history,
          'evaluation': history[-1]['evaluation'], 'per_client': {'worst': 0.25}, 'seconds': {'train': 2.0},
          'privacy': privacy or {'mechanism': 'none'}, 'secure_sum': {'mode': 'none'}}


RUNS = [report({1: 0.2, 2: 0.5, 4: 0.6}, seed=0), report({1: 0.4, 2: 0.7, 3: 0.7, 4: 0.8}, seed=1),
        report({2: 0.9}, rate=0.3, privacy={
            'mechanism': 'client_gaussian', 'epsilon': 2.5, 'delta': 1e-5, 'unit': 'client',
            'relation': 'add or remove one client', 'sampling': 'poisson', 'rounds': 2, 'accountant': 'PLD'})]


def test_runs_that_differ_in_the_seed_alone_are_one_group_with_mean_and_deviation():
  groups = run_comparison.group(RUNS, ['a', 'b', 'c'])
  assert [g.name for g in groups] == ['client_learning_rate=0.1', 'client_learning_rate=0.3']
  rows = run_comparison.summary(groups)
  assert [row['run_dirs'] for row in rows] == [['a', 'b'], ['c']]
  assert rows[0]['runs'] == 2 and rows[0]['seeds'] == [0, 1] and rows[1]['runs'] == 1
  assert rows[0]['accuracy'] == pytest.approx({'mean': 0.7, 'deviation': 0.02 ** 0.5, 'runs': 2})
  rounds, means, deviations = groups[0].curve('evaluation', 'accuracy')
  assert rounds == [1, 2, 4] and means == pytest.approx([0.3, 0.6, 0.7])
  assert deviations == pytest.approx([0.02 ** 0.5] * 3)
  assert run_comparison_figures.best_row(rows, 'accuracy') == 1 and run_comparison_figures.best_row(rows, 'loss') == 1


def test_the_page_states_epsilon_with_its_conditions_and_escapes(tmp_path):
  groups = run_comparison.group(RUNS, ['a', 'b', 'c'])
  run_comparison.write_html(tmp_path / 'page.html', groups, title='<b>Two</b>',
                            figures=run_comparison_figures.sweep(run_comparison.summary(groups), metric='accuracy'))
  page = (tmp_path / 'page.html').read_text()
  assert page.startswith('<!DOCTYPE') and '<b>Two' not in page and '&lt;b&gt;Two' in page
  for said in ('2.5', 'client_gaussian', 'poisson', 'PLD', '70.0 % ± 14.1 %', '90.0 %', 'client_learning_rate'):
    assert said in page
  assert page.count('<svg') == 5  # The sweep, bars, costs; accuracy and loss over rounds.
  best, = re.findall(r'<tr class="best"><th.*?>(.*?)</th>', page)
  assert best == groups[1].name
  assert 'Bars: client_learning_rate=0.1: 70.0 % ± 14.1 %; client_learning_rate=0.3: 90.0 %' in page


def test_runs_of_an_embedding_are_compared_by_their_equal_error_rate(tmp_path):
  runs = []
  for seed, rate in ((0, 0.1), (1, 0.2)):
    one = report({1: 0.5}, seed=seed)
    measured = {'auc': 1 - rate, 'equal_error_rate': rate}
    runs.append(one | {'evaluation': measured, 'history': [{'round': 1, 'evaluation': measured}]})
  groups = run_comparison.group(runs, ['a', 'b'])
  row, = run_comparison.summary(groups)
  assert row['equal_error_rate'] == pytest.approx({'mean': 0.15, 'deviation': 0.005 ** 0.5, 'runs': 2})
  assert run_comparison_figures.best_row([{'equal_error_rate': {'mean': mean}} for mean in (0.3, 0.1, 0.2)],
                                         'equal_error_rate') == 1
  run_comparison.write_html(tmp_path / 'page.html', groups, title='Hands')
  page = (tmp_path / 'page.html').read_text()
  assert 'equal error rate' in page and page.count('<svg') >= 2


def measured(error, *, rate, seed=0, privacy=None):
  one = report({1: 0.5}, seed=seed, rate=rate, privacy=privacy)
  numbers = dict.fromkeys(('mae', 'rmse', 'r2', 'loss'), error)
  return one | {'task': {'name': 'regression', 'metric': 'mae'}, 'evaluation': numbers,
                'history': [{'round': 1, 'evaluation': numbers}]}


def test_a_group_that_diverged_is_not_the_best_and_takes_no_comparison_from_the_others(tmp_path):
  for wrong in (math.nan, 'nan', math.inf):
    groups = run_comparison.group([measured(0.5, rate=0.1), measured(0.4, rate=0.2), measured(wrong, rate=9.0)], 'abc')
    rows, metric = run_comparison.summary(groups), run_comparison.choosing(groups)
    assert metric.name == 'mae' and run_comparison_figures.best_row(rows, metric) == 1
    run_comparison.write_html(tmp_path / 'page.html', groups, title='Runs',
                              figures=run_comparison_figures.sweep(rows, metric=metric))
    page = (tmp_path / 'page.html').read_text()
    assert re.findall(r'<tr class="best"><th.*?>(.*?)</th>', page) == [groups[1].name]


def test_a_group_of_which_one_run_diverged_says_so_and_is_not_the_best():
  groups = run_comparison.group([measured(0.5, rate=0.1), measured(0.6, rate=0.1, seed=1), measured(0.3, rate=9.0),
                                 measured(math.nan, rate=9.0, seed=1)], 'abcd')
  rows, metric = run_comparison.summary(groups), run_comparison.choosing(groups)
  assert run_comparison_figures.best_row(rows, metric) == 0
  assert number_format.spread(metric, rows[1]['mae']) == '0.3 (1 of 2 runs)'
  assert number_format.spread(metric, rows[0]['mae']) == '0.55 ± 0.0707'


def test_a_group_with_a_run_without_a_guarantee_has_none():
  stated = RUNS[2]['privacy']
  group, = run_comparison.group([measured(0.5, rate=0.1, privacy=stated),
                                 measured(0.5, rate=0.1, seed=1, privacy=stated | {'epsilon': 'inf'})], 'ab')
  assert group.ledger.epsilon == math.inf


def test_a_folder_without_a_finished_run_is_named(tmp_path):
  with pytest.raises(ValueError, match=str(tmp_path)):
    run_comparison.read([str(tmp_path)])
  (tmp_path / 'config.json').write_text(configs.to_json(configs.ExperimentConfig()))
  with pytest.raises(ValueError, match='not finished'):
    run_comparison.read([str(tmp_path)])
  for broken in ('[]', '{}', '{'):
    (tmp_path / 'report.json').write_text(broken)
    with pytest.raises(ValueError, match=f'{tmp_path}/report.json.* no '):
      run_comparison.read([str(tmp_path)])
  with pytest.raises(ValueError, match='twice'):
    run_comparison.read([str(tmp_path), str(tmp_path / '.')])


def varied(**sections):
  one = report({1: 0.5})
  for section, fields in sections.items():
    one['config'][section] = {**one['config'][section], **fields}
  return one


def test_groups_are_named_by_the_fewest_settings_that_tell_them_apart():
  alone = {'client': {'client_learning_rate': 0.2, 'batch_size': 7}, 'server': {'server_momentum': 0.5},
           'model': {'model': 'cnn'}}
  runs = [varied(), varied(algorithm={'algorithm': 'scaffold'}, **alone), varied(algorithm={'algorithm': 'fedprox'})]
  assert [one.name for one in run_comparison.group(runs, 'abc')] == ['fedavg', 'scaffold', 'fedprox']
  runs.append(varied(algorithm={'algorithm': 'fedprox'}, privacy={'privacy': 'local_dp', 'clip_norm': 1.0}))
  assert [one.name for one in run_comparison.group(runs, 'abcd')] == [
      'fedavg, privacy=none', 'scaffold, privacy=none', 'fedprox, privacy=none', 'fedprox, privacy=local_dp']
  # Six settings, each of one bit: no three of them tell all groups apart.
  names = [('client', 'batch_size'), ('client', 'client_epochs'), ('server', 'server_learning_rate'),
           ('data', 'partition_alpha'), ('cohort', 'cohort_size'), ('program', 'rounds')]
  runs = []
  for number in range(64):
    sections = {}
    for bit, (section, field) in enumerate(names):
      sections.setdefault(section, {})[field] = 3 + (number >> bit & 1)
    runs.append(varied(**sections))
  assert len({one.name for one in run_comparison.group(runs, [str(i) for i in range(64)])}) == 64


def test_names_of_ones_own_and_folders_that_are_no_run(tmp_path):
  groups = run_comparison.group(RUNS, ['a', 'b', 'c'])
  assert [one.name for one in run_comparison.named(groups, ['slow', 'fast'])] == ['slow', 'fast']
  for wrong in (['slow'], ['slow', 'slow'], ['a', 'b', 'c']):
    with pytest.raises(ValueError, match='names: 2 different names .* client_learning_rate=0.1; client_learning_rate'):
      run_comparison.named(groups, wrong)
  (tmp_path / 'cell.log').write_text('')
  (tmp_path / 'open').mkdir()
  (tmp_path / 'run').mkdir()
  for name in ('open', 'run'):
    (tmp_path / name / 'config.json').write_text(configs.to_json(configs.ExperimentConfig()))
  with pytest.raises(ValueError, match='no finished run is named: .*cell.log is no run; .*open is no finished run'):
    run_comparison.kept([str(tmp_path / 'cell.log'), str(tmp_path / 'open')])
  (tmp_path / 'run' / 'report.json').write_text('{}')
  paths = [str(tmp_path / name) for name in ('cell.log', 'open', 'run')]
  assert run_comparison.kept(paths)[0] == paths[2:] and len(run_comparison.kept(paths)[1]) == 2
  assert run_comparison.kept([str(tmp_path)])[0] == paths[2:], 'a folder of runs stands for them'
  with pytest.raises(ValueError, match="there is no '.*gone'"):
    run_comparison.kept([str(tmp_path / 'gone'), paths[2]])
