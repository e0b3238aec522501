"""How many rounds may begin at a site that approves a plan, and what they cost its examples at most."""

from tff_vision.federation import plan as plan_lib
from tff_vision.federation import rehearsal


def examples(plan: plan_lib.Plan, site: int, rehearsed: rehearsal.Rehearsal) -> tuple[int, ...]:
  """Returns the numbers of training examples of a site's clients on which the approval depends; empty: none."""
  if not rehearsed.examples:
    return ()
  return tuple(count for count, of_site in zip(rehearsed.examples, plan.site_of_clients, strict=True)
               if of_site == site)


def rounds_here(plan: plan_lib.Plan, site: int, rehearsed: rehearsal.Rehearsal) -> int:
  """Returns how many of the plan's rounds may begin at a site.

  Where clients draw the noise, everybody knows the cohorts, and these are the rounds that have a client of the site. A
  coordinator that chose its clients more often would spend more than the plan does.
  """
  if rehearsed.privacy is None or not rehearsed.privacy.clients_draw_noise:
    return plan.rounds
  clients = _clients(plan, site)
  return sum(not clients.isdisjoint(map(int, rehearsed.privacy.cohort(number))) for number in range(1, plan.rounds + 1))


def _clients(plan, site) -> set[int]:
  return {client for client, of_site in enumerate(plan.site_of_clients) if of_site == site}


def epsilon(plan: plan_lib.Plan, site: int, rehearsed: rehearsal.Rehearsal, here: int, spare_rounds: int
            ) -> tuple[tuple[int, float], ...]:
  """Returns after how many begun rounds which epsilon is spent at most, ascending; empty: nothing is promised.

  Args:
    here: As `rounds_here` returns it.
    spare_rounds: So many more may begin.
  """
  clients, rounds = sorted(_clients(plan, site)), max(1, here + spare_rounds)
  whole = rehearsed.cost(rounds, clients)
  if whole is None:
    return ()
  if plan.experiment().cohort.cohort_size < len(plan.clients) and not rehearsed.privacy.clients_draw_noise:
    # Rounds in which none of this site's clients were drawn cost too, and nobody sees them here.
    return ((rounds, whole),)
  fewer = sorted({max(1, here // 4), max(1, here // 2), max(1, here)} - {rounds})
  return (*((few, rehearsed.cost(few, clients)) for few in fewer), (rounds, whole))
