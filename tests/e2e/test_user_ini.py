"""Where .user.ini is looked for, beside php-fpm, and that files which are read at once do not mix."""
import os
import threading

import pytest

import tokiophp as server_module
from both import PHP_FPM
from fcgi_client import Connection
from files import write
from side_by_side import SideBySide

pytestmark = pytest.mark.skipif(not PHP_FPM or server_module.is_stand_in(), reason="no php-fpm to compare with")
ROOTS = ["{d}", "{d}/", "{d}/in", "{d}/in/", "{d}/in/deep", "{d}/i", "{d}/in/deep/er", "/", "", "/nowhere", "/{d}", "{d}/../{n}", "{n}", "."]


@pytest.mark.parametrize("below", ["", "in/", "in/deep/"])
def test_where_it_is_looked_for(workdir, below):
    """Each root with folders of its own: what a worker has read of one counts for a while."""
    look = "<?php echo json_encode([ini_get('precision'), ini_get('serialize_precision'), ini_get('default_charset')]);"
    with SideBySide(workdir) as pair:
        for i, root in enumerate(ROOTS):
            folder = f"{workdir}/www/f{i}"
            write(f"{folder}/.user.ini", "precision = 4\n")
            write(f"{folder}/in/.user.ini", "serialize_precision = 6\n")
            write(f"{folder}/in/deep/.user.ini", "default_charset = x\n")
            script = write(f"{folder}/{below}look.php", look)
            theirs, ours = pair.ask(script, DOCUMENT_ROOT=root.format(d=folder, n=os.path.basename(folder)))
            assert ours == theirs and theirs[0] == 200, root


def test_files_that_are_read_at_once(workdir):
    """PHP keeps the section that it is in for the process; the file that begins one makes its own requests fail, as there."""
    folders = [f"{workdir}/www/f{i}" for i in range(300)]
    for folder in folders:
        write(f"{folder}/.user.ini", "serialize_precision = 5\n" * 200 + "precision = 4\n")
        write(f"{folder}/look.php", "<?php echo ini_get('precision'), ini_get('serialize_precision');")
    mixed = [write(f"{workdir}/www/m{i}/look.php", "<?php echo 'not reached';") for i in range(40)]
    for script in mixed:
        write(os.path.dirname(script) + "/.user.ini", "[HOST=x]\nprecision = 7\n" * 10000)
    with SideBySide(workdir, ours="pm.max_children = 4", php_ini="html_errors = 0\ndisplay_errors = 1\n") as pair:
        theirs, ours = pair.ask(mixed[0])
        assert "Allowed memory size" in theirs[1] and "Allowed memory size" in ours[1]

        def disturb():
            for script in mixed[1:]:
                pair.one(pair.ours, script, {})
        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        with Connection(pair.ours.address, 60) as c:
            said = {c.request(script=folder + "/look.php", keep=True).body for folder in folders}
        disturbing.join()
        assert said == {b"45"}
