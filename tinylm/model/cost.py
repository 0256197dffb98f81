"""Cost: the work and the memory that training a model takes, by formula, from its settings alone.

Taught in notebook 10_speed. Source: Chowdhery et al. 2022 (PaLM), appendix B."""

from tinylm.model.config import ModelConfig, parameter_counts


def flops_per_token(config: ModelConfig) -> int:
    """Floating-point operations to train on one token, forward and backward: 6N + 12·L·H·D·T.

    N counts the parameters that multiply: all but the norms, the position table and, when the head is
    not tied to it, the token table (a look-up multiplies nothing). Attention is counted as if no position
    were masked, as in the paper. Source: PaLM, appendix B."""
    counts = parameter_counts(config)
    looked_up = 0 if config.tied_head else counts["token_embedding"]
    n = counts["total"] - counts["norms"] - counts["position_embedding"] - looked_up
    return 6 * n + 12 * config.n_layer * config.n_head * config.head_dim * config.context_length


def memory_bytes(
    config: ModelConfig, micro_batch_size: int, dtype: str = "float32", *, fused_loss: bool = False
) -> int:
    """Estimated memory to train, in bytes: 16 for each parameter, and what the backward pass needs.

    float32 weights, gradients and AdamW's two averages are 4 bytes each. For the backward pass a block keeps
    about 8 numbers per token and channel, more with the modern settings, the MLP's hidden layer twice, and T
    per head where attention is explicit or has dropout (on a processor). The head has the logits three times
    at once, with fused_loss once. With activation_checkpointing a block keeps its input; one at a time has
    the rest, and half as much for its gradients, when the head's are gone."""
    width = 2 if dtype in ("bfloat16", "float16") else 4  # bytes per number kept
    modern = 3 * (config.position == "rotary") + 2 * (config.norm == "rmsnorm") + 5 * config.qk_norm
    dropped = config.dropout > 0
    scores = (3 if dropped else config.attention == "explicit") * config.n_head * config.context_length
    per_channel = 8 + modern + 2 * dropped
    per_block = per_channel * config.n_embd + 2 * config.mlp_hidden + scores  # numbers per token
    head = config.vocab_size * (width if fused_loss else 3 * 4)  # bytes per token, as the next
    if config.activation_checkpointing:
        per_token = config.n_layer * config.n_embd * 4 + max(per_block * width * 3 // 2, head)
    else:
        per_token = config.n_layer * per_block * width + head
    return 16 * parameter_counts(config)["total"] + micro_batch_size * config.context_length * per_token
