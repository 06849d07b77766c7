"""Releases: trained models with a name.

`release` says what one is, `store` finds them on this machine, `catalog` knows those that can be
fetched, `download` and `fetch` fetch them, `checkpoint` turns a release into a model and back,
and `importers` bring in the checkpoints of other programs. Finding and listing import no torch.
"""
