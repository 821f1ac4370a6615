<?php header('X-Seen: ' . $_SERVER['REQUEST_METHOD']); header('Content-Length: 5'); echo 'hello';
