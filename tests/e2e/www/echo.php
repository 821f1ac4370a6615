<?php header('Content-Type: application/octet-stream');
header('X-Method: ' . $_SERVER['REQUEST_METHOD']);
echo file_get_contents('php://input');
