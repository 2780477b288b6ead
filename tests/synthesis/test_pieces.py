from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import scaled_dot_product_attention

from hnlmrec.config import NO_CONTENT, RunConfig
from hnlmrec.distributed import ALONE
from hnlmrec.plan import plan
from hnlmrec.synthesis.finetune import SynthesisInputs, finetune, task_of
from hnlmrec.synthesis.model import FILE, HardNegativeModel
from hnlmrec.synthesis.pieces import PieceEncoder
from hnlmrec.synthesis.replay import Draws, DropoutOfBatch
from hnlmrec.synthesis.states import unit_vectors
from hnlmrec.synthesis.task import Task
from synthesis_cases import load_language, synthesis_config

PAIRS = 10


@pytest.fixture(scope="session")
def tiny_encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT, which drops out attention and hidden states of its own."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def build(inputs: SynthesisInputs, tmp_path: Path) -> Callable[..., tuple[Task, HardNegativeModel]]:
    def build(folder: Path, mode: str, **finetune: object) -> tuple[Task, HardNegativeModel]:
        config = synthesis_config(mode, **{"dropout": 0.3, **finetune})
        texts = (inputs.user_texts, inputs.item_texts)
        language = load_language(folder)
        model = HardNegativeModel(
            config, language, texts, inputs.view, torch.zeros(2, language.width), 0
        )
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, value in model.trainable().items():
                if "lora_B" in name:
                    # at zero, as they start, they hide A's gradient
                    value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
        vectors = unit_vectors(inputs.encoded.items)
        return task_of(config, inputs, vectors, tmp_path, 0), model.train()

    return build


def _gradients(
    task: Task, model: HardNegativeModel, micro_batch: int | None, *, whole: bool = False
) -> tuple[dict[str, Tensor], Tensor]:
    """Of a batch, and a number that is drawn afterwards."""
    index = task.pairs.any(PAIRS, np.random.default_rng(0))
    pieces = None if whole else PieceEncoder(model.encoder, micro_batch, ALONE)
    torch.manual_seed(7)
    loss = task.loss(index, partial(model.queries, encode=pieces), 1)[0]
    model.zero_grad()
    loss.backward()
    if pieces is not None:
        pieces.push()
    drawn = torch.rand(1)
    found = {name: value.grad.clone() for name, value in model.trainable().items()}
    return found, drawn


@pytest.mark.parametrize("objective", ["log_sigmoid", "infonce"])
@pytest.mark.parametrize("mode", ["amortized", "pairwise"])
@pytest.mark.parametrize("model_name", ["tiny_model", "tiny_encoder"])
def test_the_gradient_of_a_batch_in_pieces_is_that_of_the_whole(
    objective: str,
    mode: str,
    model_name: str,
    build: Callable[..., tuple[Task, HardNegativeModel]],
    request: pytest.FixtureRequest,
) -> None:
    task, model = build(request.getfixturevalue(model_name), mode, objective=objective)
    expected, drawn = _gradients(task, model, None, whole=True)
    read = model.encoder.tokens_read
    for micro_batch in (1, 3, PAIRS, None):
        found, also_drawn = _gradients(task, model, micro_batch)
        for name, value in expected.items():
            assert value.norm() > 0, name
            assert (found[name] - value).norm() <= 1e-5 * value.norm(), (micro_batch, name)
        assert torch.equal(drawn, also_drawn)
    # a batch counts once, however often it is read
    assert model.encoder.tokens_read == 5 * read


def test_dropout_matters_to_these_gradients(
    build: Callable[..., tuple[Task, HardNegativeModel]], tiny_encoder: Path
) -> None:
    task, model = build(tiny_encoder, "pairwise")
    dropped = _gradients(task, model, 3)[0]
    whole = _gradients(task, model.eval(), 3)[0]
    for name, value in whole.items():
        assert (dropped[name] - value).norm() > 0.01 * value.norm(), name


def _peak(work: Callable[[], object]) -> int:
    """The most bytes that autograd held at a time while a function ran, weights aside."""
    held = most = 0

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal held, most
            self.tensor = tensor
            self.bytes = 0 if isinstance(tensor, torch.nn.Parameter) else tensor.nbytes
            held += self.bytes
            most = max(most, held)

        def __del__(self) -> None:
            nonlocal held
            held -= self.bytes

    with saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        work()
    return most


def test_a_smaller_piece_holds_less(
    build: Callable[..., tuple[Task, HardNegativeModel]], tiny_model: Path
) -> None:
    task, model = build(tiny_model, "pairwise")
    whole = _peak(lambda: _gradients(task, model, None, whole=True))
    for micro_batch in (1, 2, 5):
        held = _peak(partial(_gradients, task, model, micro_batch))
        # what the loss itself holds is of the whole batch, and small
        assert held < whole * (micro_batch / PAIRS + 0.1), micro_batch


def test_fine_tuning_in_pieces_ends_the_same(
    tiny_model: Path, inputs: SynthesisInputs, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    adapters, reports = [], []
    for micro_batch in (None, 2):
        folder = tmp_path / str(micro_batch)
        folder.mkdir()
        config = synthesis_config(micro_batch=micro_batch)
        reports.append(finetune(config, inputs, load_language(tiny_model), folder, 0))
        adapters.append(load_file(folder / FILE))
    for name, value in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], value, rtol=1e-4, atol=1e-5)
    assert reports[0].tokens == reports[1].tokens


def test_a_run_goes_on_in_pieces_of_another_size(tmp_path: Path) -> None:
    def keys(**finetune: object) -> dict[str, object]:
        tree = {"run": str(tmp_path), "synthesis": {"finetune": finetune}}
        return {name: stage.section for name, stage in plan(RunConfig.from_dict(tree)).items()}

    assert keys(micro_batch=4, shard=True) == keys()
    assert keys(rank=4) != keys()
    assert "synthesis.finetune.micro_batch" in NO_CONTENT


@pytest.mark.parametrize(
    "given",
    [{}, {"is_causal": True}, {"scale": 0.7}, {"attn_mask": "bool"}, {"attn_mask": "float"}],
)
def test_attention_in_some_rows_is_that_of_the_batch(given: dict[str, object]) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(5, 4, 7, 8, generator=generator)
    key, value = torch.randn(2, 5, 2, 7, 8, generator=generator)
    mask = torch.rand(5, 1, 7, 7, generator=generator) < 0.7
    mask[..., 0] = True
    masks = {"bool": mask, "float": torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)}

    def attend(rows: Tensor) -> Tensor:
        options = dict(given)
        if "attn_mask" in given:
            options["attn_mask"] = masks[str(given["attn_mask"])][rows]
        torch.manual_seed(3)
        return scaled_dot_product_attention(
            query[rows], key[rows], value[rows], dropout_p=0.3, enable_gqa=True, **options
        )

    whole = attend(torch.arange(5))
    draws = Draws(5, slice(1, 5))
    for rows in (torch.tensor([1]), torch.tensor([3, 4])):
        with DropoutOfBatch(draws, rows):
            found = attend(rows)
        torch.testing.assert_close(found, whole[rows])
