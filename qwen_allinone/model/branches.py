"""Many questions about one text in one forward pass.

A branch is a question laid out after the branch point: a stem (the question and the opening of the answer) and one
leaf per option. All branches of a text lie behind each other in one row. A block mask lets a token see the prefix,
its own stem and its own leaf, never a sibling, and positions restart at the branch point, so that every leaf has
exactly the likelihood it would have if it stood alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Branch:
    """One question after the branch point."""

    stem: tuple[int, ...]
    """The question's turn and the opening of the answer."""
    leaves: tuple[tuple[int, ...], ...]
    """Per option: all its tokens and the closing ``<|im_end|>``."""


@dataclass(frozen=True)
class PackedBranches:
    """Several branches as one row of tokens behind a prefix."""

    ids: tuple[int, ...]
    """The row."""
    depths: tuple[int, ...]
    """Per token: how many tokens of its own branch lie before it."""
    stems: tuple[int, ...]
    """Per token: which branch it belongs to."""
    leaves: tuple[int, ...]
    """Per token: which leaf of the branch, -1 in the stem."""
    targets: tuple[tuple[tuple[tuple[int, int], ...], ...], ...]
    """Per branch, per leaf: the row index that predicts each leaf token, and that token."""

    def mask(self, past: int, dtype: "torch.dtype") -> "torch.Tensor":
        """Additive attention mask. *Shape:* (1, 1, tokens, past + tokens); 0 where seen, the lowest float elsewhere."""
        import torch

        stems, leaves = torch.tensor(self.stems), torch.tensor(self.leaves)
        index = torch.arange(len(self.ids))
        same_branch = stems[:, None] == stems[None, :]
        stem_or_same_leaf = (leaves[None, :] == -1) | (leaves[:, None] == leaves[None, :])
        own = same_branch & stem_or_same_leaf & (index[None, :] <= index[:, None])
        seen = torch.cat([torch.ones(len(self.ids), past, dtype=torch.bool), own], dim=1)
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
        return mask[None, None]

    def positions(self, past: int) -> "torch.Tensor":
        """Position ids, restarted at the branch point for every branch. *Shape:* (1, tokens)."""
        import torch

        return torch.tensor([[past + depth for depth in self.depths]])


def pack(branches: Sequence[Branch]) -> PackedBranches:
    """Lay branches and their leaves out as one row; the last token of a leaf is only predicted, never read."""
    ids: list[int] = []
    depths: list[int] = []
    stems: list[int] = []
    leaf_of: list[int] = []
    targets = []
    for number, branch in enumerate(branches):
        ids += branch.stem
        depths += range(len(branch.stem))
        stems += [number] * len(branch.stem)
        leaf_of += [-1] * len(branch.stem)
        end_of_stem = len(ids) - 1
        branch_targets = []
        for leaf_number, leaf in enumerate(branch.leaves):
            rows = [end_of_stem, *range(len(ids), len(ids) + len(leaf) - 1)]
            branch_targets.append(tuple(zip(rows, leaf, strict=True)))
            ids += leaf[:-1]
            depths += range(len(branch.stem), len(branch.stem) + len(leaf) - 1)
            stems += [number] * (len(leaf) - 1)
            leaf_of += [leaf_number] * (len(leaf) - 1)
        targets.append(tuple(branch_targets))
    return PackedBranches(tuple(ids), tuple(depths), tuple(stems), tuple(leaf_of), tuple(targets))
