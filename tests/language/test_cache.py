"""The file of answers: found again, counted, pruned, shared, and whole after a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hnlmrec.errors import ArtifactError
from hnlmrec.language.cache import AnswerCache, answer_key
from hnlmrec.language.protocol import Answer

ANSWER = Answer('{"a": "é\u2028"}', 12, 7, whole=False)

# writes as fast as it can, and says what is written
WRITER = """
import sys
from pathlib import Path
from hnlmrec.language.cache import AnswerCache
from hnlmrec.language.protocol import Answer
cache = AnswerCache(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    key = f"{sys.argv[2]}{number}"
    cache.add(key, "m", Answer("x" * 500 + key), 0.5)
    print(key, flush=True)
"""

# one program writes to the end while others begin and are killed, one in each fraction of a second
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from hnlmrec.language.cache import AnswerCache
from hnlmrec.language.protocol import Answer

def write(name, n):
    if pid := os.fork():
        return pid
    cache = AnswerCache(Path(sys.argv[1]))
    for number in range(n):
        key = f"{name}{number}"
        cache.add(key, "m", Answer("x" * 500 + key), 0.5)
        os.write(1, f"{key}\\n".encode())
    os._exit(0)

survivor = write("survivor", 200)
pause = random.Random(0)
for kill in range(int(sys.argv[2])):
    killed = write(f"{kill}-", 10**6)
    time.sleep(pause.uniform(0.02, 0.25))
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
sys.exit(os.waitpid(survivor, 0)[1])
"""
KILLS = 25


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(tmp_path / "deep" / "answers.sqlite")


def start(path: Path, name: str, n: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(n)], stdout=subprocess.PIPE, text=True
    )


def test_an_answer_is_found_again_as_it_was(cache: AnswerCache) -> None:
    cache.add("k", "m", ANSWER, 1.0)
    assert cache.find(["other", "k", "k"]) == {"k": ANSWER}
    assert AnswerCache(cache.path).find(["k"]) == {"k": ANSWER}
    cache.add("k", "m", Answer("new"), 1.0)
    assert cache.find(["k"])["k"].text == "new"


def test_many_keys_are_found(cache: AnswerCache) -> None:
    for number in range(1203):
        cache.add(str(number), "m", Answer(str(number)), 0.0)
    found = cache.find([str(number) for number in range(5000)])
    assert {key: answer.text for key, answer in found.items()} == {
        str(number): str(number) for number in range(1203)
    }


def test_a_key_depends_on_all_that_an_answer_does() -> None:
    prompt = [{"role": "user", "content": "x"}]
    keys = {
        answer_key(prompt, {"type": "object"}, "m", 10),
        answer_key([*prompt, *prompt], {"type": "object"}, "m", 10),
        answer_key(prompt, {"type": "string"}, "m", 10),
        answer_key(prompt, {"type": "object"}, "n", 10),
        answer_key(prompt, {"type": "object"}, "m", 11),
    }
    assert len(keys) == 5


def test_use_is_counted_and_pace_is_the_mean(cache: AnswerCache) -> None:
    cache.add("a", "m", ANSWER, 1.0)
    cache.add("b", "m", ANSWER, 4.0)
    cache.add("c", "n", ANSWER, 9.0)
    cache.count_use(["a", "c"])
    cache.count_use(["a"])
    rows = cache.summary().to_dicts()
    assert [(row["model"], row["answers"], row["hits"]) for row in rows] == [
        ("m", 2, 2),
        ("n", 1, 1),
    ]
    assert rows[0]["prompt_tokens"] == 24
    assert rows[0]["answer_tokens"] == 14
    assert cache.seconds_an_answer("m") == 2.5
    assert cache.seconds_an_answer("nobody") is None
    text = "\n".join(cache.lines())
    assert "3 answers" in text
    assert "m: 2 answers, 24 tokens of prompts and 14 of answers; used again 2 times" in text


def test_pruning_deletes_what_was_not_used(
    cache: AnswerCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr("hnlmrec.language.cache.time.time", lambda: now - 40 * 24 * 3600)
    for key in "abc":
        cache.add(key, "m" if key != "c" else "n", ANSWER, 1.0)
    monkeypatch.setattr("hnlmrec.language.cache.time.time", lambda: now)
    cache.count_use(["a"])
    assert cache.prune(older_than_days=30, model="n") == 1
    assert cache.prune(older_than_days=30) == 1
    assert set(cache.find(["a", "b", "c"])) == {"a"}
    assert cache.prune() == 1
    assert cache.summary().is_empty()


def test_programs_write_into_one_file_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    programs = [start(path, name, 60) for name in "abc"]
    written = {line for program in programs for line in program.communicate()[0].split()}
    assert [program.returncode for program in programs] == [0, 0, 0]
    assert len(written) == 180
    assert set(AnswerCache(path).find(sorted(written))) == written


def test_what_was_written_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    program = start(path, "k", 1_000_000)
    assert program.stdout is not None
    written = [program.stdout.readline().strip() for _ in range(50)]
    program.send_signal(signal.SIGKILL)
    written += program.communicate()[0].split("\n")[:-1]
    cache = AnswerCache(path)
    found = cache.find(written)
    assert set(found) == set(written)
    assert all(answer.text == "x" * 500 + key for key, answer in found.items())
    check = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()
    assert check == ("ok",)
    cache.add("more", "m", ANSWER, 0.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_writers_that_are_killed_again_and_again_lose_nothing_and_harm_nobody(
    tmp_path: Path,
) -> None:
    path = tmp_path / "answers.sqlite"
    program = [sys.executable, "-c", KILLER, str(path), str(KILLS)]
    written = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    found = AnswerCache(path).find(written)
    assert set(found) == set(written) >= {f"survivor{number}" for number in range(200)}
    assert len({key.partition("-")[0] for key in written}) > KILLS / 2
    assert all(answer.text == "x" * 500 + key for key, answer in found.items())
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk_is_told_without_the_advice_to_delete(cache: AnswerCache) -> None:
    cache.add("k", "m", ANSWER, 1.0)
    cache._file.execute("PRAGMA max_page_count=1")  # as if the disk held no more
    with pytest.raises(ArtifactError, match=r"disk is full.*free some space") as caught:
        for number in range(99):
            cache.add(str(number), "m", Answer("x" * 5000), 1.0)
    assert "delete" not in str(caught.value)
    assert AnswerCache(cache.path).find(["k"]) == {"k": ANSWER}


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(ArtifactError, match=r"answers\.sqlite.*language\.answers"):
        AnswerCache(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be kept here"):
        AnswerCache(tmp_path / "file" / "answers.sqlite")
