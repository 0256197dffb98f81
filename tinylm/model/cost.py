"""Cost: the parameters of a model and what training it takes in work and memory, all from its settings.

Taught in notebooks 03_transformer and 10_speed. Source: Chowdhery et al. 2022 (PaLM), appendix B."""

from tinylm.model.config import ModelConfig


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """Return the number of parameters of each part, by formula; "total" is their sum. A tied head has 0.

    They are all that the model holds. Of its experts a token uses a few: `active_parameters`."""
    C, V, L = config.n_embd, config.vocab_size, config.n_layer

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + config.bias * outputs

    def mlp(hidden: int) -> int:
        n_inputs = 2 if config.activation == "swiglu" else 1  # matrices before the activation
        return n_inputs * linear(C, hidden) + linear(hidden, C)

    mlps = mlp(config.mlp_hidden)
    if config.n_expert:
        mlps = config.n_expert * (C + expert_parameters(config))  # a row of the router each
        mlps += mlp(config.n_shared_expert * config.mlp_hidden) if config.n_shared_expert else 0
    norm = C + (C if config.bias and config.norm == "layernorm" else 0)
    counts = {
        "token_embedding": V * C,
        "position_embedding": config.context_length * C if config.position == "learned" else 0,
        "attention": L * (linear(C, sum(config.qkv_sizes)) + linear(C, C) + config.token_shift * C),
        "mlp": L * mlps,
        "norms": (2 * L + 1) * norm + config.qk_norm * L * 2 * config.head_dim,
        "head": 0 if config.tied_head else V * C,
    }
    return counts | {"total": sum(counts.values())}


def expert_parameters(config: ModelConfig) -> int:
    """Return the number of parameters of one expert, which has no biases."""
    return (3 if config.activation == "swiglu" else 2) * config.n_embd * config.mlp_hidden


def active_parameters(config: ModelConfig) -> int:
    """Return how many parameters one token uses: all but the experts that were not chosen for it."""
    idle = max(0, config.n_expert - config.n_expert_active)  # none without experts
    return parameter_counts(config)["total"] - config.n_layer * idle * expert_parameters(config)


def flops_per_token(config: ModelConfig) -> int:
    """Return the floating-point operations to train on one token, forward and backward: 6N + 12·L·H·D·T.

    N is the number of active parameters that multiply something: all but the norms, the position table and,
    if the head is not tied to it, the token table, since a look-up multiplies nothing. Attention is counted
    as if no position were masked, as in the paper. Source: PaLM, appendix B."""
    counts = parameter_counts(config)
    looked_up = 0 if config.tied_head else counts["token_embedding"]
    n = active_parameters(config) - counts["norms"] - counts["position_embedding"] - looked_up
    return 6 * n + 12 * config.n_layer * config.n_head * config.head_dim * config.context_length


def memory_bytes(
    config: ModelConfig, micro_batch_size: int, dtype: str = "float32", *, fused_loss: bool = False
) -> int:
    """Estimate the memory to train, in bytes: 16 for each parameter, plus what the backward pass needs.

    float32 weights, gradients and AdamW's two averages take 4 bytes each. For the backward pass a block keeps
    about 8 numbers per token and channel (more with the modern settings and for each active expert, fewer
    where heads share keys and values), the hidden layer of the MLP, or of each active expert, twice (with
    swiglu four times) and, where attention is explicit or has dropout on a CPU, T scores per head. The head
    holds three copies of the logits at once, with fused_loss
    one. With activation_checkpointing each block keeps only its input. Only one block at a time has the rest,
    and half as much again for its gradients, after the head's are freed."""
    width = 2 if dtype in ("bfloat16", "float16") else 4  # bytes of a number that is kept
    modern = 3 * (config.position == "rotary") + 2 * (config.norm == "rmsnorm") + 5 * config.qk_norm
    dropped = config.dropout > 0
    scores = (3 if dropped else config.attention == "explicit") * config.n_head * config.context_length
    per_channel = 8 + modern + 2 * dropped
    n_hidden = 4 if config.activation == "swiglu" else 2
    shared = 3 * config.n_embd - sum(config.qkv_sizes)  # which keys and values save, 1.5 times
    n_copies = config.n_expert_active if config.n_expert else 0  # of each token, and as many results
    n_mlps = n_copies + config.n_shared_expert if config.n_expert else 1
    per_channel += 2 * n_copies
    per_block = per_channel * config.n_embd - 3 * shared // 2 + n_hidden * n_mlps * config.mlp_hidden + scores
    head = config.vocab_size * (width if fused_loss else 3 * 4)  # bytes per token, like per_token below
    if config.activation_checkpointing:
        per_token = config.n_layer * config.n_embd * 4 + max(per_block * width * 3 // 2, head)
    else:
        per_token = config.n_layer * per_block * width + head
    return 16 * parameter_counts(config)["total"] + micro_batch_size * config.context_length * per_token
