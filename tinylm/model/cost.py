"""Cost: the parameters of a model and what training it takes in work and memory, all from its settings.

Taught in notebooks 03_transformer and 10_speed. Source: Chowdhery et al. 2022 (PaLM), appendix B."""

from tinylm.model.config import ModelConfig


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """Return the number of parameters of each part, by formula; "total" is their sum. A tied head has 0."""
    C, V, L = config.n_embd, config.vocab_size, config.n_layer

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + config.bias * outputs

    n_inputs = 2 if config.activation == "swiglu" else 1  # matrices before the activation
    norm = C + (C if config.bias and config.norm == "layernorm" else 0)
    counts = {
        "token_embedding": V * C,
        "position_embedding": config.context_length * C if config.position == "learned" else 0,
        "attention": L * (linear(C, sum(config.qkv_sizes)) + linear(C, C) + config.token_shift * C),
        "mlp": L * (n_inputs * linear(C, config.mlp_hidden) + linear(config.mlp_hidden, C)),
        "norms": (2 * L + 1) * norm + config.qk_norm * L * 2 * config.head_dim,
        "head": 0 if config.tied_head else V * C,
    }
    return counts | {"total": sum(counts.values())}


def flops_per_token(config: ModelConfig) -> int:
    """Return the floating-point operations to train on one token, forward and backward: 6N + 12·L·H·D·T.

    N is the number of parameters that multiply something: all but the norms, the position table and, if the
    head is not tied to it, the token table, since a look-up multiplies nothing. Attention is counted as if no
    position were masked, as in the paper. Source: PaLM, appendix B."""
    counts = parameter_counts(config)
    looked_up = 0 if config.tied_head else counts["token_embedding"]
    n = counts["total"] - counts["norms"] - counts["position_embedding"] - looked_up
    return 6 * n + 12 * config.n_layer * config.n_head * config.head_dim * config.context_length


def memory_bytes(
    config: ModelConfig, micro_batch_size: int, dtype: str = "float32", *, fused_loss: bool = False
) -> int:
    """Estimate the memory to train, in bytes: 16 for each parameter, plus what the backward pass needs.

    float32 weights, gradients and AdamW's two averages take 4 bytes each. For the backward pass a block keeps
    about 8 numbers per token and channel (more with the modern settings, fewer where heads share keys and
    values), the MLP's hidden layer twice (with swiglu four times) and, where attention is explicit or has
    dropout on a CPU, T scores per head. The head holds three copies of the logits at once, with fused_loss
    one. With activation_checkpointing each block keeps only its input. Only one block at a time has the rest,
    and half as much again for its gradients, after the head's are freed."""
    width = 2 if dtype in ("bfloat16", "float16") else 4  # bytes of a number that is kept
    modern = 3 * (config.position == "rotary") + 2 * (config.norm == "rmsnorm") + 5 * config.qk_norm
    dropped = config.dropout > 0
    scores = (3 if dropped else config.attention == "explicit") * config.n_head * config.context_length
    per_channel = 8 + modern + 2 * dropped
    n_hidden = 4 if config.activation == "swiglu" else 2
    shared = 3 * config.n_embd - sum(config.qkv_sizes)  # which keys and values save, 1.5 times
    per_block = per_channel * config.n_embd - 3 * shared // 2 + n_hidden * config.mlp_hidden + scores
    head = config.vocab_size * (width if fused_loss else 3 * 4)  # bytes per token, like per_token below
    if config.activation_checkpointing:
        per_token = config.n_layer * config.n_embd * 4 + max(per_block * width * 3 // 2, head)
    else:
        per_token = config.n_layer * per_block * width + head
    return 16 * parameter_counts(config)["total"] + micro_batch_size * config.context_length * per_token
