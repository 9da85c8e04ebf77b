"""The command ``eval``."""

import json
from pathlib import Path

import pytest
from command_line import CONTROL, objects, refused, run

pytestmark = pytest.mark.usefixtures("loaded", "home")


class TestEval:
    """The command ``eval``."""

    @pytest.fixture
    def reviews(self, tmp_path: Path) -> Path:
        """Four rows in two languages, whose labels are spelt in several ways."""
        file = tmp_path / "reviews.csv"
        rows = [("汤很鲜，还会再来", "正面"), ("cold soup, rude waiter", "neg"), (CONTROL, "1"), ("太差了", "差评")]
        file.write_text("words,mood\n" + "".join(f'"{text}",{label}\n' for text, label in rows), encoding="utf-8")
        return file

    def test_sentiment(self, reviews: Path, tmp_path: Path):
        """Moods of both languages are scored as positive and negative; ``--out`` keeps rows and summary."""
        columns = ["--text-column", "words", "--label-column", "mood"]
        out = tmp_path / "out"
        (summary,) = objects(run("eval", "sentiment", "--data", reviews, *columns, "--out", out, "--json"))
        assert (summary["n"], summary["scored"]) == (4, 4)
        assert set(summary["per_class"]) == {"positive", "negative"}
        low, high = summary["interval"]
        assert 0 <= low <= summary["accuracy"] <= high <= 1
        assert summary["baseline"]["accuracy"] == 0.5
        samples = [json.loads(line) for line in (out / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [each["text"] for each in samples][2] == CONTROL
        assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["n"] == 4

    def test_routes(self, tmp_path: Path):
        """Routes are scored on one's own file; without ``--json`` there are tables."""
        file = tmp_path / "routes.jsonl"
        file.write_text('{"text": "帮我订票", "label": "intent"}\n{"text": "why?", "label": ["chat", "sentiment"]}\n')
        shown = run("eval", "route", "--data", file).stdout
        assert "accuracy" in shown
        assert "baseline" in shown
        assert "2 rows" in shown

    def test_blank_cells(self, tmp_path: Path):
        """A row with a blank cell is unscored and the others are scored; a column of nothing else is refused."""
        file = tmp_path / "reviews.csv"
        file.write_text("text,label\n太好了,正面\n,neg\ncold soup,\n", encoding="utf-8")
        (summary,) = objects(run("eval", "sentiment", "--data", file, "--json"))
        assert (summary["n"], summary["scored"]) == (3, 1)
        assert summary["errors"] == {"blank text": 1, "blank label": 1}
        file.write_text("text,label\n太好了,\n,neg\n", encoding="utf-8")
        assert refused(run("eval", "sentiment", "--data", file), "reviews.csv: every row has a blank")

    def test_results_that_cannot_be_written_at_the_end(self, reviews: Path, tmp_path: Path, monkeypatch):
        """If the disk fills up during the run, the table is printed all the same, then the error; exit code 1."""

        def full(*_arguments: object, **_options: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        columns = ["--text-column", "words", "--label-column", "mood"]
        result = run("eval", "sentiment", "--data", reviews, *columns, "--out", tmp_path / "out")
        assert result.exit_code == 1
        assert "accuracy" in result.stdout
        assert result.stderr.startswith("error: results cannot be written")
        assert "No space left" in result.stderr
        assert not (tmp_path / "out").exists()

    def test_builtin_set(self):
        """Without ``--data`` the built-in set is measured, and every row is scored."""
        (summary,) = objects(run("eval", "route", "--json"))
        assert summary["data"] == "routes"
        assert summary["n"] == summary["scored"] >= 200

    def test_what_cannot_work(self, reviews: Path, tmp_path: Path):
        """A missing column, an unknown label, a missing file, bad bytes and an unusable folder are input errors."""
        assert refused(
            run("eval", "sentiment", "--data", reviews, "--text-column", "words", "--json"), "'label'", "mood"
        )
        assert refused(
            run("eval", "route", "--data", reviews, "--text-column", "words", "--label-column", "mood"), "正面"
        )
        assert refused(run("eval", "route", "--data", tmp_path / "none.csv"), "none.csv")
        (tmp_path / "bytes.csv").write_bytes(b"text,label\n\xff,neg\n")
        assert refused(run("eval", "sentiment", "--data", tmp_path / "bytes.csv"), "UTF-8")
        columns = ["--text-column", "words", "--label-column", "mood", "--out", reviews]
        assert refused(run("eval", "sentiment", "--data", reviews, *columns), "reviews.csv")
