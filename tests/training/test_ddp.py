"""Several processes are one process with the big batch: same rows, same losses, same weights, one reduce."""

import contextlib
import json
import re
import signal

import pytest

from tests.support import ranks, tiny
from tinylm.errors import ConfigError
from tinylm.training import ddp

EXPERTS = {"n_expert": 5, "n_shared_expert": 1, "router": "sigmoid", "router_bias": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "options", "fsdp"),
    [
        ((2, 3, 4), {}, False),
        ((3,), {"dropout": 0.3}, False),
        ((2,), {"micro": 3, "frozen": ["blocks.0.mlp.up.weight"]}, False),
        ((2,), {"optimizer": "muon"}, False),
        ((2,), {"choice": {"keep": tiny.keep, "weigh": tiny.weigh}}, False),  # other numbers of targets
        ((2, 3), {"shape": EXPERTS}, False),
        ((2,), {"shape": EXPERTS, "optimizer": "muon"}, False),
        ((2,), {"shape": EXPERTS | {"activation_checkpointing": True}}, True),
        ((2, 3), {"frozen": ["blocks.0.mlp.up.weight"], "grad_clip": 0.1}, True),
    ],
    ids=[
        "plain",
        "dropout",
        "frozen",
        "muon",
        "targets",
        "experts",
        "experts, muon",
        "experts, fsdp",
        "fsdp",
    ],
)
def test_any_number_of_processes_trains_as_one_does_with_the_big_batch(sizes, options, fsdp):
    alone = ranks.trained(ddp.SINGLE, **options)
    for size in sizes:
        found = ranks.together(size, ranks.train_here, options, fsdp)
        for mine in found:
            assert mine["losses"] == pytest.approx(alone["losses"], rel=1e-5)
            assert mine["norms"] == pytest.approx(alone["norms"], rel=1e-4)
            assert mine["evaluation"] == pytest.approx(alone["evaluation"], rel=1e-5)
            assert mine["biases"] == alone["biases"]
            assert mine["weights"] == pytest.approx(alone["weights"], abs=3e-4)  # a hundredth of the rate
            assert ranks.digest(mine["weights"]) == ranks.digest(found[0]["weights"])  # to the bit
        others = [0, 20] if fsdp else []  # rank 0 alone writes; with fsdp the others give it their part
        assert [mine["saved"] for mine in found] == [[0, 20], *[others] * (size - 1)]
        rows = sorted(row for mine in found for row in mine["rows"])
        assert rows == sorted(alone["rows"]) and len(rows) == 20 * 24


def test_gradients_are_exchanged_after_the_last_micro_batch_only():
    (local, mean), (other_local, other_mean) = ranks.together(2, ranks.gradients)
    assert local != other_local and mean == other_mean != local


@pytest.mark.parametrize(
    ("seconds", "expected"), [((0, 1e9), [*range(9)]), ((1e9, 0), [0, 4, 8])], ids=["rank 0", "rank 1"]
)
def test_all_save_when_the_clock_of_rank_zero_says_so_and_a_signal_to_one_ends_all_at_the_same_step(
    seconds, expected
):
    assert ranks.together(2, ranks.each_with_a_clock, seconds) == [(expected, True)] * 2


def test_parameter_without_a_gradient_on_some_rank_is_named_before_anything_moves():
    for said, unmoved in ranks.together(2, ranks.uneven, None):
        assert re.match("ConfigError: extra got no gradient on rank . of 2: freeze it ", said) and unmoved
    lost, named = ranks.together(2, ranks.uneven, 1)
    assert lost[0].startswith("WorldLost: rank 0 of 2 lost the connection to another process") and lost[1]
    assert named[0].startswith("ConfigError: extra got no gradient on rank 1 of 2: ") and named[1]


def test_processes_with_other_weights_are_refused_on_all_before_a_step():
    words = (
        "the processes would not train the same: weights is .{12}… on rank 0 and .{12}… on rank 2; give .*"
    )
    for said, unmoved in ranks.together(3, ranks.at_odds):
        assert unmoved and re.fullmatch(words, said)


def ended(size, work, *options, **variables):
    """What each process says or returns, by rank, and the code it ends with."""
    found = []
    for process, pipe in ranks.start(size, work, *options, **variables):
        answer = None
        with contextlib.suppress(EOFError):  # it has ended without a word
            answer = pipe.recv() if pipe.poll(ranks.PATIENCE) else "no answer"
        process.join(ranks.PATIENCE)
        found.append((answer, process.exitcode))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nobody can be stopped so")
