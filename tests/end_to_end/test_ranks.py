"""Several processes, one of which is killed at seeded moments: the others end with a sentence, and the run
goes on with another number of processes, from the rows where it was."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load

from tests.support import ranks
from tests.support.command_line import ROOT, TRAIN, environment
from tests.support.crash import last_step, runs, until
from tests.support.tiny_run import the_end
from tinylm.runs.records import read_record
from tinylm.training import ddp

pytestmark = pytest.mark.slow

STEPS, KILLS = 60, 10
SIZES = ["--train.steps", str(STEPS), "--train.tokens-per-step", "186", "--train.eval-every", "7"]
WORDS = [*TRAIN, *SIZES, "--train.log-every", "1", "--train.micro-batch-size", "2"]
LOST = r"tinylm: (rank . of . (lost the connection|did not find)|torchrun(, which| ended this process))"


def started(size, tmp_path, words, odd=None):
    folder = tmp_path / "said"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for rank in range(size):
        (folder / f"rank{rank}.txt").touch()
        (folder / f"error{rank}.json").touch()
    return ranks.start(size, ranks.typed, tmp_path, words, odd, folder=folder, **environment(tmp_path))


def ended(processes, within=ranks.PATIENCE):
    """What main returned in each process that has ended in time, or what it was killed by; else None."""
    until, codes = time.monotonic() + within, []
    for process, pipe in processes:
        process.join(max(0.1, until - time.monotonic()))
        codes.append(pipe.recv()[0] if process.exitcode == 0 and pipe.poll() else process.exitcode)
        process.kill()
    return codes


def texts_of(size, tmp_path, kind="rank{}.txt"):
    """What each rank has printed, or what it has recorded for torchrun to print."""
    return [(tmp_path / "said" / kind.format(rank)).read_text("utf-8") for rank in range(size)]


def until_step(record, step, is_running=lambda: True):
    """Wait until a run has done this step, or has ended."""
    until(lambda: last_step(record) >= step, is_running)


def assert_goes_on_as_if_alone(folder):
    """One process ends the run "cut", whose losses are then those of the run "whole"."""
    assert ended(started(1, folder, ["resume", "cut"])) == [0]
    records = [read_record(folder / run / "record.jsonl") for run in ("whole", "cut")]
    lines = [record.steps + record.evaluations for record in records]
    for whole, cut in zip(*lines, strict=True):
        assert cut["step"] == whole["step"] and cut["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def kill_one(processes, victim, delay, tells):
    """As torchrun sees it: one rank is gone, and the others are told to end; or nobody tells them."""
    time.sleep(delay)
    processes[victim][0].kill()
    time.sleep(0.1)
    for process, _ in processes:
        if tells and process.is_alive():
            os.kill(process.pid, signal.SIGTERM)


def test_rank_killed_at_any_moment_ends_all_with_a_sentence_and_the_run_goes_on_in_any_world(tmp_path):
    assert ended(started(1, tmp_path, [*WORDS, "--name", "whole"])) == [0]
    draw, record, told = random.Random(5), tmp_path / "cut" / "record.jsonl", []
    for _ in range(KILLS):
        size, words = draw.choice([2, 2, 3]), ["resume", "cut"]
        if not list(record.parent.glob("checkpoints/step*")):
            words = [*WORDS, "--name", "cut"]
        done = last_step(record)
        if done > STEPS - 25:
            break  # the machine is so quick that the run would end before the kill
        goal = done + draw.randrange(-1, 8)
        under_way = goal > done  # all have joined: who is left hears of it without being told
        processes, victim = started(size, tmp_path, words), draw.randrange(size)
        until_step(record, goal, processes[victim][0].is_alive)
        kill_one(processes, victim, draw.uniform(0, 0.02 if under_way else 0.1), tells=not under_way)
        codes = ended(processes, within=30)
        said, noted = texts_of(size, tmp_path), texts_of(size, tmp_path, "error{}.json")
        assert codes[victim] == -signal.SIGKILL, (codes, said)
        for rank in {*range(size)} - {victim}:
            if codes[rank] == -signal.SIGTERM:  # it had not joined yet
                assert not under_way
                continue
            assert bool(re.search(LOST, said[rank])) == (rank == 0), (codes, said)
            assert codes[rank] in (1, 2) and (codes[rank] == 1) <= (rank == 0), (codes, said)
            if under_way:
                assert "WorldLost: rank" in noted[rank], (codes, noted)
            told.append(rank)
        assert "Traceback" not in "".join(said), said
    assert len(told) >= 3  # the rest were killed before anybody had joined: how many, the clock decides
    processes = started(2, tmp_path, ["resume", "cut"])
    until_step(record, last_step(record) + 3)
    os.kill(processes[1][0].pid, signal.SIGTERM)  # as Slurm does before it kills; one is enough
    os.kill(processes[1][0].pid, signal.SIGTERM)  # torchrun hands it on once more
    assert ended(processes, within=30) == [130, 130] and not read_record(record).has_ended
    first, second = texts_of(2, tmp_path)
    assert "ended early, after" in first and second == ""
    assert_goes_on_as_if_alone(tmp_path)


def test_same_number_of_processes_goes_on_to_the_same_bits(tmp_path):
    short = [*WORDS, "--train.steps", "12", "--train.tokens-per-step", "124", "--model.dropout", "0.2"]
    assert ended(started(2, tmp_path, [*short, "--name", "whole"])) == [0, 0]
    processes = started(2, tmp_path, [*short, "--name", "same"])
    until_step(tmp_path / "same" / "record.jsonl", 3)
    os.kill(processes[0][0].pid, signal.SIGTERM)
    assert ended(processes) == [130, 130]
    assert ended(started(2, tmp_path, ["resume", "same"])) == [0, 0]
    assert the_end(tmp_path / "same") == the_end(tmp_path / "whole")


def test_mixture_stopped_on_two_processes_goes_on_alone_with_the_biases_of_a_run_that_never_stopped(tmp_path):
    words = [*WORDS, "--model.n-expert", "5", "--model.router-bias", "--train.steps", "30"]
    assert ended(started(1, tmp_path, [*words, "--name", "whole"])) == [0]
    processes = started(2, tmp_path, [*words, "--name", "cut"])
    until_step(tmp_path / "cut" / "record.jsonl", 9)
    os.kill(processes[0][0].pid, signal.SIGTERM)
    assert ended(processes) == [130, 130]
    assert_goes_on_as_if_alone(tmp_path)
    ends = [the_end(tmp_path / name)[0].items() for name in ("whole", "cut")]
    biases = [load(file)["blocks.0.mlp.router_bias"] for end in ends for name, file in end if "model" in name]
    assert biases[0].tolist() == biases[1].tolist() and len(biases[0].unique()) > 1


def test_fsdp_run_is_stopped_resumed_and_cut_off_and_one_process_goes_on_as_if_alone_all_along(tmp_path):
    deep = [*WORDS, "--model.n-layer", "2", "--model.activation-checkpointing"]
    assert ended(started(1, tmp_path, [*deep, "--name", "whole"])) == [0]
    record = tmp_path / "cut" / "record.jsonl"
    for goal, words, blow in (  # an evaluation, and so a save, every 7
        (10, [*deep, "--name", "cut", "--fsdp"], signal.SIGTERM),
        (16, ["resume", "cut", "--fsdp"], signal.SIGKILL),
    ):
        processes = started(2, tmp_path, words)
        until_step(record, goal)
        os.kill(processes[1][0].pid, blow)
        codes, (said, _) = ended(processes, within=30), texts_of(2, tmp_path)
        assert codes == ([130, 130] if blow == signal.SIGTERM else [2, -signal.SIGKILL]), said
    assert re.search(f"{LOST}.*the last good checkpoint is .*step_0*(14|21).* goes on", said), said
    assert_goes_on_as_if_alone(tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data.corpus", "tinystories"], "tinystories is not here"),  # found out by rank 0
        (["--train.tokens-per-step", "93"], "tokens_per_step 93 is not a multiple of .* world_size 2 = 62"),
        (["--fsdp", "--train.optimizer", "muon"], "fsdp keeps a part of each matrix and muon needs whole"),
    ],
)
def test_refusal_is_said_once_and_leaves_nothing_behind(tmp_path, words, said):
    assert ended(started(2, tmp_path, [*WORDS, *words])) == [2, 2]
    first, second = texts_of(2, tmp_path)
    assert re.search(f"^tinylm: {said}", first) and second == "" and not [*tmp_path.glob("*/record.jsonl")]


def test_processes_that_have_other_files_are_refused_and_leave_everything_as_it_was(tmp_path):
    assert ended(started(2, tmp_path, WORDS, odd="text")) == [2, 2]
    said = texts_of(2, tmp_path)
    assert re.search("^tinylm: the processes would not train the same: dataset.fingerprint is ", said[0])
    assert said[1] == "" and not [*tmp_path.glob("*/record.jsonl")]
    record = tmp_path / "cut" / "record.jsonl"
    processes = started(1, tmp_path, [*WORDS, "--name", "cut"])
    until_step(record, 8)
    os.kill(processes[0][0].pid, signal.SIGTERM)
    assert ended(processes) == [130]
    shutil.copytree(tmp_path / "cut", tmp_path / "1" / "cut")
    *_, newest = sorted((tmp_path / "1" / "cut" / "checkpoints").glob("step*"))
    shutil.rmtree(newest)
    before = record.read_bytes()
    assert ended(started(2, tmp_path, ["resume", "cut"], odd="runs")) == [2, 2]
    said, _ = texts_of(2, tmp_path)
    assert re.search(f"the checkpoint is {newest.name} on rank 0 and step_0*[07] on rank 1", said), said
    assert record.read_bytes() == before


def parents():
    """Every process that has not ended, with the one that started it."""
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(child): int(parent) for child, parent, state in rows if state[0] != "Z"}


def children(pid):
    return sorted(child for child, parent in parents().items() if parent == pid)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no ps")
def test_torchrun_or_a_rank_is_killed_and_the_others_end_with_the_last_good_checkpoint(tmp_path):
    said, record = tmp_path / "said.txt", tmp_path / "mine" / "cut" / "record.jsonl"
    home = ddp.environment() | environment(tmp_path) | {"TINYLM_MINE": str(tmp_path / "mine")}
    typed = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    words = [*WORDS, "--name", "cut", "--train.steps", "2000", "--train.warmup-steps", "5"]

    def torchrun(*words):
        with said.open("wb") as out:
            return subprocess.Popen([*typed, "tinylm", *words], cwd=ROOT, env=home, stdout=out, stderr=out)

    running = torchrun(*words)
    until_step(record, 8, runs(running))
    os.kill(children(running.pid)[1], signal.SIGKILL)
    assert running.wait(30) == 1
    text = said.read_text("utf-8")
    sentence = r"^tinylm: rank 0 of 2 lost the connection .*the last good checkpoint is .*resume cut. goes on"
    assert len(re.findall(sentence, text, re.MULTILINE)) == 1, text
    assert text.count("in 2 processes, 1 rows at once") == text.count("forecast:") == 1
    header = read_record(record).header
    assert header["processes"] == 2 and header["command"].startswith("torchrun --nproc-per-node=2 -m tinylm")

    running, done = torchrun("resume", "cut"), last_step(record)
    until_step(record, done + 8, runs(running))
    orphans = children(running.pid)
    running.kill()
    running.wait()
    assert len(orphans) == 2
    until = time.monotonic() + 30
    while {*orphans} & {*parents()} and time.monotonic() < until:
        time.sleep(0.05)
    text = said.read_text("utf-8")
    gone = r"^tinylm: torchrun, which .* is gone: .*the last good checkpoint is .*(step_\d+)\): .* goes on"
    (saved,) = re.findall(gone, text, re.MULTILINE)
    assert int(saved.removeprefix("step_")) == last_step(record) + 1 and "Traceback" not in text, text
