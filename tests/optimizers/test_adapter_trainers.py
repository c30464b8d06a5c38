"""A real training of each trainer, as docs/training-loop.md writes it, takes the steps of a plain loop."""

import pytest
import torch

import workbench as wb
from workbench.optimizers import as_torch

LOSS = torch.nn.functional.cross_entropy
RULE = wb.optimizers.sam(0.1, 0.05, beta=0.9)
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.slow,
]


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def loader():
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(16, 4, generator=generator), torch.randint(0, 3, (16,), generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=8)


def by_a_loop():
    model = network()
    optimizer = as_torch(RULE, model, loss=LOSS)
    for _ in range(2):
        for inputs, targets in loader():
            optimizer.step(inputs, targets)
    return model


def require_equal(one, other):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), rtol=1e-5, atol=1e-6)


def test_lightning(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()

        def training_step(self, batch, _):
            return LOSS(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            optimizer = as_torch(RULE, self.parameters())
            return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 100)}

    module = Module()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.fit(module, loader())
    require_equal(module.network, by_a_loop())


def test_accelerate():
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = network()
    model, optimizer, batches = accelerator.prepare(model, as_torch(RULE, model.parameters()), loader())
    for _ in range(2):
        for inputs, targets in batches:

            def closure(inputs=inputs, targets=targets):
                loss = LOSS(model(inputs), targets)
                accelerator.backward(loss)
                return loss

            optimizer.step(closure)
    require_equal(model, by_a_loop())


def test_the_trainer_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    words = torch.randint(0, 20, (16, 6), generator=torch.Generator().manual_seed(0))
    samples = [{"input_ids": row, "labels": row[0] % 3} for row in words]

    def bert():
        torch.manual_seed(1)
        config = transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=3
        )
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        return transformers.BertForSequenceClassification(config)

    class Trainer(transformers.Trainer):
        def training_step(self, *arguments, **named):
            self.closure = lambda: super(Trainer, self).training_step(*arguments, **named)
            return self.closure()

        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(samples)

    model, plain = bert(), bert()
    optimizer = as_torch(RULE, model.parameters())
    options = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, per_device_train_batch_size=8, report_to=[], use_cpu=True,
        max_grad_norm=0, lr_scheduler_type="constant", disable_tqdm=True, save_strategy="epoch",
    )  # fmt: skip
    trainer = Trainer(model=model, args=options, train_dataset=samples, optimizers=(optimizer, None))
    optimizer.register_step_pre_hook(lambda optimizer, *_: ((optimizer, trainer.closure), {}))
    trainer.train()
    by_hand = as_torch(RULE, plain.parameters())
    plain.train()
    for _ in range(2):
        for first in (0, 8):
            rows = words[first : first + 8]
            by_hand.step(lambda rows=rows: plain(input_ids=rows, labels=rows[:, 0] % 3).loss)
    require_equal(model, plain)
