<?php header('Content-Type: application/octet-stream'); $n = (int)$_GET['n']; header("Content-Length: $n"); set_time_limit(0);
$p = str_repeat("\0", 1 << 18);
for (; $n > 0; $n -= strlen($p)) echo $n >= strlen($p) ? $p : substr($p, 0, $n);
