"""The answers a language model has given, kept so that no question is asked twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hnlmrec.language.protocol import Prompt


class AnswerFile:
    """JSON lines of ``key`` and ``answer``, written one by one as answers come in.

    Parameters
    ----------
    path
        The file; it need not exist. Lines that an interruption cut short are ignored.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, str] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        # what is appended must not continue a line that was cut short
        self._start = "" if text.endswith("\n") or not text else "\n"
        for line in text.split("\n"):
            try:
                record = json.loads(line)
                self._answers[record["key"]] = record["answer"]
            except (json.JSONDecodeError, KeyError, TypeError):
                continue

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> str:
        return self._answers[key]

    def add(self, key: str, answer: str) -> None:
        """Keep an answer, in memory and on disk."""
        line = json.dumps({"key": key, "answer": answer}, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{self._start}{line}\n")
        self._start = ""
        self._answers[key] = answer


def answer_key(prompt: Prompt, schema: dict[str, Any], model: str, max_new_tokens: int) -> str:
    """SHA-256 of all that an answer depends on."""
    question = json.dumps([list(prompt), schema, model, max_new_tokens], sort_keys=True)
    return hashlib.sha256(question.encode()).hexdigest()
