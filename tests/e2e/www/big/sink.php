<?php $n = 0; $h = hash_init('crc32b'); $in = fopen('php://input', 'rb');
while (!feof($in)) { $p = fread($in, 1 << 20); $n += strlen($p); hash_update($h, $p); }
echo $n, ' ', hash_final($h), ' ', memory_get_peak_usage() < 16 << 20 ? 'flat' : 'fat ' . memory_get_peak_usage();
