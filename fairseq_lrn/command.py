"""The name under which programs written for earlier checkouts import :class:`InputError`."""

from fairseq_lrn.errors import InputError

__all__ = ["InputError"]
