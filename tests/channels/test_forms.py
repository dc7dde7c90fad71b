"""Forms say exactly what urlencode says."""

from __future__ import annotations

from urllib.parse import urlencode

from hypothesis import example, given
from hypothesis import strategies as st

from channels.forms import encode

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(_TEXT, _TEXT))
@example({"Body": "Bili ya Asha & Juma: TZS 45,000 + 5%\r\n~_.-", "To": "+255754120000", "Name": "Ünï€😀"})
def test_a_form_is_written_as_urlencode_writes_it(form: dict[str, str]) -> None:
    assert encode(form) == urlencode(form).encode()
