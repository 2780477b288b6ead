from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.nn.functional import normalize

from hnlmrec.config import SynthesisConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ArtifactError, HnlmrecError
from hnlmrec.synthesis.distill import Lesson
from hnlmrec.synthesis.finetune import SynthesisInputs, finetune
from hnlmrec.synthesis.live import LiveNegatives
from hnlmrec.synthesis.model import FILE
from hnlmrec.synthesis.pairs import PairSampler
from hnlmrec.synthesis.states import (
    ITEM_STATES,
    USER_STATES,
    unit_vectors,
    write_histories,
)
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.synthesis.synthesize import synthesize
from hnlmrec.synthesis.vectors import Shape, VectorTable
from synthesis_cases import encode_texts, language_config, load_language, synthesis_config

MODES = ("amortized", "pairwise")


class _Stopped(Exception):
    pass


def _stop_at(text: str, n: int) -> Callable[[str, int, int], None]:
    """A progress callback that interrupts at the n-th call of a kind."""
    calls = 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal calls
        calls += text in what
        if text in what and calls == n:
            raise _Stopped

    return progress


@pytest.fixture
def tune(tiny_model: Path, inputs: SynthesisInputs) -> Callable[..., Path]:
    def run(folder: Path, mode: str = "amortized", progress=None, inputs=inputs) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        config = synthesis_config(mode)
        finetune(config, inputs, load_language(tiny_model), folder, 0, progress)
        return folder

    return run


@pytest.mark.parametrize("mode", MODES)
def test_fine_tuning_changes_what_it_should_and_lowers_the_held_out_loss(
    mode: str, tune: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tune(tmp_path, mode)
    tensors = load_file(folder / FILE)
    changed = [name for name in tensors if "lora_B" in name]
    assert changed
    report = json.loads((folder / "report.json").read_text())
    assert report["targets"]["distinct"] > 1
    phase = report["phases"]["head" if mode == "amortized" else "lora"]
    assert phase["after"]["loss"] < phase["before"]["loss"]
    # LoRA's B starts at zero: a step was kept that moved it
    if report["phases"]["lora"]["best_step"] > 0:
        assert all(tensors[name].abs().sum() > 0 for name in changed)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "margin", "accuracy", "mi_bound", "distinct"):
        assert all(np.isfinite(row[name]) for row in rows)
    assert {(row["phase"], row["part"]) for row in rows} >= {
        ("lora", "train"),
        ("lora", "held_out"),
    }


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("fine-tuning", 1),
        ("fine-tuning", 3),
        ("encoding users", 1),
        ("training the amortized head", 6),
    ],
)
def test_an_interrupted_fine_tuning_ends_like_one_that_was_not(
    text: str, n: int, tune: Callable[..., Path], tmp_path: Path
) -> None:
    whole = tune(tmp_path / "whole")
    with pytest.raises(_Stopped):
        tune(tmp_path / "stopped", progress=_stop_at(text, n))
    resumed = tune(tmp_path / "stopped")
    assert (resumed / FILE).read_bytes() == (whole / FILE).read_bytes()
    # tokens read before the interruption count
    tokens = [
        json.loads((folder / "report.json").read_text())["tokens"] for folder in (whole, resumed)
    ]
    assert tokens[0] == tokens[1]
    for name in (USER_STATES, ITEM_STATES):
        pair = [VectorTable.open(folder / name).read_all() for folder in (whole, resumed)]
        assert torch.equal(*pair)


