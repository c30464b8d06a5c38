"""Two processes: their replicas stay equal, and take the step of one process with both minibatches."""

import multiprocessing
import tempfile

import pytest
import torch

from workbench.optimizers import as_torch, hessian_usam, m_sam, sam

LOSS = torch.nn.functional.cross_entropy
FORMS = {
    "closure": sam(0.5, 0.05),
    "backward": sam(0.5, 0.05, beta=0.9),
    "module": sam(0.5, 0.05),
    "per device": m_sam(0.5, 0.05, 4),
}


def made():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
    return model, torch.randn(8, 4, dtype=torch.float64), torch.randint(0, 3, (8,))


def steps(form, model, inputs, targets):
    if form in ("module", "per device"):
        optimizer = as_torch(FORMS[form], model, loss=LOSS)
        for _ in range(3):
            optimizer.step(inputs, targets)
        return
    optimizer = as_torch(FORMS[form], model.parameters())

    def closure():
        loss = LOSS(model(inputs), targets)
        if form == "backward":
            loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)


def replica(rank, path, queue):
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    found = {}
    for form in FORMS:
        model, inputs, targets = made()
        half = slice(4 * rank, 4 * rank + 4)
        replicated = torch.nn.parallel.DistributedDataParallel(model)
        steps(form, replicated, inputs[half], targets[half])
        found[form] = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).tolist()
    try:
        as_torch(hessian_usam(0.1, 0.1), replicated.parameters()).step(lambda: LOSS(replicated(inputs), targets))
    except ValueError as refused:
        found["refused"] = str(refused)
    queue.put((rank, found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_replicas_take_the_step_of_one_process(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        queue = context.Queue()
        workers = [context.Process(target=replica, args=(rank, f"{folder}/store", queue)) for rank in range(2)]
        for worker in workers:
            worker.start()
        found = dict(queue.get(timeout=120) for _ in workers)
        for worker in workers:
            worker.join(30)
    for form in FORMS:
        model, inputs, targets = made()
        steps(form, model, inputs, targets)
        alone = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        assert found[0][form] == found[1][form]
        torch.testing.assert_close(torch.tensor(found[0][form], dtype=torch.float64), alone, rtol=1e-12, atol=1e-14)
    assert "DistributedDataParallel" in found[0]["refused"]


def test_sharded_parameters_are_refused():
    class DTensor(torch.Tensor):
        pass

    sharded = torch.nn.Parameter(torch.ones(3).as_subclass(DTensor))
    sharded.__class__ = DTensor
    with pytest.raises(ValueError, match="sharded"):
        as_torch(sam(0.1, 0.1), [sharded])
