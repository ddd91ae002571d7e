"""The tasks in torch by hand, in the strongest form known to us.

Weights stay frozen and are read as the checkpoint has them; attention is torch's own fused one. A sweep
over heads runs all its variants as one batch that grows: the variant of a head differs from the unedited run
by `(z_new - z_old) W_O[head]` in its layer, so it joins there. Where only the last position is edited, a
variant is one row that attends to the unedited run's keys and values. The last layer and the unembedding are
computed where logits are read, at the last position.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from metrics import measured


def versions() -> dict[str, str]:
    return {}


class Model:
    def __init__(self, _: str, checkpoint: Path, device: str, dtype: torch.dtype):
        config = json.loads((checkpoint / "config.json").read_text())
        self.n_layers, self.n_heads, self.d_model = config["n_layer"], config["n_head"], config["n_embd"]
        self.d_head = self.d_model // self.n_heads
        weights = load_file(checkpoint / "model.safetensors")
        self.weights = {
            name.removeprefix("transformer."): tensor.to(device, dtype) for name, tensor in weights.items()
        }

    # The pieces of a forward pass, on [.., d_model].

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return layer_norm(x, (self.d_model,), weight, bias, 1e-5)

    def linear(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight).view(*x.shape[:-1], -1)

    def embed(self, tokens: Tensor, start: int = 0) -> Tensor:
        places = self.weights["wpe.weight"][start : start + tokens.shape[-1]]
        return self.weights["wte.weight"][tokens] + places

    def qkv(self, x: Tensor, layer: int) -> Tensor:
        """[3, batch, head, pos, d_head]"""
        fused = self.linear(self.norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn")
        return fused.view(*x.shape[:-1], 3, self.n_heads, self.d_head).permute(2, 0, 3, 1, 4)

    def attn_out(self, z: Tensor, layer: int) -> Tensor:
        """[batch, pos, d_model] from z [batch, head, pos, d_head]"""
        return self.linear(z.transpose(1, 2).flatten(2), f"h.{layer}.attn.c_proj")

    def mlp(self, x: Tensor, layer: int) -> Tensor:
        pre = self.linear(self.norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
        return x + self.linear(gelu(pre, approximate="tanh"), f"h.{layer}.mlp.c_proj")

    def logits(self, x: Tensor) -> Tensor:
        return (self.norm(x, "ln_f") @ self.weights["wte.weight"].T).float()

    def block(self, x: Tensor, layer: int, last_only: bool = False) -> tuple[Tensor, Tensor]:
        """The stream after a layer and its z; of the last position alone where only that is read."""
        q, k, v = self.qkv(x, layer)
        if last_only:
            x, q = x[:, -1:], q[:, :, -1:]
        z = scaled_dot_product_attention(q, k, v, is_causal=not last_only)
        return self.mlp(x + self.attn_out(z, layer), layer), z

    def run(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits at the last position, [batch, d_vocab], and each layer's z, the last layer's there alone."""
        x, zs = self.embed(tokens), []
        for layer in range(self.n_layers):
            x, z = self.block(x, layer, last_only=layer == self.n_layers - 1)
            zs.append(z)
        return self.logits(x[:, -1]), zs

    # Sweeps.

    def head_shifts(self, z: Tensor, new: Tensor, layer: int) -> Tensor:
        """How the stream moves as a head's z is replaced: [head, pos, d_model] from [head, pos, d_head]."""
        weight = self.weights[f"h.{layer}.attn.c_proj.weight"].view(self.n_heads, self.d_head, self.d_model)
        return (new - z) @ weight

    def sweep_all(self, tokens: Tensor, new: list[Tensor] | None, answer: int) -> Tensor:
        """Every head by itself replaced at all positions: [1 + variants, 4], the unedited run first."""
        x = self.embed(tokens)
        for layer in range(self.n_layers):
            last_only = layer == self.n_layers - 1
            q, k, v = self.qkv(x, layer)
            if last_only:
                x, q = x[:, -1:], q[:, :, -1:]
            z = scaled_dot_product_attention(q, k, v, is_causal=not last_only)
            x = x + self.attn_out(z, layer)
            other = new[layer][0] if new else torch.zeros(())
            x = self.mlp(torch.cat([x, x[:1] + self.head_shifts(z[0], other, layer)]), layer)
        return self.measured(x[:, -1], answer)

    def sweep_last(self, tokens: Tensor, new: list[Tensor] | None, answer: int) -> Tensor:
        """The same where the last position alone is edited. Rows are the prompt's other positions, which all
        variants share, and then each variant's last one, the unedited run's first."""
        x, shared = self.embed(tokens)[0], tokens.shape[1] - 1
        for layer in range(self.n_layers):
            q, k, v = self.qkv(x[None], layer)[:, 0]  # [head, row, d_head]
            k_shared, v_shared = k[:, :shared], v[:, :shared]
            if layer == self.n_layers - 1:
                x, z_shared = x[shared:], q[:, :0]
            else:
                z_shared = scaled_dot_product_attention(q[:, :shared], k_shared, v_shared, is_causal=True)
            q, k, v = q[:, shared:], k[:, shared:], v[:, shared:]
            scores = torch.cat([q @ k_shared.mT, (q * k).sum(-1, keepdim=True)], -1) / self.d_head**0.5
            pattern = scores.softmax(-1)
            z_last = pattern[..., :-1] @ v_shared + pattern[..., -1:] * v  # [head, variant, d_head]
            x = x + self.attn_out(torch.cat([z_shared, z_last], 1)[None], layer)[0]
            base = z_shared.shape[1]
            other = new[layer][0, :, -1:] if new else torch.zeros(())
            shifts = self.head_shifts(z_last[:, :1], other, layer)[:, 0]
            x = self.mlp(torch.cat([x, x[base] + shifts]), layer)
        return self.measured(x, answer)

    def measured(self, x: Tensor, answer: int) -> Tensor:
        """A few rows at a time, so that they stay in the processor's cache."""
        return torch.cat([measured(rows, answer) for rows in self.logits(x).split(16)])

    def zero_all(self, request) -> Tensor:
        found = self.sweep_all(request.clean, None, request.answer)
        return found[1:] - found[0]

    def zero_last(self, request) -> Tensor:
        found = self.sweep_last(request.clean, None, request.answer)
        return found[1:] - found[0]

    def patch_all(self, request) -> Tensor:
        return self.sweep_all(request.corrupt, self.run(request.clean)[1], request.answer)[1:]

    def patch_last(self, request) -> Tensor:
        return self.sweep_last(request.corrupt, self.run(request.clean)[1], request.answer)[1:]

    def resid_patch(self, request) -> Tensor:
        """Variants join at the layer they patch; both unedited runs go first in the batch."""
        x = self.embed(torch.cat([request.clean, request.corrupt]))  # [variant, pos, d_model]
        at = torch.arange(x.shape[1])
        for layer in range(self.n_layers):
            patched = x[1].repeat(len(at), 1, 1)
            patched[at, at] = x[0]
            x, _ = self.block(torch.cat([x, patched]), layer, last_only=layer == self.n_layers - 1)
        logits = self.logits(x[2:, -1])
        return logits[:, request.answer] - logits[:, request.wrong]

    # The rest.

    def forward(self, request) -> Tensor:
        return self.run(request.clean)[0]

    @torch.enable_grad()
    def atp(self, request) -> Tensor:
        """Nothing before the first layer's z needs a derivative, so that the backward pass ends there."""
        clean = self.run(request.clean)[1]
        x, zs = self.embed(request.corrupt), []
        for layer in range(self.n_layers):
            last_only = layer == self.n_layers - 1
            q, k, v = self.qkv(x, layer)
            if last_only:
                x, q = x[:, -1:], q[:, :, -1:]
            z = scaled_dot_product_attention(q, k, v, is_causal=not last_only)
            zs.append(z if z.requires_grad else z.requires_grad_())
            x = self.mlp(x + self.attn_out(z, layer), layer)
        logits = self.logits(x[0, -1])
        slopes = torch.autograd.grad(logits[request.answer] - logits[request.wrong], zs)
        by_head = [((a - b) * slope).sum((0, 2, 3)) for a, b, slope in zip(clean, zs, slopes)]
        return torch.stack(by_head).detach()

    def lens(self, request) -> Tensor:
        x = self.embed(request.clean)
        stream = [x]
        for layer in range(self.n_layers):
            x, _ = self.block(x, layer)
            stream.append(x)
        logits = self.logits(torch.cat(stream))
        top = logits.topk(5, -1)
        return (top.values - logits.logsumexp(-1, keepdim=True)).exp()

    def generate(self, request) -> Tensor:
        tokens, start, past, out = request.clean, 0, [None] * self.n_layers, []
        for _ in range(request.new_tokens):
            x = self.embed(tokens, start)
            for layer in range(self.n_layers):
                q, k, v = self.qkv(x, layer)
                if past[layer] is not None:
                    k, v = torch.cat([past[layer][0], k], 2), torch.cat([past[layer][1], v], 2)
                past[layer] = k, v
                z = scaled_dot_product_attention(q, k, v, is_causal=start == 0)
                for cut_layer, head in request.cut:
                    if cut_layer == layer:
                        z[:, head] = 0
                x = self.mlp(x + self.attn_out(z, layer), layer)
            start += tokens.shape[1]
            tokens = self.logits(x[:, -1]).argmax(-1, keepdim=True)
            out.append(tokens)
        return torch.cat(out)
