"""What the web servers are told: nginx as Debian ships it and as its manual says to tune it, Caddy, Apache."""
import os

import webservers

# What both have: the same parameters and buffers, so that they differ in what a manual calls tuning and in nothing else.
NGINX = """
{user}
daemon off; worker_processes {processes}; pid {dir}/nginx.pid; error_log {dir}/nginx-error.log warn; {main}
events {{ worker_connections 4096; {events} }}
http {{
    access_log off; default_type application/octet-stream; types {{ text/html html; }}
    client_body_temp_path {dir}/nginx-body; fastcgi_temp_path {dir}/nginx-fastcgi; proxy_temp_path {dir}/nginx-proxy;
    uwsgi_temp_path {dir}/nginx-uwsgi; scgi_temp_path {dir}/nginx-scgi;
    sendfile on; tcp_nopush on; {http}
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    upstream php {{ server unix:{address}; {keepalive} }}
    server {{
        listen 127.0.0.1:{port} {listen}; listen 127.0.0.1:{tls} ssl http2 {listen};
        server_name localhost; root {root}; index index.php index.html;
        location ~ \\.php(/|$) {{ {php} }}
    }}
}}
"""
# Debian's own nginx.conf has no more than sendfile and tcp_nopush; keepalive_requests only spares the load generators.
UNTUNED = {"main": "", "events": "", "http": "keepalive_requests 1000000000;", "listen": ""}
TUNED = {
    "main": "worker_rlimit_nofile 65536; pcre_jit on;",
    "events": "accept_mutex off;",
    "http": "tcp_nodelay on; server_tokens off; keepalive_requests 1000000000; keepalive_timeout 75s; reset_timedout_connection on; "
            "open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s; open_file_cache_min_uses 1; open_file_cache_errors on; "
            "output_buffers 2 512k; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:SSL:10m; ssl_session_timeout 1d; "
            "ssl_session_tickets on; ssl_buffer_size 16k; ssl_conf_command Options KTLS; http2_max_concurrent_streams 256; "
            "http2_chunk_size 16k; fastcgi_buffers 16 16k; fastcgi_buffer_size 16k;",
    "listen": "backlog=4096 reuseport",
}
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
    @php path *.php *.php/*
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
EnableSendfile On
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
APACHE_PREFORK = "StartServers 32\nMinSpareServers 1\nMaxSpareServers 32\nMaxRequestWorkers 40\n<FilesMatch \\.php$>\n" \
    "SetHandler application/x-httpd-php\n</FilesMatch>"
# With event each thread keeps a connection of its own to php-fpm: there must be as many children.
APACHE_EVENT = """Protocols h2 http/1.1
StartServers 2
ServerLimit 2
ThreadsPerChild 32
MaxRequestWorkers 64
<Proxy "fcgi://localhost">
    ProxySet enablereuse=on max=32
</Proxy>
<FilesMatch \\.php$>
    SetHandler "proxy:unix:{address}|fcgi://localhost"
</FilesMatch>"""


def nginx(directory, folder, root, address, ports, keepalive=0, processes="auto", tuned=True):
    """ports: plain and TLS. keepalive: so many connections to PHP stay open in each process, 0 = one a request."""
    return NGINX.format(
        user="" if webservers.SANS_ROOT else "user root;", dir=directory, folder=folder, root=root, address=address, port=ports[0],
        tls=ports[1], processes=processes, keepalive=f"keepalive {keepalive}; keepalive_requests 1000000000;" if keepalive else "",
        php=webservers.NGINX_PASS.format(keep_conn="fastcgi_keep_conn on;" if keepalive else ""), **(dict(UNTUNED, **TUNED) if tuned else UNTUNED))


def apache_modules(names):
    return "\n".join(f"LoadModule {name}_module {webservers.APACHE_MODULES}/mod_{name}.so" for name in names.split())


def php_module():
    """The name of Apache's own PHP, or None."""
    folder = webservers.APACHE_MODULES
    return next((f for f in sorted(os.listdir(folder)) if f.startswith("libphp")), None) if os.path.isdir(folder) else None
