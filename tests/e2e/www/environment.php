<?php echo json_encode([getenv('MINE'), getenv('HTTP_PROXY'), $_SERVER['HTTP_PROXY'] ?? null, ini_get('precision'), PHP_SAPI, $_SERVER['argv'] ?? null]);
if (isset($_GET['set'])) { putenv('MINE=' . $_GET['set']); ini_set('precision', '5'); }
