"""Makes the plan of a federation: what will be computed, from what kind of images, at which sites. Opens no data set.

    python -m pipelines.plan --image_shape=28,28,1 --class_names=normal,abnormal --cohort_size=3 \\
      --sites=north=north.example:8443,south=south.example:8443,west=west.example:8443 --plan_out=plan.json

With --rehearse, the run is rehearsed on this machine, without data, and the plan names every computation that a site
will be asked for, so that sites compare them with those of their own rehearsal (python -m pipelines.approve).
The coordinator trains with `python -m pipelines.train --plan=plan.json`, and every site gets the same file.
"""

from absl import flags

from flags import experiment_flags, federation_flags, runtime_flags
from pipelines import launch
from tff_vision import wording
from tff_vision.federation import plan as plan_lib
from tff_vision.program import whole_file

_REHEARSE = flags.DEFINE_bool('rehearse', False, 'Name every computation of the run in the plan; takes a minute.')
_EXAMPLES = flags.DEFINE_list(
    'examples', [], 'With rehearse: number of training images of each client, in the order of the sites; a secure sum '
    'needs them.')


def main() -> None:
  sites = federation_flags.sites_config()
  runtime_flags.refuse_others(plan_lib.RUNTIME, 'the workers of the sites train, as each was started, and the '
                              'coordinator has flags of its own')
  from tff_vision.federation import making
  plan = making.make(experiment_flags.experiment_config(), federation_flags.schema_config(), sites,
                     runtime_flags.chosen_runtime(making.runtime_of(sites)),
                     fewer_clients=not flags.FLAGS['cohort_size'].present)

  from tff_vision.federation import problem  # Imported late: TensorFlow takes seconds, but errors must be fast.
  found = problem.of(plan)
  model = found.keras_model()
  if _REHEARSE.value:
    from tff_vision.federation import rehearsal
    plan = rehearsal.named(plan, rehearsal.numbers(_EXAMPLES.value))
  elif _EXAMPLES.value:
    raise ValueError('examples has no effect without rehearse.')
  whole_file.write(sites.plan_out, plan.to_json())
  print(f'{sites.plan_out}: {wording.counted(len(plan.sites), "site")}, '
        f'{wording.counted(len(plan.clients), "client")}, {wording.counted(plan.rounds, "round")}, model '
        f'{model.name} of {model.count_params():,} parameters.')
  print(f'digest: {plan.digest}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=(*federation_flags.SCHEMA, *federation_flags.SITES, *experiment_flags.GROUPS,
                                   *runtime_flags.GROUPS))
