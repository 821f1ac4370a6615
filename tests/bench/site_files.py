"""What is served besides applications: scripts, static files, a certificate."""
import os
import subprocess

SCRIPTS = {
    "hello": "<?php echo 'Hello, world';",
    "json": "<?php header('Content-Type: application/json'); $rows = []; for ($i = 0; $i < 50; $i++) "
            "$rows[] = ['id' => $i, 'name' => \"row $i\", 'hash' => md5((string)$i)]; echo json_encode($rows);",
    "page": "<?php echo str_repeat('<p>A paragraph of some sixty characters, with a number: 12345</p>', 160);",
}
STATIC = {"1 KiB": 1 << 10, "100 KiB": 100 << 10, "10 MiB": 10 << 20}


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb" if isinstance(text, bytes) else "w") as f:
        f.write(text)


def static_name(size):
    return size.replace(" ", "").lower() + ".bin"


def make(folder):
    """Script -> its address."""
    www = folder + "/www"
    for name, text in SCRIPTS.items():
        write(f"{www}/{name}.php", text)
    for size, n in STATIC.items():
        write(f"{www}/{static_name(size)}", os.urandom(1024) * (n >> 10))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", folder + "/key.pem", "-out", folder + "/cert.pem", "-days", "2", "-subj", "/CN=localhost"],
                   check=True, stderr=subprocess.DEVNULL)
    os.chmod(folder + "/key.pem", 0o644)
    return {name: f"/{name}.php" for name in SCRIPTS}
