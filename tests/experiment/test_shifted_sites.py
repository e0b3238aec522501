"""Sites whose images differ, through whole runs: local normalisation, resumed, private; and what each contributed."""

import dataclasses

import numpy as np
import pytest

import tff_vision as tv
from tests.documents import report_paths
from tff_vision import configs, experiment

pytestmark = pytest.mark.ci


def config(algorithm='fedbn', model='cnn_bn', **sections):
  return configs.ExperimentConfig(
      data=configs.DataConfig(dataset='digits', partition='iid', num_clients=3, held_out_clients=1,
                              client_shift='scanners'),
      model=configs.ModelConfig(model=model), algorithm=configs.AlgorithmConfig(algorithm=algorithm),
      client=configs.ClientConfig(client_epochs=1, client_learning_rate=0.05),
      **{'cohort': configs.CohortConfig(cohort_size=3),
         'program': configs.ProgramConfig(rounds=3, rounds_per_evaluation=3), **sections})


def test_local_normalisation_resumes_and_says_how_unseen_clients_fare(tmp_path):
  made = experiment.from_config(config())
  whole = made.run(tmp_path / 'whole').report
  rounds = []
  made.run(tmp_path / 'parts', on_round=rounds.append, stop_requested=lambda: len(rounds) == 2)
  parts = made.run(tmp_path / 'parts').report
  assert len(rounds) == 2
  for key in ('evaluation', 'per_client', 'unseen', 'personal'):
    assert parts[key] == whole[key]
  assert not report_paths.undocumented(whole)
  personal = whole['personal']
  assert personal['joined'] == 3 and personal['own']['count'] == 3 and personal['own']['mean'] > 0.25
  assert whole['per_client']['accuracies'] == pytest.approx(personal['shared']['accuracies'])
  assert whole['unseen']['evaluation']['accuracy'] > 0.1  # Of ten classes.
  assert any('Feature shift' in note for note in whole['dataset']['notes'])
  assert 'those of the exported model are the mean over 3 clients' in (tmp_path / 'whole' / 'model_card.md').read_text()
  # The exported model is the one that was evaluated: its statistics are those of the clients.
  again = tv.Experiment.from_config(config()).run(tmp_path / 'whole')
  assert again.evaluate()['evaluation']['accuracy'] == pytest.approx(whole['evaluation']['accuracy'])


def test_what_is_personal_stays_out_of_a_private_run(tmp_path):
  private = {'privacy': configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1.0, noise_multiplier=1.0,
                                              delta=1e-3),
             'cohort': configs.CohortConfig(sampling='poisson', cohort_size=2)}
  own = experiment.from_config(config(**private))
  report = own.run(tmp_path / 'run').report
  assert report['personal'] is None and not any('personal' in entry for entry in report['history'])
  other = experiment.from_config(config('fedavg', 'cnn_gn', **private))
  assert own.ledger().to_json() == other.ledger().to_json()
  assert report['privacy']['epsilon'] == pytest.approx(own.ledger().epsilon)
  assert not list((tmp_path / 'run').rglob('client_states/*/*'))
  assert 'the exported model are as initialized: train or' in (tmp_path / 'run' / 'model_card.md').read_text()


def test_a_site_with_wrong_labels_contributes_least_and_the_report_says_so(tmp_path):
  base = config('fedavg', 'linear', aggregation=configs.AggregationConfig(contribution='shapley'),
                attack=configs.AttackConfig(attack='label_flip', attack_fraction=0.34),
                program=configs.ProgramConfig(rounds=4, rounds_per_evaluation=2))
  made = experiment.from_config(dataclasses.replace(base, data=dataclasses.replace(base.data, client_shift='none')))
  rounds = []
  made.run(tmp_path / 'run', on_round=rounds.append, stop_requested=lambda: len(rounds) == 2)
  result = made.run(tmp_path / 'run')
  assert not report_paths.undocumented(result.report)
  found = result.report['contribution']
  assert found['ranking'][-1] in result.report['attack']['attacker_ids']
  assert found['metric'] == 'accuracy' and found['rounds'] == 4 and found['evaluations'] == 4 * 8
  end = result.report['evaluation']['accuracy']
  start = result.report['history'][0]['contribution']['before']
  assert sum(found['values']) == pytest.approx(end - start) == pytest.approx(found['total'])
  assert np.argmin(found['values']) == [name in found['ranking'][-1:] for name in
                                        made.images.train.client_ids].index(True)
  page = (tmp_path / 'run' / 'report.html').read_text()
  assert 'What each client contributed' in page and 'exact Shapley values' in page
  with pytest.raises(ValueError, match='contribution_metric=dice'):
    experiment.from_config(dataclasses.replace(base, aggregation=configs.AggregationConfig(
        contribution='shapley', contribution_metric='dice'))).run(tmp_path / 'other')
  assert not (tmp_path / 'other').exists()
