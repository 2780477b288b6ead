"""The section on what of the users may be seen."""

from __future__ import annotations

from pydantic import Field

from hnlmrec.config.section import EnvironmentVariable, Section


class PrivacyConfig(Section):
    """What of the users is hidden from everything that is written."""

    hash_users: bool = Field(
        False,
        description="whether user ids are replaced by keyed hashes, before anything is written or "
        "sent",
    )
    secret_variable: EnvironmentVariable = Field(
        "HNLMREC_USER_SECRET",
        description="environment variable that holds the key of the hashes: 16 characters or more, "
        "the same whenever this run is gone on with",
    )
