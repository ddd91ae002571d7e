"""The tasks in TransformerLens as its users write them: a loop of runs with hooks.

`tl4` is the TransformerBridge in compatibility mode without processing of weights, `tl3` the
HookedTransformer without processing. Both find the checkpoint by the name `gpt2`, in the current directory.
"""

import importlib.metadata
import os
from pathlib import Path

import torch
from torch import Tensor

from metrics import measured


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("transformer-lens", "transformers")}


def loaded(engine: str, device: str, dtype: torch.dtype):
    if engine == "tl3":
        from transformer_lens import HookedTransformer

        return HookedTransformer.from_pretrained_no_processing("gpt2", device=device, dtype=dtype)
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers("gpt2", device=device, dtype=dtype)
    model.enable_compatibility_mode(no_processing=True, disable_warnings=True)
    return model.eval()


def hook_z(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_z"


class Model:
    def __init__(self, engine: str, checkpoint: Path, device: str, dtype: torch.dtype):
        os.chdir(checkpoint.parent)
        self.model = loaded(engine, device, dtype)
        self.n_layers, self.n_heads = self.model.cfg.n_layers, self.model.cfg.n_heads

    def sweep(self, tokens: Tensor, answer: int, new, pos: slice) -> Tensor:
        """Every head's z replaced in a run of its own, by `new(hook, z)`: [layer, head, 4]."""
        found = torch.zeros(self.n_layers, self.n_heads, 4)
        for layer in range(self.n_layers):
            for head in range(self.n_heads):

                def replace(z, hook):
                    z[:, pos, head] = new(hook, z)[:, pos, head]
                    return z

                logits = self.model.run_with_hooks(tokens, fwd_hooks=[(hook_z(layer), replace)])
                found[layer, head] = measured(logits[0, -1], answer)
        return found

    def zero(self, request, pos: slice) -> Tensor:
        unedited = measured(self.model(request.clean)[0, -1], request.answer)
        zeros = lambda hook, z: torch.zeros_like(z)
        return self.sweep(request.clean, request.answer, zeros, pos) - unedited

    def patch(self, request, pos: slice) -> Tensor:
        _, cache = self.model.run_with_cache(request.clean, names_filter=lambda name: name.endswith("hook_z"))
        return self.sweep(request.corrupt, request.answer, lambda hook, z: cache[hook.name], pos)

    def zero_all(self, request) -> Tensor:
        return self.zero(request, slice(None))

    def zero_last(self, request) -> Tensor:
        return self.zero(request, slice(-1, None))

    def patch_all(self, request) -> Tensor:
        return self.patch(request, slice(None))

    def patch_last(self, request) -> Tensor:
        return self.patch(request, slice(-1, None))

    def resid_patch(self, request) -> Tensor:
        is_resid = lambda name: name.endswith("hook_resid_pre")
        _, cache = self.model.run_with_cache(request.clean, names_filter=is_resid)
        n_positions = request.clean.shape[1]
        found = torch.zeros(self.n_layers, n_positions)
        for layer in range(self.n_layers):
            for pos in range(n_positions):

                def replace(resid, hook):
                    resid[:, pos] = cache["resid_pre", layer][:, pos]
                    return resid

                hooks = [(f"blocks.{layer}.hook_resid_pre", replace)]
                logits = self.model.run_with_hooks(request.corrupt, fwd_hooks=hooks)[0, -1]
                found[layer, pos] = logits[request.answer] - logits[request.wrong]
        return found

    def forward(self, request) -> Tensor:
        return self.model(request.clean)[0, -1]

    @torch.enable_grad()
    def atp(self, request) -> Tensor:
        _, clean = self.model.run_with_cache(request.clean, names_filter=lambda name: name.endswith("hook_z"))
        corrupt, slopes = {}, {}

        def keep(z, hook):
            corrupt[hook.name] = z.detach()

        def keep_slope(slope, hook):
            slopes[hook.name] = slope.detach()

        names = [hook_z(layer) for layer in range(self.n_layers)]
        self.model.zero_grad()
        forward, backward = [(name, keep) for name in names], [(name, keep_slope) for name in names]
        with self.model.hooks(fwd_hooks=forward, bwd_hooks=backward):
            logits = self.model(request.corrupt)[0, -1]
            (logits[request.answer] - logits[request.wrong]).backward()
        by_head = [((clean[name] - corrupt[name]) * slopes[name]).sum((0, 1, 3)) for name in names]
        return torch.stack(by_head).detach()

    def lens(self, request) -> Tensor:
        is_resid = lambda name: name.endswith(("hook_resid_pre", "hook_resid_post"))
        _, cache = self.model.run_with_cache(request.clean, names_filter=is_resid)
        stream = cache.accumulated_resid()[:, 0]  # [layer, pos, d_model]
        logits = self.model.unembed(self.model.ln_final(stream))
        return logits.softmax(-1).topk(5, -1).values

    def cache(self, request) -> Tensor:
        _, cache = self.model.run_with_cache(request.clean)
        sites = ["resid_pre", "q", "k", "v", "pattern", "z", "resid_mid", "pre", "post", "resid_post"]
        squares = [cache[site, layer].double().square().sum() for layer in (0, 6, 11) for site in sites]
        return torch.stack(squares)

    def generate(self, request) -> Tensor:
        def zeroed(head: int):
            def replace(z, hook):
                z[:, :, head] = 0
                return z

            return replace

        with self.model.hooks(fwd_hooks=[(hook_z(layer), zeroed(head)) for layer, head in request.cut]):
            settings = {"do_sample": False, "stop_at_eos": False, "use_past_kv_cache": True, "verbose": False}
            out = self.model.generate(request.clean, max_new_tokens=request.new_tokens, **settings)
        return out[0, request.clean.shape[1] :]
