"""Several processes are one process with the big batch: same rows, same losses, same weights, one reduce."""

import pytest

from tests.support import ranks
from tinylm.errors import ConfigError
from tinylm.training import ddp


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_any_number_of_processes_trains_as_one_does_with_the_big_batch(dropout):
    alone = ranks.trained(ddp.SINGLE, dropout=dropout)
    assert alone["sums"] == []
    for size in (2, 3, 4) if dropout == 0 else (3,):
        found = ranks.together(size, ranks.train_here, {"dropout": dropout})
        for mine in found:
            assert mine["losses"] == pytest.approx(alone["losses"], rel=1e-5)
            assert mine["norms"] == pytest.approx(alone["norms"], rel=1e-4)
            assert mine["evaluation"] == pytest.approx(alone["evaluation"], rel=1e-5)
            assert mine["weights"] == pytest.approx(alone["weights"], abs=3e-4)  # a hundredth of the rate
            assert ranks.digest(mine["weights"]) == ranks.digest(found[0]["weights"])  # to the bit
            assert [n for n in mine["sums"] if n > 1000] == [alone["parameters"]] * 20  # 1 reduce a step
        rows = sorted(row for mine in found for row in mine["rows"])
        assert rows == sorted(alone["rows"]) and len(rows) == 20 * 24


@pytest.mark.parametrize("bucket_bytes", [2000, 25 * 2**20])
def test_averages_are_those_of_torchs_distributed_data_parallel(bucket_bytes):
    for worst, n_buckets in ranks.together(2, ranks.beside_torchs, bucket_bytes):
        assert worst < 1e-6 and (n_buckets > 2) == (bucket_bytes == 2000)


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


WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"WORLD_SIZE": None, "MASTER_PORT": ""}, "WORLD_SIZE, MASTER_PORT is not set, and RANK, LOCAL_RANK"),
        ({"RANK": None, "WORLD_SIZE": None}, "RANK, WORLD_SIZE is not set, and LOCAL_RANK, MASTER_ADDR"),
        ({"RANK": "2"}, "RANK is 2: it must be at most 1"),
        ({"RANK": "one"}, "hold no whole numbers .*'one'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is 0: it must be at least 1"),
        ({"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE is 3: it must be at most 2"),
        ({"LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK is 1: it must be at most 0"),
    ],
)
def test_variables_that_are_half_set_or_odd_are_refused_before_anybody_is_waited_for(
    monkeypatch, changes, words
):
    for name, value in (WHOLE | changes).items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=words), ddp.joined(1):
        raise AssertionError("it was joined")


def test_environment_for_torchrun_has_one_thread_and_what_the_system_needs(monkeypatch):
    monkeypatch.setenv("KEPT", "1")
    for system, name, more in (("linux", "lo", 0), ("darwin", "lo0", 0), ("win32", None, 1)):
        monkeypatch.setattr(ddp.sys, "platform", system)
        monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
        made = ddp.environment()
        assert made["OMP_NUM_THREADS"] == made["KEPT"] == "1"
        assert made.get("GLOO_SOCKET_IFNAME") == name and ("USE_LIBUV" in made) == more
