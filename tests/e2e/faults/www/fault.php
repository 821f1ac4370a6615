<?php
// ?do=NAME&with=JSON: calls fault_NAME(...with). A crash must not need a file of its own for each kind.
$arguments = isset($_GET['with']) ? json_decode($_GET['with'], true) : [];
$result = ('fault_' . $_GET['do'])(...(array)$arguments);
header('Content-Type: text/plain');
echo $_GET['do'], " returned ", json_encode($result), "\n";
