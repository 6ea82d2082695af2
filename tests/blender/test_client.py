"""The engine's process as the add-on sees it: started, heard, ended, and every way it can fail."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from blender_addon.engine import client as module
from blender_addon.engine.client import POLL_LINES, Client, child_environment, reap, wait_for_ends
from blender_addon.engine.find import engine_command
from blender_addon.engine.why_it_ended import sentence_of_error
from blender_addon.errors import EngineError
from tests.blender.blenders import posix
from tests.blender.engines import engine_python, is_running, one_sentence, program, until

PATIENCE_S = 120.0  # for torch on a busy machine


@pytest.fixture
def start(tmp_path):
    """Starts a fake engine of a script's body, or a command; all are gone afterwards."""
    clients = []

    def start(body="", *, command=None, **options):
        clients.append(Client(command or [str(program(tmp_path, body)), "serve"], **options))
        return clients[-1]

    yield start
    for client in clients:
        client.kill()
    until(lambda: not reap())
    assert not any(is_running(client.pid) for client in clients)


@pytest.fixture(autouse=True)
def nothing_waits():
    """What waits for an engine that says nothing would wait for ever; it fails instead."""

    def give_up(*_):
        raise TimeoutError("something waited")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def events_until_end(client, limit_s=30.0):
    events = []
    until(lambda: events.extend(client.poll()) or any(e["event"] != "progress" for e in events), limit_s)
    return events


def failure_of(client, limit_s=30.0):
    """The sentence of a client that fails, and the same one again."""
    found = []

    def failed():
        try:
            client.poll()
        except EngineError as error:
            found.append(str(error))
        return found

    until(failed, limit_s)
    with pytest.raises(EngineError) as again:
        client.poll()
    assert str(again.value) == found[0]
    return one_sentence(found[0])


# The real one


def test_the_real_engine_answers_ends_and_leaves_nothing(start):
    client = start(command=engine_command(engine_python()))
    until(lambda: client.poll() or client.ready, PATIENCE_S)
    job = client.ask("dance")
    (event,) = events_until_end(client)
    assert event["id"] == job and "dance" in sentence_of_error(client.command, event)
    client.quit()
    until(lambda: not reap())
    assert not client.alive and client.poll() == []


