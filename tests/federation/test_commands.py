"""The commands of a coordinator, typed: a plan, a survey, a training; and what each refuses in one sentence."""

import json

import pytest

from tests.federation import plans
from tests.pipelines import conftest

run_pipeline = conftest.run_pipeline
KIND = ('--image_shape=8,8,1', '--class_names=0,1,2,3,4,5,6,7,8,9', '--model=linear')
SITES = '--sites=north=127.0.0.1:9001,south=127.0.0.1:9002,west=127.0.0.1:9003/2'


@pytest.fixture(name='plan', scope='module')
def _plan(tmp_path_factory):
  path = tmp_path_factory.mktemp('plan') / 'plan.json'
  path.write_text(plans.of(plans.experiment(), plans.simulated(), '/data').to_json())
  return path


@pytest.mark.parametrize('pipeline, options, said', [
    ('plan', (*KIND[:1], SITES), 'class_names is missing: a plan opens no data set'),
    ('plan', (*KIND, SITES, '--dataset=digits', '--num_clients=3'), 'num_clients=3 has no effect with dataset=plan'),
    ('plan', KIND, 'by one of sites and sites_file'),
    ('plan', (*KIND, SITES, '--runtime=device', '--devices=CPU'), 'has no effect here: the workers of the sites train'),
    ('plan', (*KIND, SITES, '--jit'), 'jit=True has no effect'),
    ('plan', (*KIND, SITES, '--math=bfloat16'), "math='bfloat16' has no effect here: the workers of the sites train"),
    ('plan', (*KIND, SITES, '--call_timeout=9', '--min_workers=4'), 'min_workers=4 is more than the 3 workers there'),
    ('plan', (*KIND, SITES, '--cohort_size=5'), 'cohort_size=5 is larger than the population of 4 clients'),
    ('plan', (*KIND, SITES, '--cohort_size=1', '--secure_sum=masks'), 'cohort_size=1 is too small for a secure sum'),
    ('plan', (*KIND, SITES, '--privacy=dp_ftrl', '--sampling=round_robin', '--noise_multiplier=9', '--clip_norm=1',
              '--evaluation_noise_multiplier=9', '--select_best=auc'), 'select_best=auc is not measured by sums'),
    ('train', ('--plan=nowhere.json',), 'there is no such file; python -m pipelines.plan makes one'),
    ('train', ('--plan=PLAN', '--rounds=3'), 'rounds=3 has no effect here: the plan decides'),
    ('train', ('--plan=PLAN', '--workers=a:1'), 'has no effect here: the plan decides'),
    ('train', ('--plan=PLAN', '--local_workers=2'), 'local_workers=2 would stand in for the sites of the plan'),
    ('doorway', ('--tls_cert=a', '--tls_key=b', '--host_key=c', '--sites=127.0.0.2:1=x,127.0.0.2:1=y'),
     'names an address twice'),
    ('survey', (), 'plan is missing'), ('survey', ('--plan=PLAN', '--survey_delta=0.1'), 'without survey_noise'),
    ('survey', ('--plan=PLAN', '--out='), 'out is empty'),
    ('survey', ('--plan=PLAN', '--out=folder/'), "out='folder/' names no file"),
])
def test_what_a_command_refuses(pipeline, options, said, plan, run_pipeline, tmp_path):
  done = run_pipeline(pipeline, *(option.replace('PLAN', str(plan)) for option in options))
  assert done.code == 1 and said in done.err and len(done.err.splitlines()) == 1, done.err


def test_a_plan_without_a_cohort_size_is_of_the_clients_that_there_are(run_pipeline, tmp_path):
  """As in a simulation; sites, which rehearse the plan, could not approve a larger cohort."""
  done = run_pipeline('plan', *KIND, SITES, f'--plan_out={tmp_path / "plan.json"}')
  assert done.code == 0, done.err
  assert json.loads((tmp_path / 'plan.json').read_text())['config']['cohort']['cohort_size'] == 4


@pytest.mark.ci
def test_a_plan_is_made_surveyed_and_trained(run_pipeline, tmp_path):
  found, folder, plan = plans.simulated(), tmp_path / 'data', tmp_path / 'plan.json'
  plans.write_files(found, folder)
  here = (f'--plan={plan}', '--local_workers=3', f'--worker_data_dir={folder}')
  done = run_pipeline('plan', *KIND, SITES, '--cohort_size=4', '--rounds=2', '--client_epochs=1', f'--plan_out={plan}')
  assert done.code == 0 and 'digest: ' in done.out, done.err
  done = run_pipeline('survey', *here, f'--out={tmp_path / "survey"}')
  assert done.code == 0 and (tmp_path / 'survey.html').exists(), done.err
  told = json.loads((tmp_path / 'survey.json').read_text())
  assert told['examples'] == sum(found.train.num_examples(client) for client in range(4))
  # Its constants make a plan that standardizes.
  done = run_pipeline('plan', *KIND, SITES, '--cohort_size=4', '--rounds=2', '--client_epochs=1', f'--plan_out={plan}',
                      '--preprocess=standardize', f'--flagfile={tmp_path / "survey.flags"}')
  assert done.code == 0, done.err
  done = run_pipeline('train', *here, f'--run_dir={tmp_path / "run"}')
  assert done.code == 0 and 'accuracy' in done.out, done.err
  done = run_pipeline('train', '--resume', f'--run_dir={tmp_path / "run"}', *here[1:])
  assert done.code == 0, done.err
