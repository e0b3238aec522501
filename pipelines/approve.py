"""Shows the owner of a site what a plan would do there, and signs what the owner approves.

    python -m pipelines.approve --plan=plan.json --site=hospital-a --tls_key=hospital-a.key

Every computation is built here, with this installation, from the plan, and compared with those that the plan names.
What runs, what leaves the site, how often, and what it costs the site's examples is printed; after a yes,
`approved.json` holds it, signed. `python -m pipelines.worker --approved=approved.json` lets nothing else pass.
"""

import pathlib
import sys

from absl import flags

from pipelines import launch
from tff_vision import wording
from tff_vision.federation import plan as plan_lib

_PLAN = flags.DEFINE_string('plan', None, 'File of the plan, as the coordinator has it.')
_SITE = flags.DEFINE_string('site', None, 'Name of this site in the plan.')
_PREPARED = flags.DEFINE_string(
    'prepared', None, 'Folder that pipelines.prepare wrote: compared with the plan, and its hashes with its files.')
_TLS_KEY = flags.DEFINE_string('tls_key', None, 'PEM file of the private key of this site\'s certificate, which signs.')
_EXAMPLES = flags.DEFINE_list(
    'examples', [], 'Number of training images of each client of the plan, in its order; a secure sum and '
    'example-level privacy need them.')
_SITE_CERTS = flags.DEFINE_list(
    'site_certs', [], 'With a secure sum: SITE=FILE for each site of the plan, PEM files of their certificates, by '
    'which sites know each other\'s messages.')
_KEY_HOLDER_CERT = flags.DEFINE_string(
    'key_holder_cert', None, 'With a plan that names a key_holder: PEM file of its certificate, by which the site '
    'knows its public key.')
_FEWEST_SITES = flags.DEFINE_integer(
    'fewest_sites', 2, 'With secure_sum=he or masks: the site does not help to open a sum over fewer sites.',
    lower_bound=2)
_SURVEY = flags.DEFINE_bool('survey', False, 'Approve a survey of the training images instead of a run.')
_SPARE_ROUNDS = flags.DEFINE_integer(
    'spare_rounds', 5, 'Rounds beyond those of the plan that may begin, for rounds that a fault repeats.',
    lower_bound=0)
_DAYS = flags.DEFINE_integer('days', 30, 'Days after which nothing passes any more.', lower_bound=1)
_MOST_EPSILON = flags.DEFINE_float(
    'most_epsilon', None, 'Refuse a plan that may cost an example of this site more than this.')
_OUT = flags.DEFINE_string('out', 'approved.json', 'File to write.')
_YES = flags.DEFINE_bool('yes', False, 'Approve without being asked, for scripts.')


def main() -> None:
  for flag in (_PLAN, _SITE, _TLS_KEY):
    if flag.value is None:
      raise ValueError(f'{flag.name} is missing.')
  plan = plan_lib.read(_PLAN.value)
  plan.check_software()

  from tff_vision.federation import approval, approving, rehearsal, words  # Late: TensorFlow takes seconds.
  checked = approving.check(plan, approving.Request(
      site=_SITE.value, tls_key=_TLS_KEY.value, out=_OUT.value, survey=_SURVEY.value, prepared=_PREPARED.value,
      examples=_EXAMPLES.value, site_certs=_SITE_CERTS.value, key_holder_cert=_KEY_HOLDER_CERT.value,
      fewest_sites=_FEWEST_SITES.value, days=_DAYS.value, most_epsilon=_MOST_EPSILON.value,
      given=[name for name in flags.FLAGS if flags.FLAGS[name].present]))
  rehearsed = rehearsal.rehearse_survey(plan) if _SURVEY.value else rehearsal.rehearse(plan, checked.examples)
  approved = approval.of(plan, _SITE.value, rehearsed, spare_rounds=_SPARE_ROUNDS.value, days=_DAYS.value,
                         certificates=checked.certificates, fewest_sites=_FEWEST_SITES.value,
                         key_holder=checked.key_holder)
  for line in words.lines(plan, approved, rehearsed):
    print(line)
  _check_cost(approved)
  if not _YES.value and not _said_yes():
    print('Not approved; nothing was written.')
    sys.exit(1)
  approval.write(approved, pathlib.Path(_OUT.value), pathlib.Path(_TLS_KEY.value))
  print(f'approved: {_OUT.value}')


def _said_yes():
  try:
    return input('\nApprove this? yes or no: ').strip().lower() == 'yes'
  except EOFError:  # Nobody is there to be asked.
    print()
    return False


def _check_cost(approved):
  limit = _MOST_EPSILON.value
  if limit is None:
    return
  if not approved.epsilon:
    raise ValueError(f'most_epsilon={limit:g}, and the plan promises nothing to the people in the images.')
  if approved.epsilon[-1][1] > limit:
    raise ValueError(f'most_epsilon={limit:g}, and the plan may cost epsilon '
                     f'{wording.at_most(approved.epsilon[-1][1], ".3g")}; fewer spare_rounds cost less.')


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
