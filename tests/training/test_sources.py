"""The written examples, and the readers of the data sets."""

import gzip
import json
from collections import Counter
from pathlib import Path

from training.sources import hold_out, shared, written


def test_the_written_examples_can_be_read_and_cover_everything() -> None:
    """Every line parses; both languages, all four routes and both moods are there in number."""
    sources = {source.name: source.items for source in written()}
    languages = Counter(item.language for items in sources.values() for item in items)
    routes = Counter(route for item in sources["inputs"] for route in item.routes)
    moods = Counter(item.mood for item in sources["opinions"])
    assert min(languages["zh"], languages["en"]) > 3000
    assert set(routes) == {"sentiment", "chat", "intent", "summary"}
    assert min(routes.values()) > 400
    assert set(moods) == {"positive", "negative"}
    assert all(item.reply for item in sources["replies"])


def test_data_sets_are_read_from_the_folder_without_their_test_rows(tmp_path: Path) -> None:
    """A set that is there is read, its test split is left out, and missing sets are no error."""
    rows = [
        {"text": "it 's fine , really .", "label": "positive", "split": "train"},
        {"text": "never again", "label": "negative", "split": "test"},
    ]
    (tmp_path / "sentiment").mkdir()
    with gzip.open(tmp_path / "sentiment" / "en_sst2.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    (source,) = shared(tmp_path)
    (item,) = source.items
    assert (item.text, item.mood, item.routes) == ("it's fine, really.", "positive", ("sentiment",))


def test_held_out_rows_are_not_trained_on() -> None:
    """What validates is taken out of what trains, and the same rows are taken every time."""
    kept, held = hold_out(written(), 0.04)
    trained = {item.text for source in kept for item in source.items}
    assert held
    assert not trained & {item.text for item in held}
    assert [item.text for item in hold_out(written(), 0.04)[1]] == [item.text for item in held]