def test_blenders_python_variables_do_not_reach_the_engine(start, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    body = "ready(); [say('done', id=r['id'], env=dict(os.environ)) for r in requests() if r['do'] == 'info']"
    client = start(body)
    client.ask("info")
    (event,) = events_until_end(client)
    assert "PYTHONHOME" not in event["env"] and "PYTHONPATH" not in event["env"] and event["env"]["PATH"]
    assert set(child_environment({"PythonHome": "x", "__PYVENV_LAUNCHER__": "x", "A": "b"})) == {
        "A",
        "PYTHONUTF8",
        "PYTHONSAFEPATH",
    }


def test_a_module_beside_the_blend_file_is_not_the_engines(start, monkeypatch, tmp_path):
    (tmp_path / "typer.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    client = start(command=engine_command(engine_python()))
    until(lambda: client.poll() or client.ready, PATIENCE_S)


# Faults

FAULTS = {
    "no engine": ("print('usage: ls FILE'); sys.exit(2)", ("not the engine", "code 2", "usage: ls FILE")),
    "an endless speaker": ("while True: print('y')", ("not the engine", '"y"')),
    "no pro_engine": ("import nothing_there; ", ("lacks nothing_there", "install")),
    "protocol 3": ("ready(protocol=3); time.sleep(60)", ("protocol 3", "update the add-on")),
    "protocol 1": ("ready(protocol=1); time.sleep(60)", ("protocol 1", "update the engine")),
    "no protocol": ("say('ready'); time.sleep(60)", ("protocol None", "update the engine")),
    "version 0.0.9": ("ready(version='0.0.9'); time.sleep(60)", ("0.0.9", "update")),
    "a huge line": ("ready(); print('x' * 3_000_000); time.sleep(60)", ("1 MiB",)),
    "an exit": ("ready(); print('disk is full', file=sys.stderr); sys.exit(3)", ("exit code 3", "disk is full")),
    "a kill": ("ready(); os.kill(os.getpid(), 9)", ("killed", "memory")),
    "a crash": ("ready(); os.kill(os.getpid(), signal.SIGSEGV)", ("crashed (SIGSEGV)",)),
    "a child that lives on": (
        "ready(); import subprocess; subprocess.Popen(['sleep', '20'], start_new_session=True); os._exit(4)",
        ("exit code 4",),
    ),
}


@posix
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_one_sentence_and_leaves_no_process(start, fault):
    body, words = FAULTS[fault]
    client = start(body)
    sentence = failure_of(client)
    assert all(word in sentence for word in words), sentence
    until(lambda: not client.alive)


@posix
def test_who_is_never_ready_is_given_up(start):
    client = start("time.sleep(600)", start_s=0.5)
    assert "not ready within" in failure_of(client)
    until(lambda: not client.alive)


@posix
def test_9_a_kill_from_outside_is_noticed_by_the_next_poll(start):
    client = start("ready(); time.sleep(600)")
    until(lambda: client.poll() or client.ready)
    os.kill(client.pid, signal.SIGKILL)
    until(lambda: not is_running(client.pid))
    with pytest.raises(EngineError, match="killed"):
        client.poll()


@posix
def test_all_that_was_said_comes_before_the_end(start):
    client = start(f"ready(); [say('progress', n=n) for n in range({3 * POLL_LINES})]; os.kill(os.getpid(), 9)")
    until(lambda: not is_running(client.pid))
    events = [event for _ in range(4) for event in client.poll()]
    assert [event["n"] for event in events] == list(range(3 * POLL_LINES)) and "killed" in failure_of(client)


def test_a_program_that_cannot_start_is_said(tmp_path):
    no_format = tmp_path / "engine"
    no_format.write_bytes(b"\x7fELF but not really")
    no_format.chmod(0o755)
    no_interpreter = program(tmp_path, "")
    no_interpreter.write_text("#!/nowhere/python\n")
    for path, words in ((no_format, "no program"), (no_interpreter, "lacks its interpreter"), ("/nowhere", "exist")):
        with pytest.raises(EngineError, match=words) as error:
            Client([str(path), "serve"])
        one_sentence(str(error.value))


def test_no_folder_for_temporary_files_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(EngineError, match="folder for temporary files") as error:
        Client([sys.executable])
    one_sentence(str(error.value))


# Manners


@posix
def test_9_noise_between_the_lines_is_borne(start):
    body = "print('Welcome'); ready(); print('{\"half\": '); print('[1]'); print('{\"no\": 1}')\n"
    body += "sys.stdout.flush(); os.write(1, b'\\xff\\n')\n"
    body += "for r in requests(): print('noise'); say('done', id=r['id'])"
    client = start(body)
    client.ask("info")
    assert events_until_end(client) == [{"event": "done", "id": 1}]


@posix
def test_who_prints_to_stderr_is_not_silent(start):
    client = start("ready(); [print('.', end='', file=sys.stderr, flush=True) for r in requests()]")
    until(lambda: client.poll() or client.ready)
    heard_s = client.heard_s
    assert client.poll() == [] and client.heard_s == heard_s
    client.ask("print")
    until(lambda: client.poll() or client.stderr_tail == ["."])
    assert client.heard_s > heard_s


@posix
def test_the_last_fifty_lines_of_stderr_are_kept(start):
    client = start("print(*range(200), sep=chr(10), file=sys.stderr); ready(); time.sleep(60)")
    until(lambda: client.poll() or (client.ready and client.stderr_tail[-1:] == ["199"]))
    assert client.stderr_tail == [str(i) for i in range(150, 200)]


DEAF = "signal.signal(15, signal.SIG_IGN); ready(); time.sleep(600)"


@posix
def test_9_who_does_not_quit_is_killed_by_a_later_look(start, monkeypatch):
    client = start(DEAF)
    until(lambda: client.poll() or client.ready)
    monkeypatch.setattr(module, "QUIT_S", 3600.0)
    client.quit()
    assert client.poll() == [] and reap() and is_running(client.pid), "nobody waited for it"
    monkeypatch.setattr(module, "QUIT_S", 0.0)
    until(lambda: not reap())
    assert not client.alive


@posix
def test_9_waiting_for_the_end_kills_who_does_not_quit(start):
    client = start(DEAF)
    until(lambda: client.poll() or client.ready)
    client.quit()
    wait_for_ends()
    assert not client.alive


@posix
def test_a_new_engine_looks_after_those_before_it(start, monkeypatch):
    first = start(DEAF)
    until(lambda: first.poll() or first.ready)
    monkeypatch.setattr(module, "QUIT_S", 0.0)
    first.quit()
    second = start(DEAF)
    until(lambda: second.poll() or not is_running(first.pid))


UNLIKE_PYTHON = """
import signal, sys, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so it is inside Blender
sys.path.insert(0, {root!r})
from blender_addon.engine.client import Client, wait_for_ends
client = Client([{engine!r}, "serve"])
while client.alive:
    time.sleep(0.01)
client.ask("infer", photo="a.jpg")
client.quit()
wait_for_ends()
print("alive", signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


@posix
def test_blender_outlives_an_engine_that_is_gone(tmp_path):
    source = UNLIKE_PYTHON.format(root=str(Path(__file__).parents[2]), engine=str(program(tmp_path, "")))
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout == "alive set()\n", (done.returncode, done.stderr)


@posix
def test_a_wrapper_is_killed_with_what_it_started(start, tmp_path):
    wrapper = tmp_path / "wrapper"
    wrapper.write_text("#!/bin/sh\nsleep 60 &\necho $! > pid\nwait\n".replace("pid", str(tmp_path / "pid")))
    wrapper.chmod(0o755)
    client = start(command=[str(wrapper), "serve"])
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    client.kill()
    until(lambda: not is_running(int((tmp_path / "pid").read_text())))


# Nothing waits, and nothing grows


@posix
def test_10_a_poll_takes_a_bounded_part_of_a_flood(start):
    many = 50 * POLL_LINES
    client = start(f"ready(); [say('progress', n=n) for n in range({many})]; time.sleep(600)")
    polls = []
    until(lambda: polls.append(client.poll()) or sum(map(len, polls)) == many)
    assert max(map(len, polls)) <= POLL_LINES
    assert [event["n"] for events in polls for event in events] == list(range(many))


@posix
def test_10_an_engine_that_stands_still_holds_up_nobody(start):
    client = start("ready(); [say('done', id=r['id'], size=len(r['photo'])) for r in requests()]")
    until(lambda: client.poll() or client.ready)
    os.kill(client.pid, signal.SIGSTOP)
    client.ask("infer", photo="x" * 300_000)  # more than any pipe holds
    assert [client.poll() for _ in range(100)] == [[]] * 100
    os.kill(client.pid, signal.SIGCONT)
    assert events_until_end(client) == [{"event": "done", "id": 1, "size": 300_000}]


@posix
def test_a_line_is_taken_when_it_is_whole(start):
    body = "ready(); [os.write(1, part) for r in requests() for part in [r['part'].encode()]]"
    client = start(body)
    until(lambda: client.poll() or client.ready)
    answers = f"/proc/{client.pid}/fd/1"
    for part in ('{"event": "do', 'ne"}', "\n"):
        size = os.stat(answers).st_size
        client.ask("say", part=part)
        until(lambda part=part, size=size: os.stat(answers).st_size == size + len(part))
        assert client.poll() == ([{"event": "done"}] if part == "\n" else [])


@posix
def test_answers_and_noise_take_no_more_room_the_longer_it_works(start, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 10_000)
    body = "ready()\nfor r in requests():\n"
    body += "    print('.' * 99, file=sys.stderr, flush=True)\n"
    body += "    [say('progress', id=r['id'], n=n) for n in range(50)]; say('done', id=r['id'])"
    client = start(body)
    until(lambda: client.poll() or client.ready)
    sizes = []
    for job in range(1, 300):
        assert client.ask("infer") == job
        events = events_until_end(client)
        assert events[-1] == {"event": "done", "id": job}
        assert [event["n"] for event in events[:-1]] == list(range(50))
        sizes.append([os.stat(f"/proc/{client.pid}/fd/{n}").st_size for n in (1, 2)])
    assert max(map(max, sizes)) < 20_000 and client.stderr_tail[-1] == "." * 99


@posix
def test_an_endless_answer_is_given_up(start, monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWERS", 2 << 20)
    client = start("ready()\nwhile True: say('progress')")
    assert "sent more than 2 MiB" in failure_of(client)


@posix
def test_what_the_engine_says_leaves_no_file(start, monkeypatch, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    client = start("print('x', file=sys.stderr); ready(); time.sleep(600)")
    until(lambda: client.poll() or client.ready)
    assert not os.listdir(tmp_path / "temporary"), "so that none is left if Blender is killed now"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0 or not shutil.which("unshare"), reason="mounts a small disk")
def test_12_an_engine_whose_answers_find_no_room_is_said(tmp_path):
    source = """
import sys, tempfile, time
sys.path.insert(0, sys.argv[1]); tempfile.tempdir = sys.argv[2]
from blender_addon.work.engine_test import EngineTest
test = EngineTest(sys.argv[3]); test.begin()
while test.poll(): time.sleep(0.01)
print(test.notice.text)
"""
    disk = tmp_path / "disk"
    disk.mkdir()
    engine = program(tmp_path, "ready()\nwhile True: say('progress', text='x' * 1000)")
    script = f'mount -t tmpfs -o size=256k tmpfs {disk}; exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh"]
    command += [sys.executable, "-c", source, str(Path(__file__).parents[2]), str(disk), str(engine)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert f"The disk of {disk} is full" in one_sentence(done.stdout.strip()), done.stderr
