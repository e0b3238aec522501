"""pipelines.train with attackers and compression, as a person uses it."""

import csv
import json

from tests.documents import report_paths
from tests.pipelines.conftest import TINY


def test_a_run_under_attack_says_who_attacked_what_it_achieved_and_what_was_sent(run_pipeline, tmp_path):
  done = run_pipeline('train', *TINY, '--attack=backdoor_patch', '--attack_fraction=0.34', '--attack_patch=2',
                      '--attack_target=7', '--compression=top_k', '--aggregator=geometric_median',
                      f'--run_dir={tmp_path}/run')
  assert done.code == 0, done.err
  report = json.loads((tmp_path / 'run' / 'report.json').read_text())
  assert not report_paths.undocumented(report)
  attack, sent = report['attack'], report['traffic']
  assert attack['attack'] == 'backdoor_patch' and attack['target'] == '7' and attack['clients'] == 6
  assert len(attack['attacker_ids']) == attack['attackers'] == 2 and 0 <= attack['backdoor_success_rate'] <= 1
  assert f'the backdoor opens for {attack["backdoor_success_rate"]:.4f}' in done.out and '2 of 6 clients' in done.out
  values = report['model']['parameters']
  assert sent['bytes_down_per_client_and_round'] == 4 * values
  # A tenth of the values, a bit for each position, and the weight.
  assert sent['bytes_up_per_client_and_round'] == 4 * round(values / 10) + -(-values // 8) + 4
  assert sent['bytes_up_total'] == 4 * 3 * sent['bytes_up_per_client_and_round']
  with open(tmp_path / 'run' / 'metrics.csv') as file:
    rows = list(csv.DictReader(file))
  assert {int(row['traffic/bytes_up']) for row in rows} == {3 * sent['bytes_up_per_client_and_round']}
  page = (tmp_path / 'run' / 'report.html').read_text()
  assert 'backdoor success rate' in page and 'sent by a client in a round' in page
  assert list((tmp_path / 'run' / 'secret' / 'client_states').iterdir())


def test_settings_that_do_not_go_together_are_refused(run_pipeline, tmp_path):
  done = run_pipeline('train', *TINY, '--aggregator=median', '--secure_sum=masks', f'--run_dir={tmp_path}/run')
  assert done.code == 1 and 'aggregator=median does not go with secure_sum=masks: ' in done.err
  assert 'Traceback' not in done.err and not (tmp_path / 'run').exists()
