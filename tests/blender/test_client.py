"""The engine's process as the add-on sees it: found, started, heard, ended, and every way it can fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blender_addon.client import Client, EngineCheck, EngineError, check_engine, child_environment
from blender_addon.diagnosis import sentence_of_end, sentence_of_error, sentence_of_start
from blender_addon.errors import UserError
from blender_addon.locate import engine_command
from tests.blender.engines import engine_python, is_running, program, until

PATIENCE_S = 120.0  # for torch on a busy machine
posix = pytest.mark.skipif(os.name == "nt", reason="fake engines are scripts with a #! line")


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
        client.close()
        assert not is_running(client.pid)


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


def one_sentence(text):
    assert text.endswith(".") and "\n" not in text and "Traceback" not in text
    return text


# Where it is


def test_a_python_an_executable_and_a_folder_are_told_apart(tmp_path):
    scripts = tmp_path / "bin"
    scripts.mkdir()
    python, other = program(scripts, "", name="python"), program(tmp_path, "")
    assert engine_command(str(python), {}) == [str(python), "-m", "pro_engine", "serve"]
    assert engine_command(f' "{other}" ', {}) == [str(other), "serve"]
    assert engine_command(str(tmp_path), {}) == [str(python), "-m", "pro_engine", "serve"]


def test_the_preference_comes_before_the_variable_and_that_before_the_path(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    chosen, variable, path = (str(program(tmp_path / name, "")) for name in "abc")
    environment = {"PRO_ENGINE": variable, "PATH": str(tmp_path / "c")}
    assert engine_command(chosen, environment)[0] == chosen
    assert engine_command("", environment)[0] == variable
    assert engine_command("", {"PATH": environment["PATH"]})[0] == path
    assert engine_command("pro-engine", environment)[0] == path


def test_the_python_of_a_virtual_environment_stays_a_link(tmp_path):
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert engine_command(str(link), {})[0] == str(link)


@pytest.mark.parametrize(
    ("chosen", "environment", "words"),
    [
        ("", {"PATH": "/nowhere"}, ("No engine", "install", "preferences")),
        ("/nowhere/python", {}, ("/nowhere/python does not exist", "preferences")),
        ("", {"PRO_ENGINE": "/nowhere/python"}, ("does not exist", "PRO_ENGINE")),
        ("folder", {}, ("no Python in the folder",)),
        ("plain", {}, ("no program",)),
    ],
)
def test_what_cannot_be_found_is_said(tmp_path, chosen, environment, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("text")
    if chosen in ("folder", "plain"):
        chosen = str(tmp_path / chosen)
    with pytest.raises(UserError) as error:
        engine_command(chosen, environment)
    assert all(word in one_sentence(str(error.value)) for word in words)


# The real one


def test_the_real_engine_tells_version_device_and_models():
    info = check_engine(engine_command(engine_python()), limit_s=PATIENCE_S)
    import pro_engine

    assert info.version == pro_engine.__version__ and info.device and info.torch
    assert any(model["name"] == "compact" and model["weights"] == "bundled" for model in info.models)


def test_the_real_engine_answers_ends_and_leaves_nothing(start):
    client = start(command=engine_command(engine_python()))
    until(lambda: client.poll() or client.ready, PATIENCE_S)
    job = client.ask("dance")
    (event,) = events_until_end(client)
    assert event["id"] == job and "dance" in sentence_of_error(client.command, event)
    client.quit()
    assert until(lambda: not is_running(client.pid)) < 3


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
    "protocol 2": ("ready(protocol=2); time.sleep(60)", ("protocol 2", "update the add-on")),
    "no protocol": ("say('ready'); time.sleep(60)", ("protocol None", "update the engine")),
    "version 0.0.9": ("ready(version='0.0.9'); time.sleep(60)", ("0.0.9", "update")),
    "a huge line": ("ready(); print('x' * 3_000_000); time.sleep(60)", ("1 MiB",)),
    "an exit": ("ready(); print('disk is full', file=sys.stderr); sys.exit(3)", ("exit code 3", "disk is full")),
    "a kill": ("ready(); os.kill(os.getpid(), 9)", ("killed", "memory")),
    "a crash": ("ready(); os.kill(os.getpid(), signal.SIGSEGV)", ("crashed (SIGSEGV)",)),
    "a closed pipe": ("ready(); os.close(1); time.sleep(60)", ("stopped answering",)),
    "a child that holds the pipe": (
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
    assert until(lambda: not client.alive) < 3


@posix
def test_who_is_never_ready_is_given_up(start):
    begun_s = time.monotonic()
    client = start("time.sleep(60)", start_s=0.5)
    assert "not ready within" in failure_of(client) and time.monotonic() - begun_s < 5
    assert until(lambda: not client.alive) < 3


@posix
def test_9_a_kill_from_outside_is_noticed_within_a_second(start):
    client = start("ready(); time.sleep(60)")
    until(lambda: client.poll() or client.ready)
    os.kill(client.pid, signal.SIGKILL)
    begun_s = time.monotonic()
    assert "killed" in failure_of(client) and time.monotonic() - begun_s < 1


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
    assert "could not be started (no)" in sentence_of_start("engine", OSError(12, "no"))


def test_a_python_without_the_engine_is_said(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    with pytest.raises(EngineError, match=r"has no pro_engine; install"):
        check_engine(engine_command(str(tmp_path / "bare")))


@posix
def test_no_torch_is_said(tmp_path):
    body = "ready()\nfor r in requests():\n"
    body += "    say('error', id=r['id'], kind='Bug', message=\"ModuleNotFoundError: No module named 'torch'; report\")"
    with pytest.raises(EngineError, match=r"lacks torch; install"):
        check_engine([str(program(tmp_path, body)), "serve"])


@posix
def test_an_answer_too_late_or_not_whole_is_said(tmp_path):
    late = EngineCheck([str(program(tmp_path, "ready(); time.sleep(60)")), "serve"], limit_s=1.0)
    with pytest.raises(EngineError, match="did not answer within 1 s"):
        until(late.poll)
    body = "ready(); [say('done', id=r['id'], result={'device': 'cpu'}) for r in requests()]"
    with pytest.raises(EngineError, match="not complete"):
        check_engine([str(program(tmp_path, body)), "serve"])


@pytest.mark.parametrize(
    ("code", "oom", "words"),
    [
        (-9, True, "memory did not suffice"),
        (-9, False, "killed from outside"),
        (0xC0000017, False, "memory did not suffice"),
        (0xC0000005 - 2**32, False, "crashed"),
        (0xC0000005, False, "crashed (exit code 0xc0000005)"),
        (-11, False, "crashed (SIGSEGV)"),
        (-99, False, "signal 99"),
    ],
)
def test_exit_codes_are_put_into_words(code, oom, words):
    sentence = sentence_of_end(["engine"], code, ["last " + "word" * 99, ""], [], ready=True, out_of_memory=oom)
    assert words in one_sentence(sentence) and len(sentence) < 300


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
def test_the_last_fifty_lines_of_stderr_are_kept(start):
    client = start("print(*range(200), sep=chr(10), file=sys.stderr); ready(); time.sleep(60)")
    until(lambda: client.poll() or (client.ready and client.stderr_tail[-1:] == ["199"]))
    assert client.stderr_tail == [str(i) for i in range(150, 200)]


@posix
@pytest.mark.parametrize("body", ["ready(); time.sleep(60)", "signal.signal(15, signal.SIG_IGN); time.sleep(60)"])
def test_who_does_not_quit_is_killed_within_three_seconds(start, body):
    client = start(body)
    begun_s = time.monotonic()
    client.quit()
    assert time.monotonic() - begun_s < 0.1
    assert until(lambda: not client.alive) < 3
    client.close()


UNLIKE_PYTHON = """
import signal, sys, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so it is inside Blender
sys.path.insert(0, {root!r})
from blender_addon.client import Client
client = Client([{engine!r}, "serve"])
while client.alive:
    time.sleep(0.01)
client.ask("infer", photo="a.jpg")
client.close()
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
    until(lambda: not is_running(int((tmp_path / "pid").read_text())), 3)


@posix
def test_poll_is_quick_under_a_flood(start):
    body = "ready(); [work({'id': 1}, done=i, total=10**6) for i in range(10**6)]"
    client = start(body)
    until(lambda: client.poll() or client.ready)
    spent_s, count = [], 0
    end_s = time.monotonic() + 1
    while time.monotonic() < end_s:
        begun_s = time.thread_time()
        count += len(client.poll())
        spent_s.append(time.thread_time() - begun_s)
        time.sleep(0.005)
    assert count > 100 and max(spent_s) < 0.002
