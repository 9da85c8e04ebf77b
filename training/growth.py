"""What a model that decides grows for its replies.

Its decisions are left as they are: their layers are not trained any more, and what they write is read through the
embedding as ever (``Capabilities.decision_layers``). Behind them come layers that begin as an induction circuit (Olsson
et al., 2022, arXiv:2209.11895): one head of the first marks every token with the code of the token before it, and one
of the second looks where the token at hand was said before and passes on the code of what followed. So a reply can take
up words that stand in the prompt, before it has learned any language. The new output layer begins as the embedding,
plus a direction for each code that is passed on.
"""

import copy

import torch
from torch.nn.functional import normalize
from transformers import Qwen2ForCausalLM

from training.circuit import code_size, projections, write_nothing

LAYERS = 3
_SHARP = 6.0
"""Query and key of the head that looks at the token before, in each of its dimensions."""
_QUICK, _STILL = 3 / 8, 7 / 16
"""Parts of a head's pairs of dimensions: those whose angle tells neighbours apart, and those that hardly turn within a
prompt, so that a match is found at any distance."""
_MATCH = 9.0
"""Scale of queries and keys that are compared by their codes."""
_BEFORE, _FOLLOWED = 0.45, 1.0
"""By how much a code that is passed on is multiplied: that of the token before, that of what followed."""
_LOUD = 5.0
"""By how much the new layers amplify codes, which are faint beside the mean of the text."""
_OUTPUT = 0.5
"""Length of a code in the output layer."""


def grown(model: Qwen2ForCausalLM) -> Qwen2ForCausalLM:
    """The model with more layers and an output layer of its own."""
    config = copy.deepcopy(model.config)
    config.num_hidden_layers += LAYERS
    config.layer_types = ["full_attention"] * config.num_hidden_layers
    config.language_layers = LAYERS
    config.tie_word_embeddings = False
    larger = Qwen2ForCausalLM(config)
    larger.load_state_dict(model.state_dict(), strict=False)
    size, embedding = code_size(config), model.model.embed_tokens.weight
    directions = torch.linalg.qr(torch.randn(config.hidden_size - 2 * size, size)).Q
    with torch.no_grad():
        for layer in larger.model.layers[-LAYERS:]:
            write_nothing(layer)
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                norm.weight[: 2 * size] = _LOUD
        first, second = (layer.self_attn for layer in larger.model.layers[-LAYERS : 2 - LAYERS])
        _look_one_back(first, size)
        _look_where_it_was_said(second, directions)
        larger.lm_head.weight.copy_(embedding)
        larger.lm_head.weight[:, 2 * size :] += normalize(embedding[:, :size], dim=1) @ directions.T * _OUTPUT
    larger.to(model.device)  # type: ignore[arg-type]
    return larger


def language_layers(model: Qwen2ForCausalLM) -> int:
    """How many layers were added for replies; none before the model has grown."""
    return int(getattr(model.config, "language_layers", 0))


def language_weights(model: Qwen2ForCausalLM) -> list[torch.nn.Parameter]:
    """Those that were added for replies; none before the model has grown."""
    if not language_layers(model):
        return []
    parts = [*model.model.layers[-language_layers(model) :], model.lm_head]
    return [weight for part in parts for weight in part.parameters()]


def _look_one_back(attention: torch.nn.Module, size: int) -> None:
    """The first head."""
    query, key, value, output = projections(attention)
    angles = 10_000.0 ** (-torch.arange(size) / size)
    strength = torch.zeros(size)
    strength[: int(size * _QUICK)] = _SHARP
    for projection in (query, key, value):
        projection.weight[: 2 * size] = 0
    key.bias[:size] = strength
    query.bias[:size], query.bias[size : 2 * size] = strength * angles.cos(), -strength * angles.sin()
    value.weight[:size, :size] = torch.eye(size) / _LOUD
    output.weight[size : 2 * size, :size] = torch.eye(size) * _BEFORE


def _look_where_it_was_said(attention: torch.nn.Module, directions: torch.Tensor) -> None:
    """The first head, in the dimensions that turn too slowly to tell places apart."""
    query, key, value, output = projections(attention)
    size = directions.shape[1]
    still = [place for place in range(2 * size) if place % size >= size * (1 - _STILL)]
    for projection in (query, key, value):
        projection.weight[: 2 * size] = 0
    compared = torch.linalg.qr(torch.randn(size, size)).Q[: len(still)] * _MATCH / _LOUD
    query.weight[still, :size] = compared
    key.weight[still, size : 2 * size] = compared
    value.weight[:size, :size] = torch.eye(size) / _LOUD
    output.weight[2 * size :, :size] = directions * _FOLLOWED
