"""The images of a plan's clients on a machine that has none of them: their kind is known, and nothing else."""

import dataclasses
from collections.abc import Mapping, Sequence

from tff_vision import configs, labels
from tff_vision.data import build
from tff_vision.data import images as images_lib
from tff_vision.federation import plan as plan_lib


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DistantClients(images_lib.ClientImages):
  """Clients whose examples are at their sites only.

  Attributes:
    ids: Their names.
    sites: As `sharing_sites`.
    most: The plan's bound on a client's number of examples, where the number stays at its site; None: workers say it.
    together: As `always_together`.
  """
  ids: Sequence[str]
  sites: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
  most: int | None = None
  together: bool = False

  @property
  def client_ids(self) -> Sequence[str]:
    return self.ids

  @property
  def here(self) -> bool:
    return False

  @property
  def counted(self) -> bool:
    return self.most is None

  @property
  def most_examples(self) -> int:
    return super().most_examples if self.most is None else self.most

  @property
  def always_together(self) -> bool:
    return self.together

  @property
  def sharing_sites(self) -> Mapping[str, Sequence[int]]:
    return self.sites

  def num_examples(self, client: int) -> int:
    """Raises ValueError: only the site knows the number."""
    raise ValueError(f'this machine does not know how many examples client {self.ids[client]} has; its site does.')

  def examples(self, client: int) -> images_lib.Examples:
    """Raises ValueError: only the site has them."""
    raise ValueError(f'this machine has no images: those of client {self.ids[client]} are at its site.')


def spec_of(schema: plan_lib.Schema) -> images_lib.ImageSpec:
  """Returns the kind of images that a plan's schema describes."""
  black, white = schema.stored_range
  usual = (0.0, 255.0) if schema.dtype == 'uint8' else (0.0, 1.0)
  return images_lib.ImageSpec(
      shape=schema.image_shape, dtype=schema.dtype, class_names=schema.class_names,
      labels=labels.Kind.FINDINGS if schema.multi_label else labels.Kind.CLASS,
      stored=None if (black, white) == usual else images_lib.StoredPixels(  # type: ignore[arg-type]
          black=black, white=white, window=(black, white), eight_bit=None))


def schema_of(images: images_lib.FederatedImages, *, task: str = 'classification') -> plan_lib.Schema:
  """Returns the schema of images that are at hand, for a plan over clients that have the same kind."""
  spec, made = images.spec, images.preprocessing
  stored = spec.stored
  if stored.black is None or stored.white is None:
    raise ValueError(f'the range of the stored pixels of dataset {images.name} is not known.')
  return plan_lib.Schema(
      image_shape=spec.shape, dtype=spec.dtype.name, class_names=tuple(map(str, spec.class_names)), task=task,
      multi_label=spec.multi_label, stored_range=(stored.black, stored.white), mean=made.mean, std=made.std,
      measured=made.measured)


def of(plan: plan_lib.Plan) -> images_lib.FederatedImages:
  """Returns the images of a plan's clients; no number of examples, no image and no test set is here.

  Raises:
    ValueError: The preprocessing is not possible on such images, or needs numbers that the plan lacks.
  """
  config, spec, schema = plan.experiment().data, spec_of(plan.schema), plan.schema
  own = images_lib.Preprocessing(mean=schema.mean, std=schema.std, measured=schema.measured and bool(schema.mean))
  chosen = build.chosen_preprocessing(own, config, shape=spec.shape, stored=spec.stored)
  if not build.has_constants(chosen, spec.shape):
    raise ValueError('preprocess=standardize needs pixel_mean and pixel_std, one number for each channel as stored: a '
                     'plan opens no data to compute them; python -m pipelines.survey measures them at the sites.')
  if chosen.pixels != 'standardize':
    chosen = dataclasses.replace(chosen, mean=(), std=(), measured=False)
  if config.normal_class is not None and config.normal_class not in schema.class_names:
    raise ValueError(f'normal_class={config.normal_class} is no class of the plan; its classes are '
                     f'{", ".join(schema.class_names[:12])}.')
  sites = {site.name: [client for client, number in enumerate(plan.site_of_clients) if number == place]
           for place, site in enumerate(plan.sites)} if plan.shares_site_metrics else {}
  clients = DistantClients(ids=plan.clients, sites=sites, most=plan.most_examples,
                           together=plan.most_examples is not None and plan.experiment().privacy.privacy == 'none')
  return images_lib.FederatedImages(name='plan', spec=spec, train=clients,
                                    preprocessing=chosen, fingerprint={'plan': plan.digest})


def load(config: configs.DataConfig) -> images_lib.FederatedImages:
  """Returns the images of the plan in the file `data_dir`.

  Raises:
    ValueError: There is no plan, or as `of`.
  """
  if config.data_dir is None:
    raise ValueError('dataset=plan needs --plan=FILE, which python -m pipelines.plan makes.')
  return of(plan_lib.read(config.data_dir))
