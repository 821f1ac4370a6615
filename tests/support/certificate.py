"""Certificates of a test's own."""
import os
import subprocess


def make_cert(folder, name, san="localhost", issuer=None, days="3"):
    """name.pem and name.key, self-signed or signed by issuer."""
    path = f"{folder}/{name}"
    signed = ["-CA", f"{folder}/{issuer}.pem", "-CAkey", f"{folder}/{issuer}.key"] if issuer else []
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", path + ".key", "-out", path + ".pem", "-days", days, "-subj", f"/CN={name}", "-addext",
                    f"subjectAltName=DNS:{san}", *signed], check=True, capture_output=True)
    os.chmod(path + ".key", 0o600)  # as keys are: when root serves, the pool's user cannot read it
    return f"http.tls_cert = {path}.pem\nhttp.tls_key = {path}.key\n"
