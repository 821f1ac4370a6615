<?php
/* tokiophp's demo page: what is running, a form, an upload, and a stream of server-sent events. Everything is in
 * this folder; nothing is loaded from elsewhere. */
declare(strict_types=1);

/** Text that is safe inside HTML. */
function e(string|int|float|null $text): string
{
    return htmlspecialchars((string)$text, ENT_QUOTES | ENT_SUBSTITUTE);
}

/** A number of bytes for people. */
function bytes(int|float $n): string
{
    foreach (['B', 'KB', 'MB', 'GB'] as $unit) {
        if ($n < 1024) {
            return ($unit === 'B' ? $n : number_format($n, 1)) . " $unit";
        }
        $n /= 1024;
    }
    return number_format($n, 1) . ' TB';
}

/** What the server says of itself. Works under other servers too, with less to say. */
function facts(): array
{
    $info = function_exists('tokio_server_info') ? tokio_server_info() : [];
    $opcache = function_exists('opcache_get_status') ? @opcache_get_status(false) : false;
    $started = $info['started'] ?? null;
    $facts = [
        'Server' => trim(($info['name'] ?? $_SERVER['SERVER_SOFTWARE'] ?? 'unknown') . ' ' . ($info['version'] ?? '')),
        'PHP' => PHP_VERSION . (PHP_ZTS ? ', thread-safe' : ''),
        'Protocol' => ($_SERVER['SERVER_PROTOCOL'] ?? '?') . (empty($_SERVER['HTTPS']) ? '' : ' over ' . ($_SERVER['SSL_PROTOCOL'] ?? 'TLS')),
        'Pool' => isset($info['pool']) ? "{$info['pool']}, {$info['workers']} workers" : null,
        'This worker' => function_exists('tokio_worker_id') ? 'number ' . tokio_worker_id() : null,
        'OPcache' => $opcache
            ? $opcache['opcache_statistics']['num_cached_scripts'] . ' scripts, ' . bytes($opcache['memory_usage']['used_memory']) . ' used'
            : 'off',
        'JIT' => ($opcache['jit']['on'] ?? false) ? 'on' : 'off',
        'Memory of this request' => bytes(memory_get_peak_usage()),
        'You' => $_SERVER['REMOTE_ADDR'] ?? '?',
        'Request' => $_SERVER['TOKIO_REQUEST_ID'] ?? null,
        'Running since' => $started ? date('Y-m-d H:i:s', (int)$started) : null,
    ];
    return array_filter($facts, static fn ($value) => $value !== null);
}

/** What came with this request's upload, or null. */
function upload(): ?array
{
    $file = $_FILES['file'] ?? null;
    if ($file === null || !is_string($file['tmp_name']) || $file['error'] === UPLOAD_ERR_NO_FILE) {
        return null;
    }
    if ($file['error'] !== UPLOAD_ERR_OK || !is_uploaded_file($file['tmp_name'])) {
        return ['Not received' => "error {$file['error']}"];
    }
    return [
        'Name' => $file['name'],
        'Size' => bytes($file['size']),
        'SHA-256' => hash_file('sha256', $file['tmp_name']),
    ];
}

/** A table of names and values. */
function table(array $rows): void
{
    echo "<dl>\n";
    foreach ($rows as $name => $value) {
        $code = preg_match('/^[0-9a-f]{32,}$/', (string)$value) ? ' class="code"' : '';
        echo '  <dt>', e($name), "</dt><dd$code>", e($value), "</dd>\n";
    }
    echo "</dl>\n";
}

$greeting = is_string($_POST['name'] ?? null) ? trim($_POST['name']) : '';
$upload = upload();
?>
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>tokiophp is running</title>
  <link rel="icon" href="icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="style.css">
  <script src="demo.js" defer></script>
</head>
<body>
<header>
  <img src="icon.svg" alt="" width="56" height="56">
  <div>
    <h1>It runs.</h1>
    <p>This page was made by PHP, served by tokiophp.</p>
  </div>
</header>
<main>
  <section>
    <h2>What is running</h2>
<?php table(facts()); ?>
  </section>

  <section id="form">
    <h2>A form</h2>
    <form method="post" action="#form">
      <label for="name">Your name</label>
      <div class="line">
        <input id="name" name="name" autocomplete="given-name" maxlength="80" required value="<?= e($greeting) ?>">
        <button>Greet</button>
      </div>
    </form>
<?php if ($greeting !== '') { ?>
    <p class="result" role="status">Hello, <?= e($greeting) ?>.</p>
<?php } ?>
  </section>

  <section id="upload">
    <h2>An upload</h2>
    <form method="post" action="#upload" enctype="multipart/form-data">
      <label for="file">A file, up to <?= e(ini_get('upload_max_filesize')) ?>. It is measured and forgotten.</label>
      <div class="line">
        <input id="file" type="file" name="file" required>
        <button>Send</button>
      </div>
    </form>
<?php if ($upload !== null) { ?>
    <div class="result" role="status">
<?php table($upload); ?>
    </div>
<?php } ?>
  </section>

  <section>
    <h2>Server-sent events</h2>
    <p>One event a second from a PHP script that is still running.</p>
    <output id="count" aria-live="off">0</output>
    <p id="stream" class="quiet">Needs JavaScript.</p>
  </section>
</main>
<footer>
  <p>Made in <?= e(number_format((microtime(true) - $_SERVER['REQUEST_TIME_FLOAT']) * 1000, 2)) ?> ms.</p>
</footer>
</body>
</html>
