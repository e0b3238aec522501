"""The runtime's settings: one flag for every field, and refusals in words."""

import dataclasses

import pytest

from flags import groups, runtime_flags
from tff_vision import configs as configs_lib
from tff_vision.configs import dial_config, runtime_config
from tff_vision.runtime.worker import processes, supervisor


@pytest.mark.parametrize(('made', 'configs'), [
    (runtime_flags.GROUPS, [runtime_config.RuntimeConfig]),
    (runtime_flags.WORKER, [supervisor.WorkerConfig, dial_config.DialConfig])])
def test_every_field_has_a_flag_with_its_default_and_every_flag_a_field(made, configs):
  fields = {field.name: field.default for config in configs for field in dataclasses.fields(config)}
  groups.define(made)
  assert {flag.name: flag.default if flag.default != [] else () for flag in groups.flags_of(made)} == fields


@pytest.mark.parametrize(('settings', 'words'), [
    (dict(runtime='cloud'), "runtime must be one of auto, device, local, workers; found 'cloud'"),
    (dict(runtime='workers'), 'name workers for runtime=workers'),
    (dict(workers=('a:1',)), 'runtime=local does not go with workers'),
    (dict(runtime='workers', workers=('a',)), "workers must be host:port, found 'a'"),
    (dict(runtime='workers', workers=('http://a:1',)), "workers must be host:port, found 'http://a:1'"),
    (dict(runtime='workers', workers=('a b:1',)), "workers must be host:port, found 'a b:1'"),
    (dict(runtime='workers', workers=('::1:80',)), "workers must be host:port, found '::1:80'"),
    (dict(runtime='workers', workers=('a:65536',)), "workers must be host:port, found 'a:65536'"),
    (dict(runtime='workers', workers=('a:1', 'a:1')), 'names a:1 more than once'),
    (dict(runtime='workers', workers=('a:1',), local_workers=2), 'exclude each other'),
    (dict(runtime='workers', workers=('a:1',), tls_ca='ca.crt'), 'given together'),
    (dict(runtime='workers', local_workers=1, tls_ca='a', tls_cert='b', tls_key='c'), 'only with workers'),
    (dict(runtime='workers', local_workers=2, min_workers=3), 'min_workers=3 is more than the 2 workers'),
    (dict(data_placement='worker'), 'needs runtime=workers'),
    (dict(devices=('CPU',)), 'devices=.* has no effect with runtime=local; it is read by runtime=device or auto'),
    (dict(clients_per_device=2), 'clients_per_device=2 has no effect with runtime=local'),
    (dict(runtime='device', devices=('TPU:0',)), "devices must be CPU, or GPU:0, GPU:1 and so on, found 'TPU:0'"),
    (dict(runtime='device', devices=('GPU:0', 'GPU:0')), 'devices names GPU:0 more than once'),
    (dict(runtime='device', devices=('CPU', 'CPU:0')), 'devices names CPU:0 more than once'),
    (dict(runtime='device', devices=('GPU:1', 'GPU:01')), 'devices names GPU:1 more than once'),
    (dict(runtime='device', clients_per_device=0), 'clients_per_device must be positive'),
    (dict(runtime='device', clients_per_device=10 ** 20), 'clients_per_device must be at most 10000'),
    (dict(threads=10 ** 10), 'threads must be at most 10000'),
    (dict(max_concurrent_clients=10 ** 10), 'max_concurrent_clients must be at most 10000'),
    (dict(runtime='workers', local_workers=10 ** 6), 'local_workers must be at most 10000'),
    (dict(runtime='device', max_concurrent_clients=2), 'max_concurrent_clients=2 is for executors'),
    (dict(runtime='auto', math='bfloat16'), 'math=bfloat16 does not go with runtime=auto: executors and devices'),
    (dict(jit=True), 'jit=True has no effect with runtime=local; it is read by runtime=device'),
    (dict(runtime='auto', jit=True), 'jit=True has no effect with runtime=auto; it is read by runtime=device'),
    (dict(math='float16'), 'math=float16 does not go with runtime=local: executors compute in float32 or bfloat16'),
    (dict(math='float16', runtime='workers', local_workers=2), 'math=float16 does not go with runtime=workers'),
    (dict(math='float64', runtime='device'), "math must be one of bfloat16, float16, float32; found 'float64'"),
    (dict(math='bfloat16', runtime='workers', workers=('a:1',)), 'math=bfloat16 is for executors started here'),
    (dict(attempts=5), 'attempts=5 has no effect without runtime=workers'),
    (dict(runtime='workers', local_workers=2, worker_data_dir='/x'),
     'worker_data_dir=/x has no effect with data_placement=driver'),
    (dict(runtime='workers', local_workers=2, clients_on_workers=('1', '2')),
     'has no effect with data_placement=driver'),
    (dict(runtime='workers', local_workers=2, data_placement='worker', clients_on_workers=('1', '0')),
     'clients_on_workers must be positive whole numbers'),
    (dict(runtime='workers', local_workers=2, data_placement='worker', clients_on_workers=('1', '2', '3')),
     'clients_on_workers has 3 numbers, and there are 2 workers'),
    (dict(runtime='workers', local_workers=2, probe_interval=0.0), 'probe_interval must be positive'),
])
def test_a_runtime_that_cannot_be_is_refused_in_words(settings, words):
  with pytest.raises(ValueError, match=words):
    runtime_config.RuntimeConfig(**settings)


