"""A user's mistake gets one sentence with the name and the value, exit code 1, and leaves nothing behind."""

import os
import subprocess
import time

import pytest

from tests.pipelines.conftest import ROOT, TINY, command

MISTAKES = [
    (['--partition_alpha=0'], 'partition_alpha', '0'),
    (['--dataset=nonsense'], 'dataset', 'nonsense'),
    (['--cohort_size=21'], 'cohort_size', '21'),
    (['--num_clients=5000'], 'num_clients', '5000'),
    (['--noise_multiplier=1', '--privacy=client_gaussian'], 'clip_norm', 'client_gaussian'),
    (['--target_epsilon=3'], 'target_epsilon', '3'),
    (['--privacy=client_gaussian', '--clip_norm=1', '--noise_multiplier=1'], 'sampling', 'poisson'),
    (['--rounds=0'], 'rounds', '0'),
    (['--rounds=many'], 'rounds', 'many'),
    (['--model=resnet1000'], 'model', 'resnet1000'),
    (['--dataset=folder', '--data_dir='], 'data_dir is empty', ''),
    (['--initial_model=', '--model=keras_file'], 'initial_model is empty', ''),
    (['--jit'], 'jit=True has no effect with runtime=local', ''),
    (['--personalize_learning_rate=0.1'], 'personalize_learning_rate=0.1 has no effect', 'personalize_epochs'),
    (['--no_such_flag=1'], 'no_such_flag', ''),
    (['stray'], 'stray', ''),
    (['--resume'], 'run_dir', ''),
    (['--flagfile=/no/such/file.flags'], '/no/such/file.flags', ''),
]


@pytest.mark.parametrize(('flags', 'name', 'value'), MISTAKES, ids=lambda part: str(part)[:40])
def test_a_mistake_is_one_sentence(run_pipeline, tmp_path, flags, name, value):
  run_dir = tmp_path / 'run'
  place = [] if flags == ['--resume'] else [f'--run_dir={run_dir}']
  done = run_pipeline('train', *flags, *place)
  assert done.code in (1, 2)
  assert name in done.err and value in done.err
  assert len(done.err.strip().splitlines()) == 1 and 'Traceback' not in done.err, done.err
  assert not run_dir.exists()


@pytest.mark.parametrize(('pipeline', 'flag', 'said'), [
    ('train', '--rounds=two', "rounds must be a whole number, found 'two'."),
    ('train', '--client_learning_rate=0,1', "client_learning_rate must be a number such as 0.5, found '0,1'."),
    ('train', '--flip=maybe', "flip must be true or false, found 'maybe'."),
    ('watch', '--port=http', "port must be a whole number, found 'http'."),
    ('train', '--rounds =3', 'there is a space beside --rounds: write --rounds=VALUE without spaces.')])
def test_a_value_of_another_kind_is_said_in_words_of_people(run_pipeline, tmp_path, pipeline, flag, said):
  by_flag = run_pipeline(pipeline, flag)
  assert by_flag.code == 1 and by_flag.err == f'{pipeline}: error: {said}\n', by_flag.err
  (tmp_path / 'a.flags').write_text(flag)
  by_file = run_pipeline(pipeline, f'--flagfile={tmp_path}/a.flags')
  assert (by_file.code, by_file.err) == (by_flag.code, by_flag.err)


def test_a_folder_that_is_not_this_runs_is_left_alone(run_pipeline, trained, tmp_path):
  folder, _ = trained
  before = sorted(path.stat().st_mtime_ns for path in folder.rglob('*'))
  done = run_pipeline('train', f'--run_dir={folder}')
  assert done.code == 1 and str(folder) in done.err and '--resume' in done.err
  assert before == sorted(path.stat().st_mtime_ns for path in folder.rglob('*'))
  (tmp_path / 'letter.txt').write_text('dear diary')
  done = run_pipeline('train', f'--run_dir={tmp_path}')
  assert done.code == 1 and str(tmp_path) in done.err and os.listdir(tmp_path) == ['letter.txt']
  done = run_pipeline('train', '--resume', f'--run_dir={tmp_path}')
  assert done.code == 1 and 'config.json' in done.err


