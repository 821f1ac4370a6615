"""A Laravel application as its own skeleton lays it out, of the distribution's packages: kernel, middleware, encrypted cookies,
sessions, forms with CSRF tokens and validation, Blade, a database. Its front controller is its worker script as well; the loop is
what Octane does, an application of its own for each request, cloned from the one that has booted."""
import os
import sqlite3
import subprocess

import packages
from files import put_all

INDEX = r"""<?php
error_reporting(E_ALL & ~E_DEPRECATED);
set_include_path(%r);
require 'Illuminate/autoload.php';
require dirname(__DIR__) . '/app/Shop.php';
use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Facade;

$app = new Illuminate\Foundation\Application(dirname(__DIR__));
$app->singleton(Kernel::class, ShopKernel::class);
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, Illuminate\Foundation\Exceptions\Handler::class);
if (!isset($_SERVER['FRANKENPHP_WORKER'])) {
    $kernel = $app->make(Kernel::class);
    $response = $kernel->handle($request = Request::capture())->send();
    $kernel->terminate($request, $response);
    return;
}
$app->instance('request', Request::capture());
$app->make(Kernel::class)->bootstrap();
foreach (['db', 'session', 'session.store', 'router', 'view', 'files', 'encrypter', 'validator', 'translator'] as $service) {
    $app->make($service);
}
$config = clone $app['config'];
$last = null;
$handler = static function () use ($app, $config, &$last) {
    $sandbox = clone $app;
    $sandbox->instance('app', $sandbox);
    $sandbox->instance(Illuminate\Container\Container::class, $sandbox);
    $sandbox->instance('config', clone $config);
    Illuminate\Container\Container::setInstance($sandbox);
    Facade::clearResolvedInstances();
    Facade::setFacadeApplication($sandbox);
    foreach (['cookie', 'redirect', 'url', 'session.store'] as $service) {
        $sandbox->forgetInstance($service);
    }
    $sandbox['session']->forgetDrivers();
    $sandbox['session']->setContainer($sandbox);
    $sandbox['db']->setApplication($sandbox);
    $sandbox['router']->setContainer($sandbox);
    $sandbox['view']->setContainer($sandbox);
    $sandbox['view']->share('app', $sandbox);
    $sandbox['validator']->setContainer($sandbox);
    $kernel = $sandbox->make(Kernel::class);
    $kernel->setApplication($sandbox);
    $request = Request::capture();
    $response = $kernel->handle($request)->send();
    $last = [$sandbox, $kernel, $request, $response];
};
while (frankenphp_handle_request($handler)) {
    if ($last) {
        [$sandbox, $kernel, $request, $response] = $last;
        $kernel->terminate($request, $response);
        $sandbox['view']->flushState();
        $sandbox->flush();
        $last = $sandbox = $kernel = $request = $response = null;
        Illuminate\Container\Container::setInstance($app);
        Facade::clearResolvedInstances();
        Facade::setFacadeApplication($app);
    }
}
"""
APP = r"""<?php
use Illuminate\Cookie\Middleware as Cookies;
use Illuminate\Foundation\Http\Middleware as Checks;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\{DB, Route, Session};

final class ShopKernel extends Illuminate\Foundation\Http\Kernel
{
    protected $middleware = [Checks\ValidatePostSize::class, Checks\TrimStrings::class, Checks\ConvertEmptyStringsToNull::class];
    protected $middlewareGroups = ['web' => [Cookies\EncryptCookies::class, Cookies\AddQueuedCookiesToResponse::class,
        Illuminate\Session\Middleware\StartSession::class, Illuminate\View\Middleware\ShareErrorsFromSession::class,
        Checks\VerifyCsrfToken::class, Illuminate\Routing\Middleware\SubstituteBindings::class]];
}

/** Who somebody is, asked for through the container, a facade and a helper. */
final class Visitor
{
    public function __construct(private Request $request) {}

    public function names(): array
    {
        return [$this->request->session()->get('name'), Session::get('name'), session('name'), request()->query('name'), $this->request->header('X-Name')];
    }
}

final class ShopRoutes extends Illuminate\Foundation\Support\Providers\RouteServiceProvider
{
    public function boot(): void
    {
        $this->routes(fn () => Route::middleware('web')->group(function () {
            Route::get('/hello/{name}', fn (string $name, Request $request) => "Hello $name by " . $request->method());
            Route::get('/fruit', fn () => view('fruit', ['fruit' => DB::table('fruit')->orderBy('name')->get(), 'title' => 'Fruit & more']));
            Route::get('/list', fn () => DB::table('fruit')->where('price', '>', 10)->get());
            Route::get('/login', function (Request $request) {
                $request->session()->regenerate();
                $request->session()->put('name', $request->query('name'));
                return redirect('/visit', 303);
            });
            Route::get('/visit', function (Request $request, Visitor $visitor) {
                $visits = $request->session()->increment('visits');
                return [$visitor->names(), $visits, count($request->cookies), config('shop.seen')];
            });
            Route::get('/form', fn () => view('form'));
            Route::post('/form', fn (Request $request) => $request->validate(['name' => 'required', 'pieces' => 'required|integer|min:1']));
            Route::get('/leak', function (Request $request) {
                config(['shop.seen' => 'somebody']);
                app()->instance('of.somebody', new stdClass);
                app()->setLocale('de');
                return 'leaked';
            });
            Route::get('/clean', fn () => [config('shop.seen'), app()->bound('of.somebody'), app()->getLocale()]);
            Route::get('/cookie', fn () => response('a cookie', 201, ['X-Own' => 'value'])->cookie('taste', 'sweet'));
            Route::get('/stream', fn () => response()->stream(function () { echo 'part one,'; flush(); echo ' part two'; }));
            Route::get('/file', fn () => response()->download(base_path('resources/views/fruit.blade.php'), 'a.txt'));
            Route::get('/fails', fn () => throw new DomainException('it fails'));
            Route::get('/memory', function () { gc_collect_cycles(); return [tokio_worker_id(), memory_get_usage()]; });
        }));
    }
}
"""
CONFIG = {
    "app": "['name' => 'Shop', 'env' => 'production', 'debug' => false, 'url' => 'http://shop', 'timezone' => 'UTC', 'locale' => 'en', "
           "'fallback_locale' => 'en', 'key' => 'base64:' . base64_encode(str_repeat('k', 32)), 'cipher' => 'AES-256-CBC', 'maintenance' => ['driver' => 'file'], "
           "'providers' => [Illuminate\\Cookie\\CookieServiceProvider::class, Illuminate\\Encryption\\EncryptionServiceProvider::class, "
           "Illuminate\\Filesystem\\FilesystemServiceProvider::class, Illuminate\\Session\\SessionServiceProvider::class, Illuminate\\View\\ViewServiceProvider::class, "
           "Illuminate\\Database\\DatabaseServiceProvider::class, Illuminate\\Translation\\TranslationServiceProvider::class, "
           "Illuminate\\Validation\\ValidationServiceProvider::class, Illuminate\\Foundation\\Providers\\FoundationServiceProvider::class, "
           "Illuminate\\Cache\\CacheServiceProvider::class, ShopRoutes::class], 'aliases' => []]",
    "session": "['driver' => 'file', 'lifetime' => 120, 'expire_on_close' => false, 'encrypt' => false, 'files' => storage_path('framework/sessions'), "
               "'lottery' => [0, 100], 'cookie' => 'shop_session', 'path' => '/', 'domain' => null, 'secure' => null, 'http_only' => true, 'same_site' => 'lax']",
    "view": "['paths' => [resource_path('views')], 'compiled' => storage_path('framework/views')]",
    "cache": "['default' => 'array', 'stores' => ['array' => ['driver' => 'array']], 'prefix' => '']",
    "database": "['default' => 'sqlite', 'connections' => ['sqlite' => ['driver' => 'sqlite', 'database' => database_path('fruit.db')]], 'migrations' => 'm']",
    "logging": "['default' => 'null', 'deprecations' => ['channel' => 'null'], 'channels' => ['null' => ['driver' => 'monolog', 'handler' => Monolog\\Handler\\NullHandler::class]]]",
    "shop": "['seen' => 'nobody']",
}
VIEWS = {
    "base": "<!DOCTYPE html>\n<html><head><title>@yield('title', 'Shop')</title></head>\n<body>@yield('body')<p>{{ request()->path() }}</p></body></html>\n",
    "fruit": "@extends('base')\n@section('title', $title)\n@section('body')\n<table>\n@foreach ($fruit as $row)\n"
             "<tr class=\"{{ $loop->odd ? 'odd' : 'even' }}\"><td>{{ $row->name }}</td><td>{{ number_format($row->price, 2, ',', '.') }}</td>"
             "<td><a href=\"{{ url('/hello/' . rawurlencode($row->name)) }}\">{{ Str::upper($row->name) }}</a></td></tr>\n@endforeach\n</table>\n@endsection\n",
    "form": "@extends('base')\n@section('body')\n<form method=\"post\">@csrf\n<input name=\"name\" value=\"{{ old('name') }}\"><input name=\"pieces\">"
            "@foreach ($errors->all() as $error)<p class=\"wrong\">{{ $error }}</p>@endforeach</form>\n@endsection\n",
}
PAGES = ("/hello/World", "/fruit", "/list", "/form", "/cookie", "/stream", "/file", "/fails", "/nothing", "/visit?name=x", "/clean")


def unpack(workdir):
    """The folder of the application, or packages.Missing."""
    libraries = packages.application("php-laravel-framework", workdir + "/laravel")
    folder = workdir + "/shop"
    files = {"public/index.php": INDEX % (libraries + "/usr/share/php:."), "app/Shop.php": APP,
             **{f"config/{name}.php": f"<?php return {text};" for name, text in CONFIG.items()},
             **{f"resources/views/{name}.blade.php": text.replace("Str::", "Illuminate\\Support\\Str::") for name, text in VIEWS.items()}}
    put_all(folder, files)
    for name in ("bootstrap/cache", "storage/framework/sessions", "storage/framework/views", "database"):
        os.makedirs(f"{folder}/{name}")
    with sqlite3.connect(folder + "/database/fruit.db") as database:
        database.execute("CREATE TABLE fruit (name TEXT, price REAL)")
        database.executemany("INSERT INTO fruit VALUES (?, ?)", [(f"Fruit {n:02d} <&>", n * 1.25) for n in range(20)])
    subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)
    return folder
