"""Kill a run of all stages again and again, and see that nothing is lost, torn or paid for twice.

python tests/faults/crashes.py FOLDER --kills 20 --seed 0

A process of its own, which imports everything once and has not used polars when it forks (polars'
threads do not survive a fork). It prints what it did as JSON, and ends with 1 when a promise broke.
"""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

DONE, REFUSED, BROKEN = 0, 3, 4
# so many lives of a run folder end before one is let live to its end
_LIVES = 10
_LONGEST_COUNT = 60
_STRIDE = 7
# files that hold seconds of the wall clock, or name them
_TIMED = {"report.json", "costs.csv", "table.md"}


@dataclass(frozen=True)
class Life:
    """One process on the run folder, and how it ends."""

    fault: str = "none"
    at: int = 0
    seconds: float = 0.0
    power: bool = False


@dataclass
class Tally:
    """What was tried, and which promises broke."""

    counts: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            print(f"broken: {what}", file=sys.stderr)
            self.broken.append(what)


class World:
    """Data, a model, a server that counts its questions, and run folders below one folder."""

    def __init__(self, folder: Path) -> None:
        # before anything starts a thread
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.questions = folder / "questions.jsonl"
        self.server, self.url = _start_server(self.questions)
        from synthetic import write_files
        from tiny_language_model import build_tiny_language_model

        _import_everything()
        self.data = write_files(folder / "data")
        self.model = build_tiny_language_model(folder / "model")
        self._warm_up()

    def close(self) -> None:
        os.kill(self.server, signal.SIGKILL)
        os.waitpid(self.server, 0)

    def config(self, run: Path, answers: Path) -> Any:
        from hnlmrec.config import RunConfig
        from synthetic import small_tree

        tree = small_tree(self.data, self.model, run, threads=1)
        ours = tree["models"]["hnlmrec"]
        named = {**ours["sampler"], "source": "names", "enter": "extra", "draws": 2}
        tree["models"] = {
            "dns": tree["models"]["dns"],
            "hnlmrec": ours,
            "names": {"sampler": named, "alignment": ours["alignment"]},
            "rlmrec": {"baseline": {"name": "rlmrec_con", "weight": 0.3, "hidden": 7}},
            "llmrec": {"baseline": {"name": "llmrec", "weight": 0.3, "prune": 0.4}},
        }
        tree["synthesis"]["route_a"] = {"pairs": 6}
        tree["pick"] = {"max_users": 6, "candidates": 4}
        tree["profile"] = {"generator": "llm", "model": "openai:fake"}
        tree["language"] |= {
            "answers": str(answers),
            "server": {"base_url": self.url, "retries": 0, "concurrency": 2},
        }
        return RunConfig.from_dict(tree)

    def live(self, run: Path, answers: Path, life: Life) -> tuple[int, str]:
        """Run all stages in a process of its own; its exit status, or -9, and what it printed."""
        printed = self.folder / "printed.txt"
        process = os.fork()
        if process == 0:
            os._exit(_be_born(self.config(run, answers), life, self.journal, run, printed))
        if life.seconds:
            time.sleep(life.seconds)
            os.kill(process, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        return status, printed.read_text()

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    def asked(self) -> list[str]:
        """Keys of the questions that the server was asked, as the cache has them."""
        from hnlmrec.language.cache import answer_key

        if not self.questions.exists():
            return []
        bodies = map(json.loads, self.questions.read_text().splitlines())
        return [
            answer_key(
                body["messages"],
                body["response_format"]["json_schema"]["schema"],
                "openai:fake (json_schema, 0.0)",
                body["max_tokens"],
            )
            for body in bodies
        ]

    def _warm_up(self) -> None:
        from hnlmrec.config import LanguageConfig
        from hnlmrec.language import LocalLanguageModel

        LocalLanguageModel.load(LanguageConfig(model=str(self.model), max_tokens=24)).encode(["a"])


def _start_server(questions: Path) -> tuple[int, str]:
    import openai_server

    ours, theirs = os.pipe()
    process = os.fork()
    if process:
        os.close(theirs)
        with os.fdopen(ours) as stream:
            return process, stream.readline().strip()
    answer = openai_server.answer

    def noted(fake: Any, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with questions.open("a") as stream:
            stream.write(json.dumps(body) + "\n")
        return answer(fake, path, body)

    openai_server.answer = noted
    with openai_server.serve(reply=_reply) as fake:
        os.write(theirs, f"{fake.url}\n".encode())
        os.close(theirs)
        while True:
            time.sleep(60)


def _reply(messages: list[dict[str, str]]) -> str:
    """A profile, a name or a pick, whichever is asked for."""
    text = messages[-1]["content"].split("<data>")[-1].split("</data>")[0]
    asked = "".join(message["content"] for message in messages)
    if "candidates" in json.loads(text):
        return json.dumps({"favourite": str(1 + len(text) % 2), "least": "3"})
    if "hard_negative_item" in asked:
        return json.dumps({"hard_negative_item": f"Film {len(text) % 30}", "reasoning": "So."})
    return json.dumps({"summarization": f"Likes {text}", "reasoning": "It says so."})


def _import_everything() -> None:
    import hnlmrec

    for module in pkgutil.walk_packages(hnlmrec.__path__, "hnlmrec."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for name in ("scipy.stats", "peft", "llguidance", "openai", "rapidfuzz",
                 "transformers.models.llama.modeling_llama"):  # fmt: skip
        import_module(name)


def _be_born(config: Any, life: Life, journal: Path, run: Path, printed: Path) -> int:
    """What a process does with its life; its exit status."""
    from faulty_disk import FaultyDisk
    from rich.console import Console

    from hnlmrec.errors import HnlmrecError
    from hnlmrec.pipeline import Pipeline
    from hnlmrec.reporting import Reporter

    out = printed.open("w", buffering=1)
    os.dup2(out.fileno(), 2)
    try:
        FaultyDisk(run, journal, life.fault, life.at).install()
        Pipeline(config, Reporter(Console(file=out, width=200))).run(["compare"])
    except HnlmrecError as error:
        print(f"error {error}", file=out)
        return REFUSED
    except BaseException:
        traceback.print_exc(file=out)
        return BROKEN
    return DONE


def stored(answers: Path) -> set[str]:
    """Keys of the answers in a cache."""
    if not answers.exists():
        return set()
    with sqlite3.connect(answers) as file:
        try:
            return {key for (key,) in file.execute("SELECT key FROM answers")}
        except sqlite3.OperationalError:  # killed before it made its table
            return set()


def sums(run: Path) -> dict[str, str]:
    """SHA-256 of every file of every stage, without those that hold times."""
    from hnlmrec.disk import sha256_of

    return {
        path.relative_to(run).as_posix(): sha256_of(path)
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.parent != run and path.name not in _TIMED | {"stage.json"}
    }


def left_over(run: Path) -> list[str]:
    """What no finished run has."""
    names = ("*.partial", "*.old", "key", "*checkpoint*")
    return sorted(str(path.relative_to(run)) for name in names for path in run.rglob(name))


class Trials:
    """Chains of lives, and damages, on run folders of one world."""

    def __init__(self, world: World, seed: int, tally: Tally) -> None:
        from hnlmrec.plan import plan

        self.world, self.tally = world, tally
        self.random = np.random.default_rng(seed)
        self.whole = world.folder / "whole"
        status, printed = world.live(self.whole, world.folder / "whole.sqlite", Life())
        if status != DONE:
            raise SystemExit(f"the whole run failed:\n{printed}")
        self.operations = _operations(world.journal, self.whole)
        self.expected = sums(self.whole)
        self.stages = list(plan(world.config(self.whole, self.whole)))
        self.stages = [stage for stage in self.stages if (self.whole / stage).is_dir()]
        self._number = 0

    def chain(self, lives: list[Life], done: int = 0) -> None:
        """End lives one after another on a run folder; the last one lives to its end.

        The folder is a new one, or has the first ``done`` stages already.
        """
        from power_loss import settle

        run, answers = self._new_place()
        for stage in self.stages[:done]:
            shutil.copytree(self.whole / stage, run / stage)
        settle(run, self.world.journal)
        for life in [*lives, Life()]:
            before, n_asked = stored(answers), len(self.world.asked())
            status, printed = self.world.live(run, answers, life)
            what = f"chain {self._number}, {life}"
            asked = self.world.asked()[n_asked:]
            self.tally.check(
                not before & set(asked) and len(asked) == len(set(asked)),
                f"{what}: a question was asked whose answer was there",
            )
            if not self._ended_as_it_should(status, life):
                self.tally.check(False, f"{what}: ended with {status}:\n{printed}")
            self._count(life, status, run)
            if status == DONE:
                break
        if status == DONE:
            self.compare(run, f"chain {self._number}")
            self.finished_needs_no_writing(run, answers)
        if not self.tally.broken:  # else it is kept, to be looked at
            shutil.rmtree(run)

    def compare(self, run: Path, what: str) -> None:
        """Require the files of the whole run, and no other."""
        found = sums(run)
        different = [
            name for name in self.expected | found if self.expected.get(name) != found.get(name)
        ]
        self.tally.check(not different, f"{what}: other content: {', '.join(different)}")
        self.tally.check(not (left := left_over(run)), f"{what}: left over: {', '.join(left)}")
        stages = {str(path.parent.relative_to(run)) for path in run.rglob("stage.json")}
        manifest = json.loads((run / "manifest.json").read_bytes())
        self.tally.check(manifest["stages"].keys() == stages, f"{what}: not the manifest's stages")
        self.tally.counts["compared"] += 1

    def finished_needs_no_writing(self, run: Path, answers: Path) -> None:
        """Run again where nothing can be written."""
        status, printed = self.world.live(run, answers, Life("forbidden", 1))
        self.tally.check(status == DONE, f"a finished run wrote something:\n{printed}")

    def damage(self) -> None:
        """Change one byte of one file of a finished run."""
        run, answers = self._new_place()[0], self.world.folder / "whole.sqlite"
        shutil.copytree(self.whole, run)
        files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.parent != run]
        file = files[self.random.integers(len(files))]
        content = bytearray(file.read_bytes())
        if not content:
            return
        content[self.random.integers(len(content))] ^= 1 << int(self.random.integers(8))
        file.write_bytes(content)
        what = f"a byte of {file.relative_to(run)}"
        status, printed = self.world.live(run, answers, Life())
        if status == REFUSED:
            self.tally.check("To mend it" in printed, f"{what}: no mend:\n{printed}")
            shutil.rmtree(file.parent)
            status, printed = self.world.live(run, answers, Life())
            self.tally.counts["damaged bytes that were refused"] += 1
        elif "is done again" in printed:
            self.tally.counts["damaged bytes that were found and mended"] += 1
        else:
            self.tally.counts["damaged bytes of records that change nothing"] += 1
            self.tally.check(file.name == "stage.json", f"{what}: not noticed:\n{printed}")
        self.tally.check(status == DONE, f"{what}: ended with {status}:\n{printed}")
        if status == DONE:
            self.compare(run, what)
        shutil.rmtree(run)

    def within(self, stage: str) -> Life:
        """A life on a new folder that is killed at a random operation of a kind of stages."""
        at = [number for number, one in enumerate(self.operations, start=1) if one == stage]
        return Life("kill", int(self.random.choice(at)))

    def draw(self, kind: str) -> Life:
        """A life that ends by a kind of fault at a random place."""
        at = int(self.random.integers(1, _LONGEST_COUNT))
        if kind == "moment":
            return Life(seconds=float(self.random.uniform(0.02, 3)))
        if kind in ("kill", "power"):
            return Life("kill", at, power=kind == "power")
        return Life(kind, at)

    def _ended_as_it_should(self, status: int, life: Life) -> bool:
        if status == REFUSED:
            return life.fault in ("full", "forbidden")
        return status == DONE or (status == -signal.SIGKILL and life != Life())

    def _count(self, life: Life, status: int, run: Path) -> None:
        from power_loss import lose_power, read_journal

        if status == DONE:
            return
        journal = read_journal(self.world.journal)
        operations = [line for line in journal if "operation" in line]
        if operations:
            self.tally.stages[_operations(self.world.journal, run)[-1]] += 1
        if status == -signal.SIGKILL:
            self.tally.counts["kills"] += 1
            kind = "power losses" if life.power else "at an operation" if life.at else "at a moment"
            self.tally.counts[f"kills: {kind}"] += 1
            if life.at:
                self.tally.operations[operations[-1]["operation"]] += 1
        else:
            self.tally.counts["disk full" if life.fault == "full" else "may not write"] += 1
        if life.power and run.exists():
            self.tally.counts["files and names lost"] += lose_power(
                run, self.world.journal, self.random
            )

    def _new_place(self) -> tuple[Path, Path]:
        self._number += 1
        place = self.world.folder / f"run{self._number}"
        return place, place.with_suffix(".sqlite")


def _operations(journal: Path, run: Path) -> list[str]:
    """The stage that each operation of a life was for."""
    from power_loss import read_journal

    paths = [Path(line["path"]) for line in read_journal(journal) if "operation" in line]
    return [_stage_of(path.relative_to(run).as_posix()) for path in paths]


def _stage_of(place: str) -> str:
    parts = [part.removesuffix(".partial").removesuffix(".old") for part in place.split("/")]
    if len(parts) == 1 and ("." in parts[0] or parts[0] == "encode"):
        return "the run folder"
    return "/".join(parts[:2]) if parts[0] == "encode" else parts[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--others", type=int, default=4, help="full disks, damaged bytes, each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tally, start = Tally(), time.perf_counter()
    world = World(options.folder.resolve())
    try:
        trials = Trials(world, options.seed, tally)
        kinds = trials.random.permutation(["kill", "kill", "kill", "power", "power", "moment"])
        stages = sorted(set(trials.operations))
        for n in count():
            if tally.counts["kills"] >= options.kills:
                break
            wanted = min(options.kills - tally.counts["kills"], _LIVES)
            lives = [trials.draw(kinds[life % len(kinds)]) for life in range(wanted)]
            if n < len(stages):
                trials.chain([trials.within(stages[n]), *lives[1:]])
            else:
                # begins before each stage in turn
                trials.chain(lives, n * _STRIDE % len(trials.stages))
        trials.chain([trials.draw(("full", "forbidden")[n % 2]) for n in range(options.others)])
        for _ in range(options.others):
            trials.damage()
    finally:
        world.close()
    tally.counts["seconds"] = round(time.perf_counter() - start)
    print(json.dumps(vars(tally), indent=1))
    sys.exit(1 if tally.broken else 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
