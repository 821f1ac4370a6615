<?php $file = __DIR__ . '/../tmp/' . basename($_GET['file']);
echo 'early ', headers_sent() ? 'sent' : 'unsent';
var_dump(fastcgi_finish_request());
echo 'never seen';
for ($i = 0; $i < 1000 && !file_exists("$file.go"); $i++) usleep(50000);
file_put_contents($file, 'script ended');
