<?php
/* A worker script that does what its request says: ?code=, and what the test put into boot.php. */
final class Lives
{
    public static int $requests = 0;
    public static array $kept = [];
}
$boot = bin2hex(random_bytes(8));
if (is_file(__DIR__ . '/boot.php')) {
    require __DIR__ . '/boot.php';
}
$handler = static function () use ($boot): void {
    Lives::$requests++;
    $answer = eval($_POST['code'] ?? $_GET['code'] ?? 'return "hello";');
    if ($answer !== null) {
        echo json_encode(['boot' => $boot, 'request' => Lives::$requests, 'answer' => $answer]);
    }
};
while (frankenphp_handle_request($handler)) {
    if (is_file(__DIR__ . '/between.php')) {
        require __DIR__ . '/between.php';
    }
}
if (is_file(__DIR__ . '/after.php')) {
    require __DIR__ . '/after.php';
}
