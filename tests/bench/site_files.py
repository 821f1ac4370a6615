"""What is served: scripts, static files, DokuWiki if it was fetched, a certificate."""
import os
import subprocess

import packages

SCRIPTS = {
    "hello": "<?php echo 'Hello, world';",
    "json": "<?php header('Content-Type: application/json'); $rows = []; for ($i = 0; $i < 100; $i++) "
            "$rows[] = ['id' => $i, 'name' => \"row $i\", 'hash' => md5((string)$i)]; echo json_encode($rows);",
    "page": "<?php echo str_repeat('<p>A paragraph of some sixty characters, with a number: 12345</p>', 160);",
}
STATIC = {"1 KiB": 1 << 10, "100 KiB": 100 << 10, "10 MiB": 10 << 20}
WIKI = "<?php $conf['title'] = 'Wiki'; $conf['savedir'] = './data'; $conf['useacl'] = 0; $conf['updatecheck'] = 0; " \
       "$conf['dontlog'] = 'error,debug,deprecated';\n"  # its log has a lock, for which requests would wait
# The XML-RPC library that Debian takes out: nothing here calls it, its classes must only exist.
IXR = ("Client/Client", "Client/ClientMulticall", "DataType/Base64", "DataType/Date", "DataType/Value",
       "Exception/ServerException", "Message/Error", "Message/Message", "Request/Request", "Server/Server",
       "Server/IntrospectionServer")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb" if isinstance(text, bytes) else "w") as f:
        f.write(text)


def static_name(size):
    return size.replace(" ", "").lower() + ".bin"


def wiki(root):
    """DokuWiki, if its source is on this machine already: a benchmark fetches nothing."""
    build = os.path.join(packages.ROOT, "packaging/php-zts/build")
    source = subprocess.run([build, "--print-source"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    if not os.path.exists(os.path.join(os.path.dirname(source), "dokuwiki/.fetched")):
        return False
    packages.application("dokuwiki", "", root)
    for name in IXR:
        space, short = name.split("/")
        parent = " extends \\Exception" if short.endswith("Exception") else ""
        write(f"{root}/ixr/{name}.php", f"<?php\nnamespace IXR\\{space};\nclass {short}{parent} "
              "{ public function __construct(...$ignored) {} }\n")
    for name in ("autoload_psr4.php", "autoload_static.php"):
        path = f"{root}/vendor/composer/{name}"
        write(path, open(path).read().replace("'/usr/share/php/IXR'", f"'{root}/ixr'"))
    write(root + "/conf/local.php", WIKI)
    write(root + "/data/pages/start.txt", "====== Start ======\n" + "A paragraph with **bold** words and a [[link]].\n\n" * 20)
    subprocess.run(["chmod", "-R", "a+rwX", root], check=True)
    return True


def make(folder, with_wiki):
    """name -> address below the root"""
    www = folder + "/www"
    for name, text in SCRIPTS.items():
        write(f"{www}/{name}.php", text)
    for size, n in STATIC.items():
        write(f"{www}/{static_name(size)}", os.urandom(1024) * (n >> 10))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", folder + "/key.pem", "-out", folder + "/cert.pem", "-days", "2", "-subj", "/CN=localhost"],
                   check=True, stderr=subprocess.DEVNULL)
    os.chmod(folder + "/key.pem", 0o644)
    addresses = {name: f"/{name}.php" for name in SCRIPTS}
    if with_wiki and wiki(www + "/wiki"):
        addresses["dokuwiki"] = "/wiki/doku.php?id=start"
    return addresses
