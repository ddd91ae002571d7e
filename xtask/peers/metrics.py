"""What the sweeps measure: prob, rank, entropy and margin of a token, [.., 4] from logits [.., d_vocab]."""

import torch


def measured(logits: torch.Tensor, answer: int) -> torch.Tensor:
    own = logits[..., answer]
    log_z = logits.logsumexp(-1)
    probs = (logits - log_z[..., None]).exp()
    rank = 1 + (logits > own[..., None]).sum(-1)
    entropy = log_z - (probs * logits).sum(-1)
    rival = torch.maximum(logits[..., :answer].amax(-1), logits[..., answer + 1 :].amax(-1))
    return torch.stack([probs[..., answer], rank.to(logits.dtype), entropy, own - rival], -1)
