<?php
/* Server-sent events: a number a second, for half a minute. The browser then comes back by itself and goes on
 * counting, because it tells the last number that it saw. */
declare(strict_types=1);

header('Content-Type: text/event-stream');
header('Cache-Control: no-store');

$last = filter_var($_SERVER['HTTP_LAST_EVENT_ID'] ?? '0', FILTER_VALIDATE_INT, ['options' => ['default' => 0, 'min_range' => 0]]);

for ($i = 1; $i <= 30; $i++) {
    $data = json_encode(['count' => $last + $i, 'time' => date('H:i:s')]);
    echo 'id: ', $last + $i, "\n", "data: $data\n\n";
    while (ob_get_level() > 0) {
        ob_end_flush();
    }
    flush();
    sleep(1);
}
