"""A Symfony application as its own skeleton lays it out, from the distribution's packages: Runtime component, Twig, forms,
sessions, PDO on SQLite. Its front controller is its worker script, as it is for every Symfony application: what runs it, once for
each request or in a loop, is the runtime's business."""
import os
import sqlite3
import subprocess

import files
import packages

# What `composer install` would write. The runner is what runtime/frankenphp-symfony does.
AUTOLOAD = r"""<?php
set_include_path(%r);
foreach (['Bundle/FrameworkBundle', 'Bundle/TwigBundle', 'Bridge/Twig', 'Component/Runtime', 'Component/Form'] as $part) {
    require_once "Symfony/$part/autoload.php";
}
if (!class_exists('Composer\InstalledVersions', false)) {
    eval('namespace Composer; class InstalledVersions { public static function isInstalled() { return true; }
        public static function getRootPackage() { return ["name" => "app"]; } }');
}
require __DIR__ . '/../src/App.php';
require __DIR__ . '/Runtime.php';
"""
RUNTIME = r"""<?php
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpKernel\{HttpKernelInterface, TerminableInterface};
use Symfony\Component\Runtime\{RunnerInterface, SymfonyRuntime};

final class WorkerRunner implements RunnerInterface
{
    public function __construct(private HttpKernelInterface $kernel) {}

    public function run(): int
    {
        $own = array_filter($_SERVER, static fn (string $name) => !str_starts_with($name, 'HTTP_'), ARRAY_FILTER_USE_KEY);
        $request = $response = null;
        $handler = function () use ($own, &$request, &$response): void {
            $_SERVER += $own;
            $request = Request::createFromGlobals();
            $response = $this->kernel->handle($request);
            $response->send();
        };
        do {
            $again = frankenphp_handle_request($handler);
            if ($this->kernel instanceof TerminableInterface && $request && $response) {
                $this->kernel->terminate($request, $response);
            }
            $request = $response = null;
        } while ($again);
        return 0;
    }
}

final class WorkerRuntime extends SymfonyRuntime
{
    public function getRunner(?object $application): RunnerInterface
    {
        return $application instanceof HttpKernelInterface && ($_SERVER['FRANKENPHP_WORKER'] ?? false)
            ? new WorkerRunner($application) : parent::getRunner($application);
    }
}
"""
AUTOLOAD_RUNTIME = r"""<?php
if (true === (require_once __DIR__ . '/autoload.php') || empty($_SERVER['SCRIPT_FILENAME'])) {
    return;
}
$app = require $_SERVER['SCRIPT_FILENAME'];
if (!is_object($app)) {
    throw new TypeError('Invalid return value: callable object expected.');
}
$runtime = new WorkerRuntime(['project_dir' => dirname(__DIR__), 'disable_dotenv' => true]);
[$app, $args] = $runtime->getResolver($app)->resolve();
$app = $app(...$args);
exit($runtime->getRunner($app)->run());
"""
INDEX = r"""<?php
require_once dirname(__DIR__) . '/vendor/autoload_runtime.php';
return function (array $context) {
    return new App($context['APP_ENV'], (bool) $context['APP_DEBUG']);
};
"""
APP = r"""<?php
use Symfony\Bundle\FrameworkBundle\Controller\AbstractController;
use Symfony\Bundle\FrameworkBundle\FrameworkBundle;
use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Bundle\TwigBundle\TwigBundle;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\Form\Extension\Core\Type\{IntegerType, SubmitType, TextType};
use Symfony\Component\HttpFoundation\{Cookie, Request, RequestStack, Response, StreamedResponse};
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\Routing\Loader\Configurator\RoutingConfigurator;

final class Fruit
{
    private ?PDO $database = null;

    public function __construct(private string $file) {}

    public function all(): array
    {
        $this->database ??= new PDO('sqlite:' . $this->file, options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
        return $this->database->query('SELECT name, price FROM fruit ORDER BY name')->fetchAll(PDO::FETCH_ASSOC);
    }
}

final class Visitor
{
    public function __construct(private RequestStack $requests) {}

    public function name(): string
    {
        return $this->requests->getCurrentRequest()->getSession()->get('name', 'nobody');
    }
}

final class Pages extends AbstractController
{
    public function __construct(private Fruit $fruit, private Visitor $visitor) {}

    public function helloPage(string $name, Request $request): Response
    {
        return new Response("Hello $name by " . $request->getMethod());
    }

    public function fruitPage(): Response
    {
        return $this->render('fruit.html.twig', ['fruit' => $this->fruit->all(), 'title' => 'Fruit & more']);
    }

    public function listPage(): Response
    {
        return $this->json($this->fruit->all());
    }

    public function loginPage(Request $request): Response
    {
        $request->getSession()->migrate();
        $request->getSession()->set('name', $request->query->get('name'));
        return $this->redirectToRoute('visit', status: 303);
    }

    /** Who somebody is in the session, in a service that asks for it, and as he says himself. */
    public function visitPage(Request $request): Response
    {
        $session = $request->getSession();
        $session->set('visits', 1 + $session->get('visits', 0));
        return $this->json([$session->get('name'), $this->visitor->name(), $request->query->get('name'), $session->get('visits'),
            $request->cookies->count(), $request->headers->get('X-Name')]);
    }

    public function formPage(Request $request): Response
    {
        $form = $this->createFormBuilder()->add('name', TextType::class)->add('pieces', IntegerType::class)
            ->add('send', SubmitType::class)->getForm();
        $form->handleRequest($request);
        if ($form->isSubmitted() && $form->isValid()) {
            return new Response(json_encode($form->getData()));
        }
        return $this->render('form.html.twig', ['form' => $form->createView()]);
    }

    public function uploadPage(Request $request): Response
    {
        $file = $request->files->get('file');
        return new Response($file->getClientOriginalName() . ' ' . md5_file($file->getPathname()));
    }

    public function streamPage(): Response
    {
        return new StreamedResponse(function () { echo 'part one,'; flush(); echo ' part two'; });
    }

    public function cookiePage(): Response
    {
        $response = new Response('a cookie', 201, ['X-Own' => 'value']);
        $response->headers->setCookie(Cookie::create('taste', 'sweet'));
        return $response;
    }

    public function cachedPage(Request $request): Response
    {
        $response = new Response('cached');
        $response->setEtag('abc')->setPublic();
        $response->isNotModified($request);
        return $response;
    }

    public function failsPage(): Response
    {
        throw new DomainException('it fails');
    }

    public function memoryPage(): Response
    {
        gc_collect_cycles(); // what only holds itself is no growth
        return $this->json([tokio_worker_id(), memory_get_usage()]);
    }
}

final class App extends Kernel
{
    use MicroKernelTrait;

    public function registerBundles(): iterable
    {
        return [new FrameworkBundle(), new TwigBundle()];
    }

    public function getProjectDir(): string
    {
        return dirname(__DIR__);
    }

    protected function configureContainer(ContainerConfigurator $c): void
    {
        $c->extension('framework', ['secret' => 'x', 'http_method_override' => false, 'handle_all_throwables' => true,
            'php_errors' => ['log' => false],
            'session' => ['handler_id' => null, 'save_path' => $this->getProjectDir() . '/var/sessions', 'cookie_secure' => 'auto', 'cookie_samesite' => 'lax'],
            'form' => ['enabled' => true, 'csrf_protection' => ['enabled' => false]]]);
        $c->extension('twig', ['default_path' => $this->getProjectDir() . '/templates', 'strict_variables' => true]);
        $services = $c->services()->defaults()->autowire()->autoconfigure();
        $services->set(Fruit::class, Fruit::class)->args([$this->getProjectDir() . '/var/fruit.db']);
        $services->set(Visitor::class, Visitor::class);
        $services->set(Pages::class, Pages::class)->public()->tag('controller.service_arguments');
    }

    protected function configureRoutes(RoutingConfigurator $routes): void
    {
        $routes->add('hello', '/hello/{name}')->controller([Pages::class, 'helloPage']);
        foreach (['fruit', 'list', 'login', 'visit', 'form', 'upload', 'stream', 'cookie', 'cached', 'fails', 'memory'] as $name) {
            $routes->add($name, "/$name")->controller([Pages::class, $name . 'Page']);
        }
    }
}
"""
TEMPLATES = {
    "base.html.twig": "<!DOCTYPE html>\n<html><head><title>{% block title %}Shop{% endblock %}</title></head>\n"
                      "<body>{% block body %}{% endblock %}<p>{{ app.request.pathInfo }}</p></body></html>\n",
    "fruit.html.twig": "{% extends 'base.html.twig' %}{% block title %}{{ title }}{% endblock %}\n{% block body %}<table>\n"
                       "{% for row in fruit %}<tr class=\"{{ cycle(['odd', 'even'], loop.index0) }}\"><td>{{ row.name }}</td>"
                       "<td>{{ row.price|number_format(2, ',', '.') }}</td><td><a href=\"{{ path('hello', {name: row.name}) }}\">"
                       "{{ row.name|upper }}</a></td></tr>\n{% endfor %}</table>{% endblock %}\n",
    "form.html.twig": "{% extends 'base.html.twig' %}\n{% block body %}{{ form(form) }}{% endblock %}\n",
}
PAGES = ("/hello/World", "/fruit", "/list", "/form", "/stream", "/cookie", "/cached", "/fails", "/nothing", "/visit?name=x")