@pytest.mark.parametrize(("phase", "mend"), [("lora", "finetune.lr"), ("head", "finetune.head_lr")])
def test_a_loss_that_is_not_finite_stops_with_step_and_parameters(
    phase: str,
    mend: str,
    tune: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = tune(tmp_path / "whole")
    config = synthesis_config().finetune
    assert config.lr != config.head_lr
    rate = config.lr if phase == "lora" else config.head_lr
    step = torch.optim.AdamW.step
    done = 0

    def break_in_step_3(optimizer: torch.optim.AdamW, *arguments: object) -> None:
        nonlocal done
        step(optimizer, *arguments)
        group = optimizer.param_groups[0]
        done += group["lr"] == rate
        if done == 3:
            group["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.AdamW, "step", break_in_step_3)
    said = rf"the loss is not finite in step \d of.*not finite: .*lower synthesis\.{mend}"
    with pytest.raises(HnlmrecError, match=said):
        tune(tmp_path / "stopped")
    assert not (tmp_path / "stopped" / FILE).exists()
    monkeypatch.undo()
    resumed = tune(tmp_path / "stopped")
    assert (resumed / FILE).read_bytes() == (whole / FILE).read_bytes()


def test_held_out_labels_leave_no_trace(
    tune: Callable[..., Path], inputs: SynthesisInputs, tmp_path: Path
) -> None:
    real = inputs.interactions
    other = Interactions(real.user_ids, real.item_ids, real.train, real.test[::-1], real.valid * 0)
    first = tune(tmp_path / "a")
    second = tune(tmp_path / "b", inputs=replace(inputs, interactions=other))
    assert (first / FILE).read_bytes() == (second / FILE).read_bytes()


def test_item_vectors_are_centred_before_they_are_scaled(inputs: SynthesisInputs) -> None:
    vectors = unit_vectors(inputs.encoded.items)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
    # without centring nearly all cosines would be close to 1
    assert (vectors @ vectors.T).fill_diagonal_(0).mean().abs() < 0.1


def test_held_out_pairs_never_train(interactions: Interactions) -> None:
    pairs = PairSampler(interactions, 0.2, 0)
    random = np.random.default_rng(0)
    drawn = np.concatenate(
        [pairs.by_user(5, 3, random) for _ in range(100)] + [pairs.any(20, random)]
    )
    assert not np.isin(drawn, pairs.held_out).any()
    assert len(pairs.held_out) == round(0.2 * interactions.train.nnz)
    assert set(pairs.training) | set(pairs.held_out) == set(range(interactions.train.nnz))
    users, items = pairs.pairs(drawn)
    assert interactions.train.toarray()[users, items].all()


def test_a_batch_by_user_holds_at_most_so_many_users_and_pairs_of_each(
    interactions: Interactions,
) -> None:
    pairs = PairSampler(interactions, 0.1, 0)
    users, _ = pairs.pairs(pairs.by_user(5, 3, np.random.default_rng(1)))
    counts = users.unique(return_counts=True)[1]
    assert len(counts) <= 5
    assert counts.max() <= 3


@pytest.mark.parametrize("mode", MODES)
def test_an_interrupted_synthesis_ends_like_one_that_was_not(
    mode: str,
    tune: Callable[..., Path],
    tiny_model: Path,
    inputs: SynthesisInputs,
    tmp_path: Path,
) -> None:
    tuned = tune(tmp_path / "tuned", mode)

    def run(name: str, progress=None) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        language = load_language(tiny_model)
        config = synthesis_config(mode)
        report = synthesize(config, inputs, language, tuned, folder, 0, progress)
        assert report.coverage == 1
        return folder

    whole = run("whole")
    with pytest.raises(_Stopped):
        run("stopped", _stop_at("synthesising", 2))
    partial = NegativeStore.create(
        tmp_path / "stopped", inputs.interactions, load_language(tiny_model).width
    )
    assert partial.table.coverage() == pytest.approx(100 / inputs.interactions.train.nnz)
    resumed = run("stopped")
    shards = [(folder / "negatives-00000.float16").read_bytes() for folder in (whole, resumed)]
    assert shards[0] == shards[1]
    assert (whole / "report.json").read_text() == (resumed / "report.json").read_text()


@pytest.mark.parametrize("collaborative", ["soft_tokens", "none"])
def test_live_negatives_are_those_of_the_store(
    collaborative: str,
    tiny_model: Path,
    inputs: SynthesisInputs,
    tmp_path: Path,
) -> None:
    config = synthesis_config(collaborative=collaborative)
    finetune(config, inputs, load_language(tiny_model), tmp_path, 0)
    synthesize(config, inputs, load_language(tiny_model), tmp_path, tmp_path, 0)
    store = NegativeStore.open(tmp_path, inputs.interactions)
    live = LiveNegatives.open(tmp_path, inputs.view, inputs.interactions)
    index = torch.tensor([5, 0, 5, len(store.table) - 1])
    stored, found = store.vectors(index)[0], live.vectors(index)
    torch.testing.assert_close(found[0], stored, atol=1e-3, rtol=0)
    assert found[1].tolist() == [True] * 4
    # any pair will do, trained or not
    users, items = torch.arange(6), torch.arange(6).flip(0)
    others = live.of_pairs(users, items)
    assert len(others.unique(dim=0)) == 6
    torch.testing.assert_close(others.norm(dim=1), torch.ones(6))


def test_live_negatives_need_the_amortized_head(
    tune: Callable[..., Path], inputs: SynthesisInputs, tmp_path: Path
) -> None:
    tuned = tune(tmp_path, "pairwise")
    with pytest.raises(ArtifactError, match=r"fine-tuned pairwise.*synthesis\.mode"):
        LiveNegatives.open(tuned, inputs.view, inputs.interactions)


@pytest.mark.parametrize("mode", MODES)
def test_what_one_run_learned_is_used_as_it_is_for_other_users_and_items(
    mode: str, tune: Callable[..., Path], tiny_model: Path, inputs: SynthesisInputs, tmp_path: Path
) -> None:
    tuned = tune(tmp_path / "there" / "finetune", mode)
    fewer, rows = inputs.interactions.train[:30], slice(30)
    there = inputs.interactions
    data = Interactions(
        there.user_ids[rows], there.item_ids, fewer, there.valid[rows], there.test[rows]
    )
    texts = (inputs.user_texts[:30], [text.upper() for text in inputs.item_texts])
    encoded = encode_texts(*texts, language_config(tiny_model), tmp_path / "encoded")
    view = replace(inputs.view, users=inputs.view.users[:30])
    other = SynthesisInputs(data, *texts, view, encoded)
    config = synthesis_config(mode).model_copy(update={"transfer_from": tmp_path / "there"})
    here = tmp_path / "here"
    here.mkdir()
    report = finetune(config, other, load_language(tiny_model), here, 0)
    ours, theirs = (load_file(folder / FILE) for folder in (here, tuned))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]) == (name != "centres"), name
    assert list(report.phases) == (["transferred head"] if mode == "amortized" else [])
    assert synthesize(config, other, load_language(tiny_model), here, here, 0).coverage == 1
    wrong = synthesis_config(mode, rank=2).model_copy(update={"transfer_from": tmp_path / "there"})
    with pytest.raises(ArtifactError, match=r"rank is 4 there, 2 here.*transferred from"):
        finetune(wrong, other, load_language(tiny_model), here, 0)


