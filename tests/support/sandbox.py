"""A folder in which what a page says is tried: its paths (/srv, /etc, /run, /var, /home, ~) lie below the folder, with whatever
the page expects there, and programs that would change the machine have stand-ins."""
import os
import re
import subprocess

from process import PATIENCE, free_port
from runtime import ask_build
from tokiophp import GROUP, IS_ROOT, PROGRAM, ROOT, USER, Tokiophp

PLACE = re.compile(r"(?:(?<=unix/)|(?<![\w.\]/*~-]))(/(?:srv|etc|run|var|home)(?:/[\w.@$~-]+)*/?)")
PASSWORD = "ann:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n"
WHO = f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT else ""
POOL = "pm = static\npm.max_children = 4\n"
UNITS = "tokiophp tokiophp.socket nginx apache2 php8.4-fpm"

# What stands in for a program, as the rest of a script for sh.
STAND_INS = {
    # A server is only tested; what would not end does.
    "tokiophp": """
case ${1:-} in
    ctl) shift
        case " $* " in *" profile "*) (curl -s http://127.0.0.1:8080/slow.php >/dev/null 2>&1 &); sleep 0.2
            case " $* " in *" --seconds "*) ;; *) set -- "$@" --seconds 1 ;; esac ;;
        esac
        exec %(program)s ctl $(echo "$@" | sed 's/--seconds 10/--seconds 1/') ;;
    top) exec %(program)s top --once ;;
    doctor) code=0; %(program)s "$@" || code=$?; [ $code -le 1 ] ;;
    php|--print-settings*|--help|-m|-i|-v) exec %(program)s "$@" ;;
    *) exec %(program)s "$@" -t ;;
esac""",
    "sudo": '[ "$1" != -u ] || shift 2\nexec env "$@"',
    "chown": 'for last; do :; done; test -e "$last"',
    "systemctl": """
case $1 in enable|disable|start|stop|restart|reload|status|edit) ;; *) exit 64 ;; esac
shift; [ "$1" != --now ] || shift
for unit; do case " %(units)s " in *" $unit "*) ;; *) echo "no unit $unit" >&2; exit 5 ;; esac; done""",
    "journalctl": '[ "$1 $2" = "-u tokiophp" ]',
    "go": 'test -s "$3"',  # go tool pprof FILE
    # To the server of the sandbox, whatever the host is called.
    "curl": """
for word; do shift; set -- "$@" "$(echo "$word" | sed 's/seconds=10/seconds=1/')"; done
exec /usr/bin/curl -k --fail-with-body --connect-to :80:127.0.0.1:%(http)s --connect-to :8080:127.0.0.1:%(http)s \\
    --connect-to :443:127.0.0.1:%(tls)s --connect-to :8443:127.0.0.1:%(tls)s --connect-to :9090:127.0.0.1:%(inside)s "$@" """,
}


