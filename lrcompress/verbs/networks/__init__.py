"""Whole networks, behind the verbs: what is asked, and how it is done, which is imported where it is needed."""

from lrcompress.verbs.networks.request import network_request, words_of

__all__ = ["network_request", "words_of"]
