"""Profiles of users and items: composed by template or written by the language model."""

from hnlmrec.profiles.generate import ProfileReport, generate_profiles
from hnlmrec.profiles.schema import Profile
from hnlmrec.profiles.store import Profiles

__all__ = ["Profile", "ProfileReport", "Profiles", "generate_profiles"]
