"""Providers as local servers, for the demo, the tests and people who build against tuma.

    city.py        the whole of it: `Sandbox`, and `main` for the command line
    world.py       people, and what their phones and mailboxes show; the record of every accepted message
    faults.py      how well each provider is doing
    twilio*.py     SMS and WhatsApp        telegram*.py  Bot API        mail.py  SMTP
    clickpesa*.py  BillPay and payments    wallet.py     the customer who pays
    page*.py       the page and its HTTP interface

It knows nothing of tuma's engine: what it says about messages is what arrived here.
"""
