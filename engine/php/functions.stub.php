<?php

/** The functions of the server, for PHP's reflection and for editors. functions_arginfo.h says the same in C. */

/** The response is complete for the client; the script goes on, its later output is dropped. */
function fastcgi_finish_request(): bool {}

/** The same as fastcgi_finish_request(). */
function tokio_finish_request(): bool {}

/** Headers of the request, newest first. */
function apache_request_headers(): array {}

/** @alias apache_request_headers */
function getallheaders(): array {}

/** Headers of the response as they are set so far. */
function apache_response_headers(): array {}

/** The pool and its workers, as php-fpm's status page shows them. */
function fpm_get_status(): array|false {}

/** The id of this request: the same in logs, in the response and in $_SERVER['TOKIO_REQUEST_ID']. */
function tokio_request_id(): string {}

/** Which worker runs this: 0 ... N-1. */
function tokio_worker_id(): int {}

/** Name, version and build of the server; for a request also the pool, its workers, and when it was started. */
function tokio_server_info(): array {}

/** Moves the deadline of this request to $time seconds from now. */
function tokio_request_heartbeat(int $time = 10): bool {}

/** Sends the headers now; with a status below 200, as an interim response of its own. */
function tokio_send_headers(int $status = 200): bool {}

/** Everything that is buffered, at all levels, goes to the client. */
function tokio_stream_flush(): bool {}

/**
 * In a pool's worker.script: waits for a request, has $callback answer it, and undoes what it changed. False: the
 * script is to end.
 */
function tokio_handle_request(callable $callback): bool {}

/** In a task.script: the process is to end, and the script should. */
function tokio_task_should_stop(): bool {}

/** @alias tokio_handle_request */
function frankenphp_handle_request(callable $callback): bool {}

/** Has the head of the response left? */
function tokio_is_streaming(): bool {}

/** @alias fastcgi_finish_request */
function frankenphp_finish_request(): bool {}

/** @alias apache_request_headers */
function frankenphp_request_headers(): array {}

/** @alias apache_response_headers */
function frankenphp_response_headers(): array {}

/** A line of the server's log; $level: -4 debug, 0 notice, 4 warning, 8 error. */
function frankenphp_log(string $message, int $level = 0, array $context = []): void {}

/** Sends the headers now; with a status below 200, as an interim response: 1 = sent, 3 = not. Else 0, or -1. */
function headers_send(int $status = 200): int {}
