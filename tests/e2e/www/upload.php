<?php header('Content-Type: application/json');
$out = [];
foreach ($_FILES as $field => $f) {
    foreach (is_array($f['name']) ? array_keys($f['name']) : [null] as $k) {
        $get = fn ($what) => $k === null ? $f[$what] : $f[$what][$k];
        $target = __DIR__ . '/../tmp/moved.' . getmypid() . '.' . bin2hex(random_bytes(8));
        $is = is_uploaded_file($get('tmp_name'));
        $moved = move_uploaded_file($get('tmp_name'), $target);
        $out[] = ['field' => $field, 'name' => $get('name'), 'size' => $get('size'), 'type' => $get('type'), 'error' => $get('error'),
            'uploaded' => $is, 'moved' => $moved, 'md5' => $moved ? md5_file($target) : null];
        if ($moved) unlink($target);
    }
}
echo json_encode(['files' => $out, 'post' => $_POST, 'fake' => is_uploaded_file('/etc/passwd')]);
