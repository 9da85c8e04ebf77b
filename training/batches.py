"""Examples as tensors: prefix and branches of a text in one row, with the block mask that inference uses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from qwen_allinone.model.branches import pack
from training.example_builder import Example

_PREFIX, _PADDING = 0, -1


@dataclass(frozen=True)
class Batch:
    """Several examples, padded to the longest."""

    ids: torch.Tensor
    """*Shape:* (rows, tokens)"""
    positions: torch.Tensor
    """*Shape:* (rows, tokens)"""
    mask: torch.Tensor
    """Additive attention mask. *Shape:* (rows, 1, tokens, tokens)"""
    where: torch.Tensor
    """Flat index (row * tokens + token) of each place whose next token is scored. *Shape:* (targets,)"""
    tokens: torch.Tensor
    """The token that should follow there. *Shape:* (targets,)"""
    leaves: torch.Tensor
    """Leaf of each target. *Shape:* (targets,)"""
    branches: torch.Tensor
    """Branch of each leaf. *Shape:* (leaves,)"""
    shares: torch.Tensor
    """Share of each leaf in its branch's answer. *Shape:* (leaves,)"""
    sizes: torch.Tensor
    """Tokens of each leaf. *Shape:* (leaves,)"""
    alone: torch.Tensor
    """True for the only leaf of a branch, a reply. *Shape:* (leaves,)"""

    @property
    def size(self) -> int:
        """Tokens, padding included."""
        return self.ids.numel()


def collate(examples: Sequence[Example]) -> Batch:
    """Pack each example into one row."""
    packed = [pack(example.branches) for example in examples]
    width = max(len(example.prefix) + len(row.ids) for example, row in zip(examples, packed, strict=True))
    shape = (len(examples), width)
    ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    stems, leaf_of = np.full(shape, _PADDING), np.full(shape, -1)
    where, tokens, leaves, branches, shares, sizes, alone = [], [], [], [], [], [], []  # type: ignore[var-annotated]
    branch_count = 0
    for row, (example, one) in enumerate(zip(examples, packed, strict=True)):
        past, end = len(example.prefix), len(example.prefix) + len(one.ids)
        ids[row, :end] = (*example.prefix, *one.ids)
        positions[row, :end] = (*range(past), *(past + depth for depth in one.depths))
        stems[row, :past] = _PREFIX
        stems[row, past:end] = np.asarray(one.stems) + 1
        leaf_of[row, past:end] = one.leaves
        for targets, answer in zip(one.targets, example.answers, strict=True):
            for leaf, share in zip(targets, answer, strict=True):
                where += [row * width + past + place for place, _ in leaf]
                tokens += [token for _, token in leaf]
                leaves += [len(shares)] * len(leaf)
                branches.append(branch_count)
                shares.append(share)
                sizes.append(len(leaf))
                alone.append(len(targets) == 1)
            branch_count += 1
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        _mask(torch.from_numpy(stems), torch.from_numpy(leaf_of)),
        torch.tensor(where),
        torch.tensor(tokens),
        torch.tensor(leaves),
        torch.tensor(branches),
        torch.tensor(shares),
        torch.tensor(sizes),
        torch.tensor(alone),
    )


def _mask(stems: torch.Tensor, leaves: torch.Tensor) -> torch.Tensor:
    index = torch.arange(stems.shape[1])
    key_stem, key_leaf = stems[:, None, :], leaves[:, None, :]
    branch = (key_stem == _PREFIX) | (key_stem == stems[:, :, None])
    leaf = (key_leaf == -1) | (key_leaf == leaves[:, :, None])
    seen = branch & leaf & (index[None, None, :] <= index[None, :, None])
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]
