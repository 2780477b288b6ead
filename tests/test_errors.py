"""Errors that users see."""

from __future__ import annotations

import pickle

from hnlmrec.errors import ConfigError


def test_an_error_reaches_another_process_as_it_is() -> None:
    error = ConfigError("a is wrong", where="config.yaml", mend="set b")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is ConfigError
    assert (again.what, again.where, again.mend) == ("a is wrong", "config.yaml", "set b")
    assert str(again) == str(error) == "config.yaml: a is wrong. To mend it: set b."
