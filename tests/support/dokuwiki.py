"""DokuWiki, from the distribution's package."""
import os

from packages import application

CONFIG = """<?php
$conf['title'] = 'Test wiki'; $conf['useacl'] = 0; $conf['updatecheck'] = 0; $conf['disableactions'] = '';
%s
"""


def unpack(root, more="", pages=None):
    """Puts it into the folder root, which must not exist. more: lines of PHP for its configuration; pages: name -> text."""
    tree = application("dokuwiki", root)
    if os.path.isdir(tree + "/etc/dokuwiki"):
        conf, data = tree + "/etc/dokuwiki", tree + "/var/lib/dokuwiki/data"
    else:  # the source package has both beside the scripts
        conf, data, more = root + "/conf", root + "/data", "$conf['savedir'] = './data'; " + more
    with open(conf + "/local.php", "w") as f:
        f.write(CONFIG % more)
    for name, text in (pages or {}).items():
        path = f"{data}/pages/{name}.txt"
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o666)
