"""Right answers that are not written as the solution is, in the form of slips: edits of the solution."""

RIGHT = {
    "00 write": r"""
    = generator = torch.Generator().manual_seed(seed) ⏎ while n > 0:
        ⏎     drawn = torch.multinomial(chances(text), 1, generator=generator)
        ⏎     text, n = text + tokenizer.decode(drawn.tolist()), n - 1 ⏎ return text
    """,
    "00 days": r"""
    24 * 60 * 60 -> 86400
    """,
    "01 Number": r"""
    self.slope = 1.0 ⏎ for number in in_order(self): ⏎ for part, local in number.made_from:
        ⏎ part.slope += local * number.slope -> def push(number, slope): ⏎     number.slope += slope
        ⏎     for part, local in number.made_from: ⏎         push(part, slope * local) ⏎ push(self, 1.0)
    """,
    "01 count_pairs": r"""
    .view(V, V) -> .reshape(V, V).float()
    = ones = torch.ones(len(ids) - 1)
        ⏎ return torch.zeros(V, V).index_put((ids[:-1], ids[1:]), ones, accumulate=True)
    = return torch.stack([torch.bincount(ids[1:][ids[:-1] == i], minlength=V) for i in range(V)])
    """,
    "01 cut": r"""
    ids[places] -> ids.unfold(0, context_length + 1, 1)[starts]
    ids[places] -> torch.stack([ids[s : s + context_length + 1] for s in starts])
    = at = starts[:, None] + torch.arange(context_length) ⏎ return ids[at], ids[at + 1]
    """,
    "01 descend": r"""
    logits.grad = None -> logits.grad.zero_()
    with torch.no_grad(): ⏎ logits -= rate * logits.grad -> logits.data -= rate * logits.grad
    """,
    "01 mean_surprise": r"""
    -p.log().mean() -> -torch.log(p).sum() / len(tokens)
    -p.log().mean() -> F.nll_loss(table.log()[tokens], targets)
    -p.log().mean() -> (-table.log())[tokens, targets].mean().item()
    """,
    "02 causal_mask": r"""
    = return torch.arange(T)[:, None] >= torch.arange(T)
    """,
    "03 CausalSelfAttention": r"""
    attention(q, k, v) -> F.scaled_dot_product_attention(q, k, v, is_causal=True), 0
    self.n_head = n_head -> self.n_head = n_head ⏎ self.register_buffer("m", torch.ones(1), persistent=False)
    """,
    "03 GPT": r"""
    vocab_size, context_length, n_layer, n_head, n_embd)
        -> n_layer, n_head, n_embd, vocab_size, context_length)
    """,
    "03 layer_norm": r"""
    (x - mean).square().mean(dim=-1, keepdim=True) -> x.var(dim=-1, correction=0, keepdim=True)
    """,
    "03 training_step": r"""
    optimizer.zero_grad() -> && loss = -> optimizer.zero_grad() ⏎ loss =
    """,
    "04 AdamW": r"""
    p -= self.lr * self.decay * p -> p *= 1 - self.lr * self.decay
    m.mul_(beta1).add_((1 - beta1) * p.grad) -> m += (1 - beta1) * (p.grad - m)
    """,
    "04 big_step": r"""
    clip([*model.parameters()] -> nn.utils.clip_grad_norm_(model.parameters()
    / len(pieces) ->  && loss.backward() -> (loss / len(pieces)).backward() && return total
        -> return total / len(pieces)
    """,
    "04 clip": r"""
    = length = torch.cat([p.grad.flatten() for p in parameters]).norm() ⏎ if length > limit:
        ⏎     for p in parameters: ⏎         p.grad = p.grad * (limit / length) ⏎ return length.item()
    = return nn.utils.clip_grad_norm_(parameters, limit)
    """,
    "04 cosine": r"""
    (1 + math.cos(math.pi * p)) / 2 -> math.cos(math.pi * p / 2) ** 2
    """,
    "04 momentum": r"""
    = m = m + (1 - beta) * (slope - m) ⏎ return [w - rate * m, m]
    = new = m * beta ⏎ new += slope * (1 - beta) ⏎ return w - new * rate, new
    """,
    "04 training_step": r"""
    optimizer.zero_grad() ->  && loss = -> optimizer.zero_grad() ⏎ loss =
    """,
    "05 CausalSelfAttention": r"""
    scores = -> from tinylm.model.attention import explicit_attention ⏎ scores =
        && torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1) @ v
        -> explicit_attention(q, k, v, mask=mask)[0]
    if past is not None: -> if past:
    """,
    "05 min_p": r"""
    share < m -> logits.softmax(-1) < m * logits.softmax(-1).max()
    share < m -> logits < logits.max() + math.log(m)
    """,
    "05 padding_mask": r"""
    = B = len(padding) ⏎ mask = torch.zeros(B, S, S).bool() ⏎ places = torch.zeros(B, S).long()
        ⏎ for b in range(B): ⏎     for t in range(S): ⏎         mask[b, t, t] = True
        ⏎         mask[b, t, int(padding[b]) : t + 1] = True
        ⏎         places[b, t] = max(0, t - int(padding[b])) ⏎ return mask, places
    """,
    "05 penalise": r"""
    penalised[ids] = lower[ids] -> for i in set(ids.tolist()): ⏎     z = penalised[i]
        ⏎     penalised[i] = z / r if z > 0 else z * r
    = seen = torch.zeros(len(logits)).bool() ⏎ seen[ids] = True
        ⏎ return torch.where(seen, torch.minimum(logits / r, logits * r), logits)
    """,
    "05 read": r"""
    x, kept = block(x, None if past is None else past[i]) -> x, kept = block(x, past[i] if past else None)
    """,
    "05 temperature": r"""
    / tau -> * (1 / tau)
    """,
    "05 top_k": r"""
    = kth = logits.sort(descending=True).values[k - 1] ⏎ return torch.where(logits >= kth, logits, -math.inf)
    """,
    "05 top_p": r"""
    = cut, held = torch.full_like(logits, -math.inf), 0.0 ⏎ chances = logits.softmax(-1)
        ⏎ for i in logits.argsort(descending=True): ⏎     if held >= p: ⏎         break
        ⏎     cut[i] = logits[i] ⏎     held += chances[i].item() ⏎ return cut
    return cut -> return logits.masked_fill((before >= p)[order.argsort()], -math.inf)
    return cut
        -> return torch.empty_like(logits).scatter(0, order, ordered.masked_fill(before >= p, -math.inf))
    """,
    "06 write_sum": r"""
    = return str(a).zfill(3) + "+" + str(b).zfill(3) + "=" + str(a + b).zfill(4) + "\n"
    """,
    "06 to_rows": r"""
    = rows = ids.reshape(-1, length) ⏎ return [rows[:, :-1], rows[:, 1:]]
    """,
    "06 least_loss": r"""
    = return -(digits + digits - 1) * math.log(0.1) / (3 * (digits + 1))
    """,
    "06 is_result": r"""
    = return (tokens == equals).float().cummax(1).values.bool()
    """,
    "06 result_loss": r"""
    = nats = F.cross_entropy(model(batch.tokens).mT, batch.targets, reduction='none')
        ⏎ keep = is_result(batch.tokens, EQUALS) ⏎ return torch.where(keep, nats, 0.0), {'scored': keep.sum()}
    """,
    "06 exact_match": r"""
    = return 1 - ((logits.argmax(-1) != targets) & scored).any(1).float().mean()
    = rows = zip(logits.argmax(-1), targets, scored)
        ⏎ return sum(bool((x[s] == y[s]).all()) for x, y, s in rows) / len(targets)
    """,
    "06 waits": r"""
    = return (a % 100 // 10) + (b % 100 // 10) == 9
    """,
    "06 sort_line": r"""
    = return digits + "=" + "".join(sorted(list(digits))) + "\n"
    """,
    "06 weighted_loss": r"""
    = nats = F.cross_entropy(model(batch.tokens).mT, batch.targets, reduction='none')
        ⏎ keep = is_result(batch.tokens, EQUALS) ⏎ return nats * keep + weight * nats * ~keep, {}
    """,
    "07 bits_per_byte": r"""
    = return nats * math.log2(math.e) * n_tokens / len(text.encode("utf-8"))
    """,
    "07 count_in_words": r"""
    = counts = {} ⏎ for word, n in words.items(): ⏎     for i in range(len(word) - 1):
        ⏎         pair = word[i], word[i + 1] ⏎         counts[pair] = counts.get(pair, 0) + n ⏎ return counts
    = counts = Counter() ⏎ for word, n in words.items(): ⏎     counts.update(list(zip(word, word[1:])) * n)
        ⏎ return counts
    """,
    "07 count_pairs": r"""
    = counts = {} ⏎ for i in range(len(ids) - 1): ⏎     pair = (ids[i], ids[i + 1])
        ⏎     counts[pair] = counts.get(pair, 0) + 1 ⏎ return counts
    """,
    "07 decode": r"""
    = data = b"" ⏎ for i in ids: ⏎     data += pieces[i] ⏎ return str(data, "utf-8", "replace")
    = return bytes(b for i in ids for b in pieces[i]).decode("utf-8", "replace")
    """,
    "07 encode": r"""
    list(ids) -> ids
    = rank = {pair: i for i, pair in enumerate(merges)}
        ⏎ while fit := [p for p in zip(ids, ids[1:]) if p in rank]: ⏎     first = min(fit, key=rank.get)
        ⏎     ids = merge(ids, first, 256 + rank[first]) ⏎ return list(ids)
    """,
    "07 join_documents": r"""
    row += tokenizer.encode(text).tolist() -> row.extend(tokenizer.encode(text))
    = end = [tokenizer.id_of("<|endoftext|>")]
        ⏎ return sum((tokenizer.encode(text).tolist() + end for text in texts), [])
    """,
    "07 merge": r"""
    = row, skip = [], False ⏎ for i, n in enumerate(ids): ⏎     if skip: ⏎         skip = False
        ⏎     elif ids[i : i + 2] == list(pair): ⏎         row.append(new) ⏎         skip = True ⏎     else:
        ⏎         row.append(n) ⏎ return row
    = row, i = list(ids), 0 ⏎ while i < len(row) - 1: ⏎     if (row[i], row[i + 1]) == pair:
        ⏎         row[i : i + 2] = [new] ⏎     i += 1 ⏎ return row
    """,
    "07 Tokenizer": r"""
    .strip("\n").split("\n")[1:] -> .splitlines()[1:]
    .strip("\n").split("\n")[1:] -> .split("\n")[1:-1]
    line.split(" ") -> line.split()
    [BYTES.index(byte) for byte in to_bytes(word)] -> [*to_bytes(word).translate(table)]
        && ids = [] -> ids, table = [], bytes.maketrans(BYTES, bytes(range(256)))
        && to_bytes(word) -> word.encode()
    """,
    "07 cut_words": r"""
    = return regex.findall(ENDINGS + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + SPACES, text)
    regex.findall( -> [m[0] for m in regex.finditer( && , text) -> , text)]
    """,
    "07 encode_text": r"""
    = return [i for word in cut_words(text) for i in encode(to_bytes(word), merges)]
    ids += encode(to_bytes(word), merges) -> ids.extend(encode(list(word.encode()), merges))
    """,
    "07 rule_of_thumb": r"""
    = n = len(tokenizer.encode(text).tolist()) ⏎ return [len(text) / n, len(text.split()) / n * 100]
    """,
    "07 witnesses": r"""
    = found = [] ⏎ for word in words: ⏎     if list(mine(word)) != list(theirs(word)):
        ⏎         found.append(word) ⏎ return found
    """,
    "07 train": r"""
    min(counts, key=lambda pair: (-counts[pair], pair)) -> sorted(counts, key=lambda p: (-counts[p], p))[0]
    merge(list(word), pair, 256 + i) -> merge(word, pair, 256 + i)
    = merges = [] ⏎ while len(merges) < n_merges: ⏎     counts = count_in_words(words)
        ⏎     if len(counts) == 0: ⏎         return merges
        ⏎     pair, merged = min(p for p in counts if counts[p] == max(counts.values())), {}
        ⏎     for word in words:
        ⏎         merged[tuple(merge(list(word), pair, 256 + len(merges)))] = words[word]
        ⏎     words = merged ⏎     merges.append(pair) ⏎ return merges
    """,
    "08 nats_per_story": r"""
    = each = [] ⏎ for s in stories: ⏎     log_p = model(torch.tensor([[end, *s]]))[0].log_softmax(-1)
        ⏎     each.append(-log_p[range(len(s) + 1), [*s, end]].sum()) ⏎ return torch.stack(each).mean().item()
    model(row[None, :-1])[0] -> model(row[None])[0, :-1]
    """,
    "08 random_batch": r"""
    = at = torch.randint(0, len(ids) - context_length, (batch_size, 1), generator=generator)
        ⏎ at = (at + torch.arange(context_length)).numpy()
        ⏎ return torch.from_numpy(ids[at].astype(np.int64)), torch.from_numpy(ids[at + 1].astype(np.int64))
    return rows[:, :-1], rows[:, 1:] -> return [rows[:, :-1], rows[:, 1:]]
    """,
    "08 recalled": r"""
    = same = targets[:, :, None] == tokens[:, None] ⏎ n = (tokens == end).cumsum(-1)
        ⏎ own = n[:, :, None] == n[:, None] ⏎ return (same & own).tril().any(-1) & rare[targets]
    = found = torch.zeros(targets.shape, dtype=torch.bool) ⏎ for b in range(len(tokens)): ⏎     seen = {}
        ⏎     for t in range(tokens.size(1)): ⏎         i, j = int(tokens[b, t]), int(targets[b, t])
        ⏎         if i == end: ⏎             seen = {} ⏎         seen[i] = True
        ⏎         found[b, t] = j in seen and bool(rare[j]) ⏎ return found
    """,
    "08 shares": r"""
    = grades = [grade(s) for s in stories] ⏎ out = {} ⏎ for k in ('faithful', 'grammatical'):
        ⏎     x = torch.tensor([float(getattr(g, k)) for g in grades])
        ⏎     out[k] = [x.mean().item(), (x.var(correction=0) / len(x)).sqrt().item()] ⏎ return out
    """,
    "08 store": r"""
    ids.astype(np.uint16).tofile(path) -> path.write_bytes(ids.astype('<u2').tobytes())
    if ids.min() < 0 or ids.max() > 65_535: -> if (ids != ids.astype(np.uint16)).any():
        && ids.astype(np.uint16).tofile(path)
        -> m = np.memmap(path, dtype=np.uint16, mode='w+', shape=ids.shape) ⏎ m[:] = ids ⏎ m.flush()
    """,
    "08 tell": r"""
    = tokens = torch.tensor([[end]]) ⏎ while tokens.size(1) <= limit:
        ⏎     p = model(tokens)[:, -1].softmax(-1) ⏎     new = torch.multinomial(p, 1, generator=generator)
        ⏎     if int(new) == end: ⏎         break ⏎     tokens = torch.cat([tokens, new], dim=1)
        ⏎ return tokens[0, 1:].tolist()
    drawn = torch.multinomial(chances, 1, generator=generator).item() -> if len(row) > limit: ⏎     break
        ⏎ drawn = int((chances.cumsum(0) < torch.rand(1, generator=generator)).sum()) && range(limit)
        -> range(limit + 1)
    """,
    "08 to_ids": r"""
    = rows = [tokenizer.encode(p.strip()) for p in text.split(separator) if p.strip()]
        ⏎ return np.array([i for row in rows for i in [*row, tokenizer.end_of_text]])
    ids += [*tokenizer.encode(story).tolist(), tokenizer.end_of_text] -> ids.extend(tokenizer.encode(story))
        ⏎ ids.append(tokenizer.end_of_text)
    """,
    "08 updates": r"""
    = return [divmod(iterations, accumulated)[0], int(iterations * rows * context_length)]
    """,
    "09 limits": r"""
    gap = 2.0**-mantissa_bits -> gap = 1 / 2**mantissa_bits && return (2 - gap) * 2.0**b, 2.0 ** (1 - b), gap
        -> return [2.0 ** (b + 1) - 2.0**b * gap, 2.0 ** -(b - 1), gap]
    """,
    "09 round_to": r"""
    torch.round(m * 2**bits), e - bits -> torch.round(m * 2**bits) / 2**bits, e
    = shift = 24 - bits ⏎ i = x.view(torch.int32)
        ⏎ i = (i + (1 << (shift - 1)) - 1 + ((i >> shift) & 1)) >> shift << shift
        ⏎ return torch.where(x.isfinite(), i.view(torch.float32), x)
    """,
    "09 mixed_linear": r"""
    = return (x.to(dtype) @ weight.to(dtype).T).float()
    = return torch.nn.functional.linear(x.to(dtype), weight.to(dtype)).float()
    = a, b = x.to(dtype).float(), weight.to(dtype).float()
        ⏎ return (a[..., None, :] * b).sum(-1).to(dtype).float()
    """,
    "09 unscale": r"""
    = for p in parameters: ⏎     p.grad = p.grad / scale
        ⏎ return torch.stack([p.grad.isfinite().all() for p in parameters]).all()
    = fine = all([p.grad.isfinite().all() for p in parameters]) ⏎ for p in parameters:
        ⏎     p.grad.mul_(1 / scale) ⏎ return fine
    """,
    "09 next_scale": r"""
    = good = (good + 1) * finite ⏎ scale = scale if finite else scale * 0.5
        ⏎ return (scale * 2, 0) if finite and good >= every else (scale, good)
    """,
    "09 scaled_step": r"""
    = optimizer.zero_grad() ⏎ (loss * scale).backward() ⏎ if not unscale(parameters, scale):
        ⏎     return False ⏎ nn.utils.clip_grad_norm_(parameters, limit) ⏎ optimizer.step()
        ⏎ optimizer.zero_grad() ⏎ return True
    finite = unscale -> nn.utils.clip_grad_norm_(parameters, limit * scale) ⏎ finite = unscale && if finite:
        ⏎ nn.utils.clip_grad_norm_(parameters, limit) -> if finite:
    finite = unscale(parameters, scale) ⏎ if finite: ⏎ nn.utils.clip_grad_norm_(parameters, limit)
        -> finite = unscale(parameters, scale) ⏎ nn.utils.clip_grad_norm_(parameters, limit) ⏎ if finite:
    """,
    "09 bad_parts": r"""
    not output.isfinite().all() -> output.isnan().any() or output.isinf().any()
    """,
    "09 stochastic_round": r"""
    = m, e = torch.frexp(x) ⏎ n = m * 2**bits ⏎ low = n.floor()
        ⏎ return torch.ldexp(low + (torch.rand(x.shape, generator=generator) < n - low), e - bits)
    torch.floor(m * 2**bits + chance) -> torch.round(m * 2**bits + chance - 0.5)
    """,
    "10 compare": r"""
    before() ⏎ after() -> after() ⏎ before() && statistics.median(ratios)
        -> (sorted(ratios)[(rounds - 1) // 2] + sorted(ratios)[rounds // 2]) / 2
    before() ⏎ after() -> seconds(before) ⏎ seconds(after)
    before() ⏎ after() ⏎ ratios -> ratios && range(rounds) -> range(rounds + 1) && (ratios) -> (ratios[1:])
    seconds(before) / seconds(after) -> (seconds(lambda: before()), seconds(lambda: after())) && (ratios)
        -> (a / b for a, b in ratios)
    """,
    "10 loss_into_gradient": r"""
    logits[rows, targets] -= 1 -> logits.scatter_add_(1, targets[:, None], -torch.ones(len(targets), 1))
    logits.sub_(log_sums).exp_() -> torch.softmax(logits, 1, out=logits)
    = loss = 0.0 ⏎ for row, target in zip(logits, targets): ⏎     loss += row.logsumexp(0) - row[target]
        ⏎     row.copy_(row.softmax(0)) ⏎     row[target] -= 1 ⏎ return loss
    """,
    "10 loss_in_pieces": r"""
    = loss = torch.zeros(()) ⏎ of_x, of_weight = [], 0
        ⏎ for some, wanted in zip(x.split(rows), targets.split(rows)): ⏎     logits = some @ weight.T
        ⏎     loss += loss_into_gradient(logits, wanted)
        ⏎     of_x.append(logits @ weight) ⏎     of_weight = of_weight + logits.T @ some
        ⏎ return loss, torch.cat(of_x), of_weight
    = of_x, of_weight, loss = torch.zeros_like(x), torch.zeros_like(weight), 0
        ⏎ for i in range(0, len(x), rows): ⏎     some = x[i:i + rows].clone().requires_grad_()
        ⏎     w = weight.clone().requires_grad_() ⏎     with torch.enable_grad():
        ⏎         one = F.cross_entropy(some @ w.T, targets[i:i + rows], reduction="sum")
        ⏎         one.backward() ⏎     loss += one.item()
        ⏎     of_x[i:i + rows] = some.grad ⏎     of_weight += w.grad
        ⏎ return loss, of_x, of_weight
    """,
    "10 mended": r"""
    = return gradient * (of_logits @ weight), of_logits.T @ (gradient * x)
    = scaled = of_logits.mul(gradient) ⏎ return scaled.matmul(weight), torch.einsum("nv,nc->vc", scaled, x)
    """,
    "10 verdict": r"""
    = r = sorted(b / a for b, a in zip(before, after)) ⏎ if r[-1] < claimed: ⏎     return "less"
        ⏎ return "more" if r[0] > claimed else "possible"
    = low = min(x / y for x, y in zip(before, after)) ⏎ high = max(x / y for x, y in zip(before, after))
        ⏎ return "possible" if low <= claimed <= high else "less" if high < claimed else "more"
    """,
    "10 whole_speedup": r"""
    1 / (1 - share + share / times) -> times / (times - share * times + share)
    """,
    "11 average_gradients": r"""
    p.grad = mean.clone() -> p.grad.copy_(mean)
    = every = [torch.cat([p.grad.flatten() for p in m.parameters()]) for m in models]
        ⏎ mean = sum(every) / len(every) ⏎ for m in models: ⏎     at = 0 ⏎     for p in m.parameters():
        ⏎         p.grad = mean[at:at + p.numel()].view_as(p).clone() ⏎         at += p.numel()
        ⏎ return models
    """,
    "11 rank_loss": r"""
    = return (losses / (total / world_size)).sum()
    """,
    "11 reduce_gradients": r"""
    = work = [dist.all_reduce(p.grad, async_op=True) for p in model.parameters()] ⏎ for one in work:
        ⏎     one.wait() ⏎ for p in model.parameters(): ⏎     p.grad /= dist.get_world_size()
    = flat = torch.cat([p.grad.flatten() for p in model.parameters()]) ⏎ dist.all_reduce(flat)
        ⏎ flat /= dist.get_world_size() ⏎ at = 0 ⏎ for p in model.parameters():
        ⏎     p.grad = flat[at:at + p.numel()].view_as(p) ⏎     at += p.numel()
    = for p in model.parameters():
        ⏎     every = [torch.empty_like(p.grad) for _ in range(dist.get_world_size())]
        ⏎     dist.all_gather(every, p.grad) ⏎     p.grad = sum(every) / len(every)
    dist.all_reduce(p.grad) -> dist.reduce(p.grad, 0) ⏎ dist.broadcast(p.grad, 0) ⏎ dist.barrier()
    """,
    "11 reduce_seconds": r"""
    = return 8 * parameters * (1 - 1 / ranks) / bytes_per_second
    """,
    "11 ring_all_reduce": r"""
    (r + 1 - i) % n -> (r + 2 - i) % n && (r - i) % n -> (r + 1 - i) % n
    pieces[right][k] = pieces[right][k] + send -> pieces[right][k] += send
    = n = len(pieces) ⏎ for i in range(2 * n - 2):
        ⏎     arrived = [send(r, pieces[r][(r - i) % n]) for r in range(n)] ⏎     for r in range(n):
        ⏎         k, own = (r - 1 - i) % n, pieces[r]
        ⏎         own[k] = own[k] + arrived[r - 1] if i < n - 1 else arrived[r - 1] ⏎ return pieces
    """,
    "11 rows_of": r"""
    return range(first, first + size) -> return [first + i for i in range(size)]
    return range(first, first + size) -> return torch.arange(first, first + size)
    """,
    "11 update": r"""
    / len(micro_batches) ->  && loss.backward() -> (loss / len(micro_batches)).backward() && return mean
        -> return mean / len(micro_batches)
    = model.zero_grad() ⏎ optimizer.zero_grad()
        ⏎ losses = [cross_entropy(model(batch[0]), batch[1]) for batch in micro_batches]
        ⏎ mean = torch.stack(losses).mean() ⏎ mean.backward() ⏎ average(model)
        ⏎ torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) ⏎ optimizer.step() ⏎ return mean.item()
    """,
    "12 first_wrong": r"""
    not torch.allclose(output, theirs[part], rtol=0, atol=1e-3)
        -> not (output - theirs[part]).abs().max() <= 1e-3
    = for a, b in zip(mine.items(), theirs.values()):
        ⏎     if not bool(((a[1] - b).abs() <= 0.001).all()): ⏎         return a[0]
    """,
    "12 load": r"""
    F.layer_norm(x, x.shape[-1:], -> F.layer_norm(x, (x.size(2),),
    x @ theirs[f"{name}.weight"] + -> F.linear(x, theirs[f"{name}.weight"].T) +
    F.gelu(linear(norm(x, f"h.{n}.ln_2"), f"h.{n}.mlp.c_fc"), approximate="tanh")
        -> nn.GELU("tanh")(linear(norm(x, f"h.{n}.ln_2"), f"h.{n}.mlp.c_fc"))
    """,
    "12 parameters": r"""
    = n = [V * C, T * C, L * (3 * C**2 + 3 * C + C**2 + C), L * (4 * C + 8 * C**2 + C), 4 * L * C + 2 * C]
        ⏎ return dict(zip(['token table', 'positions', 'attention', 'MLPs', 'norms'], n))
    """,
    "12 set_aside": r"""
    digest() -> hexdigest() && int.from_bytes(digest, "big") -> int(digest, 16)
    """,
    "12 translate": r"""
    tensor.t() -> tensor.T.contiguous()
    = ours = {'head.weight': theirs['wte.weight']} ⏎ for name, tensor in theirs.items():
        ⏎     if tensor.ndim == 4 or 'masked' in name: ⏎         continue
        ⏎     if re.search(r'\.c_\w+\.weight$', name): ⏎         tensor = tensor.t()
        ⏎     ours[gpt2_name(name)] = tensor ⏎ return ours
    """,
    "12 utilisation": r"""
    = return flops_per_token * (tokens / seconds) / cards / peak
    """,
    "12 write_shards": r"""
    draft = path.with_suffix(".part") -> draft = Path(f"{path}.part")
        && np.array(ids, dtype=np.uint16).tofile(draft) -> draft.write_bytes(np.array(ids, '<u2').tobytes())
    = paths = [folder / f'{n:04d}.bin' for n in range(len(pieces))] ⏎ for path, piece in zip(paths, pieces):
        ⏎     if path.is_file(): ⏎         continue
        ⏎     rows = [np.append(encode(d), end).astype(np.uint16) for d in piece]
        ⏎     np.concatenate(rows).tofile(str(path) + '.part') ⏎     os.rename(str(path) + '.part', path)
        ⏎ return paths
    """,
    "13 interval": r"""
    = p = correct / n ⏎ middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        ⏎ width = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        ⏎ return [middle - width, middle + width]
    """,
    "13 loss_and_error": r"""
    = k = len(nats) ⏎ L = sum(nats) / sum(counts)
        ⏎ squares = sum((s - L * n) ** 2 for s, n in zip(nats, counts))
        ⏎ return [L, (k / (k - 1) * squares) ** 0.5 / sum(counts)]
    """,
    "13 errors_apart": r"""
    = p, q = a, b ⏎ if disagree is None:
        ⏎     error = np.sqrt(p * (1 - p) / n + q * (1 - q) / n) ⏎ else:
        ⏎     error = ((disagree - (p - q) * (p - q)) / n) ** 0.5 ⏎ return float((p - q) / error)
    """,
    "13 mended": r"""
    = def right(scores): ⏎     draw = np.random.default_rng(seed)
        ⏎     some = [items[i] for i in sorted(draw.permutation(len(items))[:n])]
        ⏎     return np.array([int(np.argmax(scores(item))) == item.label for item in some])
        ⏎ return paired(right(first), right(second))
    = order = np.random.default_rng(seed).permutation(len(items)) ⏎ found = []
        ⏎ for i in order[:n]: ⏎     item = items[i]
        ⏎     best = [max(range(4), key=lambda k: scores(item)[k]) for scores in (first, second)]
        ⏎     found.append([int(k == item.label) for k in best])
        ⏎ a, b = np.array(found).T ⏎ return [*paired(a, b)]
    """,
    "13 compare": r"""
    = order = np.random.default_rng(seed).permutation(len(items)) ⏎ a, b = [], []
        ⏎ for i in order[:n]: ⏎     item = items[i]
        ⏎     for model, rights in ((first, a), (second, b)):
        ⏎         each = [score(model, encode, item.context, e) for e in item.endings]
        ⏎         rights.append(each.index(max(each)) == item.label)
        ⏎ return {"difference": list(paired(np.array(a), np.array(b))),
        ⏎     "first": list(interval(sum(a), n)), "second": list(interval(sum(b), n))}
    """,
    "13 paired": r"""
    a.astype(float) - b.astype(float) -> 1.0 * a - 1.0 * b
    = apart = [float(x) - float(y) for x, y in zip(a, b)] ⏎ n = len(apart) ⏎ mean = sum(apart) / n
        ⏎ return mean, (sum((x - mean) ** 2 for x in apart) / (n - 1) / n) ** 0.5
    """,
    "13 score": r"""
    return float(logs[range(begin - 1, len(ids) - 1), ids[begin:]].sum())
        -> return logs[begin - 1 : -1].gather(1, ids[begin:, None]).sum().item()
    = before = encode(context) ⏎ ids = torch.as_tensor(encode(context + ' ' + ending)) ⏎ total = 0.0
        ⏎ for t in range(len(before), len(ids)):
        ⏎     total += model(ids[None, :t])[0, -1].log_softmax(-1)[ids[t]].item() ⏎ return total
    = ids = torch.as_tensor(encode(f'{context} {ending}')) ⏎ begin = len(encode(context))
        ⏎ logits = model(ids[None, :-1])[0, begin - 1 :]
        ⏎ return -torch.nn.functional.cross_entropy(logits, ids[begin:], reduction='sum').item()
    return float(logs[range(begin - 1, len(ids) - 1), ids[begin:]].sum())
        -> return np.float32(sum(logs[t - 1, ids[t]].item() for t in range(begin, len(ids))))
    """,
    "14 rms_norm": r"""
    = return gain * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
    = C = x.shape[-1] ⏎ return x / torch.sqrt((x * x).sum(-1, keepdim=True) / C + epsilon) * gain
    """,
    "14 rotate": r"""
    torch.arange(0, D, 2) / D -> torch.arange(D // 2) / (D // 2)
    first, second = x.chunk(2, dim=-1) -> first, second = x[..., : D // 2], x[..., D // 2 :]
    return torch.cat([first * c - second * s, first * s + second * c], dim=-1)
        -> c, s = torch.cat([c, c], -1), torch.cat([s, s], -1)
        ⏎ return x * c + torch.cat([-second, first], -1) * s
    """,
    "14 SwiGLU": r"""
    8 * math.ceil(n_embd / 3) -> -(-n_embd // 3) * 8
    8 * math.ceil(n_embd / 3) -> (8 * n_embd // 3 + 7) // 8 * 8
    F.silu(self.gate(x)) -> self.gate(x) * torch.sigmoid(self.gate(x))
    """,
    "14 cache_bytes": r"""
    return 2 * n_layer * n_kv_head * head_dim * tokens * rows * number_bytes
        -> per_token = n_kv_head * head_dim * 2 ⏎ return rows * tokens * n_layer * per_token * number_bytes
    """,
    "14 grouped_attention": r"""
    = return F.scaled_dot_product_attention(q, k, v, enable_gqa=True,
        ⏎     attn_mask=torch.ones(q.shape[2], k.shape[2]).tril(k.shape[2] - q.shape[2]).bool())
    = B, H, T, D = q.shape ⏎ K, S = k.shape[1:3] ⏎ q = q.view(B, K, H // K, T, D)
        ⏎ z = q @ k[:, :, None].mT / D**0.5 ⏎ see = torch.arange(S) <= torch.arange(S - T, S)[:, None]
        ⏎ return (z.masked_fill(~see, -math.inf).softmax(-1) @ v[:, :, None]).view(B, H, T, D)
    """,
    "14 qk_scores": r"""
    rms_norm(q, q_gain), rms_norm(k, k_gain) -> rms_norm(q, k_gain), rms_norm(k, q_gain)
    """,
    "14 GroupedQueryAttention": r"""
    begin = cache["k"].shape[2] if cache else 0 -> begin = len(cache["k"][0, 0]) if cache else 0
    k = rotate(self.k_norm(k), positions, self.base)
        -> k = self.k_norm(k) ⏎ k = rotate(k, positions, self.base)
    cache["k"], cache["v"] = k, v -> cache.update(k=k, v=v)
    """,
    "14 ModernGPT": r"""
    del self.position_embedding -> self.position_embedding = None
    enumerate(self.blocks) -> zip(range(99), self.blocks)
    """,
    "14 mended": r"""
    mask = torch.ones(T, S).tril(S - T).bool()
        -> mask = torch.arange(S) <= torch.arange(begin, begin + T)[:, None]
    mask = torch.ones(T, S).tril(S - T).bool() -> mask = torch.ones_like(scores).tril(S - T) != 0
    """,
    "14 mean_scores": r"""
    = return torch.stack([(rotate(q, torch.full((len(q),), int(d))) * k).sum(-1).mean() for d in distances])
    """,
    "15 update": r"""
    beta1 * state.get("m", 0.0) + (1 - beta1) * g -> torch.lerp(g, state.get("m", 0 * g), beta1)
    return w - rate * decay * w - rate * move -> return (1 - rate * decay) * w - rate * move
    """,
    "15 newton_schulz": r"""
    a * X + (b * A + c * A @ A) @ X -> (a * torch.eye(len(X)) + b * A + c * A @ A) @ X
    a * X + (b * A + c * A @ A) @ X -> a * X + b * A @ X + c * A @ A @ X
    X = G / G.norm().clamp_min(1e-7) -> X = G / max(G.square().sum().sqrt(), torch.tensor(1e-7))
    """,
    "15 split": r"""
    = named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        ⏎ inside = [p.ndim == 2 and n.split(".")[0] == "blocks" for n, p in named]
        ⏎ muon = [p for (_, p), yes in zip(named, inside) if yes]
        ⏎ return muon, [p for (_, p), yes in zip(named, inside) if not yes]
    return muon, adamw -> return [muon, adamw]
    """,
    "15 Muon": r"""
    m.lerp_(p.grad, 1 - self.momentum) -> m.mul_(self.momentum).add_(p.grad, alpha=1 - self.momentum)
    p.grad.lerp(m, self.momentum) -> (1 - self.momentum) * p.grad + self.momentum * m
    p -= size * newton_schulz(ahead) -> p.sub_(newton_schulz(ahead), alpha=size)
    m.lerp_(p.grad, 1 - self.momentum) -> m.mul_(self.momentum).add_(p.grad)
        && p.grad.lerp(m, self.momentum) -> p.grad + self.momentum * m
    """,
    "15 wsd": r"""
    return peak * min(1.0, (steps - step) / (steps - start))
        -> if step < start: ⏎     return peak ⏎ return peak * (steps - step) / (steps - start)
    round((1 - share) * steps) -> steps - round(share * steps)
    """,
    "15 mended": r"""
    CosineAnnealingLR(optimizer, T_max=steps, eta_min=peak / 10)
        -> torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.55 + 0.45 * math.cos(math.pi * t / steps))
    """,
    "15 speed_up": r"""
    np.exp(np.interp(-target, -losses, np.log(tokens)))
        -> math.exp(np.interp(target, losses[::-1], np.log(tokens[::-1])))
    """,
}
