"""Many questions about one text in one forward pass.

A branch is a question laid out behind the branch point: a suffix (the question and the opening of the answer) and one
candidate per option. All branches of a text lie behind each other in one row. A block mask lets a token see the prefix,
its own suffix and its own candidate, never a sibling, and positions restart at the branch point, so that every
candidate has exactly the likelihood it would have if it stood alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PREFIX = -1
"""Branch of the tokens that all branches see."""
_SUFFIX = -1
"""Candidate of the tokens that all candidates of a branch see."""

Span = tuple[int, int]
"""First token of a text within a prompt, and the one behind its last."""
BranchScores = tuple[tuple[float, ...], ...]
"""Per branch, per candidate: the log-likelihood of all the candidate's tokens."""


@dataclass(frozen=True)
class Branch:
    """One question behind the branch point."""

    suffix: tuple[int, ...]
    """The question's turn and the opening of the answer."""
    candidates: tuple[tuple[int, ...], ...]
    """Per option: all its tokens and the closing ``<|im_end|>``."""

    @property
    def size(self) -> int:
        """Number of tokens of suffix and candidates."""
        return len(self.suffix) + sum(map(len, self.candidates))

    @property
    def longest(self) -> int:
        """Number of tokens of the suffix and the longest candidate."""
        return len(self.suffix) + max(map(len, self.candidates))


@dataclass(frozen=True)
class BranchedPrompt:
    """A prefix and the branches behind it."""

    prefix: tuple[int, ...]
    """Everything up to the branch point."""
    branches: tuple[Branch, ...] = ()

    @property
    def longest(self) -> int:
        """Number of tokens that the longest of its candidates would have alone."""
        return len(self.prefix) + max((each.longest for each in self.branches), default=0)

    @property
    def size(self) -> int:
        """Number of tokens of prefix and branches."""
        return len(self.prefix) + sum(each.size for each in self.branches)


@dataclass(frozen=True)
class PackedRow:
    """Branches as one row of tokens behind a prefix."""

    ids: tuple[int, ...]
    """The prefix, then suffix and candidates of each branch."""
    depths: tuple[int, ...]
    """Per token: number of tokens of the prefix and its own branch before it."""
    branch_of: tuple[int, ...]
    """Per token: its branch, -1 in the prefix."""
    candidate_of: tuple[int, ...]
    """Per token: its candidate within the branch, -1 in the prefix and in a suffix."""
    targets: tuple[tuple[tuple[tuple[int, int], ...], ...], ...]
    """Per branch, per candidate: the index in the row that predicts each candidate token, and that token."""

    def visible(self) -> "torch.Tensor":
        """Tell which token (first dimension) sees which. *Shape:* (tokens, tokens), bool."""
        import torch

        branches, candidates = torch.tensor(self.branch_of), torch.tensor(self.candidate_of)
        index = torch.arange(len(self.ids))
        # All see the prefix; within a branch, candidates see the suffix and themselves, never each other.
        prefix = branches[None, :] == _PREFIX
        same_branch = branches[:, None] == branches[None, :]
        same_candidate = (candidates[None, :] == _SUFFIX) | (candidates[:, None] == candidates[None, :])
        return (prefix | (same_branch & same_candidate)) & (index[None, :] <= index[:, None])


@dataclass(frozen=True)
class PackedBatch:
    """Rows of several texts behind one prefix that they share, padded to the longest."""

    rows: tuple[PackedRow, ...]

    @property
    def width(self) -> int:
        """Number of tokens of the longest row."""
        return max(len(row.ids) for row in self.rows)

    def ids(self) -> "torch.Tensor":
        """Return the token ids. *Shape:* (rows, width)."""
        import torch

        return torch.tensor([_padded(row.ids, self.width) for row in self.rows])

    def positions(self, past: int) -> "torch.Tensor":
        """Return position ids, restarted at the branch point for every branch. *Shape:* (rows, width)."""
        import torch

        return torch.tensor([_padded(row.depths, self.width) for row in self.rows]) + past

    def mask(self, past: int, dtype: "torch.dtype") -> "torch.Tensor":
        """Return the additive mask: 0 where seen, else the lowest float. *Shape:* (rows, 1, width, past + width)."""
        import torch

        # Padding sees itself: attention over nothing at all would be no number.
        visible = torch.eye(self.width, dtype=torch.bool).repeat(len(self.rows), 1, 1)
        for index, row in enumerate(self.rows):
            visible[index, : len(row.ids), : len(row.ids)] = row.visible()
        # Everything before the rows was read before and is seen by every token.
        prefix = torch.ones(len(self.rows), self.width, past, dtype=torch.bool)
        hidden = ~torch.cat([prefix, visible], dim=2)
        return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)[:, None]


def pack(branches: Sequence[Branch], prefix: Sequence[int] = ()) -> PackedRow:
    """Lay branches out as one row; the last token of a candidate is only predicted, never read.

    Args:
        branches: to be laid behind each other.
        prefix: tokens before all of them that all of them see.
    """
    ids: list[int] = [*prefix]
    depths: list[int] = [*range(len(prefix))]
    branch_of: list[int] = [_PREFIX] * len(prefix)
    candidate_of: list[int] = [_SUFFIX] * len(prefix)
    targets = []
    for number, branch in enumerate(branches):
        depth = len(prefix) + len(branch.suffix)
        ids += branch.suffix
        depths += range(len(prefix), depth)
        branch_of += [number] * len(branch.suffix)
        candidate_of += [_SUFFIX] * len(branch.suffix)
        end_of_suffix = len(ids) - 1
        branch_targets = []
        for candidate_number, candidate in enumerate(branch.candidates):
            # Each token is predicted from the place before it: the first of every candidate from the end of the suffix.
            places = [end_of_suffix, *range(len(ids), len(ids) + len(candidate) - 1)]
            branch_targets.append(tuple(zip(places, candidate, strict=True)))
            # The closing token is only predicted, so it needs no place; one-token options cost no reading at all.
            ids += candidate[:-1]
            depths += range(depth, depth + len(candidate) - 1)
            branch_of += [number] * (len(candidate) - 1)
            candidate_of += [candidate_number] * (len(candidate) - 1)
        targets.append(tuple(branch_targets))
    return PackedRow(tuple(ids), tuple(depths), tuple(branch_of), tuple(candidate_of), tuple(targets))


def _padded(values: Sequence[int], width: int) -> list[int]:
    return [*values, *[0] * (width - len(values))]
