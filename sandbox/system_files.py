"""What of the machine's own files every function may read: in a box nothing else is there, by rules nothing else opens.

They hold no keys, and nothing of other users.
"""

PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    *("alternatives", "ca-certificates", "crypto-policies", "fonts", "gai.conf", "group", "host.conf", "hostname"),
    *("hosts", "krb5.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "magic"),
    *("mime.types", "networks", "nsswitch.conf", "os-release", "passwd", "pki/ca-trust", "pki/tls/cert.pem"),
    *("pki/tls/certs", "pki/tls/openssl.cnf", "protocols", "resolv.conf", "rpc", "services", "ssl/cert.pem"),
    *("ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone"),
)
"""Names, the network, time zones and certificates: what the C library and common libraries read."""
DEVICES = ("null", "zero", "full", "random", "urandom")
PROCESSORS = "/sys/devices/system"
"""How many processors there are, and of which kind: numeric libraries ask."""