def test_process_that_is_silent_for_too_long_is_lost_and_one_that_has_much_to_do_at_first_is_not():
    (_, pipe), (stopped, _) = ranks.start(2, ranks.silent, 3)
    ((waited, said),) = pipe.recv() if pipe.poll(ranks.PATIENCE) else (("", "no answer"),)
    stopped.kill()
    assert waited == "rank 1 was waited for"
    lost = r"rank 0 of 2 lost the connection to another process \(Timed out waiting 3000ms .*\): start all"
    assert re.match(lost, said)


def recorded(folder, rank):
    """What torchrun prints of a process in its list."""
    return json.loads((folder / f"error{rank}.json").read_text("utf-8"))["message"]["message"]


def test_error_is_recorded_for_torchrun_by_each_process_and_raised_by_rank_zero(tmp_path):
    (lost, _), silent = ended(2, ranks.at_fault, 1, folder=tmp_path)
    assert "WorldLost: rank 0 of 2 lost the connection to another process" in lost and silent == (None, 2)
    assert recorded(tmp_path, 1) == "ConfigError: 1 made a mistake"
    (mistake, _), silent = ended(2, ranks.at_fault, None, folder=tmp_path)
    assert mistake.strip().endswith("ConfigError: 0 made a mistake") and silent == (None, 2)
    assert recorded(tmp_path, 0) == "ConfigError: 0 made a mistake"
    _, (mistake, _) = ended(2, ranks.at_fault, 1)  # without torchrun nobody else would say it
    assert mistake.strip().endswith("ConfigError: 1 made a mistake")


def test_process_that_finds_no_other_one_records_it_and_only_rank_zero_says_it(tmp_path):
    words = "of 2 did not find the other processes"
    silent = ended(2, ranks.abandoned, 1, folder=tmp_path)[1]
    assert silent == (None, 2) and f"WorldLost: rank 1 {words}" in recorded(tmp_path, 1)
    assert "did not find" not in (tmp_path / "rank1.txt").read_text("utf-8")
    (lost, _), _ = ended(2, ranks.abandoned, 0, folder=tmp_path)
    assert f"WorldLost: rank 0 {words}" in lost and f"WorldLost: rank 0 {words}" in recorded(tmp_path, 0)


def test_what_ranks_say_to_one_another_reaches_all_of_them_unaltered():
    values = {"text": "größer ☃", "numbers": [1, 2.5, None, True], "loss": 0.1 + 0.2}
    found = ranks.together(3, ranks.said, values)
    for rank, (value, total, mean, given, some, none, order) in enumerate(found):
        assert value == values and total == [4.5, 3.0] and mean == [1.5, 1.0]
        assert given == [1.5, rank] and (some, none) == (True, False) and order == [rank]


def test_world_of_one_process_without_torchrun_is_single_and_says_what_it_is_told(monkeypatch):
    with ddp.joined() as world:
        assert world is ddp.SINGLE and (world.rank, world.size, world.on_machine) == (0, 1, 1)
    assert world.any(True) and not world.any(False) and world.first(lambda: 7) == 7


@pytest.mark.parametrize(("name", "value"), [("WORLD_SIZE", None), ("RANK", "one")])
def test_variables_that_are_half_set_or_odd_are_refused_before_anybody_is_waited_for(
    monkeypatch, name, value
):
    for each in ddp.PLACE:
        monkeypatch.setenv(each, "1")
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"'{value or name}'; start the processes with torchrun"):
        ddp.joined(1).__enter__()


@pytest.mark.parametrize(
    ("system", "variable"),
    [("linux", {"GLOO_SOCKET_IFNAME": "lo"}), ("win32", {"USE_LIBUV": "0"})],  # Windows names no loopback
)
def test_environment_of_a_torchrun_is_the_callers_and_what_the_system_needs(monkeypatch, system, variable):
    monkeypatch.setattr(ddp.sys, "platform", system)
    monkeypatch.setattr(ddp.os, "environ", {"KEPT": "1"})
    assert ddp.environment() == {"KEPT": "1", "OMP_NUM_THREADS": "1"} | variable


def test_sigterm_outside_the_loop_is_no_error_that_a_reader_of_files_might_swallow(tmp_path):
    told, silent = ended(2, ranks.told, folder=tmp_path)
    assert told == (None, 1) and silent == (None, 2)
    said = [(tmp_path / f"rank{rank}.txt").read_text("utf-8") for rank in range(2)]
    assert re.match("tinylm: torchrun ended this process: another", said[0]) and said[1] == ""


def test_processes_that_torchrun_starts_anew_meet_where_the_last_ones_did_and_leave_after_all_are_done():
    ended(2, ranks.at_fault, None)
    again = {"MASTER_PORT": str(ranks._stores[-1].port), "TORCHELASTIC_RESTART_COUNT": "1"}
    (done, _), (_, let_go) = ranks.together(2, ranks.parting, **again)
    assert let_go >= done
