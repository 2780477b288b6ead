"""Keyed hashes in the place of users' ids, so that a run folder can be shown without them.

Without the key nobody can tell which hash an id has, not even by trying all ids. It is a pseudonym
all the same: who has the interactions themselves can find a user again by the items.
"""

from __future__ import annotations

import hmac
import os

import polars as pl

from hnlmrec.config import PrivacyConfig
from hnlmrec.errors import ConfigError

_SHORTEST = 16
_DIGITS = 32


def user_secret(config: PrivacyConfig) -> bytes | None:
    """The key of the hashes, from the environment; None where ids are not hashed.

    Raises
    ------
    ConfigError
        When the variable is absent, or its content so short that it could be guessed.
    """
    if not config.hash_users:
        return None
    secret = os.environ.get(config.secret_variable, "")
    if len(secret) < _SHORTEST:
        what = f"has fewer than {_SHORTEST} characters" if secret else "is not set"
        raise ConfigError(
            f"user ids are to be hashed, and the environment variable {config.secret_variable} "
            f"{what}",
            where="privacy.hash_users",
            mend=f'`export {config.secret_variable}="$(openssl rand -hex 32)"` once, and keep it: '
            "another secret gives other ids, and the run would begin anew",
        )
    return secret.encode()


def fingerprint(secret: bytes) -> str:
    """What tells secrets apart and does not give them away."""
    return hmac.digest(secret, b"hnlmrec: which secret is this", "sha256").hex()[:16]


def hashed(ids: pl.Series, secret: bytes) -> pl.Series:
    """HMAC-SHA-256 of each id, its first 128 bits as 32 letters."""
    return ids.map_elements(
        lambda one: hmac.digest(secret, one.encode(), "sha256").hex()[:_DIGITS],
        return_dtype=pl.String,
    )
