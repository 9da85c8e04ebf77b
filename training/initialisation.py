"""Constructed initialisation: a new model reads off the mean of what the user said.

Token vectors that were trained as a bag of words (``bag_of_words``) decide well by their mean alone. A network of
random layers forgets them before it finds that out, so it starts as the bag of words, in the manner of compiled
transformers (Lindner et al., 2023, arXiv:2301.05062), and everything else it learns is added to that:

1. the first head of the first layer looks at the roles named so far and marks every token by how many of them are the
   user;
2. all heads of a middle layer look at the tokens with the highest mark and pass their mean on;
3. the last layer passes on whatever it looks at, a little of everything at first, so that it only has to learn where to
   look when a reply takes up a word;
4. all else writes nothing at first, so the vocabulary is scored by its cosine with that mean.
"""

from itertools import chain

import torch
from torch.nn.functional import normalize
from transformers import PreTrainedConfig, Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from qwen_allinone.model.chatml import ChatML, Message, Role
from training.sizes import Size

_NORM = 0.64
"""Length of a token's vector."""
_FLAG, _SPEAKER = -2, -1
"""Dimensions reserved for two marks: a token that names a role, and a token that the user speaks."""
_ROLES: dict[Role, float] = {"user": 1.0, "system": -1.0, "assistant": -1.0}
_FLAGGED, _MARKED = 0.6, 0.4
"""Parts of a role token's unit vector in those dimensions."""
_ENDS = -3.0
"""Entry of the end of a turn in the speaker's dimension: it is likely wherever the user does not speak, so that no word
of an option makes the end less likely than another's."""
_CARRIED = 0.4
"""Factor of the mean of normalised vectors before it is added."""
_COPIED = 0.1
"""Factor of the vectors that the last layer looks at."""
_LANGUAGE_LAYERS = 2
"""Layers added behind those of the decisions."""
_TO_ROLES, _TO_USER, _FROM_ROLES = (3.0, 3.0), (4.0, 4.4), 4.0
"""Query and key of the two kinds of attention, and the key that turns the second kind away from role tokens."""


def new_model(size: Size, vectors: torch.Tensor, chat: ChatML) -> Qwen2ForCausalLM:
    """Return a model that decides as the bag of words does before it is trained.

    Args:
        size: of the model.
        vectors: of the tokens, for the tied embedding. *Shape:* (vocabulary, width)
        chat: knows the tokens that name roles.
    """
    config = Qwen2Config(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,  # with fewer, part of the mean would not pass
        max_position_embeddings=size.window,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=chat.end_of_turn,
        pad_token_id=chat.stop_ids[-1],
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(_embedding(vectors, chat))
        for layer in model.model.layers:
            _write_nothing(layer)
        first, middle, last = _attentions(model)
        _mark_speakers(first)
        _carry_mean(middle)
        _pass_on(last, _COPIED)
    return model


def grow(model: Qwen2ForCausalLM) -> None:
    """Add what replies need: two layers that write nothing yet, and an output layer that begins as the embedding.

    The model decides as before; what it learns to write need not move what it decides by.
    """
    config, layers = model.config, model.model.layers
    start = len(layers)
    config.num_hidden_layers = start + _LANGUAGE_LAYERS
    config.layer_types = ["full_attention"] * config.num_hidden_layers
    for index in range(start, config.num_hidden_layers):
        layer = Qwen2DecoderLayer(config, index)
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, std=config.initializer_range)
                if module.bias is not None:
                    torch.nn.init.zeros_(module.bias)
        _write_nothing(layer)
        layers.append(layer)
    config.language_layers = _LANGUAGE_LAYERS
    config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.all_tied_weights_keys = {}


def is_grown(config: PreTrainedConfig) -> bool:
    """Return true if a model has layers of its own for replies."""
    return _language_layers(config) > 0


def decision_layers(model: Qwen2ForCausalLM) -> int | None:
    """Return the number of layers after which it decides, those it had before it grew; None before."""
    return len(model.model.layers) - _language_layers(model.config) if is_grown(model.config) else None


