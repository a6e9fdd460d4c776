import pytest

from allyouneed.errors import UserError
from allyouneed.serving.run import refuse_open_door, serve
from allyouneed.serving.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_loopback_needs_no_keys(host):
    refuse_open_door(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "example.org", "::"])
def test_a_public_address_needs_keys_or_the_word(host, tmp_path):
    with pytest.raises(UserError, match="--keys"):
        refuse_open_door(Settings(host=host))
    refuse_open_door(Settings(host=host, public=True))
    refuse_open_door(Settings(host=host, keys=tmp_path / "keys.json"))


def test_nothing_to_serve_is_told(tmp_path):
    with pytest.raises(UserError, match="one RUN or more"):
        serve([], Settings(), print)
    with pytest.raises(UserError, match="no such folder"):
        serve([tmp_path / "none"], Settings(), print)