def test_a_place_that_cannot_be_written_is_one_sentence(run_pipeline, tmp_path):
  (tmp_path / 'file').write_text('')
  done = run_pipeline('certificates', f'--dir={tmp_path / "file"}')
  assert done.code == 1 and done.err.strip() == f'certificates: error: {tmp_path / "file"}: File exists.'


@pytest.mark.parametrize(('pipeline', 'flag', 'said'), [
    ('evaluate', 'run_dir=', 'run_dir is empty'), ('evaluate', 'data_dir=', 'data_dir is empty'),
    ('predict', 'masks_dir=', 'masks_dir is empty'), ('export', 'output_dir=', 'output_dir is empty'),
    ('describe_data', 'picture=', 'picture is empty'), ('compare', 'json=', 'json is empty'),
    ('predict', 'json=-', 'json=- is no file')])
def test_a_path_that_is_empty_is_not_the_working_folder_and_a_dash_no_file(run_pipeline, pipeline, flag, said):
  done = run_pipeline(pipeline, f'--{flag}')
  assert done.code == 1 and said in done.err and len(done.err.strip().splitlines()) == 1
  assert not (ROOT / '-').exists()


def test_a_broken_config_of_a_run_is_named(run_pipeline, tmp_path):
  (tmp_path / 'config.json').write_text('{"data": {}}')
  done = run_pipeline('train', '--resume', f'--run_dir={tmp_path}')
  assert done.code == 1 and 'config.json' in done.err and len(done.err.strip().splitlines()) == 1


PIPELINES = sorted(path.stem for path in (ROOT / 'pipelines').glob('*.py')
                   if "if __name__ == '__main__'" in path.read_text() and path.stem != 'command')


@pytest.mark.parametrize('pipeline', PIPELINES)
def test_help_names_every_flag_without_importing_tensorflow(pipeline):
  started = time.monotonic()
  done = subprocess.run([*command(pipeline)[:1], '-X', 'importtime', *command(pipeline, '--help')[1:]], cwd=ROOT,
                        capture_output=True, text=True, timeout=60, check=False)
  assert done.returncode == 0 and time.monotonic() - started < 30
  assert 'python -m pipelines.' + pipeline in done.stdout and '(default:' in done.stdout
  assert 'repeat this option' not in done.stdout and '(default: none)' not in done.stdout
  assert '| tensorflow' not in done.stderr.replace('  ', ''), 'help must not wait for TensorFlow'


@pytest.mark.parametrize('pipeline', ['train', 'describe_data'])
def test_missing_data_is_named_before_tensorflow_is_imported(tmp_path, pipeline):
  environment = {**os.environ, 'TFF_VISION_CACHE': str(tmp_path), 'HOME': str(tmp_path)}
  done = subprocess.run([*command(pipeline)[:1], '-X', 'importtime',
                         *command(pipeline, '--dataset=npz', f'--data_dir={tmp_path / "none.npz"}')[1:]],
                        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=environment)
  assert done.returncode == 1 and str(tmp_path / 'none.npz') in done.stderr.splitlines()[-1]
  assert '| tensorflow' not in done.stderr.replace('  ', '')


@pytest.mark.parametrize('rate', ['1e19', pytest.param('1e38', marks=pytest.mark.ci)])  # Outputs overflow; weights do.
def test_a_model_that_answers_with_no_numbers_is_reported_and_not_a_crash(run_pipeline, tmp_path, rate):
  done = run_pipeline('train', *TINY, '--model=cnn', '--rounds=2', '--server_optimizer=adam',
                      f'--server_learning_rate={rate}', f'--run_dir={tmp_path / "run"}')
  assert done.code == 0, done.err
  assert 'is not a finite number' in done.out + done.err
  assert f'server_learning_rate ({float(rate):g})' in done.out + done.err
  assert (tmp_path / 'run' / 'report.html').exists() and (tmp_path / 'run' / 'export' / 'model.keras').exists()
  refused = run_pipeline('export', f'--run_dir={tmp_path / "run"}', '--format=tflite', f'--output_dir={tmp_path / "o"}')
  assert refused.code in (1, 2) and 'its training diverged' in refused.err and 'Traceback' not in refused.err
  assert not (tmp_path / 'o').exists()
