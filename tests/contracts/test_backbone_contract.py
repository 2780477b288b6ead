"""What every backbone must do."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from pydantic import ValidationError

from hnlmrec.backbones import BACKBONES, build_backbone
from hnlmrec.config import BackboneConfig
from hnlmrec.config.models import BACKBONE_NAMES
from hnlmrec.negatives.protocol import PairBatch

N_USERS, N_ITEMS, DIM = 7, 11, 5
CONTRASTIVE = ("sgl", "simgcl", "xsimgcl")
# noise or dropout in what scores while training
NOISY = ("ngcf", "xsimgcl")
# what scores leaves out layer 0, so a node without a neighbour is nothing
NEEDS_NEIGHBOURS = ("simgcl", "xsimgcl")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_train():
    """The last user and the last item have no interaction."""
    interacted = np.random.default_rng(4).random((N_USERS, N_ITEMS)) < 0.4
    interacted[-1], interacted[:, -1] = False, False
    return sp.csr_array(interacted.astype(np.float32))


def all_pairs(epoch=1):
    users, items = (torch.from_numpy(part.astype(np.int64)) for part in some_train().nonzero())
    return PairBatch(users, items, torch.arange(len(users)), epoch)


def connected():
    """Which rows of the table have an interaction."""
    train = some_train()
    return torch.from_numpy(np.concatenate([train.sum(axis=1), train.sum(axis=0)]) > 0)


def build(name, seed=0, train=None, **settings):
    config = BackboneConfig(name=name, dim=DIM, layers=2, **settings)
    train = some_train() if train is None else train
    texts = torch.nn.functional.normalize(torch.randn(N_ITEMS, 6, generator=seeded(9)), dim=1)
    return build_backbone(config, train, seeded(seed), item_vectors=texts)


def step(model, generator, epoch=1):
    """What one training step takes of a backbone."""
    batch = all_pairs(epoch)
    view = model.embeddings(generator)
    return view, model.auxiliary(batch, view, generator)


@pytest.fixture(params=BACKBONES)
def name(request):
    return request.param


def test_every_configuration_has_a_backbone():
    assert set(BACKBONES) == set(BACKBONE_NAMES)


@pytest.mark.parametrize("training", [False, True])
def test_embeddings_of_all_users_and_items(name, training):
    model = build(name)
    view = model.embeddings(seeded() if training else None)
    assert view.users.shape == (N_USERS, model.width)
    assert view.items.shape == (N_ITEMS, model.width)
    assert view.users.dtype == view.items.dtype == torch.float32
    assert view.users.isfinite().all()
    assert view.items.isfinite().all()


def test_users_and_items_are_parts_of_the_table_of_a_view(name):
    view = build(name).embeddings()
    assert torch.equal(torch.cat([view.users, view.items]), view.table)


def test_a_seed_determines_the_parameters(name):
    one, same, other = (build(name, seed).state_dict() for seed in (3, 3, 4))
    for key, value in one.items():
        assert torch.equal(value, same[key])
        assert not torch.equal(value, other[key])


def test_a_generator_determines_a_step(name):
    (view, loss), (same, same_loss) = (step(build(name), seeded(5)) for _ in range(2))
    assert torch.equal(view.table, same.table)
    assert (loss is None) == (same_loss is None) == (name not in CONTRASTIVE)
    if loss is not None:
        assert loss.shape == ()
        assert torch.equal(loss, same_loss)


def test_another_generator_gives_another_step_where_there_is_chance(name):
    model = build(name)
    (view, loss), (other, other_loss) = (step(model, seeded(seed)) for seed in (5, 6))
    assert torch.equal(view.table, other.table) == (name not in NOISY)
    if loss is not None:
        assert loss != other_loss


def test_evaluation_has_no_chance_whatever_went_before(name):
    model = build(name)
    before = model.embeddings().table
    step(model, seeded(5))
    assert torch.equal(model.embeddings().table, before)


def test_the_global_generator_is_not_touched(name):
    before = torch.get_rng_state()
    model = build(name)
    step(model, seeded())
    model.embeddings(layers=True)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_every_parameter(name, training):
    model = build(name)
    view = model.embeddings(seeded() if training else None)
    incoming = torch.randn(view.table.shape, generator=seeded(1))
    (view.table * incoming).sum().backward()
    for key, value in model.named_parameters():
        if key == "table" and name in NEEDS_NEIGHBOURS:
            assert (value.grad[connected()] != 0).all()
            assert (value.grad[~connected()] == 0).all()
        else:
            assert (value.grad != 0).all()


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_gradients_of_the_auxiliary_loss_reach_every_node_with_an_interaction(name):
    model = build(name)
    _, loss = step(model, seeded())
    loss.backward()
    assert (model.table.grad[connected()] != 0).all()
    assert model.table.grad.isfinite().all()


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_the_auxiliary_loss_has_its_weight(name):
    one, two = (
        step(build(name, contrastive_weight=weight), seeded(5))[1] for weight in (0.25, 0.5)
    )
    torch.testing.assert_close(two, 2 * one)
    assert step(build(name, contrastive_weight=0), seeded(5))[1] is None


@pytest.mark.parametrize("training", [False, True])
def test_what_scores_is_made_of_the_layers(name, training):
    model = build(name)
    view = model.embeddings(seeded(5) if training else None, layers=True)
    tables = [layer.table for layer in view.layers]
    assert all(table.shape == (N_USERS + N_ITEMS, DIM) for table in tables)
    if model.width == sum(table.shape[1] for table in tables):
        expected = torch.cat(tables, dim=1)
    else:
        expected = torch.stack(tables).mean(dim=0)
    torch.testing.assert_close(view.table, expected)
    without = model.embeddings(seeded(5) if training else None)
    torch.testing.assert_close(without.table, view.table)


def test_a_step_changes_what_is_scored(name):
    model = build(name)
    before = model.embeddings().items.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    view, _ = step(model, seeded())
    (view.items[3] @ view.users[2]).backward()
    optimizer.step()
    assert not torch.equal(model.embeddings().items, before)


def test_nodes_without_interactions_are_finite_with_their_gradients(name):
    model = build(name)
    view, loss = step(model, seeded())
    unit = view.normalised()
    total = (unit.table**3).sum() + (0 if loss is None else loss)
    total.backward()
    assert view.table[~connected()].isfinite().all()
    for value in model.parameters():
        assert value.grad.isfinite().all()


def test_a_graph_without_interactions_is_finite(name):
    model = build(name, train=sp.csr_array((N_USERS, N_ITEMS), dtype=np.float32))
    for generator in (None, seeded()):
        view = model.embeddings(generator)
        view.table.sum().backward()
        assert view.table.isfinite().all()
        assert all(value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("negatives", [[[0, 3], [3, 3], [10, 5]], [[0, 3, 3, 10]]])
def test_l2_is_half_the_squared_norms_of_layer_0(name, negatives):
    model = build(name)
    users, positives = torch.tensor([0, 2, 2]), torch.tensor([1, 1, 4])
    table = model.table.detach().numpy().astype(np.float64)
    total = 0.0
    for pair in range(3):
        total += (table[users[pair]] ** 2).sum()
        total += (table[N_USERS + positives[pair]] ** 2).sum()
    for row in negatives:
        for item in row:
            total += (table[N_USERS + item] ** 2).sum()
    got = model.l2(users, positives, torch.tensor(negatives))
    assert got.item() == pytest.approx(total / 2 / 3, rel=1e-5)


def test_parameters_round_trip(name):
    model, other = build(name, 0), build(name, 1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.embeddings().table, model.embeddings().table)


def test_a_checkpoint_has_parameters_alone(name):
    model = build(name)
    step(model, seeded())
    assert set(model.state_dict()) == {key for key, _ in model.named_parameters()}


def run_epoch(model, epoch):
    """Two steps of gradient descent with the random numbers of the epoch."""
    generator = seeded(100 + epoch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        view, loss = step(model, generator, epoch)
        total = (view.users[:6] * view.items[:6]).sum() + (0 if loss is None else loss)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()


def test_a_run_resumed_between_epochs_ends_with_the_same_parameters(name):
    whole, resumed = build(name), build(name, 1)
    run_epoch(whole, 1)
    resumed.load_state_dict(whole.state_dict())
    run_epoch(whole, 2)
    run_epoch(resumed, 2)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key])


@pytest.mark.parametrize(
    "settings",
    [{"name": "simgcl", "layers": 0}, {"name": "xsimgcl", "layers": 2, "contrastive_layer": 3}],
)
def test_layers_that_do_not_exist_are_an_error(settings):
    with pytest.raises(ValidationError, match="layers"):
        BackboneConfig(**settings)


def test_null_is_what_the_authors_released():
    weights = {
        name: BackboneConfig(name=name).setting("contrastive_weight") for name in CONTRASTIVE
    }
    assert weights == {"sgl": 0.1, "simgcl": 0.5, "xsimgcl": 0.2}
    assert BackboneConfig(name="simgcl", contrastive_weight=0).setting("contrastive_weight") == 0
