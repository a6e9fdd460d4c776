import json
import logging
import os
import stat

import pytest

from allyouneed.errors import UserError
from allyouneed.serving.access.api_keys import AccessControl, add_key, permissions_remark, read_keys
from allyouneed.serving.api_errors import ApiError


def test_only_the_hash_of_a_key_is_stored(tmp_path):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna", per_minute=5)
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert AccessControl(file).authenticate(secret) == read_keys(file)[0]
    for wrong in (None, "", "ayn_wrong", secret + "x", "\ud800", read_keys(file)[0].sha256):
        with pytest.raises(ApiError) as raised:
            AccessControl(file).authenticate(wrong)
        assert raised.value.status == 403


def test_duplicate_and_empty_names_are_rejected(tmp_path):
    file = tmp_path / "keys.json"
    add_key(file, "anna")
    with pytest.raises(UserError, match="a key named anna already exists"):
        add_key(file, "anna")
    with pytest.raises(UserError, match="name of a key is empty"):
        add_key(file, " ")


HASH = "0" * 64


@pytest.mark.parametrize(
    "content",
    [
        '[{"nme": 1}]', "{", "{}5", "[1]", '[{"name": "a"}]', f'[{{"name": 1, "sha256": "{HASH}"}}]',
        '[{"name": "a", "sha256": "é"}]', f'[{{"name": "a", "sha256": "{HASH.upper()}g"}}]', "[" * 100_000,
        f'[{{"name": "a", "sha256": "{HASH}", "per_minute": "5"}}]',
        f'[{{"name": "a", "sha256": "{HASH}", "more": 1}}]',
        f'[{{"name": "a", "sha256": "{HASH}"}}, {{"name": "a", "sha256": "{"1" * 64}"}}]',
    ],
)  # fmt: skip
def test_damaged_key_files_are_reported_in_one_line(tmp_path, content):
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(UserError, match="not a key file") as raised:
        AccessControl(file)
    assert "\n" not in str(raised.value)


def test_a_damaged_usage_file_is_reported(tmp_path):
    file = tmp_path / "keys.json"
    add_key(file, "anna")
    (tmp_path / "keys.usage.json").write_text('{"month": "2026-1')
    with pytest.raises(UserError, match=r"keys\.usage\.json: damaged, .*Delete the file to restart this month"):
        AccessControl(file)


@pytest.mark.parametrize(
    ("mode", "words"),
    [(0o600, None), (0o400, None), (0o640, "read"), (0o604, "read"), (0o660, "change"), (0o602, "change")],
)
def test_a_key_file_that_others_can_use_is_remarked(tmp_path, mode, words):
    file = tmp_path / "keys.json"
    add_key(file, "anna")
    file.chmod(mode)
    remark = permissions_remark(file)
    assert (remark is None) == (words is None)
    assert remark is None or (words in remark and "chmod 600" in remark)


def test_keys_are_read_again_when_the_file_changes(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    file = tmp_path / "keys.json"
    anna = add_key(file, "anna")
    access = AccessControl(file)
    otto = add_key(file, "otto")
    assert access.authenticate(otto).name == "otto"
    kept = [entry for entry in json.loads(file.read_text()) if entry["name"] == "otto"]
    file.write_text(json.dumps([{**kept[0], "characters": 5}]))
    with pytest.raises(ApiError, match="invalid API key"):
        access.authenticate(anna)
    assert access.authenticate(otto).characters == 5
    assert [record.message for record in caplog.records] == ["keys reloaded: 2", "keys reloaded: 1"]


@pytest.mark.parametrize("damage", [lambda file: file.write_text("["), lambda file: file.unlink()])
def test_keys_stay_as_they_are_if_the_new_file_is_damaged(tmp_path, caplog, damage):
    file = tmp_path / "keys.json"
    anna = add_key(file, "anna")
    access = AccessControl(file)
    damage(file)
    for _ in range(3):
        assert access.authenticate(anna).name == "anna"
    [record] = caplog.records
    assert "the keys were not reloaded" in record.message
    assert record.exc_info is None


def test_keys_can_be_read_again_although_the_file_looks_the_same(tmp_path):
    file = tmp_path / "keys.json"
    anna = add_key(file, "anna")
    access = AccessControl(file)
    status = file.stat()
    file.write_text(file.read_text().replace("anna", "otto"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert access.authenticate(anna).name == "anna"
    access.reload_keys()
    assert access.authenticate(anna).name == "otto"


def test_rates_are_limited_per_client():
    access = AccessControl(None, per_minute=3)
    for _ in range(3):
        access.admit(None, "1.1.1.1")
    with pytest.raises(ApiError) as raised:
        access.admit(None, "1.1.1.1")
    assert raised.value.status == 429
    assert 1 <= raised.value.retry_after <= 21
    access.admit(None, "2.2.2.2")


def test_a_client_cannot_avoid_the_rate_with_addresses_of_its_network():
    access = AccessControl(None, per_minute=3)
    for number in range(3):
        access.admit(None, f"2001:db8::{number}")
    with pytest.raises(ApiError):
        access.admit(None, "2001:db8::ffff")
    access.admit(None, "2001:db8:0:1::1")


def test_a_rate_limit_recovers(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("allyouneed.serving.access.api_keys.time.monotonic", lambda: now[0])
    access = AccessControl(None, per_minute=2)
    for _ in range(2):
        access.admit(None, "1.1.1.1")
    with pytest.raises(ApiError):
        access.admit(None, "1.1.1.1")
    now[0] = 31.0
    access.admit(None, "1.1.1.1")


def test_quotas_are_per_month_and_persistent(tmp_path, monkeypatch):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna", characters=10)
    access = AccessControl(file)
    key = access.admit(secret, "")
    access.charge(key, 8).settle(True)
    with pytest.raises(ApiError) as raised:
        access.charge(key, 3)
    assert raised.value.status == 456
    access.save_usage()
    assert json.loads((tmp_path / "keys.usage.json").read_text())["used"] == {"anna": 8}
    restarted = AccessControl(file)
    assert restarted.characters_used(restarted.authenticate(secret)) == 8
    monkeypatch.setattr("allyouneed.serving.access.usage.current_month", lambda: "2099-01")
    assert restarted.characters_used(restarted.authenticate(secret)) == 0
