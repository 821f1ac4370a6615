<?php for ($i = 0; $i < 60; $i++) header("X-Header-$i: value $i", false);
header('X-Twice: one'); header('X-Twice: two', false);
setcookie('a', '1'); setcookie('b', '2');
http_response_code(418);
echo count(headers_list());