def make(folder, libraries):
    """The project in `folder`; libraries: where packages.application() has put the packages."""
    for name, text in (("composer.json", "{}"), ("vendor/autoload.php", AUTOLOAD % (libraries + "/usr/share/php:.")),
                       ("vendor/autoload_runtime.php", AUTOLOAD_RUNTIME), ("vendor/Runtime.php", RUNTIME), ("public/index.php", INDEX),
                       ("src/App.php", APP), *(("templates/" + name, text) for name, text in TEMPLATES.items())):
        files.write(f"{folder}/{name}", text)
    os.makedirs(folder + "/var/sessions")
    with sqlite3.connect(folder + "/var/fruit.db") as database:
        database.execute("CREATE TABLE fruit (name TEXT, price REAL)")
        database.executemany("INSERT INTO fruit VALUES (?, ?)", [(f"Fruit {n:02d} <&>", n * 1.25) for n in range(20)])
    subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)
    return folder


def unpack(workdir):
    """The project, or packages.Missing."""
    return make(workdir + "/shop", packages.application("php-symfony-runtime", workdir + "/symfony"))


def pool(folder, worker, num=4):
    """Lines for the pool."""
    held = f"worker.script = {folder}/public/index.php\nworker.num = {num}\n" if worker else ""
    return f"env[APP_ENV] = prod\nenv[APP_DEBUG] = 0\n{held}"
