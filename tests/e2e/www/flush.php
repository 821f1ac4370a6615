<?php header('X-Accel-Buffering: no'); header('Content-Type: text/plain');
while (ob_get_level()) ob_end_flush();
$go = __DIR__ . '/../tmp/' . basename($_GET['file']);
echo "first\n", str_repeat(' ', 1024), "\n"; flush();
for ($i = 0; $i < 200 && !file_exists($go); $i++) usleep(50000);
echo file_exists($go) ? "second\n" : "timeout\n";
