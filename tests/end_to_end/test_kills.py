"""A training that is killed three times, at seeded moments, leaves the very files of one that never was."""

from tests.support import crash as kills

STEPS = 80


def test_kill_finds_a_complete_checkpoint_each_time_and_the_run_ends_with_the_same_bits(tmp_path):
    expected = kills.whole(tmp_path / "whole", "whole", kills.typed("whole", STEPS, "adamw"))
    (tmp_path / "killed").mkdir()
    words = kills.typed("killed", STEPS, "adamw")
    found = list(kills.killed(tmp_path / "killed", "killed", words, kills=3, seed=3))
    assert [kill["exit_code"] for kill in found] == [-9] * 3
    assert [kill["damaged"] for kill in found] == [0] * 3
    steps = [kill["resumes_from_step"] for kill in found]
    assert steps == sorted(steps) and steps[-1] > 0
    assert kills.file_digests(tmp_path / "killed" / "killed") == expected


def test_file_digests_leave_out_the_clock_of_a_record_and_nothing_else(tmp_path):
    home = tmp_path / "checkpoints" / "step_00000007"
    home.mkdir(parents=True)
    for name in kills.FILES:
        (home / name).write_bytes(b"x")
    lines = ['{"kind": "header"}', '{"kind": "step", "step": 0, "loss": 1.5, "seconds": 3.0}']

    def fingerprint(*lines):
        (tmp_path / "record.jsonl").write_text("\n".join(lines) + "\n")
        return kills.file_digests(tmp_path)

    before = fingerprint(*lines)
    assert fingerprint(lines[0], '{"kind": "resumed"}', lines[1].replace("3.0", "9.0")) == before
    assert fingerprint(lines[0], lines[1].replace("1.5", "1.6")) != before
    assert fingerprint(*lines, lines[1]) != before  # a step that stands in it twice
    (home / kills.FILES[1]).write_bytes(b"y")
    assert fingerprint(*lines) != before
