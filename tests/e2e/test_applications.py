"""More applications and frameworks from the distribution's packages, each for a moment: MediaWiki on SQLite, phpMyAdmin on
MariaDB, Symfony's framework and Laravel's components."""
import os
import re
import subprocess

import mediawiki
import packages
import pytest
from browser import Browser, crowd
from ways import front

SYMFONY = """<?php
set_include_path(%r);
require 'Symfony/Bundle/FrameworkBundle/autoload.php';
eval('namespace Composer; class InstalledVersions { 
    public static function isInstalled() { return true; } public static function getRootPackage() { return ["name" => "app"]; } }');
use Symfony\\Bundle\\FrameworkBundle\\FrameworkBundle;
use Symfony\\Bundle\\FrameworkBundle\\Kernel\\MicroKernelTrait;
use Symfony\\Component\\DependencyInjection\\Loader\\Configurator\\ContainerConfigurator;
use Symfony\\Component\\HttpFoundation\\{Request, Response, StreamedResponse};
use Symfony\\Component\\HttpKernel\\Kernel;
use Symfony\\Component\\Routing\\Loader\\Configurator\\RoutingConfigurator;
class App extends Kernel {
    use MicroKernelTrait;
    public function registerBundles(): iterable { yield new FrameworkBundle(); }
    public function getProjectDir(): string { return __DIR__; }
    public function getCacheDir(): string { return __DIR__ . '/var'; }
    public function getLogDir(): string { return __DIR__ . '/var'; }
    protected function configureContainer(ContainerConfigurator $c): void {
        $c->extension('framework', ['secret' => 'x', 'http_method_override' => false, 'test' => false]);
    }
    protected function configureRoutes(RoutingConfigurator $routes): void {
        $routes->add('hello', '/hello/{name}')->controller([$this, 'hello']);
        $routes->add('stream', '/stream')->controller([$this, 'stream']);
    }
    public function hello(string $name, Request $request): Response { return new Response("Hello $name by " . $request->getMethod()); }
    public function stream(): Response { return new StreamedResponse(function () { echo 'part one,'; flush(); echo ' part two'; }); }
}
$kernel = new App('prod', false);
$request = Request::createFromGlobals();
$response = $kernel->handle($request);
$response->send();
$kernel->terminate($request, $response);
"""

LARAVEL = """<?php
set_include_path(%r);
require 'Illuminate/autoload.php';
$app = new Illuminate\\Container\\Container;
Illuminate\\Container\\Container::setInstance($app);
$events = new Illuminate\\Events\\Dispatcher($app);
$router = new Illuminate\\Routing\\Router($events, $app);
$app->bind(Illuminate\\Routing\\Contracts\\CallableDispatcher::class, fn () => new Illuminate\\Routing\\CallableDispatcher($app));
$db = new Illuminate\\Database\\Capsule\\Manager;
$db->addConnection(['driver' => 'sqlite', 'database' => ':memory:']);
$db->setAsGlobal();
$router->get('/hello/{name}', fn (string $name) => "Hello $name");
$router->post('/sum', fn (Illuminate\\Http\\Request $request) => ['sum' => collect($request->input('n'))->sum()]);
$router->get('/rows', function () use ($db) {
    $db->schema()->create('t', function ($table) { $table->increments('id'); $table->string('name'); });
    for ($i = 0; $i < 3; $i++) $db->table('t')->insert(['name' => "row $i"]);
    return $db->table('t')->orderByDesc('id')->pluck('name')->implode(', ');
});
$request = Illuminate\\Http\\Request::capture();
$app->instance('request', $request);
$app->instance(Illuminate\\Http\\Request::class, $request);
$router->dispatch($request)->send();
"""


def unpack(name, root):
    try:
        return packages.application(name, root)
    except packages.Missing as why:
        pytest.skip(str(why))


def serve(tokiophp, root, pool="http.index = /index.php\n"):
    return front("standalone", tokiophp, None, root, pool=pool)


def good(site, pages):
    wrong = crowd(site.url, pages, seconds=6)
    assert not wrong, wrong[0][-3000:]
    assert not re.search(r"exited on signal|Fatal error", site.server.messages())


def site_of(folder, text, libraries):
    os.makedirs(folder + "/var")
    with open(folder + "/index.php", "w") as f:
        f.write(text % (libraries + "/usr/share/php:."))
    subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)
    return folder


@pytest.mark.seconds(240)
def test_symfony(workdir, tokiophp):
    site = serve(tokiophp, site_of(workdir + "/app", SYMFONY, unpack("php-symfony-framework-bundle", workdir + "/symfony")))
    browser = Browser(site.url)
    assert browser.page("/hello/World") == "Hello World by GET"
    assert browser.open("/nothing")[0] == 404
    good(site, [("/hello/you", "Hello you"), ("/stream", "part one, part two")])


@pytest.mark.seconds(240)
def test_laravel(workdir, tokiophp):
    site = serve(tokiophp, site_of(workdir + "/app", LARAVEL, unpack("php-laravel-framework", workdir + "/laravel")))
    browser = Browser(site.url)
    assert browser.page("/hello/World") == "Hello World"
    assert browser.page("/sum", {"n[]": "41"}) == '{"sum":41}'
    good(site, [("/hello/you", "Hello you"), ("/rows", "row 2, row 1, row 0")])


@pytest.mark.seconds(240)
def test_mediawiki(workdir, tokiophp):
    root = workdir + "/mw"
    try:
        mediawiki.unpack(root, workdir, "http://wiki.example")
    except packages.Missing as why:
        pytest.skip(str(why))
    site = serve(tokiophp, root)
    browser = Browser(site.url)
    assert "MediaWiki has been installed" in browser.page("/index.php?title=Main_Page")
    edited = browser.page("/api.php?action=edit&format=json", {"title": "Größe", "text": "The *text* of the page.", "token": "+\\"})
    assert '"result":"Success"' in edited, edited
    good(site, [("/index.php?title=Gr%C3%B6%C3%9Fe", "The *text* of the page."),
                ("/api.php?action=query&format=json&meta=siteinfo", "Test wiki")])


@pytest.mark.seconds(240)
def test_phpmyadmin(workdir, database, tokiophp):
    root = workdir + "/pma"
    tree = unpack("phpmyadmin", root)
    database.sql("CREATE DATABASE fruit; CREATE TABLE fruit.apples (name VARCHAR(20)); INSERT INTO fruit.apples VALUES ('Boskoop');")
    with open(tree + "/etc/phpmyadmin/config.inc.php", "w") as f:
        f.write(f"""<?php $cfg['blowfish_secret'] = str_repeat('x', 32); $cfg['TempDir'] = '{workdir}/tmp';
            $cfg['Servers'][1] = ['auth_type' => 'config', 'host' => 'localhost', 'socket' => '{database.socket}', 'user' => 'root',
            'password' => '', 'AllowNoPassword' => true];""")
    os.chmod(f.name, 0o644)  # it refuses one that everybody may write
    site = serve(tokiophp, root)
    good(site, [("/index.php?route=/database/structure&db=fruit", "apples"),
                ("/index.php?route=/sql&db=fruit&table=apples&pos=0", "Boskoop")])
