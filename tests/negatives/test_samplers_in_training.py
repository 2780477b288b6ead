"""Samplers as the learner and the trainer use them."""

import pytest
import torch

from hnlmrec.config import ModelConfig
from hnlmrec.negatives import SAMPLERS, Uninteracted
from hnlmrec.training import TrainedModel, build_learner, train
from hnlmrec.training.learner import epoch_batches
from synthetic import interactions

CPU = torch.device("cpu")
SETTINGS = {
    "srns": {"memory": 5, "extra": 5, "history": 2},
    "dens": {"gate_warmup": 3},
    "shared": {"size": 32, "beta": 0.75},
}
LOSSES = ({"name": "bpr"}, {"name": "sl"})


def model(name, loss=LOSSES[0], **changes):
    sampler = {"name": name, **SETTINGS.get(name, {}), **changes}
    training = {"epochs": 6, "batch_size": 64, "evaluate_every": 2, "lr": 0.02, "negatives": 2}
    return ModelConfig.model_validate(
        {"sampler": sampler, "loss": loss, "training": training, "backbone": {"dim": 8}}
    )


def fit(config, epochs=6):
    """A learner after some epochs, and the mean loss of each."""
    data = interactions()
    learner = build_learner(config, data, 0, None, CPU)
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.training.lr)
    order, negatives = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    losses = []
    for epoch in range(1, epochs + 1):
        for batch in epoch_batches(data, 64, order, CPU, epoch):
            loss, _ = learner.loss(batch, negatives)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return learner, losses


def share_ranked_right(learner):
    """How often a training item scores above an un-interacted one."""
    data = interactions()
    users, items = (torch.from_numpy(part.astype("int64")) for part in data.pairs())
    others = Uninteracted(data.train).sample(users, 20, torch.Generator().manual_seed(3))
    with torch.no_grad():
        view = learner.view()
    scores = view.users @ view.items.T
    return (scores[users, items][:, None] > scores[users[:, None], others]).float().mean().item()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["name"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_trains_a_model(name, loss):
    learner, losses = fit(model(name, loss))
    assert torch.isfinite(torch.tensor(losses)).all()
    assert share_ranked_right(learner) > 0.75
    untrained = build_learner(model(name, loss), interactions(), 0, None, CPU)
    assert share_ranked_right(untrained) < 0.65


@pytest.mark.parametrize("name", ["mixgcf", "dens", "srns"])
def test_a_guard_and_a_warmup_pass_needs_and_state_on(name):
    learner, losses = fit(model(name, guard=0.1, warmup=3))
    assert learner.needs_layers == (name != "srns")
    assert torch.isfinite(torch.tensor(losses)).all()
    state = [key for key in learner.state_dict() if key.startswith("sampler_state.")]
    assert bool(state) == (name != "mixgcf")


def test_the_gates_of_dens_are_trained():
    config = model("dens")
    before = dict(build_learner(config, interactions(), 0, None, CPU).named_parameters())
    after = dict(fit(config, epochs=1)[0].named_parameters())
    gates = [key for key in after if "_gate." in key]
    assert len(gates) == 8
    assert all(not torch.equal(before[key], after[key]) for key in gates)


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("name", ["srns", "dens"])
def test_a_run_that_was_interrupted_ends_like_one_that_was_not(name, tmp_path):
    def stop(text, epoch, epochs):
        if epoch == 4:
            raise _Stopped

    config, data = model(name), interactions()
    train(config, data, 0, None, tmp_path / "whole")
    with pytest.raises(_Stopped):
        train(config, data, 0, None, tmp_path / "parts", stop)
    train(config, data, 0, None, tmp_path / "parts")
    one, other = (TrainedModel.load(tmp_path / folder) for folder in ("whole", "parts"))
    assert torch.equal(one.view.users, other.view.users)
    assert torch.equal(one.view.items, other.view.items)
    assert one.state.keys() == other.state.keys()
    for key, value in one.state.items():
        torch.testing.assert_close(value, other.state[key], rtol=0, atol=0, equal_nan=True)
