"""A training that is killed three times, at seeded moments, leaves the very files of one that never was."""

from tests.support import crash as kills

STEPS = 80


def test_kill_finds_a_complete_checkpoint_each_time_and_the_run_ends_with_the_same_bits(tmp_path):
    expected = kills.whole(tmp_path / "whole", "whole", kills.typed("whole", STEPS, "adamw"))
    words = kills.typed("killed", STEPS, "adamw")
    found = list(kills.killed(tmp_path / "killed", "killed", words, kills=3, seed=3))
    assert [kill["exit_code"] for kill in found] == [-9] * 3
    assert [kill["damaged"] for kill in found] == [0] * 3
    steps = [kill["resumes_from_step"] for kill in found]
    assert steps == sorted(steps) and steps[-1] > 0
    assert kills.file_digests(tmp_path / "killed" / "killed") == expected