def _distilling(teacher: Path, **distill: object) -> SynthesisConfig:
    distill = {"teacher": teacher.parent, "pairs": 60, "weight": 30.0, **distill}
    return SynthesisConfig.model_validate(
        {**synthesis_config(head_steps=60).model_dump(), "distill": distill}
    )


def test_the_head_learns_what_a_pairwise_teacher_answers(
    tune: Callable[..., Path], tiny_model: Path, inputs: SynthesisInputs, tmp_path: Path
) -> None:
    teacher = tune(tmp_path / "teacher" / "finetune", "pairwise")
    config, folder = _distilling(teacher), tmp_path / "taught"
    folder.mkdir()

    def lesson(progress=None) -> Lesson:
        return Lesson.of_teacher(config, inputs, load_language(tiny_model), folder, 0, progress)

    with pytest.raises(_Stopped):
        lesson(_stop_at("asking the teacher", 1))
    learned = lesson()
    # what the teacher says is what the pairwise run synthesises of the same pairs
    pairwise = synthesis_config("pairwise")
    synthesize(pairwise, inputs, load_language(tiny_model), teacher, teacher, 0)
    store = NegativeStore.open(teacher, inputs.interactions)
    users, items = inputs.interactions.pairs("train")
    places = [
        int(np.flatnonzero((users == user) & (items == item))[0])
        for user, item in zip(learned.users.tolist(), learned.items.tolist(), strict=True)
    ]
    stored = store.vectors(torch.tensor(places))[0]
    torch.testing.assert_close(normalize(learned.answers, dim=1), stored, atol=2e-3, rtol=0)
    # no pair that it is measured on is learned
    pairs = set(places)
    assert len(pairs) == len(places) == 60 + learned.held_out

    report = finetune(config, inputs, load_language(tiny_model), folder, 0, lesson=learned)
    phase = report.phases["head"]
    assert phase.after["agreement"] > phase.before["agreement"] + 0.1
    assert report.tokens["teacher"] == learned.tokens > 0
    alone = tmp_path / "alone"
    alone.mkdir()
    finetune(synthesis_config(head_steps=60), inputs, load_language(tiny_model), alone, 0)
    cosines = []
    for run in (folder, alone):
        live = LiveNegatives.open(run, inputs.view, inputs.interactions)
        measured = slice(60, None)
        found = live.of_pairs(learned.users[measured], learned.items[measured])
        cosines.append(float((found * stored[measured]).sum(dim=1).mean()))
    assert cosines[0] > cosines[1] + 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "pairwise"}, "teaches the amortized head"),
        ({"transfer_from": "elsewhere"}, "teaches nobody"),
    ],
)
def test_a_teacher_needs_a_head_that_learns(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SynthesisConfig.model_validate({"distill": {"teacher": "there"}, **changes})


def test_users_may_be_the_mean_of_their_items(
    tiny_model: Path, inputs: SynthesisInputs, tmp_path: Path
) -> None:
    config = synthesis_config().model_copy(update={"user_states": "history"})
    report = finetune(config, inputs, load_language(tiny_model), tmp_path, 0)
    users, items = VectorTable.open(tmp_path / USER_STATES), inputs.encoded.items
    train = inputs.interactions.train.toarray() > 0
    expected = train @ items.read_all().numpy() / train.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(users.read_all(), expected, atol=2e-3)
    # no profile of a user is read, whatever it says
    other = tmp_path / "other"
    other.mkdir()
    changed = replace(inputs, user_texts=["?"] * len(inputs.user_texts))
    finetune(config, changed, load_language(tiny_model), other, 0)
    assert (tmp_path / FILE).read_bytes() == (other / FILE).read_bytes()
    (tmp_path / "third").mkdir()
    with_profiles = finetune(
        synthesis_config(), inputs, load_language(tiny_model), tmp_path / "third", 0
    )
    assert report.tokens["tuned states"] < with_profiles.tokens["tuned states"]
    live = LiveNegatives.open(tmp_path, inputs.view, inputs.interactions)
    assert len(live.of_pairs(torch.arange(6), torch.arange(6)).unique(dim=0)) == 6


def test_histories_of_users_without_items_are_the_mean_of_all(tmp_path: Path) -> None:
    items = VectorTable.create(tmp_path / "items", Shape(3, 2))
    items.write(np.arange(3), torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 1.0]]))
    train = sp.csr_array(np.array([[5, 0, 5], [0, 0, 0]]))
    users = write_histories(train, items, tmp_path / "users").read_all()
    assert users.tolist() == [[3.0, 0.5], [3.0, 1.0]]


