"""Packages that only some installs have: those of listening tests come with the extra `listen`."""

from functools import partial

from desmezcla.evaluation import optional

require = partial(optional.require, needed_by="listening tests", extra="listen")
