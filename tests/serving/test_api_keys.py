import json
import stat

import pytest

from allyouneed.errors import UserError
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.api_keys import AccessControl, add_key, read_keys


def test_only_the_hash_of_a_key_is_stored(tmp_path):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna", per_minute=5)
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert AccessControl(file).authenticate(secret) == read_keys(file)[0]
    for wrong in (None, "", "ayn_wrong", secret + "x", "\ud800"):
        with pytest.raises(ApiError) as raised:
            AccessControl(file).authenticate(wrong)
        assert raised.value.status == 403


def test_duplicate_names_and_damaged_key_files_are_rejected(tmp_path):
    file = tmp_path / "keys.json"
    add_key(file, "anna")
    with pytest.raises(UserError, match="a key named anna already exists"):
        add_key(file, "anna")
    file.write_text('[{"nme": 1}]')
    with pytest.raises(UserError, match="not a key file"):
        AccessControl(file)


def test_a_damaged_usage_file_is_reported(tmp_path):
    file = tmp_path / "keys.json"
    add_key(file, "anna")
    (tmp_path / "keys.usage.json").write_text('{"month": "2026-1')
    with pytest.raises(UserError, match=r"keys.usage.json: cannot read the monthly usage"):
        AccessControl(file)


def test_rates_are_limited_per_client():
    access = AccessControl(None, per_minute=3)
    for _ in range(3):
        access.admit(None, "1.1.1.1")
    with pytest.raises(ApiError) as raised:
        access.admit(None, "1.1.1.1")
    assert raised.value.status == 429
    assert 1 <= raised.value.retry_after <= 21
    access.admit(None, "2.2.2.2")


def test_a_rate_limit_recovers(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("allyouneed.serving.api_keys.time.monotonic", lambda: now[0])
    access = AccessControl(None, per_minute=2)
    for _ in range(2):
        access.admit(None, "a")
    with pytest.raises(ApiError):
        access.admit(None, "a")
    now[0] = 31.0
    access.admit(None, "a")


def test_quotas_are_per_month_and_persistent(tmp_path, monkeypatch):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna", characters=10)
    access = AccessControl(file)
    access.admit(secret, "", 8)
    with pytest.raises(ApiError) as raised:
        access.admit(secret, "", 3)
    assert raised.value.status == 456
    access.save_usage()
    assert json.loads((tmp_path / "keys.usage.json").read_text())["used"] == {"anna": 8}
    restarted = AccessControl(file)
    assert restarted.characters_used(restarted.authenticate(secret)) == 8
    monkeypatch.setattr("allyouneed.serving.api_keys._current_month", lambda: "2099-01")
    assert restarted.characters_used(restarted.authenticate(secret)) == 0
