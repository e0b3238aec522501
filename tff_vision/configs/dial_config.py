"""The configuration of a connection that a site opens outwards, so that nothing at the site has to be reachable."""

import dataclasses
import os
import re

from tff_vision.configs import option, validate

_NAME = re.compile(r'[\w.-]+')
_USER = 'tff-vision'


@dataclasses.dataclass(frozen=True, kw_only=True)
class DialConfig:
  """Where a worker dials to. Unset `dial`: it waits to be called."""
  dial: str | None = option.option(
      None, 'The coordinator\'s doorway, [user@]host:port: this worker opens one TLS connection to it, is called '
      'through that, and listens at the loopback interface only.')
  dial_as: str | None = option.option(
      None, 'host:port under which the coordinator calls this worker at its doorway, a loopback address such as '
      '127.0.0.2:8443; the address of this site in the plan.')
  dial_key: str | None = option.option(None, 'Private key of this site for the doorway (SITE.dial).')
  dial_host_key: str | None = option.option(None, 'Public key of the doorway (doorway.pub).')
  dial_ca: str | None = option.option(
      None, 'PEM file of the authority that signed the certificate of the doorway.')
  dial_name: str | None = option.option(
      None, 'Name in the certificate of the doorway; unset or empty: the host that is dialled.')
  dial_proxy: str | None = option.option(None, 'HTTP proxy host:port through which the connection goes.')

  def __post_init__(self):
    others = {name: getattr(self, name) for name in ('dial_as', 'dial_key', 'dial_host_key', 'dial_ca')}
    if self.dial is None:
      for name, value in {**others, 'dial_name': self.dial_name, 'dial_proxy': self.dial_proxy}.items():
        if value is not None:
          raise ValueError(f'{name}={value} has no effect without dial.')
      return
    for name, value in others.items():
      if value is None:
        raise ValueError(f'{name} is missing: dial={self.dial} needs it.')
    user, at, address = self.dial.rpartition('@')
    if at and not _NAME.fullmatch(user):
      raise ValueError(f'dial={self.dial!r} must be [user@]host:port.')
    validate.address(dial=address, dial_as=self.dial_as, dial_proxy=self.dial_proxy)
    if self.dial_name and not _NAME.fullmatch(self.dial_name):
      raise ValueError(f'dial_name={self.dial_name!r} must be a name of letters, digits, dots and hyphens.')
    for name in ('dial_key', 'dial_host_key', 'dial_ca'):
      if not os.access(os.path.expanduser(getattr(self, name)), os.R_OK):
        raise ValueError(f'{name}={getattr(self, name)}: cannot read it.')

  @property
  def place(self) -> tuple[str, str, int]:
    """The doorway: user, host, port."""
    if self.dial is None:
      raise ValueError('dial is not set: there is no doorway.')
    user, _, address = self.dial.rpartition('@')
    host, _, port = address.rpartition(':')
    return user or _USER, host, int(port)
