import torch

from qwen_allinone.model.engine.local.packing import Branch, PackedBatch, pack

BRANCHES = [Branch((10, 11), ((1, 9), (1, 2, 9))), Branch((20,), ((3, 9),))]


def test_the_last_token_of_a_leaf_is_predicted_but_never_read():
    """The row holds every stem and every leaf without its closing token."""
    packed = pack(BRANCHES)
    assert packed.ids == (10, 11, 1, 1, 2, 20, 3)


def test_positions_restart_at_the_branch_point():
    """Every stem begins right behind the prefix, every leaf right behind its own stem."""
    assert PackedBatch((pack(BRANCHES),)).positions(100).tolist() == [[100, 101, 102, 102, 103, 100, 101]]


def test_every_leaf_token_is_predicted_from_the_token_before_it():
    """A leaf's first token is predicted by the end of its stem, the others by their predecessors."""
    assert pack(BRANCHES).targets == ((((1, 1), (2, 9)), ((1, 1), (3, 2), (4, 9))), (((5, 3), (6, 9)),))


def test_a_token_sees_the_prefix_its_stem_and_its_own_leaf_only():
    """The mask is zero for what stood before a token if its leaf stood alone, and very low elsewhere."""
    seen = PackedBatch((pack(BRANCHES),)).mask(1, torch.float32)[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 1, 0, 0, 0],
        [1, 1, 1, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 0, 0, 1, 0],
        [1, 0, 0, 0, 0, 0, 1, 1],
    ]


def test_leaves_of_one_token_add_nothing_to_the_row():
    """An option of one token costs no reading at all: it is only predicted."""
    assert pack([Branch((5, 6), ((1,), (2,)))]).ids == (5, 6)


def test_every_branch_sees_the_prefix():
    """Tokens before the branches are read in turn and seen by all behind them; positions go on from them."""
    packed = pack([Branch((20,), ((3, 9),)), Branch((30,), ((9,),))], prefix=(7, 8))
    assert packed.ids == (7, 8, 20, 3, 30)
    assert packed.depths == (0, 1, 2, 3, 2)
    assert packed.visible().int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_shorter_rows_are_filled_up_and_not_seen():
    """No token of a row sees what fills it up, and what fills it up sees something, so that nothing is undefined."""
    batch = PackedBatch((pack(BRANCHES), pack([Branch((5,), ((9,),))])))
    assert batch.ids().tolist()[1] == [5, 0, 0, 0, 0, 0, 0]
    seen = batch.mask(0, torch.float32)[1, 0] == 0
    assert seen[0].tolist() == [True] + [False] * 6
    assert seen.any(dim=1).all()