class Sandbox:
    def __init__(self, folder):
        self.dir, self.home, self.tree = folder, os.path.join(folder, "home", "me"), folder + "/tree"
        self.ports = {name: free_port() for name in ("http", "tls", "inside")}
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-subj",
                        "/CN=localhost", "-keyout", folder + "/own.key", "-out", folder + "/own.pem"], check=True, stderr=subprocess.DEVNULL)
        for place in (self.home, self.tree + "/build", folder + "/bin"):
            os.makedirs(place)
        os.chmod(folder, 0o755)

    def put(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)

    def text(self, text, own=True):
        """The text with its places in the folder. own: they are made, with what a configuration expects of them."""
        for place in sorted(set(PLACE.findall(text))):
            if own:
                self.make(place)
        text = PLACE.sub(lambda m: self.dir + m[1], text)
        return re.sub(r"^(user|group|listen\.owner|listen\.group) = .*",
                      lambda m: f"{m[1]} = {GROUP if 'group' in m[1] else USER}", text, flags=re.M)

    def make(self, place):
        path, name = self.dir + place.rstrip("/"), os.path.basename(place.rstrip("/"))
        if "$" in name or name.endswith((".sock", ".log")):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        elif os.path.lexists(path) or name == "next":  # what a command makes itself
            pass
        elif name.endswith((".pem", ".crt", ".key")):
            with open(f"{self.dir}/own.{'key' if 'key' in name else 'pem'}") as f:
                self.put(path, f.read())
        elif name.endswith(".passwords"):
            self.put(path, PASSWORD)
        elif name.endswith(".php") or name in ("artisan", "console", "occ"):
            self.put(path, "<?php\n")
        elif name == "tokiophp.ini":
            self.put(path, self.config())
        elif name == "php-fpm.conf":
            self.put(path, f"[global]\nerror_log = {self.dir}/fpm.log\n[www]\n{WHO}listen = {self.dir}/fpm.sock\n{POOL}")
        elif "." not in name or place.endswith("/"):
            self.put(path + "/index.php", "<?php\n")
            self.put(path + "/public/index.php", "<?php\n")
            os.makedirs(path + "/storage", exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)

    def config(self, token="a-long-random-text"):
        root = f"{self.dir}/srv/www"
        self.put(root + "/index.php", "<?php echo 'hello';")
        self.put(root + "/slow.php", "<?php $end = microtime(true) + 1; while (microtime(true) < $end) { md5('x'); }")
        self.put(root + "/style.css", "body { color: black; }\n" * 40)
        os.makedirs(f"{self.dir}/run/tokiophp", exist_ok=True)
        return f"[global]\nerror_log = {self.dir}/error.log\ndaemonize = no\n[www]\n{WHO}{POOL}listen = {self.dir}/run/tokiophp/www.sock\n" \
            f"http.listen = 127.0.0.1:{self.ports['http']}, tls:127.0.0.1:{self.ports['tls']}\n" \
            f"http.tls_cert = {self.dir}/own.pem\nhttp.tls_key = {self.dir}/own.key\nhttp.document_root = {root}\n" \
            f"http.internal_listen = 127.0.0.1:{self.ports['inside']}\nhttp.internal_token = {token}\n"

    # -- configurations --

    def whole(self, text):
        """A configuration of lines that a page shows: a pool of its own, a user, an address, where they do not say."""
        text = text if re.search(r"^\[", text, re.M) else "[www]\n" + text
        text += "" if re.search(r"^\[(?!global)", text, re.M) else "[www]\n"
        over_http, parts = re.search(r"^http\.(tls_)?listen\s*=", text, re.M), re.split(r"^(?=\[)", text, flags=re.M)
        for i, part in enumerate(parts):
            if not part.startswith("[") or part.startswith("[global]"):
                continue
            lines = "" if re.search(r"^user\s*=", part, re.M) else WHO
            if "http." in part and not over_http:
                over_http = True
                lines += f"http.listen = 127.0.0.1:{self.ports['http']}\n"
                lines += "" if "http.document_root" in part else f"http.document_root = {self.dir}/srv/www\n"
                os.makedirs(f"{self.dir}/srv/www", exist_ok=True)
            elif not re.search(r"^(http\.)?listen\s*=|^http\.", part, re.M):
                lines += f"listen = {self.dir}/{i}.sock\n"
            parts[i] = part.rstrip("\n") + "\n" + lines + ("" if re.search(r"^pm\s*=", part, re.M) else POOL)
        return "".join(parts)

    def file(self, name, text):
        path = f"{self.dir}/{name}"
        self.put(path, text)
        return path

    def run(self, *command, **more):
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=2 * PATIENCE, cwd=more.pop("cwd", self.dir), check=False, **more)

    # -- commands --

    def environment(self):
        prefix = ask_build("--print-prefix")
        kept = {name: value for name, value in os.environ.items() if name.startswith(("LC_", "LANG", "ASAN", "UBSAN", "LSAN"))}
        return dict(kept, PATH=f"{self.dir}/bin:{os.environ['PATH']}", HOME=self.home, RUNTIME_DIRECTORY=f"{self.dir}/run/tokiophp",
                    TOKIOPHP_RUNTIME_ROOT=os.path.dirname(prefix))

    def prepare(self):
        """Stand-ins, and a tree to be in."""
        for name, script in STAND_INS.items():
            self.put(f"{self.dir}/bin/{name}", "#!/bin/sh\nset -e\n" + script.strip() % dict(self.ports, program=PROGRAM, units=UNITS) + "\n", 0o755)
        os.symlink(f"{self.dir}/bin/tokiophp", self.tree + "/build/tokiophp")
        os.symlink(f"{ROOT}/packaging", self.tree + "/packaging")

    def serve(self, token):
        """A server as the pages have it, with its control socket where the commands look for one."""
        return Tokiophp(self.dir, config=self.config(token), address=("127.0.0.1", self.ports["http"]),
                        env=dict(os.environ, RUNTIME_DIRECTORY=f"{self.dir}/run/tokiophp"))

    def shell(self, text):
        for name in re.findall(r"(?<![\w/])~/(\w+)", text):
            for made in ("public/index.php", "index.php", "artisan"):
                self.put(f"{self.home}/{name}/{made}", "<?php\n")
        for made in ("artisan", "bin/console", "composer"):
            self.put(f"{self.tree}/{made}", "<?php\n")
        for log in re.findall(r"/var/log/[\w/]+\.log", text):
            self.put(self.dir + log, "WARNING: PHP Warning: something\nALERT: crash: SIGSEGV\n")
        if "/srv/shop/current" in text:
            for release in ("41", "42"):
                os.makedirs(f"{self.dir}/srv/shop/releases/{release}/public")
            os.symlink("releases/41", f"{self.dir}/srv/shop/current")
        text = text.replace("/usr/bin/composer", "./composer")
        if "mkdir hello" not in text:
            self.put(self.tree + "/hello/index.php", "<?php\n")
        return self.run("bash", "-euo", "pipefail", "-c", self.text(text), cwd=self.tree, env=self.environment())
