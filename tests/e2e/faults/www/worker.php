<?php
/* A worker script that does what ?do= says, as fault.php; ?code= is PHP. */
if (is_file(__DIR__ . '/broken.php')) {
    require __DIR__ . '/broken.php';
}
$boot = bin2hex(random_bytes(8));
$handler = static function () use ($boot): void {
    if (isset($_GET['do'])) {
        require __DIR__ . '/fault.php';
    } elseif (isset($_GET['code'])) {
        eval($_GET['code']);
    } elseif (isset($_GET['boot'])) {
        echo $boot;
    } else {
        echo 'hello';
    }
};
while (tokio_handle_request($handler)) {
}
