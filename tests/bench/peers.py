"""The programs that are compared: pools and web servers, started below one folder and ended by their processes."""
import os
import re
import shutil
import subprocess

import configs
import process
import tokiophp
import webservers

OWN = tokiophp.PROGRAM
# Equal for both: no message pipe, no access log.
POOL = "catch_workers_output = no\n"
# Tables of OPcache that are larger here than PHP's own defaults: php-fpm gets them, too. With all applications in one pool its
# table of strings would be full before the last one is loaded.
OPCACHE = ("memory_consumption", "interned_strings_buffer", "max_accelerated_files")


def has_http():
    """Whether the program was built with it."""
    return "http.listen" in subprocess.run([OWN, "--print-settings"], check=True, stdout=subprocess.PIPE, text=True).stdout


def php_options():
    """What php-fpm is told on its command line so that OPcache has as much room as ours has by default."""
    said = subprocess.run([OWN, "-i"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    found = dict(re.findall(r"^opcache\.(\w+) => (\S+) =>", said, re.M))
    return [word for name in OPCACHE if name in found for word in ("-d", f"opcache.{name}={found[name]}")]


class Front:
    """A web server and all programs behind it; the last one is the pool."""

    def __init__(self, name, programs, http, https=None, h2=True):
        self.name, self.programs, self.http, self.https, self.h2 = name, programs, http, https, h2

    def url(self, protocol, path):
        return (self.http if protocol == "h1" else self.https) + path

    def stop(self):
        for program in self.programs:
            program.kill_family()


class Bench:
    def __init__(self, folder, quick, rounds, seconds, workers):
        self.folder, self.quick, self.serial = folder, quick, 0
        self.rounds, self.seconds, self.workers = rounds, seconds, workers
        self.record = None  # what is measured goes there
        self.scripts = {}  # name -> address; whoever has made the files says it
        self.more = ""     # lines for every pool: what the applications need
        self.root = folder + "/www"
        build = os.path.join(tokiophp.ROOT, "packaging/php-zts/build")
        prefix = subprocess.run([build, "--print-prefix", "--nts"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        self.fpm = os.path.join(prefix, "sbin/php-fpm")
        if not os.path.exists(self.fpm):
            subprocess.run([build, "--with-nts-fpm"], check=True)
        self.fpm_options = php_options()

    def options(self, program):
        return self.fpm_options if program == self.fpm else []

    def without(self, name, why):
        """What this topic cannot measure is said, and kept with its results."""
        print(f"  without {name}: {why}", flush=True)
        self.record.without(name, why)

    def place(self, name):
        self.serial += 1
        path = f"{self.folder}/{name}{self.serial}"
        os.makedirs(path + "/tmp")
        os.chmod(path + "/tmp", 0o777)
        return path

    def pool(self, name, program, workers=None, more="", wait=True):
        tokiophp.PROGRAM = program
        control = "control_socket = {dir}/ctl.sock\n" if program == OWN else ""
        pool = tokiophp.Tokiophp(self.place("pool"), settings=f"log_level = warning\n{control}", wait=wait, args=self.options(program),
                                 pool=f"pm.max_children = {workers or self.workers}\n{POOL}{self.more}{more}")
        self.record.configuration(name, pool.config_path, self.options(program))
        return pool

    def http(self, workers=None, more=""):
        port, tls = process.free_port(), process.free_port()
        program = self.pool("tokiophp, HTTP", OWN, workers, f"http.listen = 127.0.0.1:{port}\nhttp.tls_listen = 127.0.0.1:{tls}\n"
                            f"http.tls_cert = {self.folder}/cert.pem\nhttp.tls_key = {self.folder}/key.pem\n"
                            f"http.document_root = {self.root}\n{more}")
        program.wait_accepting(("127.0.0.1", tls))
        return Front("tokiophp", [program], f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls}")

    def web_server(self, name, command, text, pool, h2=True):
        """text: a function of its folder and its two ports; command: one of the configuration's path."""
        place, port, tls = self.place("server"), process.free_port(), process.free_port()
        config = place + "/server.conf"
        with open(config, "w") as f:
            f.write(text(place, (port, tls)))
        self.record.configuration(name, config)
        env = dict(os.environ, HOME=place, XDG_DATA_HOME=place, XDG_CONFIG_HOME=place)
        server = webservers.WebServer(command(place, config), place, "server.log", port, env)
        return Front(name, [server, *([pool] if pool else [])], server.url, f"https://127.0.0.1:{tls}", h2)

    def nginx(self, name, pool, keepalive=0, processes="auto", tuned=True):
        """keepalive: so many connections to the pool are kept, 0 = one a request."""
        return self.web_server(
            name, lambda place, config: ["nginx", "-p", place, "-e", place + "/nginx-error.log", "-c", config],
            lambda place, ports: configs.nginx(place, self.folder, self.root, pool.address if pool else place + "/none.sock", ports,
                                               keepalive, processes, tuned), pool)

    def beside(self, name, program, workers, keepalive, more=""):
        """A pool behind the nginx that is the same for all pools. An idle kept connection holds a php-fpm child, so each
        must have one: with one process of nginx there are never more of them than clients."""
        front = self.nginx("nginx, FastCGI " + ("kept" if keepalive else "closed"), self.pool(name, program, workers, more), keepalive, 1)
        front.name = name
        return front

    def caddy(self):
        """Caddy, or None."""
        name = "Caddy + php-fpm"
        if not shutil.which("caddy"):
            return self.without(name, "caddy is not installed")
        pool = self.pool("php-fpm", self.fpm)
        front = self.web_server(
            name, lambda place, config: ["caddy", "run", "--config", config, "--adapter", "caddyfile"],
            lambda place, ports: configs.CADDY.format(root=self.root, address=pool.address, port=ports[0], tls=ports[1], folder=self.folder), pool)
        front.https = front.https.replace("127.0.0.1", "localhost")
        return front

    def apache(self, name, modules, more, pool=None, h2=True):
        user = "" if webservers.SANS_ROOT else "User nobody\nGroup nogroup"
        return self.web_server(
            name, lambda place, config: ["apache2", "-f", config, "-DFOREGROUND"],
            lambda place, ports: configs.APACHE.format(dir=place, port=ports[0], tls=ports[1], folder=self.folder, root=self.root, user=user,
                                                       modules=configs.apache_modules(modules) + "\n" + more), pool, h2)

    def mod_php(self):
        """Apache with the distribution's own PHP in it, or None. mod_php needs prefork, so there is no HTTP/2."""
        module = configs.php_module()
        if not shutil.which("apache2") or not module:
            return self.without("Apache + mod_php", f"{'libapache2-mod-php' if shutil.which('apache2') else 'apache2'} is not installed")
        return self.apache("Apache + mod_php " + module[6:-3], "mpm_prefork authz_core dir mime socache_shmcb ssl",
                           f"LoadModule php_module {webservers.APACHE_MODULES}/{module}\n{configs.APACHE_PREFORK}", h2=False)

    def apache_event(self):
        """Apache's threads, each with a kept connection to php-fpm, or None."""
        name = "Apache event + php-fpm"
        if not shutil.which("apache2"):
            return self.without(name, "apache2 is not installed")
        pool = self.pool("php-fpm, 64 children", self.fpm, 64)
        return self.apache(name, "mpm_event authz_core dir mime proxy proxy_fcgi socache_shmcb ssl http2",
                           configs.APACHE_EVENT.format(address=pool.address), pool)

    def php_fpm_peers(self, more=""):
        """nginx + php-fpm in both ways that its manuals know: few children and a connection a request, or kept
        connections and a child for each that all processes of nginx may keep."""
        clients = 32
        children = clients * (os.cpu_count() or 1)
        return [self.nginx("nginx + php-fpm, closed", self.pool("php-fpm", self.fpm, more=more)),
                self.nginx("nginx + php-fpm, kept", self.pool(f"php-fpm, {children} children", self.fpm, children, more), clients)]
