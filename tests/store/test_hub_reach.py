"""What the hub cannot give is refused within two seconds, before torch is imported."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from finetrial.errors import UserError
from finetrial.store.hub_reach import check_hub


@pytest.fixture
def trial(tmp_path):
    rows = [{"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "t.yaml").write_text(
        "trial: t\nmodel: nobody/nothing\n"
        "data: {source: rows.jsonl, train: 20, validation: 10, heldout: 10}\narms: {base: {}}\n"
    )
    (tmp_path / "d.yaml").write_text("trial: d\nmodel: starter\ndata: {source: nobody/rows}\narms: {base: {}}\n")
    return tmp_path


@pytest.mark.parametrize(
    "setting",
    [
        {"HF_HUB_OFFLINE": "1"},
        {"HF_ENDPOINT": "https://no-such-host.invalid"},
        {"HF_ENDPOINT": "https://192.0.2.1"},  # an address that belongs to nobody (RFC 5737) and never answers
    ],
    ids=lambda setting: next(iter(setting.values())),
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "t.yaml"),
        ("run", "t.yaml"),
        ("run", "d.yaml"),
        ("footprint", "storage", "--model", "nobody/nothing", "--method", "full"),
        ("doctor", "--model", "nobody/nothing"),
    ],
    ids=" ".join,
)
def test_what_is_neither_cached_nor_reachable_is_refused_without_torch(arguments, setting, trial):
    code = "import sys\nfor name in ('torch', 'transformers'):\n    sys.modules[name] = None\n"
    code += "from finetrial.cli.main import main\nmain()"
    if arguments[0] == "doctor":  # it looks whether torch is there
        code = "from finetrial.cli.main import main\nmain()"
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=trial,
        env=clean | {"HF_HOME": str(trial / "cache")} | setting,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "'nobody/" in done.stderr and "cannot be had from the hub" in done.stderr


def test_a_host_that_never_answers_costs_less_than_two_seconds(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://192.0.2.1")
    began = time.perf_counter()
    with pytest.raises(UserError, match=r"192\.0\.2\.1 does not answer"):
        check_hub("nobody/nothing")
    assert time.perf_counter() - began < 2


def test_a_hub_that_answers_a_cached_name_and_a_path_are_let_through(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "hub/models--some--model/snapshots/0123").mkdir(parents=True)
    (tmp_path / "hub/models--some--model/snapshots/0123/config.json").write_text("{}")
    (tmp_path / "datasets/some___rows").mkdir(parents=True)
    check_hub("some/model")
    check_hub("Some/Rows", kind="dataset")
    check_hub(str(tmp_path / "hub"))
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        check_hub("some/rows")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        check_hub("some/rows")


def test_without_a_network_a_cached_model_is_read_from_the_cache_at_once(monkeypatch, tmp_path):
    import huggingface_hub
    from transformers import AutoConfig

    cache = tmp_path / "hub/models--some--model"
    (cache / "snapshots/0123").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("0123")
    (cache / "snapshots/0123/config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 3}))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # so that what the call sets is taken back
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://192.0.2.1")
    began = time.perf_counter()
    check_hub("some/model")
    config = AutoConfig.from_pretrained("some/model", cache_dir=tmp_path / "hub")
    assert config.n_layer == 3
    assert time.perf_counter() - began < 4  # the library alone tries for minutes
    assert huggingface_hub.is_offline_mode()
