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
class Inquiry:
    """A text, and all that is asked about it."""

    prefix: tuple[int, ...]
    """Everything up to the branch point."""
    branches: tuple[Branch, ...]

    @property
    def longest(self) -> int:
        """Tokens that the longest of its options would have alone."""
        return len(self.prefix) + max(len(each.stem) + max(map(len, each.leaves)) for each in self.branches)

    @property
    def size(self) -> int:
        """Tokens of all of it."""
        return len(self.prefix) + sum(len(each.stem) + sum(map(len, each.leaves)) for each in self.branches)


@dataclass(frozen=True)
class PackedBranches:
    """Several branches as one row of tokens behind a prefix."""

    ids: tuple[int, ...]
    """The row: the trunk, then stem and leaves of each branch."""
    depths: tuple[int, ...]
    """Per token: how many tokens of the trunk and its own branch lie before it."""
    stems: tuple[int, ...]
    """Per token: which branch it belongs to, -1 in the trunk."""
    leaves: tuple[int, ...]
    """Per token: which leaf of the branch, -1 in the trunk and in a stem."""
    targets: tuple[tuple[tuple[tuple[int, int], ...], ...], ...]
    """Per branch, per leaf: the row index that predicts each leaf token, and that token."""

    def seen(self) -> "torch.Tensor":
        """Whether a token (first dimension) sees another. *Shape:* (tokens, tokens), bool."""
        import torch

        stems, leaves = torch.tensor(self.stems), torch.tensor(self.leaves)
        index = torch.arange(len(self.ids))
        trunk = stems[None, :] == -1
        same_branch = stems[:, None] == stems[None, :]
        stem_or_same_leaf = (leaves[None, :] == -1) | (leaves[:, None] == leaves[None, :])
        return (trunk | (same_branch & stem_or_same_leaf)) & (index[None, :] <= index[:, None])


@dataclass(frozen=True)
class PackedBatch:
    """Rows of several texts behind one prefix that they share, filled up to the longest."""

    rows: tuple[PackedBranches, ...]

    @property
    def width(self) -> int:
        """Tokens of the longest row."""
        return max(len(row.ids) for row in self.rows)

    def ids(self) -> "torch.Tensor":
        """*Shape:* (rows, width)."""
        import torch

        return torch.tensor([[*row.ids, *[0] * (self.width - len(row.ids))] for row in self.rows])

    def positions(self, past: int) -> "torch.Tensor":
        """Position ids, restarted at the branch point for every branch. *Shape:* (rows, width)."""
        import torch

        filled = [[*row.depths, *[0] * (self.width - len(row.depths))] for row in self.rows]
        return torch.tensor(filled) + past

    def mask(self, past: int, dtype: "torch.dtype") -> "torch.Tensor":
        """Additive mask; 0 where seen, the lowest float elsewhere. *Shape:* (rows, 1, width, past + width)."""
        import torch

        seen = torch.eye(self.width, dtype=torch.bool).repeat(len(self.rows), 1, 1)  # no token sees nothing at all
        for index, row in enumerate(self.rows):
            seen[index, : len(row.ids), : len(row.ids)] = row.seen()
        prefix = torch.ones(len(self.rows), self.width, past, dtype=torch.bool)
        hidden = ~torch.cat([prefix, seen], dim=2)
        return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)[:, None]


def pack(branches: Sequence[Branch], trunk: Sequence[int] = ()) -> PackedBranches:
    """Lay branches and their leaves out as one row; the last token of a leaf is only predicted, never read.

    Args:
        branches: to be laid behind each other.
        trunk: tokens before all of them that all of them see.
    """
    ids: list[int] = [*trunk]
    depths: list[int] = [*range(len(trunk))]
    stems: list[int] = [-1] * len(trunk)
    leaf_of: list[int] = [-1] * len(trunk)
    targets = []
    for number, branch in enumerate(branches):
        ids += branch.stem
        depths += range(len(trunk), len(trunk) + len(branch.stem))
        stems += [number] * len(branch.stem)
        leaf_of += [-1] * len(branch.stem)
        end_of_stem, depth = len(ids) - 1, len(trunk) + len(branch.stem)
        branch_targets = []
        for leaf_number, leaf in enumerate(branch.leaves):
            rows = [end_of_stem, *range(len(ids), len(ids) + len(leaf) - 1)]
            branch_targets.append(tuple(zip(rows, leaf, strict=True)))
            ids += leaf[:-1]
            depths += range(depth, depth + len(leaf) - 1)
            stems += [number] * (len(leaf) - 1)
            leaf_of += [leaf_number] * (len(leaf) - 1)
        targets.append(tuple(branch_targets))
    return PackedBranches(tuple(ids), tuple(depths), tuple(stems), tuple(leaf_of), tuple(targets))
