"""A plan's file: an exact round trip, a digest of all of it, and one sentence for whatever is wrong."""

import dataclasses
import json
import subprocess
import sys

import pytest

from tff_vision import configs
from tff_vision.configs import federation_config, runtime_config
from tff_vision.federation import making
from tff_vision.federation import plan as plan_lib

SCHEMA = {'image_shape': ('8', '8', '1'), 'class_names': ('a', 'b')}
TWO = ('north=n:80', 'south=s:80/2')


def made(sites=TWO, schema=None, runtime=None, sites_file=None, **sections):
  return making.make(configs.ExperimentConfig(**sections), federation_config.SchemaConfig(**(SCHEMA | (schema or {}))),
                     federation_config.SitesConfig(sites=sites, sites_file=sites_file),
                     runtime_config.RuntimeConfig(**(runtime or {})))


def test_a_plan_is_what_its_file_says_and_its_digest_covers_everything(tmp_path):
  plan = made(program=configs.ProgramConfig(rounds=7))
  path = tmp_path / 'plan.json'
  path.write_text(plan.to_json())
  again = plan_lib.read(path)
  assert again == plan and again.digest == plan.digest and again.rounds == 7
  assert plan.clients == ('north', 'south-1', 'south-2') and plan.site_of_clients == (0, 1, 1)
  runtime = plan.run_by()
  assert runtime.workers == ('n:80', 's:80') and runtime.worker_of_clients == (0, 1, 1)
  assert plan.experiment(path).data.data_dir == str(path)
  described, digests = plan.described(), {plan.digest}
  for part, value in (('shares_site_metrics', True), ('computations', ['x']),
                      ('schema', described['schema'] | {'class_names': ['b', 'a']}),
                      ('runtime', described['runtime'] | {'clients_per_call': 7}),
                      ('sites', described['sites'][::-1]), ('software', {'tff_vision': '0'})):
    digests.add(plan_lib.of(described | {part: value}).digest)
  assert len(digests) == 7
  with pytest.raises(ValueError, match='made with other versions: tff_vision 0 there and'):
    dataclasses.replace(plan, software={'tff_vision': '0'}).check_software()
  plan.check_software()


def test_a_plan_is_made_and_read_without_tensorflow(tmp_path):
  path = tmp_path / 'plan.json'
  path.write_text(made().to_json())
  done = subprocess.run([sys.executable, '-c', 'import sys; from tff_vision.federation import plan\n'
                         f'plan.read({str(path)!r}); assert "tensorflow" not in sys.modules'], check=False)
  assert done.returncode == 0


@pytest.mark.parametrize('change, said', [
    ({'extra': 1}, 'unknown names: extra'), ({'rounds': 'x'}, 'rounds must be a whole number'),
    ({'rounds': True}, 'rounds must be a whole number'), ({'rounds': 3}, 'has rounds=3, and its config rounds=80'),
    ({'version': 9}, 'has version 9'), ({'sites': []}, 'two sites or more'), ({'sites': {}}, 'sites must be a list'),
    ({'schema': 5}, 'schema of the plan must be a JSON object'), ({'runtime': {}}, 'runtime of the plan lacks'),
    ({'config': {}}, 'the config lacks'), ({'computations': [1]}, 'computations must be a list of texts'),
])
def test_a_wrong_plan_is_one_sentence(change, said, tmp_path):
  path = tmp_path / 'plan.json'
  path.write_text(json.dumps(made().described() | change))
  with pytest.raises(ValueError, match=said) as error:
    plan_lib.read(path)
  assert str(path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('change, said', [
    ({'class_names': ['a', 'a']}, 'class_names has a more than once'), ({'dtype': 'int8'}, 'dtype must be uint8 or'),
    ({'stored_range': [5.0, 1.0]}, 'stored_range must be BLACK,WHITE'), ({'mean': [0.5]}, 'pixel_mean and pixel_std'),
    ({'image_shape': [8, 8]}, 'image_shape must be height'), ({'stored_range': [0.0, 1.0]}, 'uint8 is stored as'),
])
def test_a_wrong_schema_is_one_sentence(change, said):
  found = made().described()
  with pytest.raises(ValueError, match=said):
    plan_lib.of(found | {'schema': found['schema'] | change})


@pytest.mark.parametrize('given, said', [
    ({'schema': {'image_shape': ()}}, 'image_shape is missing'), ({'schema': {'class_names': ()}}, 'class_names is'),
    ({'schema': {'image_shape': ('8', '8')}}, 'three positive whole numbers'),
    ({'data': configs.DataConfig(dataset='mnist')}, 'dataset=.mnist. has no effect here'),
    ({'data': configs.DataConfig(num_clients=3)}, 'num_clients=3 has no effect'),
    ({'data': configs.DataConfig(pixel_range='0,1', dataset='folder', data_dir='x')}, 'a plan opens no data set'),
    ({'sites': ('north',)}, 'name=host:port'), ({'sites': ('a=x:1', 'a=y:1')}, 'equal names: a'),
    ({'sites': ('a=x:1', 'b=x:1')}, 'equal names: x:1'),
    ({'sites': ('a=x:1', 'b=y')}, "the address of site b must be host:port, found 'y'"),
    ({'sites': ('a=x:1', 'b=y:1/0')}, 'NUMBER_OF_CLIENTS'),
    ({'sites': ('a=x:1', 'b=y:1/99999999999')}, 'more than 1,000,000 clients'),
    ({'sites': ()}, 'one of sites and sites_file'),
    ({'sites': (), 'sites_file': '/nowhere'}, 'cannot be read'),
    ({'attack': configs.AttackConfig(attack='label_flip')}, 'does not go with'),
])
def test_what_a_plan_lacks_is_asked_for(given, said):
  with pytest.raises(ValueError, match=said):
    made(**given)


def test_sites_with_named_clients_come_from_a_file(tmp_path):
  path = tmp_path / 'sites.json'
  path.write_text(json.dumps([{'name': 'n', 'address': 'n:1', 'clients': ['x', 'y']},
                              {'name': 's', 'address': 's:1', 'clients': ['z']}]))
  assert made(sites=(), sites_file=str(path)).clients == ('x', 'y', 'z')
  path.write_text(json.dumps([{'name': 'n', 'address': 'n:1'}]))
  with pytest.raises(ValueError, match='lacks or has unknown names: clients'):
    made(sites=(), sites_file=str(path))


@pytest.mark.parametrize('task', ['segmentation', 'detection'])
def test_masks_and_boxes_are_not_for_a_plan(task):
  usual = configs.of_task(task)
  with pytest.raises(ValueError, match=f'task={task} is not for a plan: .* hold classes or findings'):
    made(task=usual.task, model=usual.model, client=usual.client)
