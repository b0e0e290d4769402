"""The command as a process of its own: signals, pipes, encodings, two at once, and what it leaves behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

if os.name == "posix":
    import fcntl
    import termios

COMMAND = [sys.executable, "-m", "fieldmark"]
TRAIN = ["--network", "course", "--image-size", "24", "--channels", "8", "--batch-size", "16"]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


def endless(faces: Path, folder: Path, **options: object) -> subprocess.Popen[str]:
    """A training into `folder`/run that ends by a signal alone."""
    command = [*COMMAND, "train", str(faces), *TRAIN, "--epochs", "100000", "--out", "run"]
    return subprocess.Popen(command, cwd=folder, **{"stderr": subprocess.PIPE, "text": True, **options})  # type: ignore[call-overload, no-any-return]


def image(faces: Path) -> Path:
    return next((faces / "train" / "sad").glob("*.png"))


def test_nothing_is_left_in_the_home_folder(faces: Path, trained: Path, tmp_path: Path) -> None:
    """ONNX Runtime's official builds keep an identity there and report, unless they are told not to."""
    done = run("predict", trained, image(faces), env={**os.environ, "HOME": str(tmp_path)})
    assert done.returncode == 0
    assert done.stderr == ""
    assert list(tmp_path.rglob("*")) == []


def test_json_is_alone_on_stdout_and_no_bars_are_drawn_for_a_pipe(faces: Path, tmp_path: Path) -> None:
    done = run("train", faces, *TRAIN, "--epochs", 1, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"]
    assert "epoch" in done.stderr
    assert "━" not in done.stderr


def test_an_encoding_that_lacks_a_letter(faces: Path, trained: Path, tmp_path: Path) -> None:
    name = tmp_path / "ünï.png"
    name.write_bytes(image(faces).read_bytes())
    done = run("predict", trained, name, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "\\xfcn\\xef.png" in done.stdout
    assert (
        run("evaluate", trained, faces / "validation", env={**os.environ, "PYTHONIOENCODING": "ascii"}).returncode == 0
    )


@pytest.mark.parametrize("arguments", [["audit"], ["predict"]], ids=["audit", "predict"])
def test_a_reader_who_leaves(faces: Path, trained: Path, arguments: list[str]) -> None:
    given = [str(faces)] if arguments == ["audit"] else [str(trained), str(faces), "--recursive"]
    process = subprocess.Popen(
        [*COMMAND, *arguments, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert (process.wait(60), "Traceback" in process.stderr.read()) == (0, False)
    process.stderr.close()


def closed(numbers: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command with the standard streams of these numbers closed, as services and `>&-` in a shell do."""

    def close() -> None:
        for number in numbers:
            os.close(int(number))

    return run(*arguments, preexec_fn=close, **options)


@pytest.mark.parametrize("numbers", ["1", "2", "012"])
def test_closed_standard_streams_change_no_exit_code(faces: Path, trained: Path, numbers: str, tmp_path: Path) -> None:
    good = image(faces)
    seen = {
        code: closed(numbers, *arguments, cwd=tmp_path)
        for code, arguments in {
            0: ("predict", trained, good, "absent.jpg"),
            2: ("predict", "absent", good),
            3: ("predict", trained, good, "absent.jpg", "--strict"),
        }.items()
    }
    assert {code: done.returncode for code, done in seen.items()} == {code: code for code in seen}, seen
    assert not any("Traceback" in done.stderr for done in seen.values())
    assert closed(numbers, "audit", faces, "--quick").returncode == 0
    assert closed(numbers, "evaluate", trained, faces / "validation").returncode == 0


def test_a_closed_stdin_names_no_image(trained: Path) -> None:
    done = closed("0", "predict", trained, "-")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: no image was found there\nhint: ")


def test_nothing_is_written_into_a_file_in_place_of_a_closed_stream(faces: Path, tmp_path: Path) -> None:
    done = closed("012", "train", faces, *TRAIN, "--epochs", 1, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"epoch  1/1" in path.read_bytes() for path in files)
    assert run("predict", tmp_path / "run", image(faces)).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout(faces: Path, trained: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "predict", trained, image(faces)], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write the result to stdout: No space left")


def test_answers_come_while_paths_trickle_in(faces: Path, trained: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "predict", str(trained), "-", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(3):
        process.stdin.write(f"{image(faces)}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["path"] == str(image(faces))
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_training_is_a_valid_run(faces: Path, tmp_path: Path, number: signal.Signals) -> None:
    process = endless(
        faces,
        tmp_path,
        stdout=subprocess.PIPE,
        # Where the tests run in the background, a shell has told all below it to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch  2"):
            process.send_signal(number)
            break
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "stopping: what was learnt is being written" in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["interrupted"]
    assert run("predict", tmp_path / "run", image(faces)).returncode == 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="terminals do not end processes here")
def test_the_end_of_the_terminal_keeps_what_was_learnt(faces: Path, tmp_path: Path) -> None:
    def begin() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which tests under nohup would hand down as ignored
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    terminal, side = os.openpty()
    process = endless(
        faces,
        tmp_path,
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
        preexec_fn=begin,
    )
    os.close(side)
    history = tmp_path / "run" / "history.csv"
    while not history.exists() or len(history.read_text().splitlines()) < 3:
        assert process.poll() is None
        if select.select([terminal], [], [], 0.1)[0]:
            os.read(terminal, 65536)
    os.close(terminal)  # as closing the window does: the system sends SIGHUP
    assert process.wait(120) == 130
    assert json.loads((tmp_path / "run" / "run.json").read_text())["interrupted"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="terminals do not end processes here")
def test_nohup_is_obeyed(faces: Path, tmp_path: Path) -> None:
    process = endless(
        faces,
        tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch  2"):
            process.send_signal(signal.SIGHUP)
        if line.startswith("epoch 20"):
            break
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_a_killed_training_spoils_nothing(faces: Path, tmp_path: Path) -> None:
    process = endless(
        faces,
        tmp_path,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch  2"):
            process.kill()
            break
    process.communicate(timeout=60)
    assert (tmp_path / "run" / "history.csv").read_text().startswith("epoch,")
    done = run("predict", tmp_path / "run", image(faces))
    assert (done.returncode, "an unfinished run" in done.stderr) == (2, True)
    assert run("train", faces, *TRAIN, "--epochs", 1, "--out", tmp_path / "again").returncode == 0


def test_two_trainings_never_share_a_folder(faces: Path, tmp_path: Path) -> None:
    def start(out: str | None) -> subprocess.Popen[str]:
        place = ["--out", out] if out else []
        command = [*COMMAND, "train", str(faces), *TRAIN, "--epochs", "1", *place]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    same = [start("same"), start("same")]
    numbered = [start(None), start(None)]
    errors = [process.communicate(timeout=120)[1] for process in (*same, *numbered)]
    assert sorted(process.returncode for process in same) == [0, 2], errors
    assert any("exists already" in error for error in errors[:2])
    assert [process.returncode for process in numbered] == [0, 0]
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {f"{faces.name}-1", f"{faces.name}-2"}


def test_bars_on_a_terminal(faces: Path, tmp_path: Path) -> None:
    import pty

    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "train", str(faces), *TRAIN, "--epochs", "1"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=child,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(child)
    shown, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        shown += part
    os.close(parent)
    assert process.wait(60) == 0
    assert "━".encode() in shown
