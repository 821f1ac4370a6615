<?php header('X-Accel-Buffering: no'); ignore_user_abort((bool)$_GET['ignore']);
while (ob_get_level()) ob_end_flush();
$file = __DIR__ . '/../tmp/' . basename($_GET['file']);
register_shutdown_function(function () use ($file) {
    file_put_contents("$file.end", $GLOBALS['reached'] . ' ' . connection_status() . ' ' . connection_aborted());
});
$reached = 'started';
file_put_contents("$file.begin", '1');
for ($i = 0; $i < 100; $i++) { echo str_repeat('x', 8192), "\n"; flush(); usleep(20000); if (connection_aborted()) $reached = 'aborted'; }
$reached = 'all';
