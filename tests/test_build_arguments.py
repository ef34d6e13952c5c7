"""How a build program ends when it is stopped or asked for the impossible."""

import argparse

import pytest

from melspec_gpt.datasets_scripts.build_arguments import run_build


def end_of(error, capsys):
    def build():
        raise error

    with pytest.raises(SystemExit) as end:
        run_build(argparse.ArgumentParser(prog="build"), build, [])
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("no such class"), OSError("no space left")])
def test_what_a_user_can_put_right_is_a_sentence(error, capsys):
    code, message = end_of(error, capsys)
    assert code == 2
    assert message.endswith(f"build: error: {error}\n")


def test_ctrl_c_is_no_traceback(capsys):
    assert end_of(KeyboardInterrupt(), capsys) == (130, "")


def test_home_is_found_in_paths(monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    parser, given = argparse.ArgumentParser(), {}
    parser.add_argument("--dataset_path")
    parser.add_argument("--num_proc", type=int)
    run_build(parser, given.update, ["--dataset_path", "~/mels", "--num_proc", "2"])
    assert given == {"dataset_path": "/somebody/mels", "num_proc": 2}
