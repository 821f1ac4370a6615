<?php header('Content-Type: application/octet-stream');
$all = ''; for ($i = 0; $i < 256; $i++) $all .= chr($i);
for ($i = 0; $i < (int)$_GET['n']; $i++) echo $all, "\r\n\0";
