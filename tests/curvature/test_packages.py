"""Models of other people's packages, tiny and without downloads: right, or refused in words. Skipped where they are missing."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from workbench import curvature
from workbench.optimizers import as_torch, sam

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

WORDS = torch.randint(1, 11, (6, 5), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
X, Y = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
SIZES = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


def next_word(outputs, targets):
    return functional.cross_entropy(outputs.logits.flatten(0, 1), targets.flatten())


def of_class(outputs, targets):
    return functional.cross_entropy(outputs.logits, targets)


def gpt2(**more):
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 11, "n_positions": 6, "n_embd": 8, "n_layer": 1, "n_head": 2}
    config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, **more)
    return transformers.GPT2LMHeadModel(config), next_word, WORDS, WORDS


def bert():
    transformers = pytest.importorskip("transformers")
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(**SIZES, max_position_embeddings=6, num_labels=3)
    )
    return model, of_class, {"input_ids": WORDS, "attention_mask": torch.ones_like(WORDS)}, Y[:6]


def vision_transformer():
    transformers = pytest.importorskip("transformers")
    sizes = {name: size for name, size in SIZES.items() if name != "vocab_size"}
    config = transformers.ViTConfig(**sizes, image_size=8, patch_size=4, num_channels=1, num_labels=3)
    return transformers.ViTForImageClassification(config), of_class, IMAGES, Y[:4]


def llama():
    transformers = pytest.importorskip("transformers")
    return (
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, max_position_embeddings=6)),
        next_word,
        WORDS,
        WORDS,
    )


def adapters(**more):
    peft = pytest.importorskip("peft")
    base = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    config = peft.LoraConfig(r=2, target_modules=["0", "2"], lora_dropout=0.0, init_lora_weights=False, **more)
    return peft.get_peft_model(base, config), functional.cross_entropy, X, Y


def decoder():
    package = pytest.importorskip("x_transformers")
    layers = package.Decoder(dim=8, depth=1, heads=2, attn_dim_head=4, attn_softclamp_logits=True)
    model = package.TransformerWrapper(num_tokens=11, max_seq_len=8, attn_layers=layers)
    return (
        model,
        lambda outputs, targets: functional.cross_entropy(outputs.flatten(0, 1), targets.flatten()),
        WORDS,
        WORDS,
    )


def graph(kind, **more):
    package = pytest.importorskip("torch_geometric.nn")
    edges = torch.stack([torch.arange(8), (torch.arange(8) + 1) % 8])

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = getattr(package, kind)(4, 5, **more), getattr(package, kind)(5, 3, **more)

        def forward(self, x):
            return self.b(torch.tanh(self.a(x, edges)), edges)

    return Network(), functional.cross_entropy, X, Y


def ode(how, method):
    package = pytest.importorskip("torchdiffeq")

    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            self.n = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))

        def forward(self, _, y):
            return self.n(y)

    class Flow(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.head = Field(), nn.Linear(4, 3)

        def forward(self, x):
            times = torch.tensor([0.0, 1.0], dtype=x.dtype)
            return self.head(getattr(package, how)(self.f, x, times, method=method)[-1])

    return Flow(), functional.cross_entropy, X, Y


MODELS = {
    "GPT-2": gpt2,
    "GPT-2, eager attention": lambda: gpt2(attn_implementation="eager"),
    "BERT": bert,
    "ViT": vision_transformer,
    "Llama": llama,
    "LoRA": adapters,
    "DoRA": lambda: adapters(use_dora=True),
    "softclamped decoder": decoder,
    "GCN": lambda: graph("GCNConv"),
    "GCN, cached": lambda: graph("GCNConv", cached=True),
    "GAT": lambda: graph("GATConv"),
    "ODE": lambda: ode("odeint", "rk4"),
    "ODE, adjoint": lambda: ode("odeint_adjoint", "rk4"),
}
SECOND_REFUSED = {"DoRA": "detached", "ODE, adjoint": "OdeintAdjointMethod"}
SINGLE_INSIDE = {"Llama", "softclamped decoder"}
"""They normalise or attend in float32, whatever they are given."""


class Truth:
    """A model's own gradient by plain autograd, at given weights."""

    def __init__(self, model, function, inputs, targets):
        self.model, self.function, self.inputs, self.targets = model, function, inputs, targets
        self.own = [entry for entry in model.parameters() if entry.requires_grad]
        self.start = self.vector()

    def vector(self):
        return torch.cat([entry.detach().reshape(-1) for entry in self.own])

    def move(self, values):
        with torch.no_grad():
            for entry, piece in zip(self.own, values.split([entry.numel() for entry in self.own]), strict=True):
                entry.copy_(piece.view(entry.shape))

    def loss(self, rows=slice(None)):
        if isinstance(self.inputs, dict):
            outputs = self.model(**{name: entry[rows] for name, entry in self.inputs.items()})
        else:
            outputs = self.model(self.inputs[rows])
        return self.function(outputs, self.targets[rows])

    def gradient(self, at=None, rows=slice(None)):
        self.move(self.start if at is None else at)
        found = torch.autograd.grad(self.loss(rows), self.own, allow_unused=True, materialize_grads=True)
        self.move(self.start)
        return torch.cat([entry.reshape(-1) for entry in found])