def constructed_weights(model: Qwen2ForCausalLM) -> list[torch.nn.Parameter]:
    """Return the weights that begin with a meaning: the embedding, two attentions, and two of the last one's parts."""
    first, middle, last = _attentions(model)
    return _parameters(model.get_input_embeddings(), first, middle, *_projections(last)[2:])


def all_weights(model: Qwen2ForCausalLM) -> list[torch.nn.Parameter]:
    """Return every weight."""
    return list(model.parameters())


def decision_weights(model: Qwen2ForCausalLM) -> list[torch.nn.Parameter]:
    """Return all weights but those that were added for replies."""
    language = {id(weight) for weight in language_weights(model)}
    return [weight for weight in model.parameters() if id(weight) not in language]


def language_weights(model: Qwen2ForCausalLM) -> list[torch.nn.Parameter]:
    """Return the weights that were added for replies; none before the model has grown."""
    if not is_grown(model.config):
        return []
    return _parameters(*model.model.layers[-_language_layers(model.config) :], model.lm_head)


def _parameters(*modules: torch.nn.Module) -> list[torch.nn.Parameter]:
    return list(chain.from_iterable(module.parameters() for module in modules))


def _attentions(model: Qwen2ForCausalLM) -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    layers = model.model.layers
    count = len(layers) - _language_layers(model.config)
    return layers[0].self_attn, layers[count // 2].self_attn, layers[count - 1].self_attn


def _language_layers(config: PreTrainedConfig) -> int:
    return int(getattr(config, "language_layers", 0))


def _write_nothing(layer: Qwen2DecoderLayer) -> None:
    with torch.no_grad():
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()


def _embedding(vectors: torch.Tensor, chat: ChatML) -> torch.Tensor:
    embedding = vectors.clone()
    embedding[:, [_FLAG, _SPEAKER]] = 0
    embedding = normalize(embedding, dim=1)
    for role, side in _ROLES.items():
        token = chat.turn(Message(role, ""))[1]
        embedding[token] *= (1 - _FLAGGED**2 - _MARKED**2) ** 0.5
        embedding[token, _FLAG] = _FLAGGED
        embedding[token, _SPEAKER] = _MARKED * side
    embedding = embedding * _NORM
    embedding[chat.end_of_turn, _SPEAKER] = _ENDS
    return embedding


def _mark_speakers(attention: torch.nn.Module) -> None:
    query, key, value, output = _projections(attention)
    width, size = output.weight.shape[0], _head_size(attention)
    place = size // 2 - 1  # turns so slowly with distance that it counts for nothing
    for projection in (query, key, value):
        projection.weight[:size] = 0
    query.bias[place], key.weight[place, _FLAG] = _TO_ROLES
    value.weight[0, _SPEAKER] = 1 / width**0.5
    output.weight[_SPEAKER, 0] = 1


def _carry_mean(attention: torch.nn.Module) -> None:
    query, key, _, output = _projections(attention)
    width, size = len(output.weight), _head_size(attention)
    query.weight.zero_()
    key.weight.zero_()
    for place in range(size // 2 - 1, width, size):
        query.bias[place], key.weight[place, _SPEAKER] = _TO_USER
        key.weight[place, _FLAG] = -_FROM_ROLES
    _pass_on(attention, _CARRIED)


def _pass_on(attention: torch.nn.Module, part: float) -> None:
    _, _, value, output = _projections(attention)
    value.weight.copy_(torch.eye(len(value.weight)))
    value.weight[[_FLAG, _SPEAKER]] = 0
    output.weight.copy_(torch.eye(len(output.weight)) * part)


def _head_size(attention: torch.nn.Module) -> int:
    return int(attention.head_dim)  # type: ignore[arg-type]


def _projections(attention: torch.nn.Module) -> list[torch.nn.Linear]:
    return [getattr(attention, f"{name}_proj") for name in ("q", "k", "v", "o")]
