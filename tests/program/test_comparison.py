"""Comparisons: which runs are one group, and numbers checked by hand."""

import dataclasses

import pytest

from tff_vision import configs
from tff_vision.report import run_comparison, run_comparison_figures


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
  assert page.count('data:image/png;base64,') == 6  # Accuracy, loss and the sweep, each light and dark.


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
  assert 'equal error rate' in page and page.count('data:image/png;base64,') == 4


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
