"""The pure parts of the measurements: what becomes of samples, and what the entry point takes."""

from __future__ import annotations

import json

import pytest

from scripts.benchmarks.__main__ import arguments, runs_of, table, whole
from scripts.benchmarks.agent import COMMAND, FLAT, LINE, NESTED, sized_chunk, sized_list
from scripts.benchmarks.chunks import SDK_PYTHON, measured_sdk
from scripts.benchmarks.commands import Use, filled, uses
from scripts.benchmarks.showing import first_delay
from scripts.benchmarks.stats import ages, middle, newest, percentile, spread, stamps


def at(seconds: float) -> str:
    """A chunk written at this moment."""
    return f"t{int(seconds * 1e6)} "


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_a_sample_that_was_seen(share: float, expected: int) -> None:
    assert percentile(range(100, 0, -1), share) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_runs_become_medians_with_their_range() -> None:
    runs = [{"ms": 3.0}, {"ms": 1.0}, {"ms": 2.0}]
    assert middle(runs) == {"ms": 2.0}
    assert spread(runs) == {"ms": (1.0, 3.0)}


def test_a_text_tells_when_its_chunks_were_written() -> None:
    assert stamps(f"{at(1000)}{at(1000.5)}\n-# 3 s") == [1000.0, 1000.5]


def test_only_states_that_show_more_count() -> None:
    timeline = [(1001.0, at(1000)), (1002.0, "-# 2 s"), (1003.0, at(1000) + at(1002))]
    assert list(newest(timeline)) == [(1001.0, 1000.0), (1003.0, 1002.0)]


def test_what_is_visible_ages_until_the_next_edit() -> None:
    found = ages([(1001.0, at(1000)), (1003.0, at(1002))], first=1000, last=1003, step=0.5)
    assert found == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 1.0])


def test_the_first_text_is_timed_from_its_first_chunk() -> None:
    timeline = [(999.0, "-# 1 s"), (1000.25, at(1000) + at(1000.1)), (1002.0, at(1000) + at(1001))]
    assert first_delay(timeline) == pytest.approx(0.25)


def test_a_chunk_line_has_the_size_that_the_figures_name() -> None:
    assert len(sized_chunk(LINE, "s1", 7)) == LINE


@pytest.mark.parametrize("item", [FLAT, NESTED])
def test_a_line_full_of_objects_is_a_message_of_nearly_the_size_that_is_asked_for(item: dict[str, object]) -> None:
    line = sized_list(10_000, item, "s1")
    update = json.loads(line)["params"]["update"]
    assert 9_900 < len(line) <= 10_000
    assert len(update["rawOutput"]) > 100
    assert all(one == item for one in update["rawOutput"])


def test_without_the_sdk_its_figure_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SDK_PYTHON, raising=False)
    figure = measured_sdk(1)
    assert whole(figure) is None
    assert table("chunks", [{"sdk_us_per_chunk": figure}] * 2, 1.0).endswith("not installed")


def test_the_agent_understands_its_word_within_a_prompt() -> None:
    found = COMMAND.search("someone: bench:stream:0.5:30:15 please")
    assert found is not None
    assert (found[1], found[2]) == ("stream", ":0.5:30:15")


def test_every_command_is_used_as_it_is_registered() -> None:
    """A command that is new, or needs another option, is measured without a word about it in the bench."""
    mode = {"name": "mode", "type": 3, "required": True, "choices": [{"name": "Queue", "value": "queue"}]}
    model = {"name": "model", "type": 3, "required": True, "autocomplete": True}
    agent = {"name": "agent", "type": 3, "autocomplete": True}
    sub = {"name": "mode", "type": 1, "options": [mode, {"name": "count", "type": 4}, agent]}
    group = {"name": "inner", "type": 2, "options": [{"name": "deep", "type": 1}]}
    commands = [
        {"name": "queue", "type": 1, "options": [sub, group]},
        {"name": "model", "type": 1, "options": [model]},
        {"name": "Quote", "type": 3},
    ]
    both, deep, chosen = Use("queue mode", (mode, agent)), Use("queue inner deep"), Use("model", (model,), ("model",))
    assert list(uses(commands)) == [Use("queue mode", (mode,), ("agent",)), both, deep, chosen]
    assert both.label == "/queue mode mode: agent:"
    person, count, least, text = ({"name": "x", "type": kind} for kind in (6, 4, 4, 3))
    values = [filled(option, 7, 8) for option in (mode, person, count, {**least, "min_value": 5}, text)]
    assert values == ["queue", 7, 1, 5, "bench:hi"]


def test_an_unknown_scenario_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["chunks", "lunch"])
    assert "no scenario lunch" in capsys.readouterr().err


def test_long_scenarios_run_less_often_unless_asked() -> None:
    assert (runs_of("chunks", None), runs_of("soak", None), runs_of("soak", 4)) == (3, 1, 4)


def test_a_table_shows_the_range_where_there_is_one() -> None:
    lines = table("chunks", [{"us": 1.0, "n": 2.0}, {"us": 3.0, "n": 2.0}], 9.6).splitlines()
    assert lines[0] == "chunks (2 x, 10 s)"
    assert "(1.000 to 3.000)" in lines[1]
    assert "(" not in lines[2]


@pytest.mark.parametrize(("value", "expected"), [(2000.0, 2000), (0.12345678, 0.123457)])
def test_counts_stay_counts_in_json(value: float, expected: float) -> None:
    assert whole(value) == expected
    assert type(whole(value)) is type(expected)
