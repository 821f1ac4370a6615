"""Laravel's components as an application has them: container, router, database, a Blade view with a layout."""
import os
import sqlite3
import subprocess

import packages

INDEX = r"""<?php
set_include_path(%r);
require 'Illuminate/autoload.php';
use Illuminate\{Container\Container, Database\Capsule\Manager, Events\Dispatcher, Filesystem\Filesystem, Http\Request, Routing\Router, View};

$app = new Container;
Container::setInstance($app);
$events = new Dispatcher($app);
$router = new Router($events, $app);
$app->bind(Illuminate\Routing\Contracts\CallableDispatcher::class, fn () => new Illuminate\Routing\CallableDispatcher($app));
$database = new Manager;
$database->addConnection(['driver' => 'sqlite', 'database' => __DIR__ . '/var/fruit.db']);
$files = new Filesystem;
$engines = new View\Engines\EngineResolver;
$engines->register('blade', fn () => new View\Engines\CompilerEngine(new View\Compilers\BladeCompiler($files, __DIR__ . '/var'), $files));
$views = new View\Factory($engines, new View\FileViewFinder($files, [__DIR__ . '/views']), $events);
$views->setContainer($app);
$app->instance(Illuminate\Contracts\View\Factory::class, $views);
$router->get('/fruit', fn () => $views->make('fruit', ['title' => 'Fruit & more', 'fruit' => $database->getConnection()->table('fruit')->orderBy('name')->get()])->render());
$request = Request::capture();
$app->instance('request', $request);
$app->instance(Request::class, $request);
$router->dispatch($request)->send();
"""
VIEWS = {
    "base": "<!DOCTYPE html>\n<html><head><title>@yield('title', 'Shop')</title></head>\n<body>@yield('body')</body></html>\n",
    "fruit": "@extends('base')\n@section('title', $title)\n@section('body')\n<table>\n@foreach ($fruit as $row)\n"
             "<tr class=\"{{ $loop->odd ? 'odd' : 'even' }}\"><td>{{ $row->name }}</td><td>{{ number_format($row->price, 2) }}</td></tr>\n"
             "@endforeach\n</table>\n@endsection\n",
}


def unpack(root, workdir):
    """The application in `root`, or packages.Missing."""
    libraries = packages.application("php-laravel-framework", workdir + "/laravel")
    os.makedirs(root + "/var")
    os.makedirs(root + "/views")
    with open(root + "/index.php", "w") as f:
        f.write(INDEX % (libraries + "/usr/share/php:."))
    for name, text in VIEWS.items():
        with open(f"{root}/views/{name}.blade.php", "w") as f:
            f.write(text)
    with sqlite3.connect(root + "/var/fruit.db") as database:
        database.execute("CREATE TABLE fruit (name TEXT, price REAL)")
        database.executemany("INSERT INTO fruit VALUES (?, ?)", [(f"Fruit {n:02d} <&>", n * 1.25) for n in range(20)])
    subprocess.run(["chmod", "-R", "a+rwX", root], check=True)
