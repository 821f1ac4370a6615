<?php

/**
 * The functions that tokiophp adds to PHP, for editors and static analysis. Never included by a program: the server
 * has them built in. With other servers function_exists() says no.
 *
 * $_SERVER has TOKIO_REQUEST_ID, TOKIO_WORKER_ID, TOKIO_SERVER_BUILD_VERSION, TRACE_ID, SPAN_ID and, when the request
 * came with a valid traceparent, PARENT_SPAN_ID and, with a valid tracestate beside it, TRACE_STATE.
 */

/** The id of this request: the same in the X-Request-ID header, in logs and in $_SERVER['TOKIO_REQUEST_ID']. */
function tokio_request_id(): string {}

/** Which worker runs this request: 0 to N-1. */
function tokio_worker_id(): int {}

/**
 * @return array{name: string, version: string, build: string, php_sapi: string, zts: bool, pool?: string, workers?: int, started?: int}
 */
function tokio_server_info(): array {}

/**
 * Moves the deadline of this request (request_terminate_timeout) to $time seconds from now.
 *
 * @param int $time at most the pool's request_terminate_timeout
 * @return bool false if $time is not positive or too large, or if there is no deadline
 */
function tokio_request_heartbeat(int $time = 10): bool {}

/** Completes the response for the client; the script goes on, its later output is dropped. */
function tokio_finish_request(): bool {}

/** The same as tokio_finish_request(), under php-fpm's name. */
function fastcgi_finish_request(): bool {}

/**
 * Sends the response's headers now; the body streams from here on. With a status below 200 (103 Early Hints) an
 * interim response with the Link headers that are set so far.
 *
 * @return bool false if the headers were sent already
 */
function tokio_send_headers(int $status = 200): bool {}

/** Sends everything that is buffered, at all levels, to the client; false if the client is gone. */
function tokio_stream_flush(): bool {}

/** Whether the head of the response has left. */
function tokio_is_streaming(): bool {}

/** @return array<string, string> headers of the request */
function apache_request_headers(): array {}

/** @return array<string, string> headers of the request */
function getallheaders(): array {}

/** @return array<string, string> headers of the response as they are set so far */
function apache_response_headers(): array {}

/** @return array<string, mixed>|false the pool and its workers, as php-fpm's status page shows them */
function fpm_get_status(): array|false {}
