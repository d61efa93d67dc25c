/**
 * A certificate for localhost and 127.0.0.1 with its authority, made for the tests by openssl: nothing that Node
 * comes with makes certificates. Both hold until 2126; the authority's key was thrown away.
 */

/** Of the authority, for whoever is to trust it. */
export const AUTHORITY = `-----BEGIN CERTIFICATE-----
MIIBmDCCAT2gAwIBAgIUYSjuwgXoy1fU7osx1N/3Wb08jdgwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVU2Vhd2F5IHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyMTEyNTEw
NVoYDzIxMjYxMDI4MTI1MTA1WjAgMR4wHAYDVQQDDBVTZWF3YXkgdGVzdCBhdXRo
b3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATX/aAx0sjRN+MHeLLu/pII
Wte3+4mqRZV9WaGWxDyWJ22LbllTBTAtL8Q3Md7Eb5KkBRVrolulRT/cSqjBXBOu
o1MwUTAdBgNVHQ4EFgQURWWcjenchRFGz0u0wHT2i4P/4WkwHwYDVR0jBBgwFoAU
RWWcjenchRFGz0u0wHT2i4P/4WkwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQD
AgNJADBGAiEAqlr6vAgs5UhFHFYZqHkPetvqcDWO1SimIgAyTe6fY3cCIQD9lCjm
Lqyqx7igJcspz+BE1UfjB6u+H7Qu9J0LVX1iag==
-----END CERTIFICATE-----
`

/** Of the server. */
export const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBozCCAUqgAwIBAgIUK1+OnEgr66SZC18/CdUPFbBAdZUwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVU2Vhd2F5IHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyMTEyNTEw
NVoYDzIxMjYxMDI4MTI1MTA1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAAQXohzgSZz3NNAxZavadcj0Xm6ywC1VTLjBjvgO
XDG0GcMKwVVIDPsWrr/68cfv6ACFJQw5qxIRUWhhISpSdr48o2wwajAdBgNVHQ4E
FgQUc7/oRgR9lH7n5cnZmV5H1Ed8ZIUwHwYDVR0jBBgwFoAURWWcjenchRFGz0u0
wHT2i4P/4WkwGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAwGA1UdEwEB/wQC
MAAwCgYIKoZIzj0EAwIDRwAwRAIgZxrvY67kYaVyLAP22S9vBLluntnBblD7jQQ2
PDzoHY8CIEPrauPh5JqwcLoJKaezYPI0ktCf4CgkZFwrVbLUiThj
-----END CERTIFICATE-----
`

/** The server's private key; it protects nothing. */
export const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBpdgf6sbCmhgzu3i
nYFdmudcmH2wfOikdlnAm2Deb8ahRANCAAQXohzgSZz3NNAxZavadcj0Xm6ywC1V
TLjBjvgOXDG0GcMKwVVIDPsWrr/68cfv6ACFJQw5qxIRUWhhISpSdr48
-----END PRIVATE KEY-----
`