@pytest.mark.parametrize("mode", MODES)
def test_tokens_are_those_of_the_texts(
    mode: str, tune: Callable[..., Path], tiny_model: Path, inputs: SynthesisInputs, tmp_path: Path
) -> None:
    tuned = tune(tmp_path, mode)
    language = load_language(tiny_model)

    def tokens(kind: str, texts: Sequence[str]) -> np.ndarray:
        prompts = [f"{kind}: {text}" for text in texts]
        ids = language.tokenizer(prompts, truncation=True, max_length=24)["input_ids"]
        return np.array([len(row) for row in ids])

    # a soft token each
    users = tokens("User", inputs.user_texts) + 1
    items = tokens("Item", inputs.item_texts) + 1
    report = json.loads((tuned / "report.json").read_text())
    read = report["tokens"]
    # there are fewer users than the sample that tells their mean
    assert read["untuned centres"] == (users - 1).sum()
    assert read["lora"] > 0
    if mode == "amortized":
        assert read["tuned states"] == users.sum() + items.sum()
    # a user is read once for all of the user's pairs
    pairs = users.sum() + items[inputs.interactions.pairs("train")[1]].sum()
    assert report["pairwise_tokens"] == pairs
    written = synthesize(synthesis_config(mode), inputs, language, tuned, tmp_path, 0)
    assert written.tokens == (pairs if mode == "pairwise" else 0)


def test_an_adapter_of_another_form_is_refused(
    tune: Callable[..., Path], tiny_model: Path, inputs: SynthesisInputs, tmp_path: Path
) -> None:
    tuned = tune(tmp_path / "tuned", "pairwise")
    config = synthesis_config("pairwise", pooling="last")
    language = load_language(tiny_model)
    with pytest.raises(ArtifactError, match="pooling is mean there, last here"):
        synthesize(config, inputs, language, tuned, tmp_path, 0)
