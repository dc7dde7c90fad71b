"""Local servers speak plain HTTP; reading the world's certificates for each client costs 50 ms of CPU."""

import ssl

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
