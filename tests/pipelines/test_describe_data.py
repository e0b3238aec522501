"""pipelines.describe_data as its user runs it."""

import json


def test_numbers_and_picture(run_pipeline, tmp_path):
  done = run_pipeline('describe_data', '--partition=shards', '--classes_per_client=3', '--num_clients=8',
                      '--held_out_clients=2', f'--picture={tmp_path}/p.png', f'--json={tmp_path}/d.json')
  assert done.code == 0, done.err
  assert 'digits, partition=shards' in done.out and '8 with' in done.out and 'total variation' in done.out
  found = json.loads((tmp_path / 'd.json').read_text())
  assert found['clients'] == 8 and found['unseen_clients'] == 2 and found['labels_per_client']['max'] <= 3
  assert found['train_examples'] + found['test_examples'] + found['unseen_examples'] == 1797
  assert found['total_variation']['mean'] > 3 * found['total_variation_of_iid']['mean']
  assert sorted(path.name for path in tmp_path.iterdir()) == ['d.json', 'p.png']


def test_a_page_with_the_charts_of_reports(run_pipeline, tmp_path):
  done = run_pipeline('describe_data', '--partition=shards', '--classes_per_client=3', '--num_clients=8',
                      f'--picture={tmp_path}/p.html')
  assert done.code == 0, done.err
  page = (tmp_path / 'p.html').read_text()
  assert page.count('<svg') == 2 and 'class="cell"' in page and '<h1>digits, partition=shards</h1>' in page


def test_a_picture_that_cannot_be_written_is_one_sentence(run_pipeline):
  done = run_pipeline('describe_data', '--picture=/proc/none/p.png')
  assert done.code == 1 and '/proc/none/p.png' in done.err and len(done.err.strip().splitlines()) == 1


def test_a_picture_without_an_ending_is_no_picture_of_the_format_of_its_draft(run_pipeline, tmp_path):
  done = run_pipeline('describe_data', f'--picture={tmp_path}/p')
  assert done.code == 1 and f'picture={tmp_path}/p cannot be written: Format \'\' is not supported' in done.err
