"""A character-level GPT trained with PyTorch in nanoGPT's setting, for timing side by side.

The same model, data split, batches' sizes, schedule and optimiser settings as nanoGPT's recipe for a CPU
(4 layers, 4 heads, 128 wide, context 64, batch 12, no dropout, no biases, AdamW 1e-3 to 1e-4 with betas
0.9 and 0.99, decay 0.1 on matrices, clip 1.0, eager mode). Prints one JSON object: the loss on the first WINDOWS of
the last tenth of the text, or on "all".

    python train_characters.py TEXT WINDOWS SEED STEPS LAYERS HEADS WIDTH CONTEXT BATCH
"""

import json
import math
import sys

import torch
from torch import nn
from torch.nn import functional as F

path, windows = sys.argv[1:3]
seed, steps, n_layers, n_heads, width, context, batch = map(int, sys.argv[3:])
torch.set_num_threads(2)
torch.manual_seed(seed)

text = open(path, encoding="utf-8").read()
ids = {c: i for i, c in enumerate(sorted(set(text)))}
data = torch.tensor([ids[c] for c in text])
cut = int(0.9 * len(data))
training, validation = data[:cut], data[cut:]


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.layer_norm(x, (width,), self.weight, None, 1e-5)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = Norm(), Norm()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        b, t, _ = x.shape
        heads = self.qkv(self.ln1(x)).view(b, t, 3, n_heads, width // n_heads).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x = x + self.out(z.transpose(1, 2).reshape(b, t, width))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(len(ids), width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block() for _ in range(n_layers))
        self.final = Norm()
        for name, p in self.named_parameters():
            if p.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * n_layers) if residual else 0.02)

    def forward(self, x):
        x = self.token(x) + self.position(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.final(x), self.token.weight)

    def loss(self, x, y):
        logits = self(x)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.reshape(-1))


model = Gpt()
matrices = [p for p in model.parameters() if p.dim() >= 2]
vectors = [p for p in model.parameters() if p.dim() < 2]
groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))


def learning_rate(step, warmup=min(100, steps // 2), highest=1e-3, lowest=1e-4):
    if step < warmup:
        return highest * (step + 1) / (warmup + 1)
    share = min((step - warmup) / (steps - warmup), 1.0)
    return lowest + 0.5 * (1 + math.cos(math.pi * share)) * (highest - lowest)


for step in range(steps):
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step)
    starts = torch.randint(len(training) - context, (batch,))
    x = torch.stack([training[i : i + context] for i in starts])
    y = torch.stack([training[i + 1 : i + 1 + context] for i in starts])
    model.loss(x, y).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)

with torch.no_grad():
    n = (len(validation) - 1) // context
    n = n if windows == "all" else min(n, int(windows))
    x = validation[: n * context].view(n, context)
    y = validation[1 : n * context + 1].view(n, context)
    losses = [model.loss(a, b).item() * len(a) for a, b in zip(x.split(64), y.split(64))]
print(json.dumps({"validation_loss": sum(losses) / n}))