@pytest.mark.parametrize(('parts', 'words'), [
    ({}, 'math=float16 needs loss_scale, dynamic or a power of two'),
    ({'algorithm': configs_lib.AlgorithmConfig(algorithm='apfl')}, 'loss_scale=dynamic does not go with .*apfl'),
    ({'algorithm': configs_lib.AlgorithmConfig(algorithm='mime_lite')}, 'loss_scale=dynamic does not go with .*mime'),
    ({'privacy': configs_lib.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=1.0)},
     'loss_scale=dynamic does not go with privacy=example_dp_sgd: it clips the gradient of every example')])
def test_float16_goes_with_a_scaled_loss_or_not_at_all(parts, words):
  place = runtime_config.RuntimeConfig(runtime='device', math='float16')
  scaled = configs_lib.ClientConfig(loss_scale='dynamic' if parts else None)
  with pytest.raises(ValueError, match=words):
    configs_lib.ExperimentConfig(client=scaled, **parts).check(place)
  if parts:  # It is refused without a scale too.
    with pytest.raises(ValueError, match='math=float16 needs loss_scale'):
      configs_lib.ExperimentConfig(**parts).check(place)
  configs_lib.ExperimentConfig(client=configs_lib.ClientConfig(loss_scale='1024')).check(place)
  with pytest.raises(ValueError, match='math=float16 does not go with executor=worker_binary'):
    supervisor.WorkerConfig(math='float16')


@pytest.mark.parametrize(('name', 'value'), [
    ('threads', 0), ('threads', 10 ** 10), ('max_concurrent_clients', -1), ('max_concurrent_clients', 10 ** 10)])
def test_a_worker_refuses_numbers_that_cannot_be(name, value):
  with pytest.raises(ValueError, match=f'{name} must be .*, found {value}'):
    supervisor.WorkerConfig(**{name: value})


def test_bfloat16_math_reaches_the_executor_and_is_not_the_default():
  name = 'TF_SET_ONEDNN_FPMATH_MODE'
  assert processes.executor_environment(1, 'bfloat16')[name] == 'BF16'
  assert name not in processes.executor_environment(1, runtime_config.RuntimeConfig().math)


@pytest.mark.parametrize('math, found, noted', [
    ('float32', 'flags : fpu avx512_bf16', False), ('bfloat16', 'flags : fpu avx512_bf16', True),
    ('bfloat16', 'flags : fpu avx512_bf16 amx_bf16 amx_tile', False), ('bfloat16', None, False)])
def test_a_processor_on_which_bfloat16_changes_nothing_is_noted(tmp_path, math, found, noted):
  path = tmp_path / 'cpuinfo'
  if found is not None:
    path.write_text(found + '\n')
  assert (processes.note_on_math(math, path) is not None) == noted
