"""An autoencoder as SAELens reads it, against what was computed elsewhere: read_sae.py FOLDER CODES [AGAIN].

CODES is a safetensors file with `x` (what is encoded), `features` and `reconstruction`, positions first. Fails where SAELens's numbers differ by more than
rounding, or where it has not understood the settings. Into the folder AGAIN it is then saved by SAELens.
"""

import json
import sys
from pathlib import Path

import torch
from sae_lens import SAE
from safetensors.torch import load_file

folder, codes = Path(sys.argv[1]), load_file(sys.argv[2])
said = json.loads((folder / "cfg.json").read_text())
# Features are compared in f32 whatever the numbers are stored as.
sae = SAE.load_from_disk(folder, dtype="float32")
with torch.no_grad():
    features = sae.encode(codes["x"])
    # Not `decode`, which leaves out what a transcoder's skip connection adds.
    reconstruction = sae(codes["x"])
assert sae.cfg.architecture() == said["architecture"], sae.cfg.architecture()
for key in ("hook_name", "hook_name_out", "model_name", "prepend_bos", "context_size"):
    assert sae.cfg.metadata[key] == said["metadata"].get(key), (key, sae.cfg.metadata[key])
norms = sae.W_dec.norm(dim=1)


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return ((found - expected).abs().max() / expected.abs().max()).item()


distances = far(features, codes["features"]), far(reconstruction, codes["reconstruction"])
print(
    f"{folder.parent.name}/{folder.name}: {said['architecture']}, {said['dtype']}, {said['metadata']['hook_name']}, "
    f"{(codes['features'] > 0).sum(1).float().mean():.2f} of {said['d_sae']} active on {len(features)} positions; "
    f"largest difference, as a share of the largest number: features {distances[0]:.1e}, "
    f"reconstruction {distances[1]:.1e}; decoder norms {norms.min():.5f} to {norms.max():.5f}"
)
assert max(distances) < 1e-5, distances
assert ((features > 0) == (codes["features"] > 0)).float().mean() > 0.9999
if len(sys.argv) > 3:
    sae.save_model(sys.argv[3])
