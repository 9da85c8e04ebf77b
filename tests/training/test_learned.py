"""The texts that are trained on can be read by others."""

import gzip
import json
from pathlib import Path

from training.learned import main

SETS = Path(__file__).parents[2] / "benchmarks" / "sets"


def test_every_labelled_text_is_a_line(tmp_path: Path) -> None:
    """Written and public texts stand there with what is known about them, and none that is excluded."""
    data = tmp_path / "data" / "sentiment"
    data.mkdir(parents=True)
    with gzip.open(data / "zh_finance_seed.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": f"股价上涨{number}", "label": "positive"}) + "\n" for number in range(9))
    judged = json.loads((SETS / "chats.jsonl").read_text("utf-8").splitlines()[0])["text"]
    main(out=tmp_path / "learned.jsonl", data=data.parent, exclude=[SETS])
    rows = [json.loads(line) for line in (tmp_path / "learned.jsonl").read_text("utf-8").splitlines()]
    assert {row["origin"] for row in rows} == {"written", "public"}
    assert {"股价上涨1", "股价上涨2"} & {row["text"] for row in rows if row["mood"] == "positive"}
    assert {"sentiment", "chat", "intent", "summary"} <= {row["routes"][0] for row in rows if row["routes"]}
    assert sum(bool(row["reply"]) for row in rows) > 10_000
    assert judged not in {row["text"] for row in rows}
