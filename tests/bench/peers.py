"""The programs that are compared: pools and web servers, started below one folder and ended by their processes."""
import os
import shutil
import subprocess

import process
import tokiophp
import webservers

OWN = tokiophp.PROGRAM
MODULES = webservers.APACHE_MODULES
# Equal for both: no message pipe, no access log.
POOL = "catch_workers_output = no\n"

NGINX_TLS = "listen 127.0.0.1:{tls} ssl http2; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; " \
            "keepalive_requests 1000000000; sendfile on; tcp_nopush on; open_file_cache max=1000;"
CADDY = """
{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2
    }}
}}
(site) {{
    root * {root}
    @php path *.php
    reverse_proxy @php unix/{address} {{
        transport fastcgi {{
            root {root}
            split .php
        }}
    }}
    file_server
}}
http://127.0.0.1:{port} {{
    import site
}}
https://localhost:{tls} {{
    bind 127.0.0.1
    tls {folder}/cert.pem {folder}/key.pem
    import site
}}
https://127.0.0.1:{tls} {{
    bind 127.0.0.1
    tls {folder}/cert.pem {folder}/key.pem
    import site
}}
"""
APACHE = """
ServerRoot {dir}
ServerName localhost
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{tls}
PidFile {dir}/apache.pid
ErrorLog {dir}/apache-error.log
Mutex file:{dir}
DefaultRuntimeDir {dir}
{user}
{modules}
TypesConfig /etc/mime.types
KeepAlive On
MaxKeepAliveRequests 0
DocumentRoot {root}
<Directory {root}>
    Require all granted
    AllowOverride None
</Directory>
<VirtualHost 127.0.0.1:{tls}>
    SSLEngine on
    SSLCertificateFile {folder}/cert.pem
    SSLCertificateKeyFile {folder}/key.pem
</VirtualHost>
"""


def load_modules(names):
    return "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in names.split())


class Front:
    """A web server and all programs behind it."""

    def __init__(self, name, programs, http, https=None, h2=True):
        self.name, self.programs, self.http, self.https, self.h2 = name, programs, http, https, h2

    def url(self, protocol, path):
        return (self.http if protocol == "h1" else self.https) + path

    def stop(self):
        for program in self.programs:
            program.kill_family()


class Bench:
    def __init__(self, folder, scripts, quick):
        self.folder, self.scripts, self.quick, self.serial = folder, scripts, quick, 0
        self.rounds = int(os.environ.get("ROUNDS", "1" if quick else "3"))
        self.seconds = float(os.environ.get("SECONDS", "1" if quick else "1.5"))
        self.workers = int(os.environ.get("WORKERS", "4"))
        self.root = folder + "/www"
        build = os.path.join(tokiophp.ROOT, "packaging/php-zts/build")
        prefix = subprocess.run([build, "--print-prefix", "--nts"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        self.fpm = os.path.join(prefix, "sbin/php-fpm")
        if not os.path.exists(self.fpm):
            subprocess.run([build, "--with-nts-fpm"], check=True)

    def place(self, name):
        self.serial += 1
        path = f"{self.folder}/{name}{self.serial}"
        os.makedirs(path + "/tmp")
        os.chmod(path + "/tmp", 0o777)
        return path

    def pool(self, name, program, workers=None, more=""):
        tokiophp.PROGRAM = program
        return tokiophp.Tokiophp(self.place(name), settings="log_level = warning",
                                 pool=f"pm.max_children = {workers or self.workers}\n{POOL}{more}")

    def http(self, workers=None, more=""):
        port, tls = process.free_port(), process.free_port()
        program = self.pool("http", OWN, workers, f"http.listen = 127.0.0.1:{port}\nhttp.tls_listen = 127.0.0.1:{tls}\n"
                            f"http.tls_cert = {self.folder}/cert.pem\nhttp.tls_key = {self.folder}/key.pem\n"
                            f"http.document_root = {self.root}\n{more}")
        program.wait_accepting(("127.0.0.1", tls))
        return Front("tokiophp", [program], f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls}")

    def nginx(self, name, pool, keepalive=0):
        """keepalive: so many connections to the pool are kept, 0 = one a request."""
        tls = process.free_port()
        before = webservers.NGINX
        extra = NGINX_TLS.format(tls=tls, folder=self.folder)
        webservers.NGINX = before.replace("default_server; server_name", f"default_server; {extra} server_name").replace(
            "worker_processes 1;", f"worker_processes {os.cpu_count()};" if not pool else "worker_processes 1;")
        place = self.place("nginx")
        try:
            server = webservers.nginx(place, self.root, pool.address if pool else place + "/none.sock", keepalive=keepalive)
        finally:
            webservers.NGINX = before
        return Front(name, [server, *([pool] if pool else [])], server.url, f"https://127.0.0.1:{tls}")

    def caddy(self, name, pool):
        place, port, tls = self.place("caddy"), process.free_port(), process.free_port()
        config = place + "/Caddyfile"
        with open(config, "w") as f:
            f.write(CADDY.format(root=self.root, address=pool.address, port=port, tls=tls, folder=self.folder))
        env = dict(os.environ, HOME=place, XDG_DATA_HOME=place, XDG_CONFIG_HOME=place)
        server = webservers.WebServer(["caddy", "run", "--config", config, "--adapter", "caddyfile"], place, "caddy.log", port, env)
        return Front(name, [server, pool], server.url, f"https://localhost:{tls}")

    def apache(self):
        """mod_php of the distribution (its own PHP version). mod_php needs prefork, so there is no HTTP/2."""
        module = next((f for f in sorted(os.listdir(MODULES)) if f.startswith("libphp")), None) if os.path.isdir(MODULES) else None
        if not shutil.which("apache2") or not module:
            return None
        place, port, tls = self.place("apache"), process.free_port(), process.free_port()
        modules = load_modules("mpm_prefork authz_core dir mime socache_shmcb ssl") + f"\nLoadModule php_module {MODULES}/{module}\n" \
            "<FilesMatch \\.php$>\nSetHandler application/x-httpd-php\n</FilesMatch>\n" \
            "StartServers 32\nMinSpareServers 1\nMaxSpareServers 32\nMaxRequestWorkers 40"
        config = place + "/apache.conf"
        with open(config, "w") as f:
            f.write(APACHE.format(dir=place, port=port, tls=tls, folder=self.folder, root=self.root, modules=modules,
                                  user="" if webservers.SANS_ROOT else "User nobody\nGroup nogroup"))
        server = webservers.WebServer(["apache2", "-f", config, "-DFOREGROUND"], place, "apache.log", port)
        return Front("Apache + mod_php " + module[6:-3], [server], server.url, f"https://127.0.0.1:{tls}", h2=False)
