import json
import stat

import pytest

from allyouneed.errors import UserError
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.api_keys import Gate, add_key, read_keys


def test_a_key_is_stored_as_its_hash_only(tmp_path):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna", per_minute=5)
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Gate(file).identify(secret) == read_keys(file)[0]
    for wrong in (None, "", "ayn_wrong", secret + "x", "\ud800"):
        with pytest.raises(ApiError) as raised:
            Gate(file).identify(wrong)
        assert raised.value.status == 403


def test_names_are_unique_and_a_broken_file_is_told(tmp_path):
    file = tmp_path / "keys.json"
    add_key(file, "anna")
    with pytest.raises(UserError, match="a key named anna already"):
        add_key(file, "anna")
    file.write_text('[{"nme": 1}]')
    with pytest.raises(UserError, match="not a file of keys"):
        Gate(file)


def test_a_broken_count_of_what_was_used_is_told(tmp_path):
    file = tmp_path / "keys.json"
    add_key(file, "anna")
    (tmp_path / "keys.usage.json").write_text('{"month": "2026-1')
    with pytest.raises(UserError, match=r"keys.usage.json: what each key has used this month cannot be read"):
        Gate(file)


def test_a_rate_is_of_each_client():
    gate = Gate(None, per_minute=3)
    for _ in range(3):
        gate.enter(None, "1.1.1.1")
    with pytest.raises(ApiError) as raised:
        gate.enter(None, "1.1.1.1")
    assert raised.value.status == 429
    assert 1 <= raised.value.retry_after <= 21
    gate.enter(None, "2.2.2.2")


def test_a_rate_recovers(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("allyouneed.serving.api_keys.time.monotonic", lambda: now[0])
    gate = Gate(None, per_minute=2)
    for _ in range(2):
        gate.enter(None, "a")
    with pytest.raises(ApiError):
        gate.enter(None, "a")
    now[0] = 31.0
    gate.enter(None, "a")


def test_a_quota_is_of_a_month(tmp_path, monkeypatch):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna", characters=10)
    gate = Gate(file)
    gate.enter(secret, "", 8)
    with pytest.raises(ApiError) as raised:
        gate.enter(secret, "", 3)
    assert raised.value.status == 456
    gate.save()
    assert json.loads((tmp_path / "keys.usage.json").read_text())["used"] == {"anna": 8}
    again = Gate(file)
    assert again.used(again.identify(secret)) == 8
    monkeypatch.setattr("allyouneed.serving.api_keys._month", lambda: "2099-01")
    assert again.used(again.identify(secret)) == 0
