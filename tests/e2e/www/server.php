<?php header('Content-Type: application/json');
echo json_encode(['server' => $_SERVER, 'get' => $_GET, 'post' => $_POST, 'cookie' => $_COOKIE, 'input' => bin2hex(file_get_contents('php://input'))],
    JSON_INVALID_UTF8_SUBSTITUTE);