@pytest.fixture(params=MODELS)
def subject(request):
    torch.manual_seed(1)
    model, function, inputs, targets = MODELS[request.param]()
    truth = Truth(model.double().eval(), function, inputs, targets)
    loss = curvature.empirical_loss(model, function, inputs, targets)
    parameters = {name: entry.detach() for name, entry in model.named_parameters() if entry.requires_grad}
    return request.param, truth, loss, parameters


def test_second_derivatives(subject):
    name, truth, loss, parameters = subject
    direction = torch.linspace(-1, 1, len(truth.start), dtype=torch.float64)
    if name in SECOND_REFUSED:
        for function in (curvature.hessian, curvature.top_eigenpairs):
            with pytest.raises(ValueError, match=SECOND_REFUSED[name]):
                function(loss, parameters)
        return
    h = 1e-3 if name in SINGLE_INSIDE else 1e-5
    right = truth.gradient(truth.start + h * direction) - truth.gradient(truth.start - h * direction)
    got = curvature.hessian_vector_product(loss, parameters, direction)
    tolerance = 1e-2 if name in SINGLE_INSIDE else 1e-6
    assert (got - right / (2 * h)).norm() < tolerance * got.norm()
    if len(direction) < 700:
        assert (curvature.hessian(loss, parameters) @ direction - got).norm() < tolerance * got.norm()
        matrix = curvature.gauss_newton(loss, parameters)
        assert torch.linalg.eigvalsh(matrix)[0] > -1e-6 * matrix.abs().amax()


def test_samples_and_steps(subject):
    name, truth, loss, parameters = subject
    if name.startswith(("GCN", "GAT")):
        with pytest.raises(ValueError, match="unknown"):  # one graph of all samples
            curvature.per_sample_gradients(loss, parameters)
    else:
        rows = torch.stack([truth.gradient(rows=slice(i, i + 1)) for i in range(len(truth.targets))])
        found = curvature.per_sample_gradients(loss, parameters)
        assert (found - rows).norm() < (1e-5 if name in SINGLE_INSIDE else 1e-9) * rows.norm()
    first = truth.gradient()
    right = -0.1 * truth.gradient(truth.start + 0.5 * first / first.norm())
    as_torch(sam(0.1, 0.5), truth.model.parameters()).step(truth.loss)
    assert ((truth.vector() - truth.start) - right).norm() < 1e-6 * right.norm()


def test_a_gaussian_process_is_right_or_refused():
    gpytorch = pytest.importorskip("gpytorch")
    x = torch.rand(10, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.sin(6 * x[:, 0])

    class Process(gpytorch.models.ExactGP):
        def __init__(self):
            super().__init__(x, y, gpytorch.likelihoods.GaussianLikelihood())
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

        def forward(self, inputs):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(inputs), self.covar_module(inputs))

    def likelihood(trace):
        model = Process().double().train()
        marginal = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
        with gpytorch.settings.trace_mode(trace):
            loss = curvature.empirical_loss(model, lambda outputs, targets: -marginal(outputs, targets), x, y)
            return curvature.hessian(loss, loss.parameters()), Truth(model, loss.loss_function, x, y)

    with pytest.raises(ValueError, match="RBFCovariance"):
        likelihood(False)
    matrix, truth = likelihood(True)
    unit = 1e-5 * torch.eye(len(truth.start), dtype=torch.float64)
    with gpytorch.settings.trace_mode(True):
        rows = [(truth.gradient(truth.start + e) - truth.gradient(truth.start - e)) / 2e-5 for e in unit]
    torch.testing.assert_close(matrix, torch.stack(rows), rtol=1e-6, atol=1e-7)
