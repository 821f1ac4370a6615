"""nginx, Caddy and Apache in front of a FastCGI address: real servers, configured as a site would, everything below
one folder and on a free port of 127.0.0.1."""
import os
import shutil

from process import Program, free_port
from tokiophp import is_stand_in

SANS_ROOT = os.geteuid() != 0


def _write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as f:
        f.write(text)
    return path


class WebServer(Program):
    def __init__(self, command, directory, log, port, env=None):
        super().__init__(command, directory, log, env=env)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        try:
            self.wait_accepting(("127.0.0.1", port))
        except BaseException:
            self.kill_family()
            raise


NGINX = """
{user}
daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx-error.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off; default_type application/octet-stream; types {{ text/html html; text/css css; image/png png; }}
    client_body_temp_path {dir}/nginx-body; fastcgi_temp_path {dir}/nginx-fastcgi; proxy_temp_path {dir}/nginx-proxy;
    uwsgi_temp_path {dir}/nginx-uwsgi; scgi_temp_path {dir}/nginx-scgi;
    client_max_body_size 0; large_client_header_buffers 16 128k;
    fastcgi_buffer_size 128k; fastcgi_buffers 16 64k; fastcgi_busy_buffers_size 256k; fastcgi_read_timeout 60s;
    upstream php {{ server {address}; {keepalive} }}
    server {{
        listen 127.0.0.1:{port} default_server; server_name localhost; root {root}; index index.php index.html;
        {locations}
        location ^~ /big/ {{
            fastcgi_request_buffering off; fastcgi_max_temp_file_size 0; {pass}
        }}
        location ~ \\.php(/|$) {{ {pass} }}
    }}
}}
"""
NGINX_PASS = """
    fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_param PATH_INFO $fastcgi_path_info;
    fastcgi_param SCRIPT_NAME $fastcgi_script_name; fastcgi_param QUERY_STRING $query_string;
    fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_TYPE $content_type;
    fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param REQUEST_URI $request_uri;
    fastcgi_param DOCUMENT_URI $document_uri; fastcgi_param DOCUMENT_ROOT $document_root;
    fastcgi_param SERVER_PROTOCOL $server_protocol; fastcgi_param REQUEST_SCHEME $scheme;
    fastcgi_param GATEWAY_INTERFACE CGI/1.1; fastcgi_param SERVER_SOFTWARE nginx;
    fastcgi_param REMOTE_ADDR $remote_addr; fastcgi_param REMOTE_PORT $remote_port;
    fastcgi_param SERVER_ADDR $server_addr; fastcgi_param SERVER_PORT $server_port;
    fastcgi_param SERVER_NAME $server_name; fastcgi_param REDIRECT_STATUS 200;
    {keep_conn} fastcgi_pass php;
"""


# A php-fpm's children each wait on one kept-alive connection: as many idle ones as children, and it serves nobody.
KEEPALIVE = not is_stand_in()


def nginx(directory, root, address, keepalive=KEEPALIVE, locations=""):
    port = free_port()
    text = NGINX.format(
        user="" if SANS_ROOT else "user root;", dir=directory, port=port, root=root, locations=locations,
        address=f"unix:{address}" if isinstance(address, str) else "%s:%d" % address,
        keepalive=f"keepalive {16 if keepalive is True else keepalive};" if keepalive else "",
        **{"pass": NGINX_PASS.format(keep_conn="fastcgi_keep_conn on;" if keepalive else "")})
    conf = _write(directory, "nginx.conf", text)
    return WebServer(["nginx", "-p", directory, "-e", os.path.join(directory, "nginx-error.log"), "-c", conf], directory,
                     "nginx.log", port)


CADDY = """
{{
    admin off
    auto_https off
    grace_period 1s
}}
http://:{port} {{
    bind 127.0.0.1
    root * {root}
    @php path *.php *.php/*
    reverse_proxy @php {address} {{
        flush_interval -1
        transport fastcgi {{
            root {root}
            split .php
        }}
    }}
    file_server
}}
"""


def caddy(directory, root, address):
    port = free_port()
    conf = _write(directory, "Caddyfile", CADDY.format(
        port=port, root=root, address=f"unix/{address}" if isinstance(address, str) else "%s:%d" % address))
    env = dict(os.environ, HOME=directory, XDG_DATA_HOME=directory, XDG_CONFIG_HOME=directory)
    return WebServer(["caddy", "run", "--config", conf, "--adapter", "caddyfile"], directory, "caddy.log", port, env)


APACHE = """
ServerRoot {dir}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {dir}/apache.pid
ErrorLog {dir}/apache-error.log
Mutex file:{dir}
DefaultRuntimeDir {dir}
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_fcgi_module {modules}/mod_proxy_fcgi.so
StartServers 1
ServerLimit 2
ThreadsPerChild 25
MaxRequestWorkers 50
LimitRequestFieldSize 131072
LimitRequestLine 131072
LimitRequestFields 200
GracefulShutdownTimeout 1
TypesConfig /etc/mime.types
DocumentRoot {root}
DirectoryIndex index.php index.html
ProxyTimeout 60
<Proxy "{worker}">
    ProxySet flushpackets=on timeout=60 {reuse}
</Proxy>
<Directory {root}>
    Require all granted
    AllowOverride None
    CGIPassAuth On
</Directory>
<LocationMatch "\\.php(/|$)">
    SetHandler "proxy:{handler}"
</LocationMatch>
"""
APACHE_MODULES = "/usr/lib/apache2/modules"


def apache(directory, root, address):
    port = free_port()
    if isinstance(address, str):
        handler, worker = f"unix:{address}|fcgi://localhost", "fcgi://localhost"
    else:
        handler = worker = "fcgi://%s:%d" % address
    conf = _write(directory, "apache.conf", APACHE.format(
        dir=directory, port=port, root=root, modules=APACHE_MODULES, handler=handler, worker=worker, reuse="enablereuse=on" if KEEPALIVE else "",
        user="" if SANS_ROOT else "User nobody\nGroup nogroup"))
    return WebServer(["apache2", "-f", conf, "-DFOREGROUND"], directory, "apache.log", port)


KINDS = {"nginx": nginx, "caddy": caddy, "apache": apache}


def missing(kind):
    """Why this server cannot be started here, or None."""
    program = {"apache": "apache2"}.get(kind, kind)
    return None if shutil.which(program) or os.path.exists(f"/usr/sbin/{program}") else f"{program} is not installed"
