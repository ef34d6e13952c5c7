"""Every program wants its options spelled out: a new option must not change what an old command line means."""

import importlib

import pytest

PROGRAMS = [
    "datasets_scripts.build_audio_folder",
    "datasets_scripts.build_esc10",
    "datasets_scripts.build_vas",
    "datasets_scripts.build_vggsound",
    "datasets_scripts.token_dataset",
    "push_to_hub",
    "training.run_demo",
    "training.run_evaluation",
    "training.run_sampling",
    "training.train_gpt",
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_abbreviated_option_is_refused(program):
    main = importlib.import_module(f"melspec_gpt.{program}").main
    with pytest.raises(SystemExit) as end:
        main(["--hel"])
    assert end.value.code == 2
