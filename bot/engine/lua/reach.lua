#!lua flags=no-writes
-- reach: what decides how a contact can be reached.
-- KEYS    1 prefix of the contact's partition  2 contact record
-- Return  flat list of field and value: x:<channel> (a no), chat (the linked one), w (their last wallet). Cost O(1).
return said_by(KEYS[2])
